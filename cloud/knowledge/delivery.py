"""Ordering devices to hold what they subscribe to: decided by what is, not by what happened (rule P29).

A device subscribes by its reported setting `knowledge`. It is due when the newest revision of a collection that it may
have is not what it was last ordered, in its present orders log, and no earlier offer of that collection waits for its
acknowledgement: whoever was away for a month gets one order, the newest. A job of the leader, and called at once when
something was published; whatever a crash left undone is found by looking again.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from cloud.db import Transactions
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.broadcast import Place, append_to_each
from cloud.journal.service import append_order
from cloud.journal.tables import LaneRow
from cloud.knowledge import repository
from cloud.knowledge.offers import Offers, forget_inline
from cloud.knowledge.schemas import Audience
from cloud.knowledge.tables import Delivery, KnowledgeCollection, KnowledgeDelivery
from cloud.twins.delivery import SaltOf
from cloud.twins.tables import DeviceTwin
from shared.blobs import Blob
from shared.clock import Clock, to_ms
from shared.ids import HUB, Lane
from shared.records import KnowledgeWithdrawn, OrderRecord

logger = logging.getLogger(__name__)

SETTING: Final = "knowledge"
CHUNK_DEVICES: Final = 100
"""Devices that share a transaction."""
SCAN_S: Final = 30.0
"""How often every subscription is looked at, whatever seems to have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """An active device that wants knowledge, by its own report."""

    principal: str
    tenant: str
    name: str
    site: str | None
    group: str | None
    wanted: frozenset[str]


class Courier:
    """`on_ordered` is called after each commit with the devices that were ordered. Blocking; from any thread."""

    def __init__(self, *, clock: Clock, salt_of: SaltOf, on_ordered: Callable[[set[str]], None]) -> None:
        self._clock = clock
        self._salt_of = salt_of
        self._on_ordered = on_ordered
        self._turn = Lock()
        self._seen: tuple[object, ...] = ()
        self._scanned_at = -SCAN_S

    def work(self, transactions: Transactions) -> None:
        """A round, if anything may have changed. Raises what the transactions raise."""
        with transactions.read() as session:
            now = _signs(session)
        if now != self._seen or monotonic() - self._scanned_at >= SCAN_S:
            self.round(transactions)
            self._seen, self._scanned_at = now, monotonic()

    def round(self, transactions: Transactions) -> None:
        """Every subscription of every device."""
        with self._turn:
            with transactions.read() as session:
                collections = _offered(session)
                held = set(session.exec(select(KnowledgeDelivery.principal).distinct()).all())
                if not collections and not held:
                    return
                waiting = _due(session, _subscribers(session), held, collections)
            for first in range(0, len(waiting), CHUNK_DEVICES):
                chunk = waiting[first : first + CHUNK_DEVICES]
                with transactions.write() as session:
                    ordered = self._order(session, chunk)
                if ordered:
                    self._on_ordered(ordered)

    def _order(self, session: Session, principals: Sequence[str]) -> set[str]:
        locked = session.exec(
            select(Device.principal)
            .where(col(Device.principal).in_(principals), Device.status == DeviceStatus.ACTIVE.value)
            .order_by(col(Device.principal))
            .with_for_update(skip_locked=True)
        ).all()
        now = self._clock.now()
        collections = _offered(session)
        subscribers = {each.principal: each for each in _subscribers(session, locked)}
        offers = Offers(session, salt_of=self._salt_of, now=now)
        steps = _Steps()
        rows = _rows_of(session, locked)
        lanes = _lanes_of(session, locked)
        for principal in locked:
            steps.decide(
                principal,
                subscribers.get(principal),
                rows.get(principal, {}),
                lanes.get(principal),
                collections,
            )
        for row in steps.over:
            _forget(session, [row])
            session.delete(row)
        ordered: set[str] = set()
        for key, devices in sorted(steps.offer.items()):
            ordered |= _offer(session, collections[key], devices, rows, offers, now)
        for key, devices in sorted(steps.withdraw.items()):
            collection = session.get(KnowledgeCollection, key)
            assert collection is not None, "its deliveries go with it"
            ordered |= _withdraw(session, collection, [rows[each][key] for each in devices], now)
        return ordered


def withdraw_everywhere(session: Session, collection: KnowledgeCollection, now: datetime) -> set[str]:
    """The collection is about to be removed: every device that has it, or was offered it, removes it too.

    Returns the devices that were ordered. Locks them.
    """
    assert collection.id is not None
    rows = session.exec(
        select(KnowledgeDelivery).where(KnowledgeDelivery.collection_id == collection.id)
    ).all()
    there = [row for row in rows if row.state != Delivery.REMOVED.value]
    session.exec(
        select(Device.principal)
        .where(col(Device.principal).in_([row.principal for row in there]))
        .order_by(col(Device.principal))
        .with_for_update()
    ).all()
    ordered = _withdraw(session, collection, there, now)
    for row in there:
        if row.principal not in ordered:  # its log was locked: wait for it
            record = KnowledgeWithdrawn(at_ms=to_ms(now), collection=collection.name)
            append_order(session, principal=row.principal, records=[(record, ())], now=now)
            ordered.add(row.principal)
    for row in rows:
        session.delete(row)
    session.flush()
    return ordered


def may_have(audience: Mapping[str, Any], device: Device) -> bool:
    """Whether a device is in a collection's audience."""
    return Audience.model_validate(audience).has(device=device.name, site=device.site, group=device.group)


class _Steps:
    """Who is to be told what, by collection; and deliveries that are over."""

    def __init__(self) -> None:
        self.offer: dict[int, list[str]] = {}
        self.withdraw: dict[int, list[str]] = {}
        self.over: list[KnowledgeDelivery] = []

    def decide(
        self,
        principal: str,
        subscriber: Subscriber | None,
        rows: Mapping[int, KnowledgeDelivery],
        lane: LaneRow | None,
        collections: Mapping[int, KnowledgeCollection],
    ) -> None:
        wanted = _allowed(subscriber, collections)
        for key in wanted:
            row = rows.get(key)
            if (
                row is None
                or not _is_in(lane, row)
                or (_is_behind(row, collections[key]) and _has_seen(lane, row))
            ):
                self.offer.setdefault(key, []).append(principal)
        for key, row in rows.items():
            if key in wanted:
                continue
            collection = collections.get(key)
            is_subscribed = subscriber is not None and (
                collection is not None and collection.name in subscriber.wanted
            )
            if not is_subscribed or row.state == Delivery.REMOVED.value:
                self.over.append(row)  # it removes what it does not list by itself
            elif row.state != Delivery.WITHDRAWN.value or not _is_in(lane, row):
                self.withdraw.setdefault(key, []).append(principal)

    @property
    def is_any(self) -> bool:
        return bool(self.offer or self.withdraw or self.over)


def _due(
    session: Session,
    subscribers: Sequence[Subscriber],
    held: Collection[str],
    collections: Mapping[int, KnowledgeCollection],
) -> list[str]:
    """Active devices of which something is to be done."""
    by_name = {each.principal: each for each in subscribers}
    concerned = sorted(held | by_name.keys())
    rows, lanes = _rows_of(session, concerned), _lanes_of(session, concerned)
    due = []
    for principal in concerned:
        steps = _Steps()
        steps.decide(
            principal, by_name.get(principal), rows.get(principal, {}), lanes.get(principal), collections
        )
        if steps.is_any:
            due.append(principal)
    return due


def _allowed(subscriber: Subscriber | None, collections: Mapping[int, KnowledgeCollection]) -> frozenset[int]:
    if subscriber is None:
        return frozenset()
    return frozenset(
        key
        for key, each in collections.items()
        if each.tenant == subscriber.tenant
        and each.name in subscriber.wanted
        and Audience.model_validate(each.audience).has(
            device=subscriber.name, site=subscriber.site, group=subscriber.group
        )
    )


def _is_in(lane: LaneRow | None, row: KnowledgeDelivery) -> bool:
    """Whether its order stands in the log that the device has now."""
    return (
        lane is not None and row.ordered_epoch is not None and bytes(row.ordered_epoch) == bytes(lane.epoch)
    )


def _has_seen(lane: LaneRow | None, row: KnowledgeDelivery) -> bool:
    return lane is None or row.ordered_seq is None or lane.acked >= row.ordered_seq


def _is_behind(row: KnowledgeDelivery, collection: KnowledgeCollection) -> bool:
    return row.ordered != collection.head or row.state in (Delivery.WITHDRAWN.value, Delivery.REMOVED.value)


def _offer(
    session: Session,
    collection: KnowledgeCollection,
    devices: Sequence[str],
    rows: Mapping[str, Mapping[int, KnowledgeDelivery]],
    offers: Offers,
    now: datetime,
) -> set[str]:
    assert collection.id is not None
    records: dict[str, OrderRecord] = {}
    blobs: dict[bytes, Blob] = {}
    known = {each: rows.get(each, {}).get(collection.id) for each in devices}
    for principal, row in known.items():
        offer = offers.of(collection, 0 if row is None else row.reported)
        if offer is None:
            return set()
        records[principal] = offer[0]
        if offer[1] is not None:
            blobs[offer[1].ref().hash] = offer[1]
    _forget(session, [row for row in known.values() if row is not None])
    places = _append(session, records, list(blobs.values()), now)
    for principal, place in places.items():
        row = known[principal]
        if row is None:
            row = KnowledgeDelivery(
                principal=principal, collection_id=collection.id, state="", changed_at=now
            )
        row.state, row.code, row.ordered = Delivery.ORDERED.value, "", collection.head
        row.ordered_epoch, row.ordered_seq, row.changed_at = place.epoch, place.seq, now
        session.add(row)
    session.flush()
    return set(places)


def _withdraw(
    session: Session, collection: KnowledgeCollection, rows: Sequence[KnowledgeDelivery], now: datetime
) -> set[str]:
    if not rows:
        return set()
    record = KnowledgeWithdrawn(at_ms=to_ms(now), collection=collection.name)
    _forget(session, rows)
    places = _append(session, {row.principal: record for row in rows}, [], now)
    for row in rows:
        place = places.get(row.principal)
        if place is not None:
            row.state, row.code, row.changed_at = Delivery.WITHDRAWN.value, "", now
            row.ordered_epoch, row.ordered_seq = place.epoch, place.seq
            session.add(row)
    session.flush()
    return set(places)


def _append(
    session: Session, records: Mapping[str, OrderRecord], blobs: Sequence[Blob], now: datetime
) -> dict[str, Place]:
    open_lanes = _lanes_of(session, list(records))
    return append_to_each(
        session,
        lanes={each: open_lanes[each].id if each in open_lanes else None for each in records},
        records=records,
        blobs=blobs,
        blobs_of=HUB,
        now=now,
    )


def _forget(session: Session, rows: Sequence[KnowledgeDelivery]) -> None:
    forget_inline(
        session,
        [
            (bytes(row.ordered_epoch), row.ordered_seq)
            for row in rows
            if row.ordered_epoch is not None and row.ordered_seq is not None
        ],
    )


def _signs(session: Session) -> tuple[object, ...]:
    """What changes with everything that may make an order due, but for labels of devices."""
    changed, heads = session.exec(
        select(func.max(KnowledgeCollection.changed_at), func.sum(KnowledgeCollection.head))
    ).one()
    if not heads:
        return ()
    return changed, heads, session.exec(select(func.max(DeviceTwin.reported_at))).one()


def _offered(session: Session) -> dict[int, KnowledgeCollection]:
    """Collections that have a revision."""
    rows = session.exec(select(KnowledgeCollection).where(col(KnowledgeCollection.head) > 0)).all()
    return {row.id: row for row in rows if row.id is not None}


def _subscribers(session: Session, principals: Collection[str] | None = None) -> list[Subscriber]:
    """Among these devices, or all."""
    wanted = col(DeviceTwin.reported)[SETTING].as_string()
    query = (
        select(Device, wanted)
        .join(DeviceTwin, col(DeviceTwin.principal) == Device.principal)
        .where(Device.status == DeviceStatus.ACTIVE.value, wanted.is_not(None), wanted != "[]")
    )
    if principals is not None:
        query = query.where(col(Device.principal).in_(principals))
    return [
        Subscriber(
            principal=device.principal,
            tenant=device.tenant,
            name=device.name,
            site=device.site,
            group=device.group,
            wanted=_names(told),
        )
        for device, told in session.exec(query)
    ]


def _names(told: str) -> frozenset[str]:
    """A device says what it likes; what is no list of names is no subscription."""
    try:
        names = json.loads(told)
    except (ValueError, RecursionError):
        return frozenset()
    return (
        frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
    )


def _rows_of(session: Session, principals: Sequence[str]) -> dict[str, dict[int, KnowledgeDelivery]]:
    found: dict[str, dict[int, KnowledgeDelivery]] = {}
    for part in repository.parts(principals):
        for row in session.exec(select(KnowledgeDelivery).where(col(KnowledgeDelivery.principal).in_(part))):
            found.setdefault(row.principal, {})[row.collection_id] = row
    return found


def _lanes_of(session: Session, principals: Sequence[str]) -> dict[str, LaneRow]:
    """The open orders log of each."""
    found: dict[str, LaneRow] = {}
    for part in repository.parts(principals):
        query = (
            select(LaneRow)
            .where(
                col(LaneRow.principal).in_(part),
                LaneRow.lane == Lane.ORDERS.value,
                col(LaneRow.closed_at).is_(None),
                col(LaneRow.forked_at_seq).is_(None),
            )
            .order_by(col(LaneRow.id))
        )
        for row in session.exec(query):
            found[row.principal] = row
    return found

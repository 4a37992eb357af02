"""Forgetting what people name: at the hub, and at every device within reach, with a receipt from each (rule P30).

A request is written down with its receipts before anything is done, so whatever a crash left undone is found by looking
again. The words lie in one content, which is what devices are ordered with; it goes when the last of them has answered.
The audit log and the tables have a keyed digest of them, by which who knows the words can tell that they were meant.
"""

import hashlib
import hmac
import logging
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import and_, or_
from sqlmodel import Session, col, select

from cloud.audit.log import note
from cloud.caller import HUB_ITSELF, Caller
from cloud.consent.tables import Proposal
from cloud.db import Database, Transactions
from cloud.devices.tables import REPLACED_REASON, Device, DeviceStatus
from cloud.journal.broadcast import append_to_each
from cloud.journal.service import read_blob, store_blob
from cloud.journal.tables import LaneRow
from cloud.knowledge.repository import parts
from cloud.memory import forgotten, repository, speaking
from cloud.memory.schemas import ElsewhereView, FoundView
from cloud.memory.speaking import Reach, Speaks
from cloud.memory.tables import ForgetReceipt, ForgetRequest, ItemState, ReceiptState
from shared.blobs import SALT_BYTES, Blob
from shared.clock import Clock, to_ms
from shared.errors import RefusedError
from shared.ids import HUB, Lane
from shared.records import ForgetOrdered

logger = logging.getLogger(__name__)

DEVICES_AT_ONCE: Final = 200
"""Devices that are ordered in one transaction."""
DIGEST_PURPOSE: Final = "forgotten words"
"""Of `Identity.derive`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whom a request concerns: one device (`principal`), those with all of these labels, or (neither) everybody."""

    tenant: str
    principal: str | None = None
    labels: Mapping[str, str] | None = None

    @property
    def is_everywhere(self) -> bool:
        return self.principal is None and not self.labels


class Forgetter:
    """`digest_key`: 32 bytes that only the hub has. `on_ordered` is called after a commit, with the devices ordered.
    Blocking; from any thread, and from several processes at once."""

    def __init__(
        self, *, database: Database, clock: Clock, digest_key: bytes, on_ordered: Callable[[set[str]], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._digest_key = digest_key
        self._on_ordered = on_ordered

    def look(self, wanted: Wanted, about: str) -> FoundView:
        """What would be forgotten, and what would not. Raises `RefusedError` as `ask`."""
        speaks = speaking.speaks_of(about)
        with self._database.read() as session:
            devices = _devices(session, wanted)
        reach = _reach(wanted, devices)
        found = speaking.contents(self._database, [each.principal for each in devices], speaks)
        goals = speaking.goals(self._database, reach, speaks)
        with self._database.read() as session:
            items = repository.with_contents(session, list(found))
            return FoundView(
                contents=len(found) + len(goals),
                items=len(items),
                documents=sum(item.state == ItemState.APPROVED.value for item in items),
                proposals=len(self._proposals(session, reach, speaks)),
                devices=sum(not _is_revoked(each) for each in devices),
                unreachable=sum(map(_is_revoked, devices)),
                elsewhere=[
                    ElsewhereView(collection=each.collection, document=each.document)
                    for each in speaking.documents(session, wanted.tenant, speaks)
                ],
            )

    def ask(self, caller: Caller, wanted: Wanted, about: str, *, request_id: str) -> None:
        """Write the request down; `work` does it, here and by ordering devices, who answer when they are there.

        Raises `RefusedError` (codes `device_unknown`, `nobody_chosen`).
        """
        now = self._clock.now()
        blob = Blob(salt=secrets.token_bytes(SALT_BYTES), content=about.encode())
        digest = digest_of(self._digest_key, about)
        with self._database.write() as session:
            devices = _devices(session, wanted)
            store_blob(session, HUB, blob)
            session.add(
                ForgetRequest(
                    id=request_id,
                    tenant=wanted.tenant,
                    digest=digest,
                    about_hash=blob.ref().hash,
                    is_everywhere=wanted.is_everywhere,
                    asked_by=caller.name,
                    asked_at=now,
                )
            )
            for device in devices:
                state = ReceiptState.UNREACHABLE if _is_revoked(device) else ReceiptState.PENDING
                session.add(
                    ForgetReceipt(
                        principal=device.principal,
                        request=request_id,
                        tenant=wanted.tenant,
                        state=state.value,
                        changed_at=now,
                    )
                )
            note(
                session, caller, "memory.forget", request_id, tenant=wanted.tenant, now=now,
                detail={"about": digest.hex(), "devices": len(devices), "everywhere": wanted.is_everywhere},
            )  # fmt: skip

    def work(self, transactions: Transactions) -> bool:
        """Everything that there is to do; whether something was deleted. Raises what the transactions raise."""
        with transactions.read() as session:
            open_ = [
                (request.id, None if request.about_hash is None else read_blob(session, request.about_hash))
                for request in repository.open_requests(session)
            ]
        has_deleted = False
        for key, blob in open_:
            if blob is not None:
                has_deleted |= self._work_at(transactions, key, blob)
        with transactions.read() as session:
            has_debts = forgotten.has_debts(session)
        if has_debts:
            with transactions.write() as session:
                has_deleted |= forgotten.settle_debts(session) > 0
        return has_deleted

    def _work_at(self, transactions: Transactions, key: str, blob: Blob) -> bool:
        speaks = speaking.speaks_of(blob.content.decode())
        with transactions.read() as session:
            request = session.get_one(ForgetRequest, key)
        has_deleted = request.hub_done_at is None
        if has_deleted:
            self._forget_here(transactions, request, speaks)
        self._order(transactions, request, blob)
        with transactions.read() as session:
            answered = [
                row.principal for row in repository.receipts_in(session, request, ReceiptState.ANSWERED)
            ]
        for principal in answered:
            self._look_again(transactions, request, principal, speaks)
        return self._close(transactions, key) or has_deleted or bool(answered)

    def _forget_here(self, transactions: Transactions, request: ForgetRequest, speaks: Speaks) -> None:
        with transactions.read() as session:
            reach = Reach(
                tenant=request.tenant,
                principals=None if request.is_everywhere else _principals(session, request),
            )
            principals = speaking.devices_of(session, reach)
        contents, items = self._drop(transactions, principals, speaks)
        goals = speaking.goals(transactions, reach, speaks)
        with transactions.write() as session:
            dropped, owed = forgotten.drop_goals(session, goals)
            proposals = self._proposals(session, reach, speaks)
            for proposal in proposals:
                session.delete(proposal)
            row = session.get_one(ForgetRequest, request.id, with_for_update=True)
            row.contents, row.items = contents + dropped, items
            row.proposals, row.kept = len(proposals), owed
            row.hub_done_at = self._clock.now()
            note(
                session, replace(HUB_ITSELF, name=row.asked_by), "memory.forgotten", row.id,
                tenant=row.tenant, now=row.hub_done_at,
                detail={"contents": row.contents, "items": row.items, "proposals": row.proposals, "kept": row.kept},
            )  # fmt: skip

    def _drop(self, transactions: Transactions, principals: Sequence[str], speaks: Speaks) -> tuple[int, int]:
        """Contents and items of these devices that speak of it; how many went."""
        found = speaking.contents(transactions, principals, speaks)
        contents = items = 0
        for some in parts(sorted(found)):
            with transactions.write() as session:
                rows = repository.with_contents(session, some)
                beside = [hash_ for row in rows for hash_ in (row.content_hash, row.cue_hash) if hash_]
                contents += repository.drop_blobs(session, [*some, *beside], sorted(set(found.values())))
                items += len(rows)
                forgotten.drop_items(session, rows, self._clock.now())
        return contents, items

    def _order(self, transactions: Transactions, request: ForgetRequest, blob: Blob) -> None:
        """Order the devices that have not been, or that have another orders log since."""
        with transactions.read() as session:
            due = _due(session, request)
        for first in range(0, len(due), DEVICES_AT_ONCE):
            with transactions.write() as session:
                ordered = self._order_some(session, request, blob, due[first : first + DEVICES_AT_ONCE])
            if ordered:
                self._on_ordered(ordered)

    def _order_some(
        self, session: Session, request: ForgetRequest, blob: Blob, principals: Sequence[str]
    ) -> set[str]:
        now = self._clock.now()
        locked = session.exec(
            select(Device)
            .where(col(Device.principal).in_(principals))
            .order_by(col(Device.principal))
            .with_for_update()
        ).all()
        due = set(_due(session, request))
        receipts = {
            row.principal: row for row in repository.receipts_in(session, request, ReceiptState.PENDING)
        }
        told = [each.principal for each in locked if each.principal in due]
        for device in locked:
            if _is_revoked(device) and device.principal in receipts:
                receipts[device.principal].state = ReceiptState.UNREACHABLE.value
                told = [each for each in told if each != device.principal]
        lanes = _open_lanes(session, told)
        record = ForgetOrdered(at_ms=to_ms(now), request=request.id, about=blob.ref())
        places = append_to_each(
            session,
            lanes={each: lanes[each].id if each in lanes else None for each in told},
            records=dict.fromkeys(told, record),
            blobs=[blob],
            blobs_of=HUB,
            now=now,
        )
        for principal, place in places.items():
            receipt = receipts[principal]
            receipt.ordered_epoch, receipt.ordered_at, receipt.changed_at = place.epoch, now, now
        session.flush()
        return set(places)

    def _look_again(
        self, transactions: Transactions, request: ForgetRequest, principal: str, speaks: Speaks
    ) -> None:
        """What the device sent after the hub had looked, and before it forgot."""
        contents, items = self._drop(transactions, [principal], speaks)
        with transactions.write() as session:
            receipt = session.get_one(ForgetReceipt, (principal, request.id), with_for_update=True)
            receipt.deleted += contents
            receipt.retracted += items
            receipt.state, receipt.changed_at = ReceiptState.DONE.value, self._clock.now()

    def _close(self, transactions: Transactions, key: str) -> bool:
        """The words go when nobody is awaited any more."""
        with transactions.write() as session:
            request = session.get_one(ForgetRequest, key, with_for_update=True)
            counts = repository.counts_of(session, request.id, request.tenant)
            is_awaited = any(
                counts.get(state.value) for state in (ReceiptState.PENDING, ReceiptState.ANSWERED)
            )
            if request.hub_done_at is None or is_awaited or request.about_hash is None:
                return False
            repository.drop_blobs(session, [request.about_hash], [HUB])
            request.about_hash, request.closed_at = None, self._clock.now()
            return True

    @staticmethod
    def _proposals(session: Session, reach: Reach, speaks: Speaks) -> list[Proposal]:
        """What people at the hub asked of one another concerns nobody else's device."""
        if reach.principals is not None:
            return []
        return speaking.proposals(session, reach.tenant, speaks)


def digest_of(key: bytes, about: str) -> bytes:
    """Of the words, whatever their case and spaces: HMAC-SHA256."""
    plain = " ".join(unicodedata.normalize("NFKC", about).casefold().split())
    return hmac.digest(key, plain.encode(), hashlib.sha256)


def _devices(session: Session, wanted: Wanted) -> list[Device]:
    """Whatever their status: the hub has copies of revoked ones too."""
    query = select(Device).where(Device.tenant == wanted.tenant).order_by(col(Device.principal))
    if wanted.principal is not None:
        query = query.where(Device.principal == wanted.principal)
    wished = (wanted.labels or {}).items()
    found = [each for each in session.exec(query) if wished <= each.labels.items()]
    if not found and not wanted.is_everywhere:
        raise RefusedError(
            "No device is meant by that; `covey-hub device list` shows all.", code="nobody_chosen"
        )
    return found


def _reach(wanted: Wanted, devices: Sequence[Device]) -> Reach:
    principals = None if wanted.is_everywhere else tuple(each.principal for each in devices)
    return Reach(tenant=wanted.tenant, principals=principals)


def _principals(session: Session, request: ForgetRequest) -> tuple[str, ...]:
    query = select(ForgetReceipt.principal).where(
        ForgetReceipt.request == request.id,
        ForgetReceipt.tenant == request.tenant,
        col(ForgetReceipt.is_own).is_(False),
    )
    return tuple(session.exec(query))


def _is_revoked(device: Device) -> bool:
    """For good: to a board that takes an old one's place, orders go on."""
    return device.status == DeviceStatus.REVOKED.value and device.status_reason != REPLACED_REASON


def _due(session: Session, request: ForgetRequest) -> list[str]:
    """Devices that are awaited and have no such order in the log that they have now, or were revoked for good."""
    is_its_log = and_(
        col(LaneRow.principal) == ForgetReceipt.principal,
        col(LaneRow.lane) == Lane.ORDERS.value,
        col(LaneRow.closed_at).is_(None),
        col(LaneRow.forked_at_seq).is_(None),
        col(LaneRow.epoch) == ForgetReceipt.ordered_epoch,
    )
    is_revoked = and_(
        col(Device.status) == DeviceStatus.REVOKED.value,
        col(Device.status_reason).is_distinct_from(REPLACED_REASON),
    )
    query = (
        select(ForgetReceipt.principal)
        .join(Device, col(Device.principal) == ForgetReceipt.principal)
        .outerjoin(LaneRow, is_its_log)
        .where(
            ForgetReceipt.request == request.id,
            ForgetReceipt.tenant == request.tenant,
            col(ForgetReceipt.is_own).is_(False),
            ForgetReceipt.state == ReceiptState.PENDING.value,
            or_(col(LaneRow.id).is_(None), is_revoked),
        )
        .order_by(col(ForgetReceipt.principal))
    )
    return list(session.exec(query))


def _open_lanes(session: Session, principals: Sequence[str]) -> dict[str, LaneRow]:
    """The open orders log of each."""
    found: dict[str, LaneRow] = {}
    for part in parts(principals):
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
        found |= {row.principal: row for row in session.exec(query)}
    return found

"""One transaction of ingest: what it has read and locked, and what is to be done when it has committed.

Nothing here outlives the transaction: a turn that fails is thrown away whole, counters included.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.devices.tables import Device, DeviceSession, DeviceStatus, Refusal
from cloud.devices.trust import DeviceTrust, KeyCache
from cloud.ingest.applied import EndedNode
from cloud.ingest.credit import credit_for
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from cloud.tasks.repository import with_open_offers
from shared.blobs import Blob
from shared.gate import close, message_id
from shared.ids import HUB, Lane, LaneId
from shared.keys import Signer, TrustedKey
from shared.messages import Payload
from shared.topics import Channel, device_topic

FORK_REASON: Final = "fork"
RESTORED_REASON: Final = "restored"
"""The device lost what it had sent: it runs on an older copy of its store."""
CLONE_REASON: Final = "clone"
"""Two devices write under one name."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A sealed message, to be published after the commit."""

    topic: str
    message: bytes


@dataclass(slots=True, kw_only=True)
class Turn:
    """Devices are locked in the order of their names, so two workers cannot wait for each other's.

    Under a device's lock nobody else begins a lane of it or appends to those that it writes. `fill` and
    `live_fill`: of the queues of bulk and of live messages, from 0 to 1. `heard_until`: when the oldest message
    arrived that still waits: an answer that is not known yet may have arrived since, so nobody is late before it is
    handled. `arrived_at`: when the message that is being handled arrived. `last`: what is to be done last in the
    transaction, for the audit log's writers wait for one another. `still_there`: revoked devices that are heard, so
    that their sessions must be ended (again). `strangers`: messages of who is no device. `settings_for`: devices whose
    desired settings may have to be ordered now (`cloud.twins.delivery`).
    """

    session: Session
    now: datetime
    signer: Signer
    keys: KeyCache
    fill: float = 0.0
    live_fill: float = 0.0
    heard_until: datetime | None = None
    arrived_at: datetime = field(init=False)
    devices: dict[str, Device] = field(default_factory=dict)
    sessions: dict[str, list[DeviceSession]] = field(default_factory=dict)
    lanes: dict[str, list[LaneRow]] = field(default_factory=dict)
    outgoing: list[Outgoing] = field(default_factory=list)
    touched_tasks: set[str] = field(default_factory=set)
    ended: list[EndedNode] = field(default_factory=list)
    orders_for: set[str] = field(default_factory=set)
    settings_for: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    last: list[Callable[[], object]] = field(default_factory=list)
    still_there: set[str] = field(default_factory=set)
    strangers: Counter[str] = field(default_factory=Counter)
    _blobs: dict[bytes, Blob] = field(default_factory=dict)
    _with_open_offers: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self.arrived_at = self.now

    def lock(self, principals: Iterable[str], *, skip_locked: bool = False) -> None:
        """Read and lock the devices of this turn; read their sessions, and their lanes from old to new.

        With `skip_locked`, those that another transaction holds are left out. (SQLite has one writer at a time.)
        """
        names = sorted(set(principals))
        devices = select(Device).where(col(Device.principal).in_(names)).order_by(col(Device.principal))
        locked = self.session.exec(devices.with_for_update(skip_locked=skip_locked)).all()
        self.devices = {row.principal: row for row in locked}
        sessions = select(DeviceSession).where(col(DeviceSession.principal).in_(list(self.devices)))
        self.sessions = {name: [] for name in self.devices}
        for row in self.session.exec(sessions).all():
            self.sessions[row.principal].append(row)
        lanes = (
            select(LaneRow).where(col(LaneRow.principal).in_(list(self.devices))).order_by(col(LaneRow.id))
        )
        self.lanes = {name: [] for name in self.devices}
        for lane in self.session.exec(lanes).all():
            self.lanes[lane.principal].append(lane)

    @property
    def patience_at(self) -> datetime:
        """The moment at which it is judged who is late with an answer."""
        return self.now if self.heard_until is None else min(self.now, self.heard_until)

    def credit_for(self, behind: int) -> int:
        """What a device may send next that has `behind` records more than we have."""
        return credit_for(self.fill, self.live_fill, behind=behind)

    def begin_lane(self, lane: LaneId) -> LaneRow:
        """A new, empty log of a device of this turn."""
        row = repository.create_lane(self.session, lane, self.now)
        self.lanes[lane.principal].append(row)
        return row

    def orders_lane(self, device: Device) -> LaneRow | None:
        """The newest orders log of a device of this turn. A query only if orders were appended in this very turn."""
        if device.principal in self.orders_for:
            return repository.newest_lane(self.session, device.principal, Lane.ORDERS)
        return self._newest_known(device.principal)

    def read_orders_again(self, principals: Sequence[str]) -> dict[str, LaneRow]:
        """The newest orders logs of these devices, for which orders were appended in this turn, with one query."""
        query = select(LaneRow).where(
            col(LaneRow.principal).in_(principals), LaneRow.lane == Lane.ORDERS.value
        )
        found = self.session.exec(query.order_by(col(LaneRow.id))).all()
        return {row.principal: row for row in found}  # the last of each is its newest

    def has_open_offers(self, device: Device) -> bool:
        """Whether offers wait for the device's acknowledgement: one query for all devices of the turn."""
        if self._with_open_offers is None:
            self._with_open_offers = frozenset(with_open_offers(self.session, list(self.devices)))
        return device.principal in self._with_open_offers

    def blobs(self, hashes: Sequence[bytes]) -> tuple[Blob, ...]:
        """Those of the named blobs that the hub holds: read once, however many orders of the turn name them."""
        missing = [each for each in hashes if each not in self._blobs]
        if missing:
            self._blobs |= repository.blobs_by_hash(self.session, missing)
        return tuple(self._blobs[each] for each in hashes if each in self._blobs)

    def _newest_known(self, principal: str) -> LaneRow | None:
        rows = self.lanes[principal]
        return next((row for row in reversed(rows) if row.lane == Lane.ORDERS), None)

    @property
    def trust(self) -> DeviceTrust:
        return DeviceTrust(self.session, self.devices, self.keys)

    def key_of(self, device: Device) -> TrustedKey:
        """The key with which `device` signs."""
        return self.keys.of(device)

    def refuse(self, principal: str | None, reason: str, *, count: int = 1) -> None:
        """Count a refusal; in the database only for a device that exists, so that names cannot fill it."""
        self.counts[f"refused.{reason}"] += count
        if principal is None or principal not in self.devices:
            return
        row = self.session.get(Refusal, (principal, reason))
        if row is None:
            row = Refusal(principal=principal, reason=reason, last_at=self.now)
            self.session.add(row)
            self.session.flush()
        row.count += count
        row.last_at = self.now

    def send(self, via: DeviceSession, channel: Channel, payload: Payload) -> None:
        """Seal for the session's device, under the session's next counter."""
        self.publish(via, channel, self.seal(via, payload))

    def seal(self, via: DeviceSession, payload: Payload) -> bytes:
        """Seal under the next counter; may be repeated until `publish` uses that counter up."""
        return close(
            payload,
            issuer=HUB,
            audience=via.principal,
            message_id=message_id(via.id, via.sent_counter + 1),
            signer=self.signer,
        )

    def publish(self, via: DeviceSession, channel: Channel, message: bytes) -> None:
        via.sent_counter += 1
        self.outgoing.append(Outgoing(device_topic(via.principal, channel), message))

    def quarantine(self, device: Device, reason: str) -> None:
        """Refuse the device from now on, until an operator decides (rule P13)."""
        if device.status == DeviceStatus.ACTIVE:
            device.status = DeviceStatus.QUARANTINED.value
            device.status_reason = reason
            self.counts["quarantined"] += 1

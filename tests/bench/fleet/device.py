"""A simulated device's mind: `shared`'s gate, messages and replication over logs in memory. No sockets, no clock.

It is `edge.sync` without its loop and its disk: the same hello, session, sender, reader and repeats, from the same
state machines, so that ten thousand of them fit one process. Every method takes what happened and `now`, and returns
what the device then says.
"""

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeVar

from edge.settings import EdgeSettings
from edge.sync import HELLO_AGAIN_AFTER, HUB_GONE_AFTER, MAX_HELLOS, TICK_S, hello_patience
from shared.blobs import SALT_BYTES, Blob
from shared.clock import to_ms
from shared.gate import Accepted, Expected, Reason, Rejected, Session, admit, close, message_id
from shared.ids import EPOCH_BYTES, EVERYONE, HUB, UPWARD, Lane, LaneId
from shared.keys import KeyRing, Signer
from shared.log import Head, start
from shared.messages import (
    BATCH_MAX_RECORDS,
    NONCE_BYTES,
    Ack,
    Batch,
    Cursor,
    DeviceState,
    Hello,
    HelloAck,
    HubStatus,
    Payload,
)
from shared.records import TwinDesired, TwinReported, encode_record, parse_record
from shared.replication import Extend, Gap, Relink, Send, SenderEffect, receive
from shared.topics import FROM_HUB, HUB_STATUS, Channel, ack_channel, batch_channel, device_topic
from shared.twin import Document, canonical, difference, parse
from tests.bench.fleet.upward import ForkedError, UpwardLog

DEFAULTS: Final = EdgeSettings.model_fields
HELLO_TIMEOUT: Final = timedelta(seconds=DEFAULTS["hello_timeout_s"].default)
HELLO_INTERVAL: Final = timedelta(seconds=DEFAULTS["hello_interval_s"].default)
VERSION: Final = "0.1.0"

M = TypeVar("M", bound=Payload)


@dataclass(frozen=True, slots=True)
class Said:
    """A sealed message on one of the device's topics."""

    topic: str
    message: bytes
    is_retained: bool = False


class Device:
    """One device over all its connections."""

    __slots__ = (
        "_asked",
        "_connection",
        "_counter",
        "_hello_at",
        "_hello_due",
        "_hellos",
        "_hub",
        "_hub_gone_at",
        "_logs",
        "_nonce",
        "_order_hashes",
        "_orders",
        "_reported",
        "_session",
        "_signer",
        "must_reconnect",
        "orders_seq",
        "principal",
        "refused",
    )  # fmt: skip

    def __init__(self, principal: str, *, signer: Signer, hub: KeyRing) -> None:
        self.principal = principal
        self._signer = signer
        self._hub = hub
        self._logs = {lane: UpwardLog(LaneId(principal, lane, os.urandom(EPOCH_BYTES))) for lane in UPWARD}
        self._orders: LaneId | None = None
        self._order_hashes: list[bytes] = []
        self._reported: Document = {}
        self._connection: bytes | None = None
        self._session: Session | None = None
        self._counter = 0
        self._nonce: bytes | None = None
        self._asked: tuple[bytes, ...] = ()
        self._hello_at: datetime | None = None
        self._hello_due: datetime | None = None
        self._hub_gone_at: datetime | None = None
        self._hellos = 0
        self.must_reconnect = False
        self.orders_seq = 0
        """Orders that the device has applied."""
        self.refused: Counter[str] = Counter()

    @property
    def is_linked(self) -> bool:
        """Whether a hello was answered and the session still stands (rule P17)."""
        return self._session is not None

    @property
    def unacknowledged(self) -> int:
        """Records that the hub has not acknowledged."""
        return sum(log.unacknowledged for log in self._logs.values())

    def head(self, lane: Lane) -> Head:
        return self._logs[lane].head

    def epoch(self, lane: Lane) -> bytes:
        return self._logs[lane].lane.epoch

    def topics(self) -> tuple[str, ...]:
        """What the device listens to."""
        return (HUB_STATUS, *(device_topic(self.principal, channel) for channel in FROM_HUB))

    def will(self, connection: bytes) -> Said:
        """What the broker publishes when `connection` breaks (rule P18)."""
        return self._state(online=False, connection=connection)

    # --- what happens to it

    def connected(self, connection: bytes, now: datetime) -> list[Said]:
        self._connection = connection
        self._forget_hub()
        self._hellos = 0
        self.must_reconnect = False
        return [self._state(online=True, connection=connection), *self._say_hello(now)]

    def disconnected(self, now: datetime) -> None:
        self._connection = None
        self._forget_hub()
        self._end_session(now)

    def heard(self, topic: str, payload: bytes, now: datetime) -> list[Said]:
        if topic == HUB_STATUS:
            return self._on_hub_status(payload, now)
        if topic == device_topic(self.principal, Channel.HELLO_ACK):
            return self._on_hello_ack(payload, now)
        if topic == device_topic(self.principal, Channel.DOWN_ORDERS):
            return self._on_orders(payload, now)
        for lane in UPWARD:
            if topic == device_topic(self.principal, ack_channel(lane)):
                return self._on_ack(lane, payload, now)
        return []

    def append(self, lane: Lane, records: Sequence[bytes], now: datetime) -> list[Said]:
        """Commit records to a log, and send them if nothing is in flight."""
        return self._perform(lane, self._logs[lane].append(records, now), now)

    def tick(self, now: datetime) -> list[Said]:
        """To be called about once a second. Afterwards `must_reconnect` tells whether the connection is to be cut."""
        said: list[Said] = []
        for lane, log in self._logs.items():
            if log.is_waiting:
                said += self._perform(lane, log.tick(now), now)
        if self._connection is None or self._hello_at is None:
            return said
        if self._hub_gone_at is not None:
            if now - self._hub_gone_at >= HUB_GONE_AFTER:
                self._forget_hub()
                self._end_session(now)
            return said
        if self._hello_due is not None:
            return said + (self._say_hello(now) if now >= self._hello_due else [])
        waited = now - self._hello_at
        if self._nonce is not None and waited >= hello_patience(HELLO_TIMEOUT, self._hellos):
            if self._hellos >= MAX_HELLOS:
                self._end_session(now)
                self.must_reconnect = True
                return said
            said += self._say_hello(now, again=True)
        elif self._nonce is None and waited >= HELLO_INTERVAL:
            said += self._say_hello(now)
        return said

    # --- hello

    def _say_hello(self, now: datetime, *, again: bool = False) -> list[Said]:
        if self._connection is None:
            return []
        self._nonce = os.urandom(NONCE_BYTES)
        self._asked = (*self._asked, self._nonce) if again else (self._nonce,)
        self._hello_at = now
        self._hello_due = None
        self._hellos += 1
        orders = self._orders
        hello = Hello(
            nonce=self._nonce,
            connection=self._connection,
            version=VERSION,
            heads=tuple(log.announced() for log in self._logs.values()),
            cursors=() if orders is None else (self._cursor(orders),),
        )
        return [self._say(Channel.HELLO, hello, self._nonce)]

    def _cursor(self, orders: LaneId) -> Cursor:
        head = self._orders_head(orders)
        return Cursor(lane="orders", epoch=orders.epoch, upto=head.seq, hash=head.hash)

    def _orders_head(self, orders: LaneId) -> Head:
        return Head(len(self._order_hashes), self._order_hashes[-1]) if self._order_hashes else start(orders)

    def _on_hub_status(self, payload: bytes, now: datetime) -> list[Said]:
        status = _hub_status(payload, self._hub)
        if status is None:
            self.refused["hub_status"] += 1
            return []
        if not status.online:
            self._hub_gone_at = now
            return []
        self._hub_gone_at = None
        if (
            self._nonce is not None
            and self._hello_at is not None
            and now - self._hello_at < HELLO_AGAIN_AFTER
        ):
            return []
        if self._hello_due is not None:
            return []
        wait = timedelta(milliseconds=status.spread_ms) * random.random()
        if wait < timedelta(seconds=TICK_S):
            return self._say_hello(now)
        self._hello_due = now + wait
        return []

    def _forget_hub(self) -> None:
        """What was said and asked before counts no more."""
        self._nonce = None
        self._hub_gone_at = None
        self._hello_due = None

    def _on_hello_ack(self, payload: bytes, now: datetime) -> list[Said]:
        expected = Expected(message=HelloAck, issuer=HUB, audience=self.principal, needs_session=False)
        verdict = admit(payload, expected, self._hub)
        if isinstance(verdict, Rejected):
            self.refused[verdict.reason] += 1
            return []
        ack = verdict.message
        if self._nonce is None or ack.nonce not in self._asked:
            self.refused[Reason.STALE] += 1
            return []
        self._forget_hub()
        self._hellos = 0
        self._session = Session(ack.session)
        self._counter = 0
        said: list[Said] = []
        for lane, log in self._logs.items():
            cursor = next((c for c in ack.cursors if (c.lane, c.epoch) == (lane, log.lane.epoch)), None)
            said += self._perform(lane, log.linked(cursor, ack.credit, now), now)
        return said

    def _end_session(self, now: datetime) -> None:
        self._session = None
        for log in self._logs.values():
            log.unlinked(now)

    # --- what it writes

    def _on_ack(self, lane: Lane, payload: bytes, now: datetime) -> list[Said]:
        ack = self._admit(Ack, payload)
        log = self._logs[lane]
        if ack is None or (ack.lane, ack.epoch) != (lane, log.lane.epoch):
            return []
        return self._perform(lane, log.acknowledged(ack, now), now)

    def _perform(self, lane: Lane, effects: Sequence[SenderEffect], now: datetime) -> list[Said]:
        said: list[Said] = []
        for effect in effects:
            match effect:
                case Send() if self._session is not None:
                    said.append(self._batch(lane, effect, self._session, now))
                case Relink():
                    self._end_session(now)
                    self._hellos = 0
                    said += self._say_hello(now)
                case _:
                    pass
        return said

    def _batch(self, lane: Lane, send: Send, session: Session, now: datetime) -> Said:
        self._counter += 1
        id_ = message_id(session.id, self._counter)

        def close_batch(batch: Batch) -> bytes:
            return self._close(batch, id_)

        message = self._logs[lane].batch(send, signer=self._signer, close=close_batch, now=now)
        return Said(device_topic(self.principal, batch_channel(lane)), message)

    # --- what it reads

    def _on_orders(self, payload: bytes, now: datetime) -> list[Said]:
        batch = self._admit(Batch, payload)
        if batch is None:
            return []
        lane = LaneId(self.principal, Lane.ORDERS, batch.epoch)
        if lane != self._orders:
            self._orders, self._order_hashes = lane, []
        status = "ok"
        applied: list[Said] = []
        match receive(self._orders_head(lane), batch, self._order_hash_at):
            case Extend(records=records, hashes=hashes, missing=None):
                self._order_hashes += hashes
                self.orders_seq += len(hashes)
                applied = self._apply(records, batch, now)
            case Gap():
                status = "gap"
            case outcome:
                raise ForkedError(f"{self.principal} was sent orders that make no sense: {outcome}.")
        head = self._orders_head(lane)
        ack = Ack.model_validate(
            {
                "lane": "orders",
                "epoch": lane.epoch,
                "upto": head.seq,
                "hash": head.hash,
                "credit": BATCH_MAX_RECORDS,
                "status": status,
            }
        )
        assert self._session is not None, "orders are admitted within a session only"
        self._counter += 1
        said = self._say(Channel.DOWN_ORDERS_ACK, ack, message_id(self._session.id, self._counter))
        return [said, *applied]

    def _apply(self, records: Sequence[bytes], batch: Batch, now: datetime) -> list[Said]:
        """Take up the latest settings, and report them by their difference to the last report."""
        wanted = next((r for r in map(parse_record, reversed(records)) if isinstance(r, TwinDesired)), None)
        if wanted is None:
            return []
        desired = parse(next(blob.content for blob in batch.blobs if blob.ref() == wanted.document))
        patch = Blob(salt=os.urandom(SALT_BYTES), content=canonical(difference(self._reported, desired)))
        self._reported = desired
        report = TwinReported(at_ms=to_ms(now), revision=wanted.revision, patch=patch.ref())
        effects = self._logs[Lane.JOURNAL].append([encode_record(report)], now, patch)
        return self._perform(Lane.JOURNAL, effects, now)

    def _order_hash_at(self, seq: int) -> bytes | None:
        assert self._orders is not None
        return self._order_hashes[seq - 1] if seq else start(self._orders).hash

    # --- sealing

    def _admit(self, message: type[M], payload: bytes) -> M | None:
        expected = Expected(message=message, issuer=HUB, audience=self.principal)
        sessions = () if self._session is None else (self._session,)
        match admit(payload, expected, self._hub, sessions):
            case Rejected(reason):
                self.refused[reason] += 1
                return None
            case Accepted(accepted, session):
                self._session = session
                return accepted

    def _state(self, *, online: bool, connection: bytes) -> Said:
        state = DeviceState(online=online, connection=connection)
        return self._say(Channel.STATE, state, os.urandom(NONCE_BYTES), is_retained=True)

    def _say(self, channel: Channel, payload: Payload, id_: bytes, *, is_retained: bool = False) -> Said:
        return Said(device_topic(self.principal, channel), self._close(payload, id_), is_retained)

    def _close(self, payload: Payload, id_: bytes) -> bytes:
        return close(payload, issuer=self.principal, audience=HUB, message_id=id_, signer=self._signer)


@lru_cache(maxsize=64)
def _hub_status(payload: bytes, hub: KeyRing) -> HubStatus | None:
    """The same bytes reach every device: one of them checks the signature for all."""
    expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
    verdict = admit(payload, expected, hub)
    return None if isinstance(verdict, Rejected) else verdict.message

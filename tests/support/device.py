"""A scripted device made of `shared` alone: keys, hellos, batches, acknowledgements. It does as it is told, also wrong.

device = ScriptedDevice("acme.fridge-1", hub=signer)
raw = device.hello()                      # publish on device.topic(Channel.HELLO)
device.open(answer)                       # the hub's HelloAck
device.journal.append(record)
raw = device.batch(device.journal)        # everything that the hub has not acknowledged
"""

import hashlib
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.blobs import Blob
from shared.gate import Accepted, Expected, ReplayWindow, Session, admit, close, message_id
from shared.ids import HUB, Lane, LaneId, id_from_random
from shared.keys import KeyRing, Signer, TrustedKey
from shared.log import Entry, Head, extend, start
from shared.messages import Ack, Batch, Cursor, DeviceState, Hello, HelloAck, LaneHead, Payload
from shared.records import Record, encode_record
from shared.renewal import RenewResponse
from shared.replication import Extend, receive, seal_input
from shared.topics import Channel, device_topic

M = TypeVar("M", bound=Payload)


def signer_from(name: str) -> Signer:
    """A key that is the same in every run."""
    return Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def bytes_from(name: str, size: int = 16) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hashlib.sha256(name.encode()).digest()[:size]


def task_id_from(name: str) -> str:
    """A task id that is the same in every run."""
    return id_from_random(bytes_from(name, 10))


@dataclass
class ScriptedLog:
    """One log in memory, with the content beside it."""

    lane: LaneId
    entries: list[Entry] = field(default_factory=list)
    blobs: dict[int, tuple[Blob, ...]] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        return Head(self.entries[-1].seq, self.entries[-1].hash) if self.entries else start(self.lane)

    def append(self, record: Record, *blobs: Blob) -> int:
        return self.append_bytes(encode_record(record), *blobs)

    def append_bytes(self, data: bytes, *blobs: Blob) -> int:
        """Also what is no record."""
        head = extend(self.head, data)
        self.entries.append(Entry(head.seq, head.hash, data))
        if blobs:
            self.blobs[head.seq] = blobs
        return head.seq

    def hash_at(self, seq: int) -> bytes:
        return self.entries[seq - 1].hash if seq else start(self.lane).hash


class ScriptedDevice:
    """One device, one store, and at most one session."""

    def __init__(self, principal: str, *, hub: Signer | TrustedKey, key: Signer | None = None) -> None:
        self.principal = principal
        self.signer = key or signer_from(principal)
        self.connection = bytes_from(f"{principal} connection")
        self.journal = ScriptedLog(LaneId(principal, Lane.JOURNAL, bytes_from(f"{principal} journal")))
        self.metrics = ScriptedLog(LaneId(principal, Lane.METRICS, bytes_from(f"{principal} metrics")))
        self.orders: ScriptedLog | None = None
        self.session: bytes | None = None
        self._trust = KeyRing((TrustedKey(owner=HUB, public=hub.public),))
        self._window = ReplayWindow()
        self._counter = 0
        self._nonces = count(1)
        self.nonce = b""

    def topic(self, channel: Channel) -> str:
        return device_topic(self.principal, channel)

    # --- what it says

    def close(self, payload: Payload, *, id_: bytes | None = None, audience: str = HUB) -> bytes:
        """Seal under the session's next counter, or under an id of the caller's."""
        if id_ is None:
            assert self.session is not None, "a session is opened by hello and open()"
            self._counter += 1
            id_ = message_id(self.session, self._counter)
        return close(payload, issuer=self.principal, audience=audience, message_id=id_, signer=self.signer)

    def state(self, *, online: bool, connection: bytes | None = None) -> bytes:
        payload = DeviceState(online=online, connection=connection or self.connection)
        return self.close(payload, id_=bytes_from(f"state {next(self._nonces)}"))

    def hello(self) -> bytes:
        """With a new nonce each time; only the answer to the last one is accepted by `open`."""
        self.nonce = bytes_from(f"{self.principal} nonce {next(self._nonces)}")
        logs = [log for log in (self.journal, self.metrics) if log.entries]
        read = [] if self.orders is None else [self.orders]
        hello = Hello(
            nonce=self.nonce,
            connection=self.connection,
            version="0.1.0",
            heads=tuple(
                LaneHead(
                    lane=log.lane.lane.value,
                    epoch=log.lane.epoch,
                    tail=1,
                    head=log.head.seq,
                    hash=log.head.hash,
                )
                for log in logs
            ),
            cursors=tuple(
                Cursor(lane="orders", epoch=log.lane.epoch, upto=log.head.seq, hash=log.head.hash)
                for log in read
            ),
        )
        return self.close(hello, id_=self.nonce)

    def batch_of(self, log: ScriptedLog, *, first: int = 1, last: int | None = None) -> Batch:
        """The records from `first` to `last`, well made; tests spoil it with `model_copy(update=…)`."""
        entries = log.entries[first - 1 : last]
        head = Head(entries[-1].seq, entries[-1].hash)
        return Batch(
            lane=log.lane.lane.value,
            epoch=log.lane.epoch,
            first_seq=first,
            prev_hash=log.hash_at(first - 1),
            head=head.hash,
            latest=log.head.seq,
            seal=self.signer.sign(seal_input(log.lane, head)),
            records=tuple(entry.record for entry in entries),
            blobs=tuple(blob for entry in entries for blob in log.blobs.get(entry.seq, ())),
        )

    def batch(self, log: ScriptedLog, *, first: int = 1, last: int | None = None) -> bytes:
        return self.close(self.batch_of(log, first=first, last=last))

    def ack(self, *, status: str = "ok", credit: int = 4_000) -> bytes:
        """Acknowledge the orders that it holds."""
        assert self.orders is not None, "there is nothing to acknowledge before the first order"
        head = self.orders.head
        ack = Ack.model_validate(
            {
                "lane": "orders",
                "epoch": self.orders.lane.epoch,
                "upto": head.seq,
                "hash": head.hash,
                "credit": credit,
                "status": status,
            }
        )
        return self.close(ack)

    # --- what it hears

    def open(self, raw: bytes) -> HelloAck:
        """Take the answer to the last hello: from now on everything goes in its session."""
        expected = Expected(message=HelloAck, issuer=HUB, audience=self.principal, needs_session=False)
        verdict = admit(raw, expected, self._trust)
        assert isinstance(verdict, Accepted), verdict
        assert verdict.message.nonce == self.nonce, "this answers another hello"
        self.session = verdict.message.session
        # The answer was the session's first message from the hub.
        window = ReplayWindow().admit(1)
        assert window is not None
        self._window, self._counter = window, 0
        return verdict.message

    def hear_ack(self, raw: bytes) -> Ack:
        return self._hear(raw, Ack)

    def hear_renewed(self, raw: bytes) -> RenewResponse:
        return self._hear(raw, RenewResponse)

    def hear_orders(self, raw: bytes) -> Batch:
        """Take a batch of orders as a device does: check, append what is new."""
        batch = self._hear(raw, Batch)
        lane = LaneId(self.principal, Lane.ORDERS, batch.epoch)
        if self.orders is None or self.orders.lane != lane:
            self.orders = ScriptedLog(lane)
        outcome = receive(self.orders.head, batch, self.orders.hash_at)
        assert isinstance(outcome, Extend), outcome
        for data in outcome.records:
            self.orders.append_bytes(data)
        return batch

    def _hear(self, raw: bytes, message: type[M]) -> M:
        assert self.session is not None, "the hub was not heard yet"
        expected = Expected(message=message, issuer=HUB, audience=self.principal)
        verdict = admit(raw, expected, self._trust, (Session(self.session, self._window),))
        assert isinstance(verdict, Accepted), verdict
        assert verdict.session is not None
        self._window = verdict.session.window
        return verdict.message

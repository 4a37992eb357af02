"""A scripted hub made of `shared` alone, for one device: keys, hello acks, acknowledgements, orders. It does as told,
also wrong.

hub = ScriptedHub("acme.fridge-1", device=signer.public)
hello = hub.hear_hello(raw)
raw = hub.hello_ack(hello)                # publish on hub.topic(Channel.HELLO_ACK)
batch = hub.hear_batch(raw)               # appended to hub.read["journal"]
raw = hub.ack("journal")
hub.order(record, blob)
raw = hub.orders_batch()
"""

from itertools import count
from typing import Any, TypeVar

from shared.blobs import Blob
from shared.gate import Accepted, Expected, ReplayWindow, Session, admit, close, message_id
from shared.ids import EVERYONE, HUB, Lane, LaneId
from shared.keys import KeyRing, Signer, TrustedKey
from shared.log import Head
from shared.messages import Ack, Batch, Cursor, DeviceState, Hello, HelloAck, HubStatus, Payload
from shared.records import OrderRecord
from shared.replication import Extend, receive, seal_input
from shared.topics import Channel, device_topic
from tests.support.device import ScriptedLog, bytes_from, signer_from

M = TypeVar("M", bound=Payload)


class ScriptedHub:
    """One hub as one device meets it: at most one session, one log of orders, and what it read so far."""

    def __init__(
        self, principal: str, *, device: bytes, key: Signer | None = None, credit: int = 4_000
    ) -> None:
        self.principal = principal
        self.signer = key or signer_from("hub")
        self.epoch = bytes_from("hub epoch")
        self.credit = credit
        self.orders = ScriptedLog(LaneId(principal, Lane.ORDERS, bytes_from(f"{principal} orders")))
        self.read: dict[str, ScriptedLog] = {}
        self.session: bytes | None = None
        self._sessions = count(1)
        self._ids = count(1)
        self._counter = 0
        self._trust = KeyRing((TrustedKey(owner=principal, public=device),))
        self._window = ReplayWindow()

    @property
    def trusted(self) -> KeyRing:
        """What the device has to trust."""
        return KeyRing((TrustedKey(owner=HUB, public=self.signer.public),))

    def topic(self, channel: Channel) -> str:
        return device_topic(self.principal, channel)

    # --- what it hears

    def hear_state(self, raw: bytes) -> DeviceState:
        return self._hear(raw, DeviceState, needs_session=False)

    def hear_hello(self, raw: bytes) -> Hello:
        return self._hear(raw, Hello, needs_session=False)

    def look_at_batch(self, raw: bytes) -> Batch:
        """A batch that is admitted and not taken."""
        return self._hear(raw, Batch)

    def hear_batch(self, raw: bytes) -> Batch:
        """Take a batch as a hub does: check the chain, append what is new."""
        batch = self.look_at_batch(raw)
        lane = LaneId(self.principal, Lane(batch.lane), batch.epoch)
        log = self.read.get(batch.lane)
        if log is None or log.lane != lane:
            log = self.read[batch.lane] = ScriptedLog(lane)
        outcome = receive(log.head, batch, log.hash_at)
        assert isinstance(outcome, Extend), outcome
        head = Head(batch.first_seq + len(batch.records) - 1, batch.head)
        key = self._trust.keys[0]
        assert key.verifies(batch.seal, seal_input(lane, head)), "the seal is not the device's"
        for data in outcome.records:
            log.append_bytes(data)
        return batch

    def hear_ack(self, raw: bytes) -> Ack:
        return self._hear(raw, Ack)

    # --- what it says

    def status(self, *, online: bool, spread_ms: int = 0) -> bytes:
        word = HubStatus(online=online, epoch=self.epoch, spread_ms=spread_ms)
        return self.close(word, id_=self._fresh_id(), audience=EVERYONE)

    def hello_ack(
        self,
        hello: Hello,
        *,
        nonce: bytes | None = None,
        session: bytes | None = None,
        closed: tuple[Cursor, ...] = (),
    ) -> bytes:
        """Open a new session, at its counter 1, and say what was read so far."""
        self.session = session or bytes_from(f"session {next(self._sessions)}")
        self._counter, self._window = 0, ReplayWindow()
        cursors = tuple(
            Cursor(lane=log.lane.lane.value, epoch=log.lane.epoch, upto=log.head.seq, hash=log.head.hash)
            for log in self.read.values()
        )
        ack = HelloAck(
            nonce=hello.nonce if nonce is None else nonce,
            session=self.session,
            at_ms=0,
            credit=self.credit,
            heads=(),
            cursors=cursors,
            closed=closed,
        )
        return self.close(ack)

    def ack(self, lane: str = "journal", **changes: Any) -> bytes:
        """Acknowledge what was read of a lane; `changes` make it another acknowledgement."""
        log = self.read[lane]
        fields = {
            "lane": lane,
            "epoch": log.lane.epoch,
            "upto": log.head.seq,
            "hash": log.head.hash,
            "credit": self.credit,
            "status": "ok",
        }
        return self.close(Ack.model_validate({**fields, **changes}))

    def order(self, record: OrderRecord, *blobs: Blob) -> int:
        return self.orders.append(record, *blobs)

    def batch_of_orders(self, *, first: int = 1, last: int | None = None) -> Batch:
        """The orders from `first` to `last`, well made; tests spoil it with `model_copy(update=…)`."""
        return batch_of(self.orders, self.signer, first=first, last=last)

    def orders_batch(self, *, first: int = 1, last: int | None = None) -> bytes:
        return self.close(self.batch_of_orders(first=first, last=last))

    def close(
        self, payload: Payload, *, id_: bytes | None = None, audience: str | None = None, issuer: str = HUB
    ) -> bytes:
        """Seal under the session's next counter, or under an id of the caller's."""
        if id_ is None:
            assert self.session is not None, "a session is opened by hello_ack()"
            self._counter += 1
            id_ = message_id(self.session, self._counter)
        return close(
            payload,
            issuer=issuer,
            audience=self.principal if audience is None else audience,
            message_id=id_,
            signer=self.signer,
        )

    def _fresh_id(self) -> bytes:
        return bytes_from(f"hub message {next(self._ids)}")

    def _hear(self, raw: bytes, message: type[M], *, needs_session: bool = True) -> M:
        expected = Expected(message=message, issuer=self.principal, audience=HUB, needs_session=needs_session)
        sessions = () if self.session is None else (Session(self.session, self._window),)
        verdict = admit(raw, expected, self._trust, sessions)
        assert isinstance(verdict, Accepted), verdict
        if verdict.session is not None:
            self._window = verdict.session.window
        return verdict.message


def batch_of(log: ScriptedLog, signer: Signer, *, first: int = 1, last: int | None = None) -> Batch:
    """A run of a log as the batch that its writer would send."""
    entries = log.entries[first - 1 : last]
    head = Head(entries[-1].seq, entries[-1].hash)
    return Batch(
        lane=log.lane.lane.value,
        epoch=log.lane.epoch,
        first_seq=first,
        prev_hash=log.hash_at(first - 1),
        head=head.hash,
        latest=log.head.seq,
        seal=signer.sign(seal_input(log.lane, head)),
        records=tuple(entry.record for entry in entries),
        blobs=tuple(blob for entry in entries for blob in log.blobs.get(entry.seq, ())),
    )

"""One log that a simulated device writes: what the hub has not acknowledged of it, and the sender over that. Pure.

Memory is bounded by what was appended and not acknowledged: on the hub's word it is forgotten.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from shared.blobs import Blob
from shared.errors import ProtocolError
from shared.ids import LaneId
from shared.keys import Signer
from shared.log import Entry, Head, extend, start
from shared.messages import Ack, Batch, Cursor, LaneHead
from shared.replication import (
    Acknowledged,
    Appended,
    Forget,
    Linked,
    Parcel,
    Relink,
    ReportFork,
    Send,
    SenderEffect,
    SenderEvent,
    SenderState,
    Sent,
    Tick,
    Trimmed,
    Unlinked,
    pack,
    step,
)


class ForkedError(ProtocolError):
    """Device and hub hold different histories: in a bench that is a defect, and every figure is void."""


class UpwardLog:
    """Every method that is told an event returns what is to be done: `Send` and `Relink`; the rest is done here."""

    __slots__ = ("_blobs", "_entries", "_forgotten", "_sender", "lane")

    def __init__(self, lane: LaneId) -> None:
        self.lane = lane
        self._forgotten = start(lane)
        """The last record that is no longer held."""
        self._entries: list[Entry] = []
        self._blobs: dict[int, tuple[Blob, ...]] = {}
        """By the sequence of the record that names them."""
        self._sender = SenderState(head=0)

    @property
    def head(self) -> Head:
        if not self._entries:
            return self._forgotten
        last = self._entries[-1]
        return Head(last.seq, last.hash)

    @property
    def unacknowledged(self) -> int:
        return self._sender.head - self._sender.acked

    @property
    def is_waiting(self) -> bool:
        """Whether time may change anything."""
        return self._sender.since is not None

    def announced(self) -> LaneHead:
        """For a hello."""
        head = self.head
        return LaneHead(
            lane=self.lane.lane.value,
            epoch=self.lane.epoch,
            tail=self._forgotten.seq + 1,
            head=head.seq,
            hash=head.hash,
        )

    def append(self, records: Sequence[bytes], now: datetime, *blobs: Blob) -> list[SenderEffect]:
        """`blobs` are what the last of the records names."""
        head = self.head
        for data in records:
            head = extend(head, data)
            self._entries.append(Entry(head.seq, head.hash, data))
        if blobs:
            self._blobs[head.seq] = blobs
        return self._step(Appended(head.seq), now)

    def linked(self, cursor: Cursor | None, credit: int, now: datetime) -> list[SenderEffect]:
        """A hello was answered. `cursor`: what the hub has of this log, None if nothing."""
        upto, hash_ = (0, start(self.lane).hash) if cursor is None else (cursor.upto, cursor.hash)
        return self._step(Linked(upto=upto, hash=hash_, own_hash=self._hash_at(upto), credit=credit), now)

    def unlinked(self, now: datetime) -> None:
        self._step(Unlinked(), now)

    def acknowledged(self, ack: Ack, now: datetime) -> list[SenderEffect]:
        own = self._hash_at(ack.upto)
        event = Acknowledged(upto=ack.upto, hash=ack.hash, own_hash=own, credit=ack.credit, status=ack.status)
        return self._step(event, now)

    def tick(self, now: datetime) -> list[SenderEffect]:
        return self._step(Tick(), now)

    def batch(self, send: Send, *, signer: Signer, close: Callable[[Batch], bytes], now: datetime) -> bytes:
        """The message that `send` asks for."""
        skipped = send.first_seq - 1 - self._forgotten.seq
        before = self._hash_at(send.first_seq - 1)
        assert before is not None, "the sender was told what is no longer held"
        entries = self._entries[skipped : skipped + send.max_records]
        message, upto = pack(
            self.lane,
            Head(send.first_seq - 1, before),
            [Parcel(entry, self._blobs.get(entry.seq, ())) for entry in entries],
            latest=self._sender.head,
            missing_from=send.missing_from,
            is_fork=send.is_fork,
            signer=signer,
            close=close,
        )
        self._step(Sent(upto), now)
        return message

    def _step(self, event: SenderEvent, now: datetime) -> list[SenderEffect]:
        self._sender, effects = step(self._sender, event, now)
        to_do: list[SenderEffect] = []
        for effect in effects:
            match effect:
                case Send() | Relink():
                    to_do.append(effect)
                case Forget(upto):
                    self._forget(upto, now)
                case ReportFork(seq):
                    raise ForkedError(
                        f"{self.lane.principal} and the hub hold different histories after {seq}."
                    )
        return to_do

    def _forget(self, upto: int, now: datetime) -> None:
        held = upto - self._forgotten.seq
        if held > 0:
            last = self._entries[held - 1]
            self._forgotten = Head(last.seq, last.hash)
            del self._entries[:held]
            self._blobs = {seq: blobs for seq, blobs in self._blobs.items() if seq > upto}
            self._sender, _ = step(self._sender, Trimmed(upto + 1), now)

    def _hash_at(self, seq: int) -> bytes | None:
        place = seq - self._forgotten.seq
        if place == 0:
            return self._forgotten.hash
        return self._entries[place - 1].hash if 0 < place <= len(self._entries) else None

"""Replicating one lane: a sender and a receiver as pure state machines (rules P9, P12 to P14). Both sides use both.

The host feeds events and the time, performs the effects, and keeps the returned state. Nothing is forgotten on a
PUBACK; only on the receiver's signed acknowledgement, which comes after its commit. One batch is in flight a lane.

    state, effects = step(state, Linked(cursor=…, hash_at_cursor=…, credit=4000), now)
    # effects == [Send(first_seq=1, max_records=4000)]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from shared.blobs import Blob
from shared.cbor import encode
from shared.errors import CapacityError
from shared.gate import MESSAGE_MAX_BYTES
from shared.ids import LaneId
from shared.keys import Signer
from shared.log import Entry, Head, chain
from shared.messages import BATCH_MAX_RECORDS, Batch

RESEND_AFTER: Final = timedelta(seconds=10)
"""How long an acknowledgement is awaited before the batch is sent again."""
PROBE_AFTER: Final = timedelta(seconds=5)
"""How long to wait before one record is offered to a receiver that had no credit left."""
MAX_RESENDS: Final = 3
"""Unanswered sends after which the session is taken for dead and a new hello is due."""
BATCH_MAX_RAW_BYTES: Final = 1_048_576
"""Records and blobs of a batch before compression."""
PACK_OVERHEAD_BYTES: Final = 1_024
"""Room for envelope, header and framing when a batch is cut to `MESSAGE_MAX_BYTES`."""


# --- sender --------------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """What a sender is doing."""

    UNLINKED = "unlinked"
    IDLE = "idle"
    WAITING = "waiting"
    NO_CREDIT = "no_credit"
    FORKED = "forked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderState:
    """`head`: last durable sequence of our log. `acked`: what the receiver has committed. `sent_to`: end of the batch
    in flight."""

    head: int
    acked: int = 0
    phase: Phase = Phase.UNLINKED
    credit: int = 0
    sent_to: int = 0
    since: datetime | None = None
    resends: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A hello was answered: the receiver has up to `upto` with `hash`; `own_hash` is ours there, None if not ours."""

    upto: int
    hash: bytes
    own_hash: bytes | None
    credit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The receiver acknowledged. `own_hash` is our chain hash at `upto`, None if we have no such record."""

    upto: int
    hash: bytes
    own_hash: bytes | None
    credit: int
    status: str


@dataclass(frozen=True, slots=True)
class Appended:
    """Our log is durable up to `head`."""

    head: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The batch that `Send` asked for ends at `upto`."""

    upto: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Unlinked:
    """The session is gone."""


SenderEvent = Linked | Acknowledged | Appended | Sent | Tick | Unlinked


@dataclass(frozen=True, slots=True)
class Send:
    """Read from `first_seq`, at most `max_records`, cut to size, seal, publish; then report `Sent`."""

    first_seq: int
    max_records: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The receiver holds everything up to `upto`: it is no longer owed, and may be trimmed."""

    upto: int


@dataclass(frozen=True, slots=True)
class Relink:
    """Nobody answers in this session, or what is said makes no sense: say hello again."""


@dataclass(frozen=True, slots=True)
class ReportFork:
    """The receiver holds another history at `seq`: the lane stops until an operator decides."""

    seq: int


SenderEffect = Send | Forget | Relink | ReportFork


def step(state: SenderState, event: SenderEvent, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    """The next state of a sender, and what its host must do."""
    match event:
        case Unlinked():
            phase = Phase.FORKED if state.phase is Phase.FORKED else Phase.UNLINKED
            return replace(state, phase=phase, since=None, resends=0), []
        case Appended(head):
            state = replace(state, head=max(state.head, head))
            return _send_if_idle(state, now)
        case Sent(upto):
            if state.phase is not Phase.WAITING:
                return state, []
            return replace(state, sent_to=upto), []
        case Linked():
            return _compare(
                replace(state, phase=Phase.IDLE, resends=0),
                event.upto,
                event.hash,
                event.own_hash,
                event.credit,
                now,
            )
        case Acknowledged():
            if state.phase in (Phase.UNLINKED, Phase.FORKED):
                return state, []
            if event.status == "fork":
                return replace(state, phase=Phase.FORKED), [ReportFork(event.upto)]
            if event.status == "ok":
                is_waiting = state.phase is Phase.WAITING
                if event.upto == state.acked and is_waiting and event.credit < 1:
                    # The receiver had no room for the batch in flight.
                    return replace(state, phase=Phase.NO_CREDIT, credit=0, resends=0, since=now), []
                if event.upto < state.acked or (event.upto == state.acked and is_waiting):
                    # An old acknowledgement, overtaken on its way. What it acknowledged may be trimmed by now, so it
                    # never takes us back; only `gap` and a hello do.
                    return state, []
            if event.own_hash is None and event.upto <= state.head:
                # We have trimmed what it says it lacks. A hello tells whether that is so, or the word is an old one.
                return replace(state, phase=Phase.UNLINKED, since=None, resends=0), [Relink()]
            return _compare(state, event.upto, event.hash, event.own_hash, event.credit, now)
        case Tick():
            return _on_tick(state, now)
        case _:
            assert_never(event)


def _compare(
    state: SenderState, upto: int, hash_: bytes, own_hash: bytes | None, credit: int, now: datetime
) -> tuple[SenderState, list[SenderEffect]]:
    """Take the receiver's word for what it has, if it is a prefix of our log."""
    if upto > state.head or own_hash != hash_:
        return replace(state, phase=Phase.FORKED), [ReportFork(upto)]
    effects: list[SenderEffect] = [Forget(upto)] if upto > state.acked else []
    # A receiver restored from a backup may have less than it once acknowledged: its word now is what counts.
    state = replace(state, acked=upto, credit=credit, phase=Phase.IDLE, resends=0, since=now)
    state, more = _send_if_idle(state, now)
    return state, effects + more


def _send_if_idle(state: SenderState, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    if state.phase is not Phase.IDLE or state.head <= state.acked:
        return state, []
    if state.credit < 1:
        return replace(state, phase=Phase.NO_CREDIT, since=now), []
    count = min(state.credit, BATCH_MAX_RECORDS, state.head - state.acked)
    return replace(state, phase=Phase.WAITING, sent_to=0, since=now), [Send(state.acked + 1, count)]


def _on_tick(state: SenderState, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    if state.since is None:
        return state, []
    if state.phase is Phase.NO_CREDIT and now - state.since >= PROBE_AFTER:
        return replace(state, phase=Phase.WAITING, since=now), [Send(state.acked + 1, 1)]
    if state.phase is Phase.WAITING and now - state.since >= RESEND_AFTER:
        if state.resends >= MAX_RESENDS:
            return replace(state, phase=Phase.UNLINKED, since=None, resends=0), [Relink()]
        count = max(1, min(state.credit, BATCH_MAX_RECORDS, state.head - state.acked))
        return replace(state, since=now, resends=state.resends + 1), [Send(state.acked + 1, count)]
    return state, []


# --- packing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parcel:
    """One entry with the blobs that must ride along."""

    entry: Entry
    blobs: tuple[Blob, ...] = ()


def pack(
    lane: LaneId,
    before: bytes,
    parcels: Sequence[Parcel],
    *,
    signer: Signer,
    close: Callable[[Batch], bytes],
) -> tuple[bytes, int]:
    """Cut, seal and close the longest batch that fits a message; returns the message and its last sequence.

    `before` is the chain hash before the first parcel; `close` turns a batch into its envelope. One parcel always
    fits: a record is at most 16 KiB, and the blobs it names at most 64 KiB together (rules P4, P10).
    """
    count = _fitting(parcels)
    while True:
        taken = parcels[:count]
        last = taken[-1].entry
        batch = Batch(
            lane=lane.lane.value,
            epoch=lane.epoch,
            first_seq=taken[0].entry.seq,
            prev_hash=before,
            head=last.hash,
            seal=signer.sign(seal_input(lane, Head(last.seq, last.hash))),
            records=tuple(parcel.entry.record for parcel in taken),
            blobs=tuple(blob for parcel in taken for blob in parcel.blobs),
        )
        message = close(batch)
        if len(message) <= MESSAGE_MAX_BYTES:
            return message, last.seq
        if count == 1:
            raise CapacityError(
                f"Record {last.seq} and its blobs take {len(message)} bytes; a message has room for"
                f" {MESSAGE_MAX_BYTES}.",
                bound="MESSAGE_MAX_BYTES",
                limit=MESSAGE_MAX_BYTES,
            )
        room = MESSAGE_MAX_BYTES - PACK_OVERHEAD_BYTES
        count = max(1, min(count - 1, count * room // len(message)))


def _fitting(parcels: Sequence[Parcel]) -> int:
    size = 0
    for index, parcel in enumerate(parcels):
        size += len(parcel.entry.record) + sum(len(blob.content) for blob in parcel.blobs)
        if size > BATCH_MAX_RAW_BYTES and index:
            return index
    return min(len(parcels), BATCH_MAX_RECORDS)


def seal_input(lane: LaneId, head: Head) -> bytes:
    """What a writer signs to vouch for its log up to `head`: verifiable later from the log alone (rule P9)."""
    return encode(["covey/1/seal", lane.principal, lane.lane.value, lane.epoch, head.seq, head.hash])


# --- receiver ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extend:
    """Append `records` (with their chain `hashes`) after our head; `skipped` records of the batch were known."""

    records: tuple[bytes, ...]
    hashes: tuple[bytes, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Records between our head and the batch are missing: ask for `wanted`."""

    wanted: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The batch contradicts what we hold at `seq`."""

    seq: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The batch contradicts itself: its records do not lead to its head."""


Outcome = Extend | Gap | Fork | Broken


def receive(ours: Head, batch: Batch, hash_at: Callable[[int], bytes | None]) -> Outcome:
    """What a batch means to a reader whose log ends at `ours`.

    `hash_at(seq)` gives the chain hash that the reader holds at a sequence up to `ours.seq` (for 0 the lane's start).
    Records seen before are skipped, not stored twice (rule P12).
    """
    before = batch.first_seq - 1
    hashes = chain(batch.prev_hash, batch.records)
    if hashes[-1] != batch.head:
        return Broken()
    if before > ours.seq:
        return Gap(ours.seq + 1)
    if hash_at(before) != batch.prev_hash:
        return Fork(before)
    known = min(ours.seq - before, len(hashes))
    if known and hash_at(before + known) != hashes[known - 1]:
        return Fork(before + known)
    return Extend(batch.records[known:], tuple(hashes[known:]), known)

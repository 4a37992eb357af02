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
    """`head`: last durable sequence of our log. `tail`: the first that we still hold. `acked`: what the receiver has
    committed. `sent_to`: end of the batch in flight. `is_diverged`: the receiver's cursor is not our history, and we
    show it where they part."""

    head: int
    tail: int = 1
    acked: int = 0
    is_diverged: bool = False
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
class Trimmed:
    """We hold nothing before `tail` any more (retention, shedding)."""

    tail: int


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


SenderEvent = Linked | Acknowledged | Appended | Trimmed | Sent | Tick | Unlinked


@dataclass(frozen=True, slots=True)
class Send:
    """Read from `first_seq`, at most `max_records`, cut to size, seal, publish; then report `Sent`.

    `missing_from`: what the batch says of records that we no longer hold. `is_fork`: it shows where the histories part.
    Beyond our head there is nothing to read, and the batch has no records.
    """

    first_seq: int
    max_records: int
    missing_from: int = 0
    is_fork: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """The receiver holds everything up to `upto`, and no more: that is no longer owed, and may be trimmed.

    Less than before comes of a receiver that was restored from a backup."""

    upto: int


@dataclass(frozen=True, slots=True)
class Relink:
    """Nobody answers in this session, or what is said makes no sense: say hello again."""


@dataclass(frozen=True, slots=True)
class ReportFork:
    """The receiver holds another history after `seq`: the lane stops until an operator decides."""

    seq: int


SenderEffect = Send | Forget | Relink | ReportFork


def step(state: SenderState, event: SenderEvent, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    """The next state of a sender, and what its host must do."""
    match event:
        case Unlinked():
            phase = Phase.FORKED if state.phase is Phase.FORKED else Phase.UNLINKED
            return replace(state, phase=phase, since=None, resends=0), []
        case Appended(head):
            return _send_if_idle(replace(state, head=max(state.head, head)), now)
        case Trimmed(tail):
            return replace(state, tail=max(state.tail, tail)), []
        case Sent(upto):
            return (replace(state, sent_to=upto) if state.phase is Phase.WAITING else state), []
        case Linked():
            return _on_linked(state, event, now)
        case Acknowledged():
            return _on_acknowledged(state, event, now)
        case Tick():
            return _on_tick(state, now)
        case _:
            assert_never(event)


def _on_linked(state: SenderState, event: Linked, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    """Take the receiver's word for what it has, if it is a prefix of our log."""
    state = replace(state, phase=Phase.IDLE, resends=0, is_diverged=False, credit=event.credit)
    if event.upto > state.head or not _agrees(state, event.upto, event.hash, event.own_hash):
        # A cursor proves nothing to the receiver; only our signed records do, from the last that both surely have.
        forgotten: list[SenderEffect] = []
        if state.acked > event.upto:
            # It was restored from a backup and took another history since: what it once acknowledged is not common.
            state = replace(state, acked=state.tail - 1)
            forgotten = [Forget(state.acked)]
        state, shown = _send(replace(state, is_diverged=True, since=now), now)
        return state, forgotten + shown
    # A receiver restored from a backup may have less than it once acknowledged: its word now is what counts.
    effects: list[SenderEffect] = [Forget(event.upto)] if event.upto != state.acked else []
    state, more = _send_if_idle(replace(state, acked=event.upto, since=now), now)
    return state, effects + more


def _on_acknowledged(
    state: SenderState, event: Acknowledged, now: datetime
) -> tuple[SenderState, list[SenderEffect]]:
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
    elif event.own_hash is None and event.upto < state.tail - 1:
        # We no longer hold what it says it lacks. A hello tells whether that is so, or the word is an old one.
        return replace(state, phase=Phase.UNLINKED, since=None, resends=0), [Relink()]
    if event.upto > state.head or not _agrees(state, event.upto, event.hash, event.own_hash):
        return replace(state, phase=Phase.FORKED), [ReportFork(event.upto)]
    effects: list[SenderEffect] = [Forget(event.upto)] if event.upto != state.acked else []
    state = replace(
        state,
        acked=event.upto,
        credit=event.credit,
        phase=Phase.IDLE,
        resends=0,
        since=now,
        is_diverged=state.is_diverged and event.upto < state.head,
    )
    state, more = _send_if_idle(state, now)
    return state, effects + more


def _agrees(state: SenderState, upto: int, hash_: bytes, own_hash: bytes | None) -> bool:
    """Whether the receiver's position may be one of our history: it cannot be compared with what we trimmed."""
    return own_hash == hash_ or (own_hash is None and upto < state.tail - 1)


def _send_if_idle(state: SenderState, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    if state.phase is not Phase.IDLE or state.head <= state.acked:
        return state, []
    if state.credit < 1:
        return replace(state, phase=Phase.NO_CREDIT, since=now), []
    return _send(state, now)


def _send(state: SenderState, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    return replace(state, phase=Phase.WAITING, sent_to=0, since=now), [_next_batch(state, state.credit)]


def _next_batch(state: SenderState, credit: int) -> Send:
    """What the receiver lacks next; what we no longer hold of it is said to be missing."""
    first = state.acked + 1
    if state.is_diverged:
        first = max(1, min(first, state.head))  # with nothing new we show our last record
    missing_from = first if first < state.tail else 0
    first = max(first, state.tail)
    count = max(0, min(max(1, credit), BATCH_MAX_RECORDS, state.head - first + 1))
    return Send(first, count, missing_from, state.is_diverged)


def _on_tick(state: SenderState, now: datetime) -> tuple[SenderState, list[SenderEffect]]:
    if state.since is None:
        return state, []
    waited = now - state.since
    if waited < timedelta(0):
        # The clock was set back: what was to be waited for would otherwise take as long as it was wrong.
        return replace(state, since=now), []
    if state.phase is Phase.NO_CREDIT and waited >= PROBE_AFTER:
        return replace(state, phase=Phase.WAITING, since=now), [_next_batch(state, 1)]
    if state.phase is Phase.WAITING and waited >= RESEND_AFTER:
        if state.resends >= MAX_RESENDS:
            return replace(state, phase=Phase.UNLINKED, since=None, resends=0), [Relink()]
        return replace(state, since=now, resends=state.resends + 1), [_next_batch(state, state.credit)]
    return state, []


# --- packing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parcel:
    """One entry with the blobs that must ride along."""

    entry: Entry
    blobs: tuple[Blob, ...] = ()


def pack(
    lane: LaneId,
    before: Head,
    parcels: Sequence[Parcel],
    *,
    latest: int,
    waiting_bytes: int = 0,
    missing_from: int = 0,
    is_fork: bool = False,
    signer: Signer,
    close: Callable[[Batch], bytes],
) -> tuple[bytes, int]:
    """Cut, seal and close the longest batch that fits a message; returns the message and its last sequence.

    `before` is the position before the first parcel; `latest` the writer's durable head; `close` turns a batch into its
    envelope. One parcel always fits: a record is at most 16 KiB, and the blobs it names at most 64 KiB together (rules
    P4, P10). Without parcels the batch only says what is missing, or that the histories part.
    """
    count = _fitting(parcels)
    while True:
        taken = parcels[:count]
        last = Head(taken[-1].entry.seq, taken[-1].entry.hash) if taken else before
        batch = Batch(
            lane=lane.lane.value,
            epoch=lane.epoch,
            first_seq=before.seq + 1,
            prev_hash=before.hash,
            head=last.hash,
            seal=signer.sign(seal_input(lane, last)),
            latest=max(latest, last.seq),
            records=tuple(parcel.entry.record for parcel in taken),
            blobs=tuple(blob for parcel in taken for blob in parcel.blobs),
            waiting_bytes=waiting_bytes,
            missing_from=missing_from,
            is_fork=is_fork,
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
class Missing:
    """Sequences that the writer no longer holds and the reader never got: recorded, never papered over (rule P19)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Extend:
    """Append `records` (with their chain `hashes`) after our head; `skipped` records of the batch were known.

    `missing` lies between our head and the records; the log goes on from `before`, the position at its end.
    """

    records: tuple[bytes, ...]
    hashes: tuple[bytes, ...]
    skipped: int
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Agreed:
    """A batch that shows where histories part, and they do not yet: common up to `upto`. Acknowledge that position."""

    upto: Head


@dataclass(frozen=True, slots=True)
class Gap:
    """Records between our head and the batch are missing: ask for `wanted`."""

    wanted: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The histories part after `seq`. `is_behind`: the writer has nothing that we lack, it lost what we have beyond."""

    seq: int
    is_behind: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """The batch contradicts itself: its records do not lead to its head."""


Outcome = Extend | Agreed | Gap | Fork | Broken


def receive(ours: Head, batch: Batch, hash_at: Callable[[int], bytes | None]) -> Outcome:
    """What a batch means to a reader whose log ends at `ours`.

    `hash_at(seq)` gives the chain hash that the reader holds at a sequence up to `ours.seq` (for 0 the lane's
    start), or None where it holds none: in a gap, or trimmed. Records seen before are skipped, not stored twice
    (rule P12).
    """
    before = batch.first_seq - 1
    hashes = chain(batch.prev_hash, batch.records)
    if (hashes[-1] if hashes else batch.prev_hash) != batch.head:
        return Broken()
    if before > ours.seq:
        if not 1 <= batch.missing_from <= ours.seq + 1:
            return Gap(ours.seq + 1)
        return Extend(batch.records, tuple(hashes), 0, Missing(ours.seq + 1, before))
    known = min(ours.seq - before, len(hashes))
    parted = _parted(before, [batch.prev_hash, *hashes[:known]], hash_at)
    if parted is not None:
        return Fork(parted)
    last = before + known
    if batch.is_fork and known == len(hashes) and last < ours.seq:
        # So far it is what we have. It is for the writer's next batch to show more, if it has more.
        if last >= batch.latest:
            return Fork(last, is_behind=True)
        return Agreed(Head(last, batch.head))
    return Extend(batch.records[known:], tuple(hashes[known:]), known)


def _parted(before: int, hashes: Sequence[bytes], hash_at: Callable[[int], bytes | None]) -> int | None:
    """The last common sequence if `hashes`, from position `before` on, are not what the reader holds; else None."""
    first, last = hash_at(before), hash_at(before + len(hashes) - 1)
    if first is not None and first != hashes[0]:
        return max(0, before - 1)
    if last is None or last == hashes[-1]:
        return None
    low, high = 0, len(hashes) - 1  # equal (or unknown) at low, different at high
    while high - low > 1:
        middle = (low + high) // 2
        held = hash_at(before + middle)
        if held is None or held == hashes[middle]:
            low = middle
        else:
            high = middle
    return before + low

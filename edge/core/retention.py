"""What a device may forget, and when it must: limits and the state of the store in, the next small step out. Pure.

Invariants: of the journal only what the hub's signed acknowledgement covers is ever trimmed, oldest first; telemetry
goes oldest first, acknowledged or not; a clock that was just set lets nothing go for its age. A step is small: whoever
performs it measures and asks again.

    while (step := next_step(usage, limits, now, is_full=…, is_clock_steady=…)) is not None: perform it, measure again
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edge.ports import (
    ForgetEpisodes,
    LaneUsage,
    RetentionStep,
    SettleEnded,
    ShrinkFile,
    StoreUsage,
    TrimLane,
)
from shared.ids import Lane

SLACK_DIVISOR: Final = 16
"""A sixteenth of its limit more than is needed is shed at a time, and a full journal stays full until so much is free:
otherwise each record at the limit would cost a step, and be news."""
CLOCK_SETTLE_S: Final = 3_600.0
"""How long the clock must have gone evenly before anything is forgotten for its age."""
CLOCK_TOLERANCE_S: Final = 60.0
"""By how much the clock may be corrected within one look without being taken for set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimits:
    """What the store may hold. `journal_*`: records, content, orders and the tables of work, as they lie on the disk.

    `history_bytes` and `history_age` bound what is kept although the hub has it. `reserve_bytes` beyond `journal_bytes`
    are for finishing what was begun. `episodes`: nodes of which goal and result stay when their records are gone.
    """

    journal_bytes: int
    reserve_bytes: int
    history_bytes: int
    history_age: timedelta
    episodes: int
    metrics_bytes: int
    metrics_age: timedelta


def next_step(
    usage: StoreUsage, limits: RetentionLimits, now: datetime, *, is_full: bool, is_clock_steady: bool
) -> RetentionStep | None:
    """The most urgent step, or None if everything is within its limits or nothing more may be forgotten."""
    return (
        _shed_metrics(usage, limits, now, is_clock_steady=is_clock_steady)
        or _make_room(usage, limits, is_full=is_full)
        or (_trim_old(usage, limits, now) if is_clock_steady else None)
        or (SettleEnded() if usage.ended and is_clock_steady else None)
        or _trim_history(usage, limits)
        or (ForgetEpisodes(usage.episodes - limits.episodes) if usage.episodes > limits.episodes else None)
        or _shrink(usage, limits)
    )


def is_journal_full(usage: StoreUsage, limits: RetentionLimits, *, was_full: bool) -> bool:
    """Whether new work must be refused. Asked when there is no step left to take."""
    return usage.journal_bytes >= _room_from(limits, is_full=was_full)


@dataclass(frozen=True, slots=True)
class ClockWatch:
    """Whether the wall clock goes as evenly as one that cannot be set. `at` and `monotonic_s` are the last look's."""

    at: datetime
    monotonic_s: float
    even_s: float = 0.0

    def look(self, at: datetime, monotonic_s: float) -> "ClockWatch":
        """The watch after another look."""
        passed_s = monotonic_s - self.monotonic_s
        jump_s = abs((at - self.at).total_seconds() - passed_s)
        even_s = 0.0 if jump_s > CLOCK_TOLERANCE_S else self.even_s + passed_s
        return ClockWatch(at, monotonic_s, even_s)

    @property
    def is_steady(self) -> bool:
        return self.even_s >= CLOCK_SETTLE_S


def _shed_metrics(
    usage: StoreUsage, limits: RetentionLimits, now: datetime, *, is_clock_steady: bool
) -> RetentionStep | None:
    lane = _oldest_of(usage, Lane.METRICS)
    if lane is None:
        return None
    over = usage.metrics_bytes - limits.metrics_bytes
    if over > 0:
        slack = limits.metrics_bytes // SLACK_DIVISOR
        return TrimLane(lane.key, lane.name, upto=lane.head, free_bytes=over + slack)
    before = now - limits.metrics_age
    if is_clock_steady and lane.oldest_at is not None and lane.oldest_at < before:
        return TrimLane(lane.key, lane.name, upto=lane.head, before=before)
    return None


def _make_room(usage: StoreUsage, limits: RetentionLimits, *, is_full: bool) -> RetentionStep | None:
    """At its limit the journal gives up all that the hub has, and what is left of ended work."""
    over = usage.journal_bytes - _room_from(limits, is_full=is_full)
    if over < 0:
        return None
    lane = _first_to_trim(usage)
    if lane is not None:
        return TrimLane(lane.key, lane.name, upto=_upto(lane), free_bytes=max(1, over), is_pressed=True)
    return _drop_past(usage)


def _trim_old(usage: StoreUsage, limits: RetentionLimits, now: datetime) -> RetentionStep | None:
    before = now - limits.history_age
    for lane in _trimmable(usage):
        if lane.oldest_at is not None and lane.oldest_at < before:
            return TrimLane(lane.key, lane.name, upto=_upto(lane), before=before)
    return None


def _trim_history(usage: StoreUsage, limits: RetentionLimits) -> RetentionStep | None:
    lanes = [lane for lane in usage.lanes if lane.name is not Lane.METRICS]
    over = sum(lane.stored_bytes - lane.waiting_bytes for lane in lanes) - limits.history_bytes
    if over <= 0:
        return None
    lane = _first_to_trim(usage)
    if lane is not None:
        return TrimLane(lane.key, lane.name, upto=_upto(lane), free_bytes=over)
    return _drop_past(usage)


def _drop_past(usage: StoreUsage) -> RetentionStep | None:
    """What outlived its records goes when there are no such records left."""
    if usage.ended or usage.deferred:
        return SettleEnded(is_pressed=True)
    return ForgetEpisodes(1) if usage.episodes else None


def _shrink(usage: StoreUsage, limits: RetentionLimits) -> RetentionStep | None:
    """Free pages are used again, so the file is given back only what it has beyond all limits (they were lowered)."""
    most = limits.journal_bytes + limits.reserve_bytes + limits.metrics_bytes
    over = usage.file_bytes - most - most // SLACK_DIVISOR
    return ShrinkFile(min(over, usage.free_bytes)) if over > 0 and usage.free_bytes > 0 else None


def _room_from(limits: RetentionLimits, *, is_full: bool) -> int:
    """From how many bytes on the journal is full. Once it is, it must get some room before it takes work again."""
    return limits.journal_bytes - (limits.journal_bytes // SLACK_DIVISOR if is_full else 0)


def _trimmable(usage: StoreUsage) -> Iterable[LaneUsage]:
    return (lane for lane in usage.lanes if lane.name is not Lane.METRICS and lane.tail <= _upto(lane))


def _first_to_trim(usage: StoreUsage) -> LaneUsage | None:
    """The lane whose oldest record is the oldest of all."""
    return min(_trimmable(usage), key=lambda lane: (lane.oldest_at is not None, lane.oldest_at), default=None)


def _oldest_of(usage: StoreUsage, name: Lane) -> LaneUsage | None:
    return next((lane for lane in usage.lanes if lane.name is name and lane.tail <= lane.head), None)


def _upto(lane: LaneUsage) -> int:
    """Orders are applied when they are stored; of ours only what is acknowledged may go."""
    return lane.head if lane.name is Lane.ORDERS else min(lane.acked, lane.head)

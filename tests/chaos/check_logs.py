"""What must be true of a writer's log and the reader's copy of it. Pure; goes through both once, side by side.

Every record that was ever committed is in the copy exactly once, in order, bit for bit; or the copy says that it is
missing, and a restored backup or the writer's own tombstone explains why.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from shared.ids import UPWARD, Lane, LaneId
from shared.log import Entry, Head, extend, start
from shared.records import MetricsShed, parse_record
from tests.chaos.evidence import (
    DeviceHistory,
    Gap,
    History,
    HubDevice,
    Log,
    Look,
    Restore,
    continuation,
)
from tests.chaos.violations import Violation

SHED: Final = "shed"
BRANCH: Final = "branch"

Range = tuple[int, int]
"""First and last sequence."""


def check_logs(device: DeviceHistory, held: HubDevice, history: History) -> Iterator[Violation]:
    """Everything about the logs of one device, in both directions."""
    name = device.principal
    for log in device.written:
        yield from _check_chain(name, "device", log)
    for log in (*held.logs, *held.orders):
        yield from _check_chain(name, "hub", log)
        yield from _check_sightings(name, log, history)
    yield from _check_gone(name, held, history)
    for log in device.orders:
        yield from _check_chain(name, "device", log)
    yield from _check_upward(device, held, history)
    yield from _check_once(name, held)
    yield from _check_downward(device, held, history)
    yield from _check_looks(name, history)
    yield from _check_blobs(device, held, history)


# --- one log by itself


def _check_chain(name: str, side: str, log: Log) -> Iterator[Violation]:
    """Each record follows the one before it; a gap is bridged by the hash that it gives."""
    where = f"{name} {log.lane.lane} at the {side}"
    position = log.before
    gaps = {gap.first_seq: gap for gap in log.gaps}
    for entry in log.entries:
        position = _over_gap(position, gaps)
        expected = extend(position, entry.record)
        if (entry.seq, entry.hash) != (expected.seq, expected.hash):
            yield Violation(
                "broken_chain", where, f"record {expected.seq} is missing, altered or out of order"
            )
            return
        position = expected
    position = _over_gap(position, gaps)
    if position != log.head:
        what = f"its head says {log.head.seq}, its last record is {position.seq}"
        yield Violation("broken_chain", where, what)


def _over_gap(position: Head, gaps: Mapping[int, Gap]) -> Head:
    while (gap := gaps.get(position.seq + 1)) is not None:
        position = Head(gap.last_seq, gap.after_hash)
    return position


def _check_sightings(name: str, log: Log, history: History) -> Iterator[Violation]:
    """What was once read at the hub is there still, unless a backup was restored since."""
    where = f"{name} {log.lane.lane} at the hub"
    seen: dict[int, tuple[bytes, int]] = {}
    for look in history.looks:
        head = look.held.get(log.lane)
        if head is not None and head.seq:
            seen[head.seq] = (head.hash, look.era)
    for gap in log.gaps:
        seen.pop(gap.last_seq, None)  # judged as a gap
    seen = {seq: what for seq, what in seen.items() if seq > _trimmed_upto(log)}
    for entry in log.entries:
        hash_, era = seen.pop(entry.seq, (entry.hash, 0))
        if hash_ != entry.hash and not _is_lost(history.restores[era:], log.lane, (entry.seq, entry.seq)):
            yield Violation("lost_record", where, f"record {entry.seq} was another one once")
    for seq, (_, era) in sorted(seen.items()):
        if not _is_lost(history.restores[era:], log.lane, (seq, seq)):
            yield Violation("lost_record", where, f"record {seq} was there once and is gone")


def _check_gone(name: str, held: HubDevice, history: History) -> Iterator[Violation]:
    """As `_check_sightings`, of logs that the hub does not have at all any more."""
    there = {log.lane for log in (*held.logs, *held.orders)}
    seen = {
        (lane, head.seq): look.era
        for look in history.looks
        for lane, head in look.held.items()
        if lane.principal == name and lane not in there and head.seq
    }
    for (lane, seq), era in seen.items():
        if not _is_lost(history.restores[era:], lane, (seq, seq)):
            what = f"a log of epoch {lane.epoch.hex()[:8]} had {seq} records once and is gone"
            yield Violation("lost_record", f"{name} {lane.lane} at the hub", what)


def _check_looks(name: str, history: History) -> Iterator[Violation]:
    """At no time did a device take for committed what the hub had not; but just after a restore."""
    for number, look in enumerate(history.looks, start=1):
        for lane, acked in look.acked.items():
            if lane.principal != name or acked <= _head(look, lane):
                continue
            excused = max((restore.lost.get(lane, 0) for restore in history.restores[: look.era]), default=0)
            if acked > excused:
                what = f"{acked} was taken for committed when the hub had {_head(look, lane)} (look {number})"
                yield Violation("acknowledged_early", f"{name} {lane.lane}", what)


def _head(look: Look, lane: LaneId) -> int:
    head = look.held.get(lane)
    return 0 if head is None else head.seq


# --- from the device to the hub


def _check_upward(device: DeviceHistory, held: HubDevice, history: History) -> Iterator[Violation]:
    name = device.principal
    copies = {log.lane: log for log in held.logs}
    own = {log.lane: log for log in device.written}
    cloned = {log.lane for log in device.cloned}
    for lane in copies.keys() - own.keys() - cloned:
        what = f"the hub holds a {lane.lane} of epoch {lane.epoch.hex()[:8]} that nobody wrote"
        yield Violation("strange_log", name, what)
    for log in device.written:
        after = continuation(log, device.written)
        copy = copies.get(log.lane)
        if after is not None:
            yield from _check_branch(name, log, after, copy, device.cloned)
        upto = _compared_upto(log, after, copy)
        gaps = () if copy is None else copy.gaps
        after_seq = 0 if copy is None else _trimmed_upto(copy)
        # What the branch says is missing before its beginning may be what this log had there.
        later = () if after is None else _gaps_of(copies.get(after.lane))
        yield from _compare(
            f"{name} {log.lane.lane}",
            _between(log.entries, after_seq, upto),
            _between(() if copy is None else copy.entries, after_seq, upto),
            unseen=log.gaps,
            gaps=(*gaps, *(gap for gap in later if gap.first_seq <= (upto or 0))),
        )
        others = [other for lane, other in copies.items() if lane.lane is log.lane.lane and other is not copy]
        yield from _check_gaps(device, log, copy, others, history)
        yield from _check_drained(device, log, after, copy, history)


def _compared_upto(log: Log, after: Log | None, copy: Log | None) -> int | None:
    """Up to where a log and its copy must be the same; None: to their ends."""
    if after is not None:
        return after.before.seq
    if log.lane.lane is not Lane.METRICS:
        return None
    # A device measures on while everything else is done, and need not have heard yet that it shall branch.
    if copy is None:
        return 0
    return copy.head.seq if copy.parts_after is None else copy.parts_after


def _gaps_of(log: Log | None) -> tuple[Gap, ...]:
    return () if log is None else log.gaps


def _check_branch(
    name: str, log: Log, after: Log, copy: Log | None, cloned: Sequence[Log]
) -> Iterator[Violation]:
    """A log that was resolved: what it had beyond the branch goes on there, and the hub's copy is nobody else's."""
    where = f"{name} {log.lane.lane}"
    beyond = iter(after.entries)
    moved = next(beyond, None)
    for entry in log.entries:
        if entry.seq <= after.before.seq or _is_in(after.gaps, entry.seq):
            continue
        while moved is not None and moved.seq < entry.seq:
            moved = next(beyond, None)
        if moved is None or (moved.seq, moved.record) != (entry.seq, entry.record):
            yield Violation("lost_record", where, f"record {entry.seq} did not move to the branch")
            break
    if copy is None or copy.head.seq <= after.before.seq:
        return
    if not any(_holds(other, copy.head) for other in (log, *cloned) if other.lane == log.lane):
        what = f"the hub's copy goes on after {after.before.seq} as nobody's log does"
        yield Violation("invented_record", where, what)


def _check_once(name: str, held: HubDevice) -> Iterator[Violation]:
    """A record is at the hub under one epoch only: a log that goes on elsewhere begins where the other ends."""
    for lane in UPWARD:
        logs = [log for log in held.logs if log.lane.lane is lane]
        if len(logs) < 2:
            continue
        seen: tuple[int, set[bytes]] = (0, set())
        for entry in heapq.merge(*(log.entries for log in logs), key=lambda entry: entry.seq):
            if entry.seq != seen[0]:
                seen = (entry.seq, set())
            if entry.hash in seen[1]:
                yield Violation("doubled_record", f"{name} {lane}", f"record {entry.seq} is under two epochs")
            seen[1].add(entry.hash)


def _holds(log: Log, position: Head) -> bool:
    return any(entry.seq == position.seq and entry.hash == position.hash for entry in log.entries)


def _between(entries: Iterable[Entry], after: int, upto: int | None) -> Iterable[Entry]:
    return (entry for entry in entries if entry.seq > after and (upto is None or entry.seq <= upto))


def _trimmed_upto(copy: Log) -> int:
    """Of metrics the hub keeps windows for a while only, and their sums for longer."""
    return copy.before.seq if copy.lane.lane is Lane.METRICS else 0


def _check_gaps(
    device: DeviceHistory, log: Log, copy: Log | None, others: Sequence[Log], history: History
) -> Iterator[Violation]:
    """`others`: what else the hub holds of that lane, under other epochs."""
    where = f"{device.principal} {log.lane.lane}"
    for gap in () if copy is None else copy.gaps:
        first = max(gap.first_seq, log.before.seq + 1)
        if first > gap.last_seq:
            continue  # all of it is before this log's own beginning
        if gap.reason == BRANCH and _is_common(Head(gap.last_seq, gap.after_hash), log, others):
            continue  # the device began before that, and the hub had so much of it already
        sheds = _tombstones(log) if log.lane.lane is Lane.METRICS else ()
        lost = [_lost_ranges(restore, log.lane) for restore in history.restores]
        missing = _uncovered((first, gap.last_seq), (*lost, *sheds))
        if missing is not None:
            what = f"records {missing[0]} to {missing[1]} are missing, and nothing explains it"
            yield Violation("unexplained_gap", where, what)
    dead = () if copy is None else copy.dead
    if log.lane.lane is not Lane.JOURNAL:
        for seq in sorted(dead):
            yield Violation("dead_letter", where, f"record {seq} could not be applied")


def _is_common(position: Head, log: Log, others: Sequence[Log]) -> bool:
    """Its hash covers all that is before: whoever holds that record has the same history up to there."""
    return _holds(log, position) and any(_holds(other, position) for other in others)


def _tombstones(log: Log) -> tuple[Range, ...]:
    """What the log itself says that it shed: always something before the record that says so."""
    found = []
    for entry in log.entries:
        record = parse_record(entry.record)
        if isinstance(record, MetricsShed) and record.last < entry.seq:
            found.append((record.first, record.last))
    return tuple(found)


def _check_drained(
    device: DeviceHistory, log: Log, after: Log | None, copy: Log | None, history: History
) -> Iterator[Violation]:
    """`after`: the log that goes on from this one, whose place it took in the store."""
    where = f"{device.principal} {log.lane.lane}"
    now = device.held.get(log.lane)
    if now is None:
        if after is None:
            yield Violation("lost_record", where, f"its store lost the log, of {log.head.seq} records")
        return
    if now != log.head:
        what = f"its store ends at {now.seq}, and {log.head.seq} was committed in it"
        yield Violation("lost_record", where, what)
    at_hub = start(log.lane) if copy is None else copy.head
    acked = device.acked.get(log.lane, 0)
    if log.lane.lane is Lane.METRICS:
        if acked > max(at_hub.seq, *(restore.lost.get(log.lane, 0) for restore in history.restores), 0):
            what = f"{acked} are taken for committed and the hub has {at_hub.seq}"
            yield Violation("acknowledged_early", where, what)
        return
    if acked != now.seq or (now.seq and at_hub != now):
        what = f"the device has {now.seq} records, takes {acked} for committed, and the hub has {at_hub.seq}"
        yield Violation("not_drained", where, what)


# --- from the hub to the device


def _check_downward(device: DeviceHistory, held: HubDevice, history: History) -> Iterator[Violation]:
    name = device.principal
    where = f"{name} orders"
    ours = {log.lane: log for log in held.orders}
    theirs = {log.lane: log for log in device.orders}
    for lane, copy in theirs.items():
        log = ours.get(lane)
        if log is None and not _is_lost(history.restores, lane, (1, max(1, copy.head.seq))):
            yield Violation("strange_log", name, "it holds orders of another epoch than the hub's")
        for seq in sorted(copy.dead):
            yield Violation("dead_letter", where, f"record {seq} could not be applied")
        yield from _compare(
            where,
            _between(() if log is None else log.entries, 0, copy.head.seq),
            copy.entries,
            gaps=() if log is None else _vouched(copy, log, history),
            excused=partial(_is_one_lost, history.restores, lane),
        )
    for lane, log in ours.items():
        if log.is_closed:
            continue
        copy_head = theirs[lane].head.seq if lane in theirs else 0
        acked = held.orders_acked.get(lane, 0)
        if not acked == copy_head == log.head.seq:
            what = f"of {log.head.seq} orders {copy_head} have arrived and {acked} are acknowledged"
            yield Violation("not_drained", where, what)


def _vouched(copy: Log, log: Log, history: History) -> tuple[Gap, ...]:
    """What the device trimmed before its witness came: the chain after it says that the hub's records were there, or
    the hub that wrote them was put back to a time before them."""
    hashes = {entry.seq: entry.hash for entry in log.entries}
    return tuple(
        gap for gap in copy.gaps
        if hashes.get(gap.last_seq) == gap.after_hash
        or _is_lost(history.restores, copy.lane, (gap.first_seq, gap.last_seq))
    )  # fmt: skip


# --- two logs side by side


def _never(_seq: int) -> bool:
    return False


def _compare(
    where: str,
    written: Iterable[Entry],
    read: Iterable[Entry],
    *,
    unseen: Sequence[Gap] = (),
    gaps: Sequence[Gap] = (),
    excused: Callable[[int], bool] = _never,
) -> Iterator[Violation]:
    """The reader's copy is the writer's log, but for its gaps.

    `unseen`: what the witness of the writer missed, so that only the chain speaks for it. `excused` tells of a sequence
    whether the reader may hold there what the writer does not.
    """
    expected = iter(written)
    entry = next(expected, None)
    last = 0
    for copy in read:
        if copy.seq <= last:
            rule, what = ("doubled_record", "twice") if copy.seq == last else ("out_of_order", "too late")
            yield Violation(rule, where, f"record {copy.seq} is there {what}")
            continue
        last = copy.seq
        while entry is not None and entry.seq < copy.seq:
            yield from _missing(where, entry.seq, gaps)
            entry = next(expected, None)
        if entry is None or entry.seq > copy.seq:
            if not _is_in(unseen, copy.seq) and not excused(copy.seq):
                yield Violation("invented_record", where, f"record {copy.seq} was never written")
            continue
        if copy != entry and not excused(copy.seq):
            yield Violation("altered_record", where, f"record {copy.seq} is not the same bit for bit")
        entry = next(expected, None)
    while entry is not None:
        yield from _missing(where, entry.seq, gaps)
        entry = next(expected, None)


def _missing(where: str, seq: int, gaps: Sequence[Gap]) -> Iterator[Violation]:
    if not _is_in(gaps, seq):
        yield Violation("lost_record", where, f"record {seq} did not arrive, and no gap says so")


def _is_in(gaps: Sequence[Gap], seq: int) -> bool:
    return any(gap.first_seq <= seq <= gap.last_seq for gap in gaps)


# --- what explains a gap


def _lost_ranges(restore: Restore, lane: LaneId) -> Range:
    """What the hub had when it was put back and the backup had not."""
    return restore.kept.get(lane, 0) + 1, restore.lost.get(lane, 0)


def _is_lost(restores: Sequence[Restore], lane: LaneId, wanted: Range) -> bool:
    return _uncovered(wanted, [_lost_ranges(restore, lane) for restore in restores]) is None


def _is_one_lost(restores: Sequence[Restore], lane: LaneId, seq: int) -> bool:
    return _is_lost(restores, lane, (seq, seq))


def _uncovered(wanted: Range, ranges: Iterable[Range]) -> Range | None:
    """The first part of `wanted` that none of the ranges covers."""
    first, last = wanted
    for begin, end in sorted(each for each in ranges if each[0] <= each[1]):
        if begin > first:
            break
        first = max(first, end + 1)
    return (first, last) if first <= last else None


# --- content


def _check_blobs(device: DeviceHistory, held: HubDevice, history: History) -> Iterator[Violation]:
    """Content whose record arrived is at the hub. Both sides come in the order of their hashes."""
    at_hub = iter(held.blobs)
    found = next(at_hub, None)
    gaps: defaultdict[Lane, list[Gap]] = defaultdict(list)
    for log in held.logs:
        gaps[log.lane.lane] += log.gaps
    for hash_, lane, seq in device.blobs:
        while found is not None and found < hash_:
            found = next(at_hub, None)
        if found != hash_ and not _is_in(gaps[lane.lane], seq):
            what = f"content {hash_.hex()[:16]} of {lane.lane} {seq} is not at the hub"
            yield Violation("lost_content", device.principal, what)

"""When a device's log is not simply longer than ours: forks, gaps, branches, stores made anew (rules P13, P19, P21).

Everything here happens in the turn's transaction, on the word of a signed batch in a fresh session, never of a hello.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cloud.devices.tables import Device
from cloud.ingest import orders
from cloud.ingest.turn import CLONE_REASON, FORK_REASON, RESTORED_REASON, Turn
from cloud.journal import repository
from cloud.journal.tables import CloseReason, LaneRow
from shared.ids import Lane, LaneId
from shared.log import Head
from shared.messages import Batch
from shared.replication import Extend, Missing

logger = logging.getLogger(__name__)

LANE_EPOCHS_MAX: Final = 64
"""Epochs of one lane. Each is a store made anew or a resolved fork: a device that needs more is not well."""


def stop(turn: Turn, device: Device, row: LaneRow | None, lane: LaneId, seq: int, reason: str) -> LaneRow:
    """The lane takes nothing more, and its device is quarantined until an operator decides (rule P13)."""
    logger.warning("%s: its %s log parts from ours after %d (%s)", device.principal, lane.lane, seq, reason)
    if row is None:
        row = turn.begin_lane(lane)
    row.forked_at_seq = seq
    turn.counts["forks"] += 1
    if lane.lane is Lane.METRICS and reason in (FORK_REASON, RESTORED_REASON):
        # The journal tells whether there is something to decide: each start of a daemon writes to it. Metrics that part
        # from ours go on in a log of their own.
        row.closed_at, row.close_reason = turn.now, CloseReason.BRANCHED.value
        return row
    turn.quarantine(device, reason)
    return row


def grow(
    turn: Turn,
    device: Device,
    epochs: Sequence[LaneRow],
    row: LaneRow | None,
    lane: LaneId,
    batch: Batch,
    missing: Missing | None,
) -> LaneRow:
    """The row to which the batch's records are to be appended, after what is `missing`; or one that is stopped now.

    `epochs`: the lane's logs from old to new; `row` is the batch's own among them, None for a new epoch.
    """
    if row is not None:
        if row.closed_at is not None:
            # Another log took its place, and yet it grows: a second device, or a card from before.
            return stop(turn, device, row, lane, row.head_seq, CLONE_REASON)
        if missing is not None:
            _skip(turn, row, missing, batch, branch_of=None)
        return row
    if len(epochs) >= LANE_EPOCHS_MAX:
        return stop(turn, device, None, lane, 0, "too_many_epochs")
    origin = _origin(turn, epochs, batch)
    if origin is not None and _has_branched(turn, origin):
        # An operator let one device go on from there, and it did: this is another.
        return stop(turn, device, None, lane, 0, CLONE_REASON)
    if epochs:
        _take_over(turn, device, lane.lane, epochs, origin, batch)
    row = turn.begin_lane(lane)
    if missing is not None:
        _skip(turn, row, missing, batch, branch_of=origin)
    return row


def beyond_origin(turn: Turn, row: LaneRow, new: Extend) -> Extend:
    """What of a branch's records this hub does not hold under the log that it goes on from.

    A device that does not know how far the two are the same (this hub was put back, and another card wrote on in its
    place) begins its branch at what it has. What is the same is not taken a second time: the gap before the branch
    reaches so far (rule P21).
    """
    gap = repository.branch_gap(turn.session, row)
    if gap is None or gap.branch_of is None or gap.last_seq != row.head_seq or not new.records:
        return new
    held = repository.hashes_after(turn.session, gap.branch_of, row.head_seq, len(new.hashes))
    same = 0
    for ours, theirs in zip(held, new.hashes, strict=False):
        if ours != theirs:
            break
        same += 1
    if same == 0:
        return new
    row.head_seq, row.head_hash = row.head_seq + same, new.hashes[same - 1]
    gap.last_seq, gap.after_hash = row.head_seq, row.head_hash
    turn.session.add(gap)
    turn.session.flush()
    # A gap that is all that came was told already; a seal over what stands in another log would vouch for nothing here.
    return replace(new, records=new.records[same:], hashes=new.hashes[same:], missing=None)


def _origin(turn: Turn, epochs: Sequence[LaneRow], batch: Batch) -> LaneRow | None:
    """The log from which a new one goes on: it has the very hash that the new one begins after."""
    at = batch.first_seq - 1
    if not batch.missing_from or at < 1:
        return None
    return next(
        (
            row
            for row in epochs  # the oldest: a branch knows the hash that it begins after, too
            if at <= row.head_seq and repository.hash_at(turn.session, row, at) == batch.prev_hash
        ),
        None,
    )


def _has_branched(turn: Turn, origin: LaneRow) -> bool:
    """Whether a log went on from `origin` since an operator last said that one may."""
    return repository.count_branches(turn.session, repository.key_of(origin)) > origin.branches_settled


def _take_over(
    turn: Turn, device: Device, lane: Lane, epochs: Sequence[LaneRow], origin: LaneRow | None, batch: Batch
) -> None:
    """A new log takes the place of those before."""
    at = batch.first_seq - 1
    # It went on from an older log before this hub was put back to a backup, and trimmed since. A store made anew has
    # trimmed nothing that we did not acknowledge, and so begins at its beginning.
    is_forgotten = origin is None and batch.missing_from > 0
    reason = CloseReason.STORE_LOST if origin is None and not is_forgotten else CloseReason.BRANCHED
    for row in epochs:
        if row.closed_at is None:
            row.closed_at, row.close_reason = turn.now, reason.value
    if lane is not Lane.JOURNAL:
        return
    if is_forgotten:
        # What is between is skipped as lost, and with that the device is asked about each node (`orders.on_gap`).
        logger.warning(
            "%s writes a journal that this hub had forgotten, from record %d", device.principal, at + 1
        )
    elif origin is None:
        logger.warning("%s writes a new journal: its store was made anew", device.principal)
        orders.on_store_lost(turn, device)
    else:
        logger.warning("%s goes on from record %d of an older journal", device.principal, at)
        orders.on_branch(turn, device, origin, at)


def _skip(turn: Turn, row: LaneRow, missing: Missing, batch: Batch, *, branch_of: LaneRow | None) -> None:
    """Record what will never come, and go on behind it (rule P19)."""
    if branch_of is not None:
        reason = "branch"
    else:
        reason = "shed" if row.lane == Lane.METRICS else "lost"
        turn.counts[f"missing.{reason}"] += missing.last - missing.first + 1
        log = logger.info if reason == "shed" else logger.warning
        log("%s: records %d to %d of %s are %s", row.principal, missing.first, missing.last, row.lane, reason)
    after = Head(batch.first_seq - 1, batch.prev_hash)
    repository.insert_gap(
        turn.session,
        row=row,
        first_seq=missing.first,
        after=after,
        reason=reason,
        branch_of=None if branch_of is None else repository.key_of(branch_of),
        at=turn.now,
    )
    row.head_seq, row.head_hash = after.seq, after.hash
    if reason == "lost" and row.lane == Lane.JOURNAL:
        orders.on_gap(turn, turn.devices[row.principal])

"""Decisions about forks and dead letters. Works inside the caller's transaction and never commits.

Resolving a fork takes nothing away: the log that stopped is closed as it is, with all that it holds, and the device
goes on under a new epoch from the last record that both have (rule P21).
"""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from cloud.devices import repository as devices
from cloud.devices.tables import OPERATOR_REASON, Device, DeviceStatus
from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from cloud.ingest.turn import CLONE_REASON, FORK_REASON, RESTORED_REASON
from cloud.journal import repository as logs
from cloud.journal.tables import CloseReason, DeadLetter, LaneRow
from cloud.recovery import repository
from cloud.recovery.schemas import (
    ForkView,
    GapView,
    LetterPage,
    LetterView,
    Resolved,
    SettledLetters,
    SettleLetters,
)
from cloud.tasks.orders import Changes
from shared.errors import ProtocolError, RefusedError
from shared.ids import Lane
from shared.records import MAX_SEQ, parse_record

TOO_MANY: Final = "too_many_epochs"
RESOLVABLE: Final = (FORK_REASON, RESTORED_REASON, CLONE_REASON)
ADVICE: Final = {
    FORK_REASON: "The device wrote another history than it had sent: its storage was restored from a backup or copied."
    " If two devices run under this name, stop one and enrol it anew; then resolve.",
    RESTORED_REASON: "The device runs on an older copy of its storage: it lost what it had sent after this point."
    " Resolve, and it goes on from there; tasks that it no longer knows are shown as forgotten.",
    CLONE_REASON: "Two devices write under one name. Stop one and enrol it anew under its own name; then resolve.",
    TOO_MANY: "The device began its log anew too often: its storage does not keep what is written. Mend it and enrol it"
    " anew.",
}


def forks(
    session: Session, *, principal: str | None, limit: int, tenant: str | None = None
) -> list[ForkView]:
    """Logs that stopped, of one device, of a tenant's or of all."""
    found = repository.forked(session, principal=principal, tenant=tenant, limit=limit)
    return [_fork(device, lane) for device, lane in found]


def resolve(session: Session, principal: str, now: datetime) -> Resolved:
    """Close the device's forked logs and let it in again.

    Raises `RefusedError` with code `not_forked`, or `device_unknown`.
    """
    device = devices.lock_device(session, principal)
    found = repository.forked(session, principal=principal, limit=LIMIT_OF_ONE)
    if device.status == DeviceStatus.QUARANTINED and device.status_reason == OPERATOR_REASON:
        raise RefusedError(
            f"An operator quarantined {principal}: `covey-hub device release {principal}` first.",
            code="device_held",
        )
    if not found or device.status_reason not in RESOLVABLE:
        raise RefusedError(
            f"No log of {principal} is forked so that it can be resolved; `covey-hub device forks` shows all.",
            code="not_forked",
        )
    views = [_fork(device, lane) for _, lane in found]
    for _, lane in found:
        if lane.head_seq == 0:
            # It never began: nothing is held of it, and the device's next batch begins it.
            session.delete(lane)
            continue
        lane.closed_at, lane.close_reason = now, CloseReason.BRANCHED.value
    for origin in repository.closed_branches(session, principal):
        origin.closed_at = now
        # From now on one more log may go on from it.
        origin.branches_settled = logs.count_branches(session, logs.key_of(origin))
    device.status, device.status_reason = DeviceStatus.ACTIVE.value, None
    session.flush()
    return Resolved(principal=principal, status=device.status, lanes=views)


LIMIT_OF_ONE: Final = 256


def gaps(session: Session, principal: str) -> list[GapView]:
    """Raises `RefusedError` (code `device_unknown`)."""
    devices.find_device(session, principal)
    lanes = {logs.key_of(lane): lane for lane in logs.lanes_of(session, principal)}
    return [
        GapView(
            lane=lanes[gap.lane_id].lane,
            epoch=lanes[gap.lane_id].epoch.hex(),
            first_seq=gap.first_seq,
            last_seq=gap.last_seq,
            count=gap.last_seq - gap.first_seq + 1,
            reason=gap.reason,
            branch_of=lanes[gap.branch_of].epoch.hex() if gap.branch_of in lanes else None,
            at=gap.at,
        )
        for gap in logs.gaps_of(session, list(lanes))
    ]


def letters(session: Session, principal: str, *, after: str, is_open: bool, limit: int) -> LetterPage:
    """Raises `RefusedError` (code `device_unknown`), `ProtocolError` for an `after` that is none."""
    devices.find_device(session, principal)
    lanes = {logs.key_of(lane): lane for lane in logs.lanes_of(session, principal)}
    found = repository.letters(session, list(lanes), after=_position(after), is_open=is_open, limit=limit + 1)
    shown = found[:limit]
    return LetterPage(
        principal=principal,
        open=repository.open_letters(session, list(lanes)),
        letters=[_letter(letter, kind, lanes[letter.lane_id]) for letter, kind in shown],
        next=f"{shown[-1][0].lane_id}.{shown[-1][0].seq}" if len(found) > limit else None,
    )


def settle(
    session: Session, principal: str, request: SettleLetters, *, now: datetime, limit: int
) -> tuple[SettledLetters, Changes]:
    """Apply dead letters again, or dismiss them; what changed is told so that others can be woken.

    Raises `RefusedError` (codes `device_unknown`, `letter_unknown`).
    """
    device = devices.lock_device(session, principal)
    lanes = [lane for lane in logs.lanes_of(session, principal) if lane.lane == request.lane]
    changes = Changes()
    applied: list[int] = []
    refused: dict[int, str] = {}
    wanted = set(request.seqs)
    chosen: list[tuple[LaneRow, DeadLetter]] = []
    for lane in lanes:
        for letter, _ in repository.letters(
            session, [logs.key_of(lane)], after=None, is_open=True, limit=limit, seqs=request.seqs
        ):
            chosen.append((lane, letter))
            wanted.discard(letter.seq)
    if wanted:
        raise RefusedError(
            f"Record {min(wanted)} waits for no decision; `covey-hub device deadletters {principal}` shows what does.",
            code="letter_unknown",
        )
    if request.action == "dismiss":
        for _, letter in chosen:
            letter.resolution, letter.resolved_at = "dismissed", now
        return SettledLetters(applied=[], dismissed=[letter.seq for _, letter in chosen], refused={}), changes
    for lane, letter in chosen:
        reason = _apply_again(session, device, lane, letter.seq, now, changes)
        if reason is None:
            letter.resolution, letter.resolved_at = "applied", now
            applied.append(letter.seq)
        else:
            letter.reason = reason[:200]
            refused[letter.seq] = letter.reason
    return SettledLetters(applied=applied, dismissed=[], refused=refused), changes


def _apply_again(
    session: Session, device: Device, lane: LaneRow, seq: int, now: datetime, changes: Changes
) -> str | None:
    entries = logs.read_entries(session, lane, after=seq - 1, limit=1, upto=seq)
    if not entries:
        return "the record is no longer held"
    context = Applied(
        principal=device.principal,
        tenant=device.tenant,
        lane_id=logs.key_of(lane),
        lane=lane.lane,
        epoch=lane.epoch,
        now=now,
        touched_tasks=changes.tasks,
        orders_for=changes.orders_for,
    )
    dead = project(session, context, [parse_record(entries[0].record)], first_seq=seq)
    return dead.get(seq)


def _position(after: str) -> tuple[int, int] | None:
    if not after:
        return None
    lane, _, seq = after.partition(".")
    if not (lane.isdecimal() and seq.isdecimal() and int(lane) <= MAX_SEQ and int(seq) <= MAX_SEQ):
        raise ProtocolError("`after` is the `next` of the page before.", code="invalid")
    return int(lane), int(seq)


def _fork(device: Device, lane: LaneRow) -> ForkView:
    kind = device.status_reason or FORK_REASON
    after = lane.forked_at_seq or 0
    return ForkView(
        principal=device.principal,
        lane=lane.lane,
        epoch=lane.epoch.hex(),
        after_seq=after,
        head_seq=lane.head_seq,
        lost_by_device=lane.head_seq - after,
        kind=kind,
        advice=ADVICE.get(kind, ADVICE[FORK_REASON]),
        command=f"covey-hub device resolve {device.principal}"
        if kind in RESOLVABLE
        else "covey-hub token create",
    )


def _letter(letter: DeadLetter, kind: str, lane: LaneRow) -> LetterView:
    return LetterView(
        lane=Lane(lane.lane).value,
        epoch=lane.epoch.hex(),
        seq=letter.seq,
        kind=kind,
        reason=letter.reason,
        at=letter.at,
        resolution=letter.resolution,
        resolved_at=letter.resolved_at,
    )

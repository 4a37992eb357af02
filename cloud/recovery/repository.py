"""Queries over forked logs and dead letters. No decisions, no commits."""

from collections.abc import Sequence

from sqlalchemy import func, tuple_
from sqlmodel import Session, and_, col, select

from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.tables import CloseReason, DeadLetter, LaneRow, RecordRow


def forked(
    session: Session, *, principal: str | None, limit: int, tenant: str | None = None
) -> list[tuple[Device, LaneRow]]:
    """Forked logs that nobody resolved, of quarantined devices, in the order of their names."""
    query = (
        select(Device, LaneRow)
        .join(LaneRow, col(LaneRow.principal) == col(Device.principal))
        .where(
            col(LaneRow.forked_at_seq).is_not(None),
            Device.status == DeviceStatus.QUARANTINED.value,
            col(LaneRow.close_reason).is_distinct_from(CloseReason.BRANCHED.value),
        )
        .order_by(col(Device.principal), col(LaneRow.id))
        .limit(limit)
    )
    if principal is not None:
        query = query.where(Device.principal == principal)
    if tenant is not None:
        query = query.where(Device.tenant == tenant)
    return list(session.exec(query).all())


def closed_branches(session: Session, principal: str) -> Sequence[LaneRow]:
    """Logs of a device from which another went on, or may."""
    return session.exec(
        select(LaneRow).where(
            LaneRow.principal == principal, LaneRow.close_reason == CloseReason.BRANCHED.value
        )
    ).all()


def letters(
    session: Session,
    lane_ids: Sequence[int],
    *,
    after: tuple[int, int] | None,
    is_open: bool,
    limit: int,
    seqs: Sequence[int] = (),
) -> list[tuple[DeadLetter, str]]:
    """Dead letters with their records' kinds, by lane and sequence; only open ones, or all."""
    query = (
        select(DeadLetter, RecordRow.kind)
        .join(
            RecordRow,
            and_(
                col(RecordRow.lane_id) == col(DeadLetter.lane_id), col(RecordRow.seq) == col(DeadLetter.seq)
            ),
        )
        .where(col(DeadLetter.lane_id).in_(lane_ids))
        .order_by(col(DeadLetter.lane_id), col(DeadLetter.seq))
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(col(DeadLetter.lane_id), col(DeadLetter.seq)) > after)
    if is_open:
        query = query.where(col(DeadLetter.resolution).is_(None))
    if seqs:
        query = query.where(col(DeadLetter.seq).in_(seqs))
    return list(session.exec(query).all())


def open_letters(session: Session, lane_ids: Sequence[int]) -> int:
    """How many dead letters wait for a decision."""
    query = select(func.count()).select_from(DeadLetter)
    return session.exec(
        query.where(col(DeadLetter.lane_id).in_(lane_ids), col(DeadLetter.resolution).is_(None))
    ).one()

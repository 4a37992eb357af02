"""The fleet in numbers, for those who watch the hub: each is one query, however many devices there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, func
from sqlmodel import Session, col, select

from cloud.devices.presence import PresenceLimits
from cloud.devices.presence_sql import presence_of, read_horizons
from cloud.devices.tables import Device
from cloud.journal.tables import DeadLetter, LaneGap, LaneRow
from cloud.questions import repository
from cloud.tasks.tables import Node, Task
from shared.ids import UPWARD, Lane
from shared.tasks.states import TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLag:
    """Logs of one kind that still take records: how far readers are behind their writers, in all. `forked`: stopped."""

    lane: str
    logs: int
    records: int
    bytes: int
    forked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNumbers:
    """`devices`: by status and presence. `gaps`: by reason, how many, of how many records. `nodes`: open, by state."""

    devices: dict[tuple[str, str], int]
    lags: Sequence[LaneLag]
    gaps: dict[str, tuple[int, int]]
    nodes: dict[str, int]
    dead_letters: int
    questions: dict[tuple[str, bool | None], int]
    """Of devices to the hub, by state and whether something was known."""


def read_fleet(
    session: Session, limits: PresenceLimits, now: datetime, *, tenant: str | None = None
) -> FleetNumbers:
    """Of one tenant, or of all. Blocking; some tens of milliseconds for ten thousand devices."""
    state = presence_of(read_horizons(session, limits, now))
    devices = select(col(Device.status), state, func.count()).group_by(col(Device.status), state)
    gaps = select(
        LaneGap.reason,
        func.count(),
        func.sum(LaneGap.last_seq - LaneGap.first_seq + 1),
    ).group_by(LaneGap.reason)
    is_open = col(Node.state).not_in([ended.value for ended in TERMINAL])
    nodes = select(Node.state, func.count()).where(is_open).group_by(Node.state)
    letters = select(func.count()).select_from(DeadLetter).where(col(DeadLetter.resolution).is_(None))
    if tenant is not None:
        is_theirs = _is_of(tenant)
        devices = devices.where(Device.tenant == tenant)
        gaps = gaps.join(LaneRow, col(LaneRow.id) == col(LaneGap.lane_id)).where(is_theirs)
        nodes = nodes.join(Task, col(Task.id) == col(Node.task_id)).where(Task.tenant == tenant)
        letters = letters.join(LaneRow, col(LaneRow.id) == col(DeadLetter.lane_id)).where(is_theirs)
    return FleetNumbers(
        devices={(status, presence): count for status, presence, count in session.exec(devices).all()},
        lags=[_lag(session, lane, tenant) for lane in Lane],
        gaps={reason: (count, int(records)) for reason, count, records in session.exec(gaps).all()},
        nodes=dict(session.exec(nodes).all()),
        dead_letters=session.exec(letters).one(),
        questions=repository.counts(session, tenant),
    )


def _is_of(tenant: str) -> ColumnElement[bool]:
    # A name of a tenant has no dot, so no other tenant's devices begin like this.
    return col(LaneRow.principal).startswith(f"{tenant}.", autoescape=True)


def _lag(session: Session, lane: Lane, tenant: str | None) -> LaneLag:
    is_ours = lane not in UPWARD
    far, near = (LaneRow.head_seq, LaneRow.acked) if is_ours else (LaneRow.writer_head, LaneRow.head_seq)
    behind = col(far) - col(near)
    query = select(
        func.count(),
        func.coalesce(func.sum(case((behind > 0, behind), else_=0)), 0),
        func.coalesce(func.sum(LaneRow.writer_bytes), 0),
        func.count(col(LaneRow.forked_at_seq)),
    ).where(LaneRow.lane == lane.value, col(LaneRow.closed_at).is_(None))
    if tenant is not None:
        query = query.where(_is_of(tenant))
    logs, records, size, forked = session.exec(query).one()
    return LaneLag(lane=lane.value, logs=logs, records=int(records), bytes=int(size), forked=forked)

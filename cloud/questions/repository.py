"""Queries over devices' questions. No decisions, no commits."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, and_, col, or_, select

from cloud.devices.tables import Device, DeviceStatus
from cloud.questions.tables import HubQuestion, QuestionState

CROWDS_MAX = 10
"""Devices with too many questions that are looked at in one go."""


def asked(session: Session, principal: str, task_id: str, node: int, call: int) -> HubQuestion | None:
    """The question of that call."""
    return session.exec(
        select(HubQuestion).where(
            HubQuestion.principal == principal,
            HubQuestion.task_id == task_id,
            HubQuestion.node == node,
            HubQuestion.call == call,
        )
    ).first()


def is_any_due(session: Session, now: datetime) -> bool:
    return session.exec(select(HubQuestion.id).where(_is_due(now)).limit(1)).first() is not None


def next_due(session: Session, now: datetime) -> HubQuestion | None:
    """The oldest that nobody is at, locked."""
    return session.exec(
        select(HubQuestion)
        .where(_is_due(now))
        .order_by(col(HubQuestion.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()


def crowded(session: Session, most: int) -> Sequence[tuple[str, int]]:
    """Active devices with more than `most` open questions, and how many they have."""
    return session.exec(
        select(HubQuestion.principal, func.count())
        .join(Device, col(Device.principal) == HubQuestion.principal)
        .where(HubQuestion.state == QuestionState.OPEN.value, Device.status == DeviceStatus.ACTIVE.value)
        .group_by(HubQuestion.principal)
        .having(func.count() > most)
        .order_by(HubQuestion.principal)
        .limit(CROWDS_MAX)
    ).all()


def newest_open(session: Session, principal: str, limit: int, now: datetime) -> Sequence[HubQuestion]:
    """Those that were asked last and nobody is at, locked."""
    return session.exec(
        select(HubQuestion)
        .where(
            HubQuestion.principal == principal,
            HubQuestion.state == QuestionState.OPEN.value,
            _is_free(now),
        )
        .order_by(col(HubQuestion.id).desc())
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def lock(session: Session, key: int) -> HubQuestion | None:
    """As it stands now, locked until the transaction ends."""
    return session.exec(select(HubQuestion).where(HubQuestion.id == key).with_for_update()).first()


def page(
    session: Session,
    *,
    tenant: str | None,
    principal: str | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int,
) -> Sequence[HubQuestion]:
    """Newest first."""
    query = select(HubQuestion)
    if tenant is not None:
        query = query.where(HubQuestion.tenant == tenant)
    if principal is not None:
        query = query.where(HubQuestion.principal == principal)
    if state is not None:
        query = query.where(HubQuestion.state == state)
    if before is not None:
        query = query.where(col(HubQuestion.id) < before)
    return session.exec(query.order_by(col(HubQuestion.id).desc()).limit(limit)).all()


def counts(session: Session, tenant: str | None) -> dict[tuple[str, bool | None], int]:
    """How many there are, by state and whether something was known."""
    query = select(HubQuestion.state, HubQuestion.is_known, func.count()).group_by(
        HubQuestion.state, col(HubQuestion.is_known)
    )
    if tenant is not None:
        query = query.where(HubQuestion.tenant == tenant)
    return {(state, is_known): count for state, is_known, count in session.exec(query)}


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(HubQuestion.state == QuestionState.OPEN.value, col(HubQuestion.next_at) <= now, _is_free(now))


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(col(HubQuestion.claimed_until).is_(None), col(HubQuestion.claimed_until) < now)

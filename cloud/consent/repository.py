"""Queries over proposals. No decisions, no commits."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from cloud.consent.tables import Proposal

OPEN = "open"


def find(session: Session, proposal_id: str) -> Proposal | None:
    return session.get(Proposal, proposal_id)


def lock(session: Session, proposal_id: str) -> Proposal | None:
    """As it stands now, locked until the transaction ends: of two who decide at once, one waits and sees the other."""
    query = select(Proposal).where(Proposal.id == proposal_id).with_for_update()
    return session.exec(query, execution_options={"populate_existing": True}).first()


def page(
    session: Session, *, tenant: str | None, only_open: bool, before: datetime | None, limit: int
) -> Sequence[Proposal]:
    """Newest first; of one tenant, or of all and of none."""
    query = select(Proposal)
    if tenant is not None:
        query = query.where(Proposal.tenant == tenant)
    if only_open:
        query = query.where(Proposal.state == OPEN)
    if before is not None:
        query = query.where(Proposal.asked_at < before)
    return session.exec(query.order_by(col(Proposal.asked_at).desc(), col(Proposal.id)).limit(limit)).all()


def with_outcome(session: Session, *, action: str, outcome: str) -> Sequence[Proposal]:
    """Oldest first."""
    query = select(Proposal).where(Proposal.action == action, Proposal.outcome == outcome)
    return session.exec(query.order_by(col(Proposal.decided_at), col(Proposal.id))).all()


def count_open(session: Session, *, person: str, now: datetime) -> int:
    query = select(func.count()).select_from(Proposal)
    query = query.where(Proposal.asked_person == person, Proposal.state == OPEN, Proposal.expires_at > now)
    return session.exec(query).one()

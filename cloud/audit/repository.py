"""Rows of the audit log: entries in order, by what is asked for, and signed heads. No decisions, no commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.sql import Select
from sqlmodel import Session, col, select

from cloud.audit.entry import START
from cloud.audit.tables import AuditEntry, AuditHead, SignedTreeHead
from cloud.journal.tables import LaneRow

READ_CHUNK: Final = 1_000
JUMP_MAX: Final = 1_000_000
"""Entries that may be missing at one place; what claims to be further on was put in."""


def length(session: Session) -> tuple[int, bytes]:
    """How many entries there are, and the chain's hash after the last."""
    found = head_row(session)
    return (0, START) if found is None else (found.size, found.hash)


def head_row(session: Session) -> AuditHead | None:
    """How far the log is; None before the first entry of a database that was emptied."""
    return session.exec(
        select(AuditHead).where(AuditHead.id == 1).execution_options(populate_existing=True)
    ).first()


def end_of_rows(session: Session) -> int:
    """How many entries there would be by the last that is there; rows that are out of all reach are none."""
    query = text(
        "SELECT coalesce(max(seq) + 1, 0) FROM audit_entry"
        " WHERE seq >= 0 AND seq < (SELECT count(*) FROM audit_entry) + :jump"
    ).bindparams(jump=JUMP_MAX)
    return int(session.execute(query).scalar_one())


def read(session: Session, first: int, last: int) -> Sequence[Row[Any]]:
    """`seq`, `entry`, `hash` of the entries from `first` to before `last` that are there, in order."""
    query = text(
        "SELECT seq, entry, hash FROM audit_entry WHERE seq >= :first AND seq < :last ORDER BY seq"
    ).bindparams(first=first, last=last)
    return session.execute(query).all()


def find(
    session: Session,
    *,
    tenant: str | None,
    action: str | None,
    actor: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> Sequence[AuditEntry]:
    """The newest entries below number `before` that fit, newest first. `action` may end in `.`: a whole slice's."""
    query: Any = select(AuditEntry)
    for column, wanted in (
        (AuditEntry.tenant, tenant),
        (AuditEntry.actor, actor),
        (AuditEntry.target, target),
    ):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    if action is not None:
        query = _acting(query, action)
    if since is not None:
        query = query.where(col(AuditEntry.at) >= since)
    if until is not None:
        query = query.where(col(AuditEntry.at) < until)
    if before is not None:
        query = query.where(col(AuditEntry.seq) < before)
    found: Sequence[AuditEntry] = session.exec(query.order_by(col(AuditEntry.seq).desc()).limit(limit)).all()
    return found


def entry_at(session: Session, seq: int) -> AuditEntry | None:
    return session.get(AuditEntry, seq)


def newest_at(session: Session, action: str) -> datetime | None:
    """When the last entry of that action was made."""
    query = select(AuditEntry.at).where(AuditEntry.action == action)
    return session.exec(query.order_by(col(AuditEntry.seq).desc()).limit(1)).first()


def newest_head(session: Session) -> SignedTreeHead | None:
    """The last head that was signed."""
    return session.exec(select(SignedTreeHead).order_by(col(SignedTreeHead.size).desc()).limit(1)).first()


def heads_between(session: Session, after: int, upto: int, limit: int) -> Sequence[Row[Any]]:
    """`size`, `root` and `head` of the heads over more than `after` and at most `upto` entries, in order."""
    query = text(
        "SELECT size, root, head FROM signed_tree_head WHERE size > :after AND size <= :upto ORDER BY size LIMIT :limit"
    ).bindparams(after=after, upto=upto, limit=limit)
    return session.execute(query).all()


def lanes_after(session: Session, tenant: str | None, behind: int, limit: int) -> Sequence[LaneRow]:
    """The logs of a tenant's devices, or of all, in the order of their keys."""
    query = select(LaneRow).where(col(LaneRow.id) > behind)
    if tenant is not None:
        query = query.where(col(LaneRow.principal).startswith(f"{tenant}.", autoescape=True))
    return session.exec(query.order_by(col(LaneRow.id)).limit(limit)).all()


def _acting(query: Select[Any], action: str) -> Select[Any]:
    if action.endswith("."):
        return query.where(col(AuditEntry.action).startswith(action, autoescape=True))
    return query.where(col(AuditEntry.action) == action)

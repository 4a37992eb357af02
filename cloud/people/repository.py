"""Queries over users, their roles, sessions, API tokens and tenants. No decisions, no commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from cloud.audit.tables import AuditEntry
from cloud.caller import Role
from cloud.devices.tables import Device
from cloud.people.tables import ApiToken, BrowserSession, Membership, SpentOidcState, Tenant, User
from shared.errors import RefusedError

TENANT_DELETE: Final = "tenant.delete"
"""The deed, as the audit log calls it."""
ALL_TENANTS: Final = "*"
"""In place of a tenant's name: all of them."""


def store(session: Session, row: User | Membership | Tenant) -> None:
    """Write it now. Raises `RefusedError` (code `changed_meanwhile`) if somebody else has just made the same."""
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise RefusedError(
            "Somebody else has just made the same; look, then try again.", code="changed_meanwhile"
        ) from error


def user(session: Session, name: str) -> User | None:
    return session.get(User, name)


def locked_user(session: Session, name: str) -> User | None:
    """As it stands now, locked until the transaction ends (SQLite has one writer anyway)."""
    query = select(User).where(User.name == name).with_for_update()
    return session.exec(query, execution_options={"populate_existing": True}).first()


def user_of_subject(session: Session, issuer: str, subject: str) -> User | None:
    return session.exec(select(User).where(User.oidc_issuer == issuer, User.oidc_subject == subject)).first()


def users(session: Session, *, tenant: str | None, after: str, limit: int) -> Sequence[User]:
    """In the order of their names, from behind `after`; only those with a role in `tenant`, if one is named."""
    query = select(User).where(User.name > after).order_by(col(User.name)).limit(limit)
    if tenant is not None:
        members = select(Membership.user_name).where(Membership.tenant == tenant)
        query = query.where(col(User.name).in_(members))
    return session.exec(query).all()


def count_users(session: Session) -> int:
    return session.exec(select(func.count()).select_from(User)).one()


def count_members(session: Session, tenant: str) -> int:
    return session.exec(select(func.count()).select_from(Membership).where(Membership.tenant == tenant)).one()


def memberships(session: Session, names: Sequence[str]) -> Sequence[Membership]:
    return session.exec(
        select(Membership)
        .where(col(Membership.user_name).in_(names))
        .order_by(col(Membership.user_name), col(Membership.tenant))
    ).all()


def locked_administrators(session: Session) -> Sequence[tuple[Membership, User]]:
    """The hub's administrators, each of whose roles is locked until the transaction ends: two cannot go at once."""
    return session.exec(
        select(Membership, User)
        .join(User, col(User.name) == col(Membership.user_name))
        .where(Membership.tenant == ALL_TENANTS, Membership.role == Role.ADMIN.value)
        .order_by(col(Membership.user_name))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def end_sessions(session: Session, name: str) -> None:
    session.execute(delete(BrowserSession).where(col(BrowserSession.user_name) == name))


def remove_user(session: Session, name: str) -> None:
    end_sessions(session, name)
    session.execute(delete(Membership).where(col(Membership.user_name) == name))
    session.execute(delete(User).where(col(User.name) == name))


def sessions_of(session: Session, name: str) -> Sequence[BrowserSession]:
    """Oldest first."""
    return session.exec(
        select(BrowserSession)
        .where(BrowserSession.user_name == name)
        .order_by(col(BrowserSession.created_at), col(BrowserSession.id_sha256))
    ).all()


def end_expired_sessions(session: Session, now: datetime) -> None:
    session.execute(delete(BrowserSession).where(col(BrowserSession.expires_at) <= now))


def api_tokens(session: Session, *, tenant: str | None, limit: int) -> Sequence[ApiToken]:
    """Newest first; of one tenant, or of all."""
    query = select(ApiToken).order_by(col(ApiToken.created_at).desc(), col(ApiToken.id)).limit(limit)
    if tenant is not None:
        query = query.where(ApiToken.tenant == tenant)
    return session.exec(query).all()


def tokens_made_by(session: Session, name: str) -> Sequence[ApiToken]:
    """Oldest first."""
    return session.exec(
        select(ApiToken)
        .where(ApiToken.created_by == name)
        .order_by(col(ApiToken.created_at), col(ApiToken.id))
    ).all()


def living_tokens(session: Session, now: datetime, *, tenant: str | None = None) -> int:
    """How many can be used; of one tenant, or of all."""
    query = select(func.count()).select_from(ApiToken)
    query = query.where(col(ApiToken.revoked_at).is_(None), col(ApiToken.expires_at) > now)
    return session.exec(query if tenant is None else query.where(ApiToken.tenant == tenant)).one()


def forget_tokens(session: Session, before: datetime) -> None:
    """Those that expired before."""
    session.execute(delete(ApiToken).where(col(ApiToken.expires_at) < before))


def tenants(session: Session) -> Sequence[Tenant]:
    return session.exec(select(Tenant).order_by(col(Tenant.name))).all()


def has_been_deleted(session: Session, tenant: str) -> bool:
    """Whether there was a tenant of that name: the audit log forgets nothing."""
    query = select(AuditEntry.seq).where(AuditEntry.action == TENANT_DELETE, AuditEntry.target == tenant)
    return session.exec(query.limit(1)).first() is not None


def has_tenant(session: Session, name: str) -> bool:
    return session.get(Tenant, name) is not None


def devices_by_tenant(session: Session) -> dict[str, int]:
    return dict(session.exec(select(Device.tenant, func.count()).group_by(Device.tenant)).all())


def people_by_tenant(session: Session) -> dict[str, int]:
    return dict(session.exec(select(Membership.tenant, func.count()).group_by(Membership.tenant)).all())


def forget_spent_states(session: Session, now: datetime) -> None:
    session.execute(delete(SpentOidcState).where(col(SpentOidcState.expires_at) <= now))

"""Whose credential it is, and what that may still do: for the rule that two people agree. Reads; never commits."""

from datetime import datetime

from sqlmodel import Session

from cloud.caller import ROOT, Permission
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import NOTHING, TOKEN_PREFIX, permissions_in, roles_of, token_permissions
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken

CHAIN_MAX = 3
"""A token that a token made makes no others (`cloud.people.api_tokens`)."""


def person_of(session: Session, seals: PeopleSeals, name: str) -> str | None:
    """The user (or `root`) behind a caller's name: of a token who made it. None if nobody vouches for that."""
    for _ in range(CHAIN_MAX):
        if not name.startswith(TOKEN_PREFIX):
            return name
        token = session.get(ApiToken, name.removeprefix(TOKEN_PREFIX))
        if token is None or not seals.fits(token):
            return None
        name = token.created_by
    return None


def may_still(
    session: Session,
    seals: PeopleSeals,
    name: str,
    permission: Permission,
    *,
    tenant: str | None,
    now: datetime,
) -> bool:
    """Whether the credential `name` has a permission in a tenant (None: in all of them) as of now."""
    where = ALL_TENANTS if tenant is None else tenant
    if name == ROOT:
        return True
    if not name.startswith(TOKEN_PREFIX):
        return permission in permissions_in(roles_of(session, seals, name), where)
    token = session.get(ApiToken, name.removeprefix(TOKEN_PREFIX))
    if token is None or token.expires_at <= now or token.tenant not in (where, ALL_TENANTS):
        return permission in NOTHING
    return permission in token_permissions(session, seals, token)

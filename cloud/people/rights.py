"""What somebody may do in a tenant, read anew each time: nothing that a person lost lives on in a session or a token.

Only rows whose seals fit count.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlmodel import Session

from cloud.caller import PERMISSIONS, ROOT, Permission, Role
from cloud.people import repository
from cloud.people.repository import ALL_TENANTS
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken, Membership, User

NOTHING: Final[frozenset[Permission]] = frozenset()
TOKEN_PREFIX: Final = "token:"
"""Before a token's id in the name of a caller."""


def roles_of(session: Session, seals: PeopleSeals, name: str) -> Mapping[str, Role]:
    """A user's role by tenant (`*`: all); none for who is disabled or unknown."""
    user = repository.user(session, name)
    if user is None or not may_enter(seals, user):
        return {}
    return genuine_roles(seals, repository.memberships(session, [name]))


def may_enter(seals: PeopleSeals, user: User) -> bool:
    return seals.fits(user) and not user.is_disabled


def genuine_roles(seals: PeopleSeals, memberships: Iterable[Membership]) -> Mapping[str, Role]:
    return {row.tenant: Role(row.role) for row in memberships if seals.fits(row) and row.role in set(Role)}


def permissions_in(roles: Mapping[str, Role], tenant: str) -> frozenset[Permission]:
    """What these roles allow in a tenant: the one there, and the one in all tenants. For `*` only the latter."""
    named = {roles[each] for each in (tenant, ALL_TENANTS) if each in roles}
    return frozenset().union(*(PERMISSIONS[role] for role in named))


def token_permissions(session: Session, seals: PeopleSeals, token: ApiToken) -> frozenset[Permission]:
    """What a token's role allows, as far as whoever made it may still do that. Its times are not looked at."""
    if token.revoked_at is not None or token.role not in set(Role) or not seals.fits(token):
        return NOTHING
    allowed = PERMISSIONS[Role(token.role)]
    if token.created_by == ROOT:
        return allowed
    if not token.created_by.startswith(TOKEN_PREFIX):
        return allowed & permissions_in(roles_of(session, seals, token.created_by), token.tenant)
    maker = session.get(ApiToken, token.created_by.removeprefix(TOKEN_PREFIX))
    # A token that was made by a token makes no others (`api_tokens.create`); a longer chain is somebody's forgery.
    if maker is None or maker.created_by.startswith(TOKEN_PREFIX):
        return NOTHING
    if maker.tenant not in (token.tenant, ALL_TENANTS):
        return NOTHING
    return allowed & token_permissions(session, seals, maker)

"""Who may use the hub: users, their roles, tenants. Decides; never commits.

An admin of a tenant is in charge of who belongs to that tenant and to no other; the hub's administrators (`*`) are in
charge of everybody. A row that was changed behind the hub's back is not sealed anew by a change of something else in
it: it can only be removed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Final

from sqlmodel import Session

from cloud.caller import ROOT, Caller, Means, Role
from cloud.devices import tokens as enrolment_tokens
from cloud.people import api_tokens, repository
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import TOKEN_PREFIX, may_enter
from cloud.people.schemas import ApiTokenView, RoleView, TenantView, UserPage, UserView
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken, Membership, Tenant, User
from shared.errors import CapacityError, RefusedError
from shared.ids import HUB

RESERVED: Final = frozenset({ROOT, HUB, "unknown", "oidc"})
"""Names that mean somebody else in the audit log."""
TENANTS_MAX: Final = 10_000
USERS_MAX: Final = 100_000
USERS_OF_TENANT_MAX: Final = 20_000
"""People with a role in one tenant: its admins shall not use up what is for all."""


def create_user(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    *,
    name: str,
    password_hash: str | None,
    subject: tuple[str, str] | None,
    role: tuple[str, Role] | None,
    default_tenant: str,
    now: datetime,
) -> User:
    """`subject`: issuer and subject at an identity provider. `role`: tenant and first role there.

    Raises `RefusedError` (codes `user_exists`, `forbidden`, `tenant_unknown`, `subject_taken`), and `CapacityError`
    beyond `USERS_MAX` and `USERS_OF_TENANT_MAX`.
    """
    if caller.tenant is not None and role is None:
        raise _forbidden("Say which role the user has in your tenant, with --tenant and --role.")
    if caller.tenant is not None and subject is not None:
        raise _forbidden("Only the hub's administrators bind users to an identity provider.")
    if name in RESERVED or repository.user(session, name) is not None:
        raise RefusedError(f"The name {name} is taken already; choose another.", code="user_exists")
    if subject is not None and repository.user_of_subject(session, *subject) is not None:
        raise RefusedError(
            "Another user has this subject of that identity provider already.", code="subject_taken"
        )
    if repository.count_users(session) >= USERS_MAX:
        raise CapacityError(
            f"There are {USERS_MAX} users already; delete some.", bound="USERS_MAX", limit=USERS_MAX
        )
    user = User(
        name=name,
        password_hash=password_hash,
        oidc_issuer=None if subject is None else subject[0],
        oidc_subject=None if subject is None else subject[1],
        created_at=now,
        mac=b"",
    )
    _store(session, seals, user)
    if role is not None:
        _give(session, seals, caller, name, *role, default_tenant=default_tenant)
    return user


def grant(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    *,
    name: str,
    tenant: str,
    role: Role,
    default_tenant: str,
    issuer: str,
) -> User:
    """Give a user this role in a tenant, instead of another that it may have there; its sessions end.

    `issuer`, here and below: of the hub's identity provider, empty without one.

    Raises `RefusedError` (codes `user_unknown`, `forbidden`, `tenant_unknown`, `last_administrator`).
    """
    user = _visible(session, caller, name)
    with _keeping_an_administrator(session, seals, caller, issuer):
        _give(session, seals, caller, name, tenant, role, default_tenant=default_tenant)
        repository.end_sessions(session, name)
    return user


def revoke(
    session: Session, seals: PeopleSeals, caller: Caller, *, name: str, tenant: str, issuer: str
) -> User:
    """Take a user's role in a tenant away; its sessions end.

    Raises `RefusedError` (codes `user_unknown`, `role_unknown`, `forbidden`, `last_administrator`).
    """
    user = _visible(session, caller, name)
    _check_reach(caller, tenant)
    membership = session.get(Membership, (name, tenant))
    if membership is None:
        raise RefusedError(f"{name} has no role in {tenant}; nothing is to be taken.", code="role_unknown")
    with _keeping_an_administrator(session, seals, caller, issuer):
        session.delete(membership)
        session.flush()
        repository.end_sessions(session, name)
    return user


def set_disabled(
    session: Session, seals: PeopleSeals, caller: Caller, name: str, *, is_disabled: bool, issuer: str
) -> User:
    """Shut a user out, with sessions and tokens, or let it in again. Raises `RefusedError` as `managed` does."""
    user = _sound(seals, managed(session, caller, name))
    with _keeping_an_administrator(session, seals, caller, issuer):
        user.is_disabled = is_disabled
        _store(session, seals, user)
        repository.end_sessions(session, name)
    return user


def set_password(
    session: Session, seals: PeopleSeals, caller: Caller, name: str, *, password_hash: str, now: datetime
) -> User:
    """All sessions end, and the tokens of sign-ins. Raises `RefusedError` as `managed` does."""
    user = _sound(seals, managed(session, caller, name))
    user.password_hash = password_hash
    _store(session, seals, user)
    repository.end_sessions(session, name)
    api_tokens.end_sign_ins(session, seals, name, now=now)
    return user


def set_totp(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    name: str,
    *,
    secret: bytes | None,
    step: int,
    now: datetime,
) -> User:
    """Demand codes of this (hidden) secret from now on, or none; all sessions end, and the tokens of sign-ins. `step`
    is used up already.

    Raises `RefusedError` as `managed` does.
    """
    user = _sound(seals, managed(session, caller, name))
    user.totp_secret, user.totp_last_step = secret, step
    _store(session, seals, user)
    repository.end_sessions(session, name)
    api_tokens.end_sign_ins(session, seals, name, now=now)
    return user


def delete_user(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    name: str,
    *,
    now: datetime,
    issuer: str,
    may_return: bool,
) -> None:
    """With roles and sessions; tokens that it made are revoked, also for enrolment, lest another inherits them.

    `may_return`: whom the provider knows is made a user by signing in, so who is deleted would come back. Raises
    `RefusedError` as `managed` does, and with code `user_returns` for such a one.
    """
    user = managed(session, caller, name)
    is_known_there = user.oidc_subject is not None and user.oidc_issuer == issuer
    if may_return and is_known_there and seals.fits(user):
        raise RefusedError(
            f"The identity provider would make {name} a user again at the next sign-in; disable the user instead.",
            code="user_returns",
        )
    with _keeping_an_administrator(session, seals, caller, issuer):
        made = repository.tokens_made_by(session, name)
        for token in made:
            api_tokens.end(session, seals, token, now=now)
        # What it could still let in, it lets in no longer.
        makers = [name, *(f"{TOKEN_PREFIX}{token.id}" for token in made)]
        enrolment_tokens.void(session, now, makers=makers)
        repository.remove_user(session, name)


def create_tenant(session: Session, name: str, *, now: datetime) -> Tenant:
    """Raises `RefusedError` (code `tenant_exists`, `tenant_gone`), `CapacityError`."""
    found = repository.tenants(session)
    if repository.has_been_deleted(session, name):
        # Proposals, settings and audit entries of the old one would be the new one's.
        raise RefusedError(
            f"There was a tenant {name}, and its name stays taken; choose another.", code="tenant_gone"
        )
    if any(each.name == name for each in found):
        raise RefusedError(f"There is a tenant {name} already.", code="tenant_exists")
    if len(found) >= TENANTS_MAX:
        raise CapacityError(
            f"There are {TENANTS_MAX} tenants already.", bound="TENANTS_MAX", limit=TENANTS_MAX
        )
    tenant = Tenant(name=name, created_at=now)
    repository.store(session, tenant)
    return tenant


def delete_tenant(session: Session, name: str, *, now: datetime) -> None:
    """Enrolment tokens that nobody has used are revoked. The name stays taken.

    Raises `RefusedError` (code `tenant_unknown`; `tenant_in_use` if it has devices, people or living API tokens).
    """
    tenant = session.get(Tenant, name)
    if tenant is None:
        raise _tenant_unknown(name)
    devices, people = repository.devices_by_tenant(session), repository.people_by_tenant(session)
    if devices.get(name) or people.get(name) or repository.living_tokens(session, now, tenant=name):
        raise RefusedError(
            f"The tenant {name} has devices, people or API tokens. Remove people and revoke tokens first; one that has"
            " had a device cannot be deleted.",
            code="tenant_in_use",
        )
    enrolment_tokens.void(session, now, tenant=name)
    session.delete(tenant)


def list_tenants(session: Session) -> list[TenantView]:
    devices, people = repository.devices_by_tenant(session), repository.people_by_tenant(session)
    return [
        TenantView(
            name=each.name,
            created_at=each.created_at,
            devices=devices.get(each.name, 0),
            people=people.get(each.name, 0),
        )
        for each in repository.tenants(session)
    ]


def check_tenant(session: Session, tenant: str, default_tenant: str) -> None:
    """Raises `RefusedError` (code `tenant_unknown`). The default one and `*` need not be made."""
    if tenant not in (default_tenant, ALL_TENANTS) and session.get(Tenant, tenant) is None:
        raise _tenant_unknown(tenant)


def show_user(session: Session, seals: PeopleSeals, caller: Caller, name: str) -> UserView:
    """Raises `RefusedError` (code `user_unknown`)."""
    user = _visible(session, caller, name)
    return user_view(seals, caller, user, repository.memberships(session, [name]))


def list_users(session: Session, seals: PeopleSeals, caller: Caller, *, after: str, limit: int) -> UserPage:
    """Those whom the caller may see, in the order of their names."""
    found = repository.users(session, tenant=caller.tenant, after=after, limit=limit + 1)
    rows = repository.memberships(session, [user.name for user in found[:limit]])
    by_name = {name: list(group) for name, group in groupby(rows, key=lambda row: row.user_name)}
    return UserPage(
        users=[user_view(seals, caller, user, by_name.get(user.name, [])) for user in found[:limit]],
        next=found[limit - 1].name if len(found) > limit else None,
    )


def user_view(seals: PeopleSeals, caller: Caller, user: User, memberships: Sequence[Membership]) -> UserView:
    shown = [row for row in memberships if caller.sees(row.tenant)]
    return UserView(
        name=user.name,
        roles=[RoleView(tenant=row.tenant, role=Role(row.role)) for row in shown if row.role in set(Role)],
        has_password=user.password_hash is not None,
        has_totp=user.totp_secret is not None,
        oidc_issuer=user.oidc_issuer,
        oidc_subject=user.oidc_subject,
        is_disabled=user.is_disabled,
        is_sound=seals.is_genuine(user) and all(seals.is_genuine(row) for row in shown),
        created_at=user.created_at,
    )


def api_token_view(seals: PeopleSeals, row: ApiToken) -> ApiTokenView:
    return ApiTokenView(
        id=row.id,
        label=row.label,
        tenant=row.tenant,
        role=row.role,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
        is_sound=seals.is_genuine(row),
    )


def _visible(session: Session, caller: Caller, name: str) -> User:
    """Raises `RefusedError` (code `user_unknown`), also for who belongs to other tenants alone."""
    user = repository.locked_user(session, name)
    if user is None or not _belongs(session, caller, name):
        raise RefusedError(f"There is no user {name}; `covey-hub user list` shows all.", code="user_unknown")
    return user


def _belongs(session: Session, caller: Caller, name: str) -> bool:
    return caller.tenant is None or session.get(Membership, (name, caller.tenant)) is not None


def managed(session: Session, caller: Caller, name: str) -> User:
    """Raises `RefusedError` (code `user_unknown`; `forbidden` for who also belongs elsewhere; `last_administrator`)."""
    user = _visible(session, caller, name)
    if any(not caller.sees(row.tenant) for row in repository.memberships(session, [name])):
        raise _forbidden(f"{name} belongs to other tenants too; ask an administrator of the hub.")
    return user


def _sound(seals: PeopleSeals, user: User) -> User:
    if not seals.fits(user):
        raise RefusedError(
            f"The row of {user.name} was changed behind the hub's back; delete that user and make it anew.",
            code="row_tampered",
        )
    return user


def _give(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    name: str,
    tenant: str,
    role: Role,
    *,
    default_tenant: str,
) -> None:
    _check_reach(caller, tenant)
    check_tenant(session, tenant, default_tenant)
    membership = session.get(Membership, (name, tenant))
    if membership is None:
        if tenant != ALL_TENANTS and repository.count_members(session, tenant) >= USERS_OF_TENANT_MAX:
            raise CapacityError(
                f"{USERS_OF_TENANT_MAX} people have a role in {tenant} already; take it from some with"
                " `covey-hub user revoke`.",
                bound="USERS_OF_TENANT_MAX",
                limit=USERS_OF_TENANT_MAX,
            )
        membership = Membership(user_name=name, tenant=tenant, role=role.value, mac=b"")
    membership.role = role.value
    _store(session, seals, membership)


def _check_reach(caller: Caller, tenant: str) -> None:
    """Only who belongs to no tenant deals with the hub's administrators, or with another tenant."""
    if tenant == ALL_TENANTS and caller.tenant is not None:
        raise _forbidden("Only the hub's administrators deal with roles in all tenants.")
    if tenant != ALL_TENANTS and not caller.sees(tenant):
        raise _tenant_unknown(tenant)


@contextmanager
def _keeping_an_administrator(
    session: Session, seals: PeopleSeals, caller: Caller, issuer: str
) -> Iterator[None]:
    """Raises `RefusedError` (code `last_administrator`) if the block leaves no way in for any administrator."""
    before = _administrators(session, seals, issuer)
    yield
    session.flush()
    if before and caller.means is not Means.ADMIN_TOKEN and not _administrators(session, seals, issuer):
        raise RefusedError(
            "Nobody could administer the hub any more; make another administrator first, or use the admin token.",
            code="last_administrator",
        )


def _administrators(session: Session, seals: PeopleSeals, issuer: str) -> set[str]:
    """Who could sign in, by password or at the hub's own identity provider, and administer the hub."""
    return {
        user.name
        for membership, user in repository.locked_administrators(session)
        if may_enter(seals, user)
        and seals.fits(membership)
        and (user.password_hash is not None or _is_known_at(user, issuer))
    }


def _is_known_at(user: User, issuer: str) -> bool:
    """Whether the hub's identity provider (empty: there is none) can vouch for the user."""
    return bool(issuer) and user.oidc_subject is not None and user.oidc_issuer == issuer


def _store(session: Session, seals: PeopleSeals, row: User | Membership) -> None:
    seals.seal(row)
    repository.store(session, row)


def _forbidden(message: str) -> RefusedError:
    return RefusedError(message, code="forbidden")


def _tenant_unknown(tenant: str) -> RefusedError:
    return RefusedError(
        f"There is no tenant {tenant}; `covey-hub tenant list` shows all.", code="tenant_unknown"
    )

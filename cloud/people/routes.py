"""HTTP for people, tenants and API tokens. Plain functions: FastAPI runs them in worker threads.

Each deed is noted in its transaction. Hashes are made before it: they take a tenth of a second.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import SecretStr

from cloud.access import Admin, Caller, HubAdmin, HubReader, Reader
from cloud.audit.log import note
from cloud.db import Database
from cloud.people import api_tokens, repository, service
from cloud.people.passwords import Passwords, check_new
from cloud.people.repository import ALL_TENANTS, TENANT_DELETE
from cloud.people.schemas import (
    ApiTokenView,
    ConfirmTotp,
    CreateApiToken,
    CreatedApiToken,
    CreateTenant,
    CreateUser,
    SetPassword,
    SetRole,
    SignInForToken,
    TenantOrAll,
    TenantView,
    TokenId,
    TotpEnrolment,
    UserName,
    UserPage,
    UserView,
    WhoAmI,
)
from cloud.people.seals import PeopleSeals
from cloud.people.sign_in import Granted, Problem, SignIn, Waiting
from cloud.people.totp import TotpSecrets
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.errors import CapacityError, ProtocolError, RefusedError

Name = Annotated[UserName, Path()]
TenantIn = Annotated[TenantOrAll, Path()]
PAGE_DEFAULT_ROWS = 100


def people_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    seals: PeopleSeals,
    passwords: Passwords,
    totp: TotpSecrets,
) -> APIRouter:
    """Users and their roles: for admins of a tenant, and for the hub's."""
    router = APIRouter(prefix="/v1", tags=["people"])

    def hashed(name: str, password: SecretStr) -> str:
        check_new(name, password.get_secret_value())
        return passwords.hash(password.get_secret_value())

    @router.get("/me")
    def who_am_i(caller: Reader) -> WhoAmI:
        """Who the hub takes you for, and what you may do."""
        return WhoAmI(
            name=caller.name,
            person=caller.person,
            tenant=caller.tenant,
            permissions=sorted(caller.permissions),
            means=caller.means,
        )

    @router.post("/users", status_code=201)
    def create_user(request: CreateUser, caller: Admin) -> UserView:
        """Make a user. Without password and subject nobody can sign in as it yet."""
        if (request.tenant is None) != (request.role is None):
            raise ProtocolError("A role and its tenant are given together.", code="invalid")
        issuer = request.oidc_issuer or settings.oidc_issuer
        if request.oidc_subject is not None and not issuer:
            raise RefusedError(
                "No identity provider is set (`oidc_issuer`), so a subject names nobody.", code="no_provider"
            )
        password_hash = None if request.password is None else hashed(request.name, request.password)
        role = None
        if request.tenant is not None and request.role is not None:
            role = (request.tenant, request.role)
        now = clock.now()
        with database.write() as session:
            service.create_user(
                session,
                seals,
                caller,
                name=request.name,
                password_hash=password_hash,
                subject=None if request.oidc_subject is None else (issuer, request.oidc_subject),
                role=role,
                default_tenant=settings.tenant,
                now=now,
            )
            detail = {} if role is None else {"role": role[1].value, "in": role[0]}
            note(session, caller, "user.create", request.name, tenant=caller.tenant, now=now, detail=detail)
            return service.show_user(session, seals, caller, request.name)

    @router.get("/users")
    def list_users(
        caller: Admin,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> UserPage:
        """Users in the order of their names: all, or those of the caller's tenant."""
        rows = min(limit, settings.page_max_rows)
        with database.read() as session:
            return service.list_users(session, seals, caller, after=after, limit=rows)

    @router.get("/users/{name}")
    def show_user(name: Name, caller: Admin) -> UserView:
        """Roles, ways to sign in, and whether the rows are as the hub wrote them."""
        with database.read() as session:
            return service.show_user(session, seals, caller, name)

    @router.delete("/users/{name}", status_code=204)
    def delete_user(name: Name, caller: Admin) -> None:
        """With roles and sessions; API tokens that it made are revoked."""
        now = clock.now()
        with database.write() as session:
            service.delete_user(
                session,
                seals,
                caller,
                name,
                now=now,
                issuer=settings.oidc_issuer,
                may_return=settings.oidc_auto_create_role is not None,
            )
            note(session, caller, "user.delete", name, tenant=caller.tenant, now=now)

    @router.post("/users/{name}/disable")
    def disable_user(name: Name, caller: Admin) -> UserView:
        """End all sessions, and let nobody in with this name or its tokens."""
        return _set_disabled(name, caller, is_disabled=True)

    @router.post("/users/{name}/enable")
    def enable_user(name: Name, caller: Admin) -> UserView:
        """Let a disabled user in again."""
        return _set_disabled(name, caller, is_disabled=False)

    def _set_disabled(name: str, caller: Caller, *, is_disabled: bool) -> UserView:
        now = clock.now()
        with database.write() as session:
            service.set_disabled(
                session, seals, caller, name, is_disabled=is_disabled, issuer=settings.oidc_issuer
            )
            action = "user.disable" if is_disabled else "user.enable"
            note(session, caller, action, name, tenant=caller.tenant, now=now)
            return service.show_user(session, seals, caller, name)

    @router.put("/users/{name}/password")
    def set_password(name: Name, request: SetPassword, caller: Admin) -> UserView:
        """Another password; all sessions of the user end."""
        with database.read() as session:
            service.managed(session, caller, name)  # before the hash is paid for
        password_hash = hashed(name, request.password)
        now = clock.now()
        with database.write() as session:
            service.set_password(session, seals, caller, name, password_hash=password_hash, now=now)
            note(session, caller, "user.set_password", name, tenant=caller.tenant, now=now)
            return service.show_user(session, seals, caller, name)

    @router.post("/users/{name}/totp")
    def begin_totp(name: Name, caller: Admin) -> TotpEnrolment:
        """A secret for an authenticator app, shown once. It counts when a code of it came back."""
        now = clock.now()
        with database.read() as session:
            service.managed(session, caller, name)
        made = totp.begin(name, now=now)
        return TotpEnrolment(secret=made.secret, uri=made.uri, ticket=made.ticket)

    @router.put("/users/{name}/totp")
    def confirm_totp(name: Name, request: ConfirmTotp, caller: Admin) -> UserView:
        """From now on the user signs in with a code too; all its sessions end."""
        now = clock.now()
        with database.read() as session:
            service.managed(session, caller, name)
        secret, step = totp.finish(name, request.ticket, request.code, now=now)
        with database.write() as session:
            service.set_totp(session, seals, caller, name, secret=secret, step=step, now=now)
            note(session, caller, "user.set_totp", name, tenant=caller.tenant, now=now)
            return service.show_user(session, seals, caller, name)

    @router.delete("/users/{name}/totp")
    def reset_totp(name: Name, caller: Admin) -> UserView:
        """No code any more, for somebody who lost the device that makes them; all sessions end."""
        now = clock.now()
        with database.write() as session:
            service.set_totp(session, seals, caller, name, secret=None, step=0, now=now)
            note(session, caller, "user.reset_totp", name, tenant=caller.tenant, now=now)
            return service.show_user(session, seals, caller, name)

    @router.put("/users/{name}/roles/{tenant}")
    def grant_role(name: Name, tenant: TenantIn, request: SetRole, caller: Admin) -> UserView:
        """The user's role in a tenant (`*`: in all), instead of another that it has there."""
        now = clock.now()
        with database.write() as session:
            service.grant(
                session,
                seals,
                caller,
                name=name,
                tenant=tenant,
                role=request.role,
                default_tenant=settings.tenant,
                issuer=settings.oidc_issuer,
            )
            detail: dict[str, str | int | bool] = {"role": request.role.value, "in": tenant}
            note(session, caller, "user.grant", name, tenant=_whose(tenant), now=now, detail=detail)
            return service.show_user(session, seals, caller, name)

    @router.delete("/users/{name}/roles/{tenant}", status_code=204)
    def revoke_role(name: Name, tenant: TenantIn, caller: Admin) -> None:
        """Take the user's role in a tenant away."""
        now = clock.now()
        with database.write() as session:
            service.revoke(session, seals, caller, name=name, tenant=tenant, issuer=settings.oidc_issuer)
            note(session, caller, "user.revoke", name, tenant=_whose(tenant), now=now, detail={"in": tenant})

    return router


def tenant_routes(*, database: Database, clock: Clock) -> APIRouter:
    """Tenants: for the hub's administrators."""
    router = APIRouter(prefix="/v1", tags=["people"])

    @router.get("/tenants")
    def list_tenants(_: HubReader) -> list[TenantView]:
        """All tenants, and how much is in each."""
        with database.read() as session:
            return service.list_tenants(session)

    @router.post("/tenants", status_code=201)
    def create_tenant(request: CreateTenant, caller: HubAdmin) -> TenantView:
        """Make a tenant."""
        now = clock.now()
        with database.write() as session:
            made = service.create_tenant(session, request.name, now=now)
            note(session, caller, "tenant.create", request.name, tenant=None, now=now)
            return TenantView(name=made.name, created_at=made.created_at, devices=0, people=0)

    @router.delete("/tenants/{name}", status_code=204)
    def delete_tenant(name: Annotated[TenantName, Path()], caller: HubAdmin) -> None:
        """Remove a tenant that has nothing any more."""
        now = clock.now()
        with database.write() as session:
            service.delete_tenant(session, name, now=now)
            note(session, caller, TENANT_DELETE, name, tenant=None, now=now)

    return router


def api_token_routes(
    *, database: Database, settings: HubSettings, clock: Clock, seals: PeopleSeals
) -> APIRouter:
    """API tokens: for admins of a tenant, and for the hub's."""
    router = APIRouter(prefix="/v1", tags=["people"])

    @router.post("/api-tokens", status_code=201)
    def create_api_token(request: CreateApiToken, caller: Admin) -> CreatedApiToken:
        """Make a token for a program. Its text is shown only now; it may never do more than its maker."""
        now = clock.now()
        life = _life(request.ttl_s, settings)
        tenant = request.tenant or caller.tenant or settings.tenant
        if tenant != ALL_TENANTS:
            tenant = caller.tenant_or(settings.tenant, tenant)
        with database.write() as session:
            service.check_tenant(session, tenant, settings.tenant)
            text, row = api_tokens.create(
                session,
                seals,
                caller,
                label=request.label,
                role=request.role,
                tenant=tenant,
                life=life,
                now=now,
            )
            note(
                session,
                caller,
                "api_token.create",
                row.id,
                tenant=_whose(tenant),
                now=now,
                detail={"label": row.label, "role": row.role, "in": tenant},
            )
            return CreatedApiToken(token=text, view=service.api_token_view(seals, row))

    @router.get("/api-tokens")
    def list_api_tokens(caller: Admin) -> list[ApiTokenView]:
        """The newest tokens, without their secrets."""
        with database.read() as session:
            found = repository.api_tokens(session, tenant=caller.tenant, limit=settings.page_max_rows)
            return [service.api_token_view(seals, row) for row in found]

    @router.delete("/api-tokens/{token_id}")
    def revoke_api_token(token_id: Annotated[TokenId, Path()], caller: Admin) -> ApiTokenView:
        """Let nobody in with it any more, nor with tokens that were made with it."""
        now = clock.now()
        with database.write() as session:
            row = api_tokens.revoke(session, seals, caller, token_id, now=now)
            note(session, caller, "api_token.revoke", row.id, tenant=_whose(row.tenant), now=now)
            return service.api_token_view(seals, row)

    return router


def sign_in_routes(*, sign_in: SignIn, settings: HubSettings) -> APIRouter:
    """Open to everybody (`cloud.http_gate.OPEN_PATHS`): name, password and code show who it is."""
    router = APIRouter(prefix="/v1", tags=["people"])

    @router.post("/sign-in", status_code=201)
    def sign_in_for_token(request: SignInForToken, http: Request) -> CreatedApiToken:
        """An API token of your own, for a password and a code. Its text is shown only now."""
        outcome = sign_in.token_with_password(
            request.name,
            request.password.get_secret_value(),
            request.code.get_secret_value(),
            address=http.client.host if http.client is not None else "",
            tenant=request.tenant,
            role=request.role,
            life=_life(request.ttl_s, settings),
        )
        match outcome:
            case Granted():
                return CreatedApiToken(token=outcome.text, view=outcome.view)
            case Waiting():
                raise CapacityError(
                    f"Too many failed sign-ins; try again in {outcome.seconds} s.",
                    bound="WAIT_MAX_S",
                    limit=outcome.seconds,
                    code="wait",
                )
        if outcome.problem is Problem.NO_ROLE:
            raise RefusedError("You have no such role in that tenant; ask for another.", code="forbidden")
        raise RefusedError(
            "Name, password or code is wrong; after several wrong ones you have to wait. Who signs in at an identity"
            " provider gets a token on the account page, for `covey-hub sign-in NAME --from-page`.",
            code="sign_in_refused",
        )

    return router


def _life(ttl_s: int | None, settings: HubSettings) -> timedelta:
    """How long a token is good for. Raises `ProtocolError` (code `invalid`)."""
    chosen_s = ttl_s or min(settings.api_token_ttl_s, settings.api_token_max_s)
    if chosen_s > settings.api_token_max_s:
        raise ProtocolError(
            f"An API token lives for at most {settings.api_token_max_s} s (`api_token_max_s`).",
            code="invalid",
        )
    return timedelta(seconds=chosen_s)


def _whose(tenant: str) -> str | None:
    """For the audit log: what concerns all tenants is the hub's."""
    return None if tenant == ALL_TENANTS else tenant

"""Who asks, and what they may do. Every route names the permission it needs; `cloud.app` refuses one that does not.

A `Caller` is made by `cloud.http_gate` from a credential and travels with the request. It belongs to one tenant, or
to none: then it may act in every tenant (the hub's own administrator). What another tenant has does not exist for a
caller: it is answered as unknown, never as forbidden.

    @router.get("/devices/{name}")
    def show_device(name: Name, caller: Reader) -> DeviceView:
        principal = caller.principal(name, settings.tenant)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from fastapi import Depends, Request

from shared.errors import ProtocolError, RefusedError
from shared.ids import Principal


class Permission(StrEnum):
    """What a route may need."""

    READ = "read"
    OPERATE = "operate"
    AUTHOR = "author"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a person or token is in a tenant."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"


class Means(StrEnum):
    """By which credential a caller came."""

    ADMIN_TOKEN = "admin_token"
    API_TOKEN = "api_token"
    SESSION = "session"
    PROGRAM = "program"
    """The hub itself: a periodic job."""


PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.OPERATE}),
    Role.AUTHOR: frozenset({Permission.READ, Permission.AUTHOR}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`name` is unique on the hub: a user's name, `token:ID`, or `root`. `tenant` is None for who may act in all.

    `address`: where the request came from, as far as the hub sees it.
    """

    name: str
    tenant: str | None
    permissions: frozenset[Permission]
    means: Means
    address: str = ""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def sees(self, tenant: str) -> bool:
        return self.tenant is None or self.tenant == tenant

    def tenant_or(self, default: str, asked: str | None = None) -> str:
        """The tenant in which something is made. Raises `RefusedError` (code `tenant_unknown`) for another's."""
        tenant = asked or self.tenant or default
        if not self.sees(tenant):
            raise RefusedError(f"There is no tenant {tenant}.", code="tenant_unknown")
        return tenant

    def principal(self, name: str, default: str) -> str:
        """The device meant by `name` or `tenant.name`. Raises `RefusedError` (code `device_unknown`) for another's."""
        principal = Principal.parse(name if "." in name else f"{self.tenant or default}.{name}")
        if not self.sees(principal.tenant):
            raise RefusedError(f"There is no device {principal}.", code="device_unknown")
        return str(principal)


Authenticate = Callable[[str, str], Caller | None]
"""Who a bearer token (first argument) lets in, coming from an address; None: nobody. It reads the database: blocks."""

HUB_ITSELF: Final = Caller(name="hub", tenant=None, permissions=frozenset(Permission), means=Means.PROGRAM)
"""Who acts in periodic jobs, for the audit log."""


class Needs:
    """A dependency that lets only those through who have a permission."""

    def __init__(self, permission: Permission, *, is_for_all_tenants: bool = False) -> None:
        """`is_for_all_tenants`: only for who belongs to no tenant, as the hub's keys concern all of them."""
        self.permission = permission
        self.is_for_all_tenants = is_for_all_tenants

    def __call__(self, request: Request) -> Caller:
        """Raises `RefusedError` (code `forbidden`)."""
        caller: Caller | None = request.scope.get("state", {}).get("caller")
        if caller is None:
            raise ProtocolError("This needs a credential.", code="unauthorized")
        if not caller.may(self.permission):
            raise RefusedError(
                f"This needs the permission to {self.permission.value}; ask an admin of the tenant.",
                code="forbidden",
            )
        if self.is_for_all_tenants and caller.tenant is not None:
            raise RefusedError(
                "This concerns all tenants; only the hub's administrator may.", code="forbidden"
            )
        return caller


Reader = Annotated[Caller, Depends(Needs(Permission.READ))]
Operator = Annotated[Caller, Depends(Needs(Permission.OPERATE))]
Author = Annotated[Caller, Depends(Needs(Permission.AUTHOR))]
Admin = Annotated[Caller, Depends(Needs(Permission.ADMINISTER))]
HubAdmin = Annotated[Caller, Depends(Needs(Permission.ADMINISTER, is_for_all_tenants=True))]
HubReader = Annotated[Caller, Depends(Needs(Permission.READ, is_for_all_tenants=True))]

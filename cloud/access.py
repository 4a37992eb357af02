"""Who asks, and what they may do. Every route names the permission it needs; `cloud.app` refuses one that does not.

A `Caller` is made by `cloud.http_gate` from a credential and travels with the request. It belongs to one tenant, or
to none: then it may act in every tenant (the hub's own administrator). What another tenant has does not exist for a
caller: it is answered as unknown, never as forbidden.

    @router.get("/devices/{name}")
    def show_device(name: Name, caller: Reader) -> DeviceView:
        principal = caller.principal(name, settings.tenant)
"""

from typing import Annotated

from fastapi import Depends, Request

from cloud.caller import (
    HUB_ITSELF,
    PERMISSIONS,
    Authenticate,
    Caller,
    Means,
    Permission,
    Role,
    device_unknown,
)
from shared.errors import ProtocolError, RefusedError

__all__ = [
    "HUB_ITSELF",
    "PERMISSIONS",
    "Admin",
    "Authenticate",
    "Author",
    "Caller",
    "HubAdmin",
    "HubReader",
    "Means",
    "Needs",
    "Operator",
    "Permission",
    "Reader",
    "Role",
    "device_unknown",
]


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

"""Who asks, and what they may do: values. Pure: services, which know no web framework, take callers from here.

A `Caller` belongs to one tenant, or to none: then it may act in every tenant (the hub's own administrator). What
another tenant has does not exist for a caller: it is answered as unknown, never as forbidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import RefusedError
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
    DEVICE = "device"
    """A device, by its own keys."""


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
    person: str = ""
    """The user whose API token it is, if it is a user's: what is counted for a person is counted for all of them."""

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

    def among(self, asked: str | None) -> str | None:
        """The tenant whose things are listed; None: those of all. Raises as `tenant_or`."""
        return self.tenant if asked is None else self.tenant_or(asked, asked)

    def principal(self, name: str, default: str) -> str:
        """The device meant by `name` or `tenant.name`. Raises `RefusedError` (code `device_unknown`) for another's."""
        principal = Principal.parse(name if "." in name else f"{self.tenant or default}.{name}")
        if not self.sees(principal.tenant):
            raise device_unknown(str(principal))
        return str(principal)


def as_name(person: str) -> str:
    """A user's name as records take names."""
    kept = "".join(
        char if char.isascii() and (char.isalnum() or char in "._:@/+-") else "-" for char in person
    )
    return (kept.lstrip("._:@/+-") or "somebody")[:128]


def device_unknown(principal: str) -> RefusedError:
    """Said in the same words of a device that does not exist and of another tenant's."""
    return RefusedError(
        f"There is no device {principal}; `covey-hub device list` shows all.", code="device_unknown"
    )


Authenticate = Callable[[str, str], Caller | None]
"""Whom a bearer token (first argument) lets in, coming from an address; None: nobody. Blocking: reads the database."""


def root(address: str) -> Caller:
    """The hub's own administrator, who showed the token in its home."""
    return Caller(
        name=ROOT,
        tenant=None,
        permissions=frozenset(Permission),
        means=Means.ADMIN_TOKEN,
        address=address,
    )


ROOT: Final = "root"
HUB_ITSELF: Final = Caller(name="hub", tenant=None, permissions=frozenset(Permission), means=Means.PROGRAM)
"""Who acts in periodic jobs, for the audit log."""

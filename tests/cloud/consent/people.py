"""People with roles, each by an API token, at a hub without sockets."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cloud.caller import PERMISSIONS, Caller, Means, Role
from cloud.people import api_tokens
from cloud.people.repository import ALL_TENANTS
from cloud.people.tables import ApiToken, Membership, User
from tests.cloud.hub_api import HubApi


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody's credential. `name` is the user's, or `root`."""

    hub: HubApi
    name: str
    caller: Caller
    bearer: str

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer."""
        response = self.hub.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {self.bearer}"}
        )
        return response.status_code, response.json()

    def asks(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The proposal that comes of a request."""
        status, proposal = self.call(method, path, body)
        assert (status, proposal["state"]) == (202, "open"), proposal
        assert isinstance(proposal, dict)
        return proposal

    def agrees(self, proposal: dict[str, Any], *, sha256: str | None = None) -> tuple[int, Any]:
        body = {"content_sha256": sha256 or proposal["content_sha256"]}
        return self.call("POST", f"/v1/proposals/{proposal['id']}/agree", body)

    def is_refused(self, proposal: dict[str, Any], *, sha256: str | None = None) -> str:
        """The code with which agreeing was refused."""
        status, problem = self.agrees(proposal, sha256=sha256)
        assert status >= 400, problem
        return str(problem["code"])

    def decides(self, proposal: dict[str, Any], verb: str) -> tuple[int, Any]:
        return self.call("POST", f"/v1/proposals/{proposal['id']}/{verb}")


def person(hub: HubApi, name: str, role: Role = Role.ADMIN, *, tenant: str = "main") -> Person:
    """A user with a role in a tenant (`*`: all), and a token of theirs."""
    seals = hub.people.seals
    with hub.database.write() as session:
        user = User(name=name, created_at=hub.clock.now(), mac=b"")
        membership = Membership(user_name=name, tenant=tenant, role=role.value, mac=b"")
        for row in (user, membership):
            seals.seal(row)
            session.add(row)
            session.flush()
    caller = Caller(
        name=name,
        tenant=None if tenant == ALL_TENANTS else tenant,
        permissions=PERMISSIONS[role],
        means=Means.SESSION,
    )
    return credential(hub, caller, role=role)


def credential(hub: HubApi, maker: Caller, *, role: Role = Role.ADMIN, life_h: int = 100) -> Person:
    """Another token of the same person."""
    tenant = ALL_TENANTS if maker.tenant is None else maker.tenant
    with hub.database.write() as session:
        text, row = api_tokens.create(
            session,
            hub.people.seals,
            maker,
            label="test",
            role=role,
            tenant=tenant,
            life=timedelta(hours=life_h),
            now=hub.clock.now(),
        )
    caller = Caller(
        name=f"token:{row.id}", tenant=maker.tenant, permissions=PERMISSIONS[role], means=Means.API_TOKEN
    )
    return Person(hub, maker.name, caller, text)


def change_role(hub: HubApi, name: str, role: Role, *, tenant: str = "main") -> None:
    with hub.database.write() as session:
        row = session.get(Membership, (name, tenant))
        assert row is not None
        row.role = role.value
        hub.people.seals.seal(row)
        session.add(row)


def revoke(hub: HubApi, who: Person) -> None:
    """Their token lets nobody in any more."""
    with hub.database.write() as session:
        row = session.get(ApiToken, who.caller.name.removeprefix("token:"))
        assert row is not None
        api_tokens.end(session, hub.people.seals, row, now=hub.clock.now())

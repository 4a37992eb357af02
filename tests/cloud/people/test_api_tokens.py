"""API tokens: for programs, within what their makers may, and no longer than their time."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from cloud.caller import Caller, Means, Permission, Role
from cloud.people import api_tokens
from cloud.people.tables import ApiToken
from tests.cloud.hub_api import HubApi
from tests.cloud.people.visitors import add_user, api_token, on_both, program


def status(hub: HubApi, token: str) -> int:
    return int(program(hub, token).get("/v1/me").status_code)


def change(hub: HubApi, token_id: str, **values: Any) -> None:
    """Behind the hub's back."""
    with hub.database.write() as session:
        row = session.get(ApiToken, token_id)
        assert row is not None
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


def made_by(hub: HubApi, name: str, role: Role = Role.ADMIN, tenant: str = "main") -> tuple[str, str]:
    """A token that a user made: there is no page for that yet, so as the service is asked."""
    maker = Caller(
        name=name,
        tenant=None if tenant == "*" else tenant,
        permissions=frozenset(Permission),
        means=Means.SESSION,
    )

    def make(session: Session) -> tuple[str, ApiToken]:
        return api_tokens.create(
            session,
            hub.people.seals,
            maker,
            label="x",
            role=role,
            tenant=tenant,
            life=timedelta(days=1),
            now=hub.clock.now(),
        )

    with hub.database.write() as session:
        text, row = make(session)
        return text, row.id


def test_a_token_does_what_its_role_may_in_its_tenant(hub: HubApi) -> None:
    token, token_id = api_token(hub, role="operator", label="ci pipeline")
    assert token.startswith(f"covey1t.{token_id}.")
    me = program(hub, token).get("/v1/me").json()
    assert (me["name"], me["tenant"], me["permissions"]) == (f"token:{token_id}", "main", ["operate", "read"])
    (shown,) = hub.get("/v1/api-tokens")
    assert (shown["label"], shown["role"], shown["created_by"]) == ("ci pipeline", "operator", "root")
    assert token not in str(shown)
    assert token.rpartition(".")[2] not in str(shown)


def test_the_database_does_not_hold_the_token(hub: HubApi) -> None:
    token, token_id = api_token(hub)
    with hub.database.read() as session:
        row = session.get(ApiToken, token_id)
        assert row is not None
        assert token.rpartition(".")[2].encode() not in repr(row.model_dump()).encode()


def spoilt(token: str) -> list[str]:
    prefix, token_id, secret = token.split(".")
    return [
        token[:-1],
        token[:-2] + ("AA" if not token.endswith("AA") else "BB"),
        token + "x",
        f"covey1.{token_id}.{secret}",
        token.upper(),
        secret,
        f"{prefix}.{'a' * 16}.{secret}",
        f"{prefix}..",
        f"{prefix}.{token_id}." + "\xe9" * 43,
        f"{prefix}.{token_id}.{secret}.{secret}",
    ]


def test_what_is_not_the_token_lets_nobody_in(hub: HubApi) -> None:
    token, _ = api_token(hub)
    for wrong in spoilt(token):
        client = TestClient(hub.client.app, raise_server_exceptions=False)
        headers = {b"Authorization": f"Bearer {wrong}".encode("latin-1")}
        assert client.get("/v1/me", headers=headers).status_code == 401, wrong


@on_both
def test_a_revoked_token_is_dead_at_once_and_for_good(hub: HubApi) -> None:
    token, token_id = api_token(hub)
    assert status(hub, token) == 200
    assert hub.client.delete(f"/v1/api-tokens/{token_id}").status_code == 200
    assert status(hub, token) == 401
    assert hub.client.delete(f"/v1/api-tokens/{token_id}").status_code == 200  # again is no mistake
    change(hub, token_id, revoked_at=None)
    assert status(hub, token) == 401
    assert hub.refusal("DELETE", "/v1/api-tokens/aaaaaaaaaaaaaaaa") == (404, "api_token_unknown")


def test_a_token_ends_with_its_time(hub: HubApi) -> None:
    token, _ = api_token(hub, ttl_s=100)
    hub.clock.advance(seconds=99)
    assert status(hub, token) == 200
    hub.clock.advance(seconds=1)
    assert status(hub, token) == 401


def test_no_token_outlives_the_setting(hub: HubApi) -> None:
    longest_s = hub.settings.api_token_max_s
    body = {"label": "x", "role": "viewer"}
    assert hub.refusal("POST", "/v1/api-tokens", {**body, "ttl_s": longest_s + 1}) == (422, "invalid")
    assert hub.client.post("/v1/api-tokens", json={**body, "ttl_s": longest_s}).status_code == 201


@on_both
def test_the_last_use_is_noted_once_a_minute(hub: HubApi) -> None:
    token, _ = api_token(hub)
    assert hub.get("/v1/api-tokens")[0]["used_at"] is None
    first = hub.clock.now()
    for advance, expected in ((0, 0), (59, 0), (1, 60)):
        hub.clock.advance(seconds=advance)
        assert status(hub, token) == 200
        assert hub.get("/v1/api-tokens")[0]["used_at"].startswith(
            (first + timedelta(seconds=expected)).isoformat()[:19]
        )


@pytest.mark.parametrize(
    "values",
    [
        {"role": "admin"},
        {"tenant": "*"},
        {"tenant": "acme"},
        {"created_by": "root"},
        {"secret_sha256": bytes(32)},
        {"mac": bytes(32)},
        {"mac": b""},
        {"role": "owner"},
    ],
)
def test_a_row_that_was_tampered_with_lets_nobody_in(hub: HubApi, values: dict[str, Any]) -> None:
    add_user(hub, "ada", "admin")
    token, token_id = made_by(hub, "ada", Role.VIEWER)
    assert status(hub, token) == 200
    change(hub, token_id, **values)
    assert status(hub, token) == 401
    if values.get("secret_sha256") is None:
        assert hub.get("/v1/api-tokens")[0]["is_sound"] is False


def test_a_token_that_was_made_longer_lived_is_dead(hub: HubApi) -> None:
    token, token_id = api_token(hub)
    change(hub, token_id, expires_at=hub.clock.now() + timedelta(days=9_999))
    assert status(hub, token) == 401


def test_a_token_may_never_do_more_than_its_maker(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    maker = program(hub, api_token(hub, role="admin")[0])
    for body, code in (
        ({"role": "viewer", "tenant": "*"}, "forbidden"),
        ({"role": "viewer", "tenant": "acme"}, "tenant_unknown"),
        ({"role": "viewer", "tenant": "nosuch"}, "tenant_unknown"),
    ):
        answer = maker.post("/v1/api-tokens", json={"label": "x", **body})
        assert answer.json()["code"] == code
    viewer = Caller(name="v", tenant="main", permissions=frozenset({Permission.READ}), means=Means.SESSION)
    with hub.database.write() as session, pytest.raises(Exception, match="may not do more"):
        api_tokens.create(
            session,
            hub.people.seals,
            viewer,
            label="x",
            role=Role.OPERATOR,
            tenant="main",
            life=timedelta(days=1),
            now=hub.clock.now(),
        )


def test_a_token_shrinks_with_its_maker(hub: HubApi) -> None:
    add_user(hub, "ada", "admin")
    token, _ = made_by(hub, "ada")
    client = program(hub, token)
    assert client.get("/v1/users").status_code == 200
    hub.client.put("/v1/users/ada/roles/main", json={"role": "viewer"})
    assert client.get("/v1/me").json()["permissions"] == ["read"]
    assert client.get("/v1/users").status_code == 403
    hub.post("/v1/users/ada/disable")
    assert client.get("/v1/me").status_code == 401
    hub.post("/v1/users/ada/enable")
    assert client.get("/v1/me").status_code == 200
    hub.client.delete("/v1/users/ada/roles/main")
    assert client.get("/v1/me").status_code == 401


@on_both
def test_tokens_of_a_deleted_user_are_not_inherited(hub: HubApi) -> None:
    add_user(hub, "ada", "admin")
    token, _ = made_by(hub, "ada")
    hub.client.delete("/v1/users/ada")
    assert status(hub, token) == 401
    add_user(hub, "ada", "admin")
    assert status(hub, token) == 401


@on_both
def test_what_a_token_made_dies_and_ends_with_it(hub: HubApi) -> None:
    parent, parent_id = api_token(hub, role="admin", ttl_s=1_000)
    child, child_id = api_token(hub, program(hub, parent), role="admin", ttl_s=5_000)
    shown = {token["id"]: token for token in hub.get("/v1/api-tokens")}
    assert shown[child_id]["created_by"] == f"token:{parent_id}"
    assert shown[child_id]["expires_at"] == shown[parent_id]["expires_at"]
    answer = program(hub, child).post("/v1/api-tokens", json={"label": "x", "role": "viewer"})
    assert answer.json()["code"] == "forbidden"  # no chains
    hub.client.delete(f"/v1/api-tokens/{parent_id}")
    assert status(hub, child) == 401


def test_an_admin_of_a_tenant_sees_and_revokes_its_tokens_alone(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    ours, ours_id = api_token(hub, role="admin", tenant="acme")
    _, foreign_id = api_token(hub, tenant="main")
    _, all_id = api_token(hub, tenant="*", role="viewer")
    client = program(hub, ours)
    assert [token["id"] for token in client.get("/v1/api-tokens").json()] == [ours_id]
    for token_id in (foreign_id, all_id):
        answer = client.delete(f"/v1/api-tokens/{token_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "api_token_unknown")

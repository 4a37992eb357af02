"""How many users, roles, tenants and tokens there may be: at the limit, and one past it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from cloud.db import table_of
from cloud.devices.tables import EnrolmentToken
from cloud.devices.tokens import OPEN_TOKENS_MAX
from cloud.people.api_tokens import TOKENS_MAX, TOKENS_OF_TENANT_MAX
from cloud.people.service import TENANTS_MAX, USERS_MAX, USERS_OF_TENANT_MAX
from cloud.people.tables import ApiToken, Membership, Tenant, User
from tests.cloud.hub_api import HubApi
from tests.cloud.people.visitors import add_user
from tests.support.clock import START

pytestmark = pytest.mark.slow

FULL = (429, "capacity")


def fill(hub: HubApi, table: Any, rows: Sequence[dict[str, object]]) -> None:
    """With rows as others would have made them; nobody looks into them here."""
    with hub.database.write() as session:
        session.execute(insert(table_of(table)), list(rows))


def users(count: int) -> list[dict[str, object]]:
    return [
        {
            "name": f"u{n}", "totp_last_step": 0, "is_disabled": False, "created_at": START, "mac": b"",
        }
        for n in range(count)
    ]  # fmt: skip


def test_the_last_user_fits_and_the_next_does_not(hub: HubApi) -> None:
    fill(hub, User, users(USERS_MAX - 1))
    add_user(hub, "ada", password=None)
    assert hub.refusal("POST", "/v1/users", {"name": "eve"}) == FULL
    assert hub.client.delete("/v1/users/ada").status_code == 204
    hub.post("/v1/users", {"name": "eve"})


def test_a_tenant_takes_its_share_of_users_and_leaves_the_rest(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    fill(hub, User, users(USERS_OF_TENANT_MAX - 1))
    fill(
        hub,
        Membership,
        [
            {"user_name": f"u{n}", "tenant": "acme", "role": "viewer", "mac": b""}
            for n in range(USERS_OF_TENANT_MAX - 1)
        ],
    )
    add_user(hub, "ada", tenant="acme", password=None)
    body = {"name": "eve", "tenant": "acme", "role": "viewer"}
    assert hub.refusal("POST", "/v1/users", body) == FULL
    assert hub.refusal("GET", "/v1/users/eve") == (404, "user_unknown")
    add_user(hub, "ben", tenant="main", password=None)
    assert hub.refusal("PUT", "/v1/users/ben/roles/acme", {"role": "viewer"}) == FULL
    # Whoever is in there may become something else.
    assert hub.client.put("/v1/users/ada/roles/acme", json={"role": "author"}).is_success


def test_the_last_tenant_fits_and_the_next_does_not(hub: HubApi) -> None:
    fill(hub, Tenant, [{"name": f"t{n}", "created_at": START} for n in range(TENANTS_MAX - 1)])
    hub.post("/v1/tenants", {"name": "acme"})
    assert hub.refusal("POST", "/v1/tenants", {"name": "globex"}) == FULL


def api_tokens(count: int, tenant: str, *, prefix: str = "a") -> list[dict[str, object]]:
    return [
        {
            "id": f"{prefix}{n}", "secret_sha256": bytes(32), "label": "x", "tenant": tenant, "role": "viewer",
            "created_by": "root", "created_at": START, "expires_at": START + timedelta(hours=1), "mac": b"",
        }
        for n in range(count)
    ]  # fmt: skip


def test_a_tenant_takes_its_share_of_api_tokens_and_leaves_the_rest(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    body = {"label": "ci", "role": "viewer", "tenant": "acme"}
    fill(hub, ApiToken, api_tokens(TOKENS_OF_TENANT_MAX - 1, "acme"))
    hub.post("/v1/api-tokens", body)
    assert hub.refusal("POST", "/v1/api-tokens", body) == FULL
    hub.post("/v1/api-tokens", {**body, "tenant": "main"})
    hub.clock.advance(seconds=3_600)
    hub.post("/v1/api-tokens", body)


def test_the_last_api_token_of_a_hub_fits_and_the_next_does_not(hub: HubApi) -> None:
    fill(hub, ApiToken, api_tokens(TOKENS_MAX - 1, "globex"))
    body = {"label": "ci", "role": "viewer"}
    hub.post("/v1/api-tokens", body)
    assert hub.refusal("POST", "/v1/api-tokens", body) == FULL
    # It is for the administrator to make room, and the admin token is none of them.
    assert hub.client.get("/v1/api-tokens").is_success


def enrolment_tokens(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"e{n}", "secret_sha256": "", "tenant": "main", "labels": {}, "created_at": START,
            "expires_at": START + timedelta(hours=1), "needs_approval": False, "replaces": False, "created_by": "root",
        }
        for n in range(count)
    ]  # fmt: skip


def test_the_last_enrolment_token_fits_and_the_next_does_not(hub: HubApi) -> None:
    fill(hub, EnrolmentToken, enrolment_tokens(OPEN_TOKENS_MAX - 2))
    assert hub.refusal("POST", "/v1/tokens/batch", {"count": 3}) == FULL
    hub.post("/v1/tokens/batch", {"count": 2})
    assert hub.refusal("POST", "/v1/tokens", {}) == FULL
    hub.clock.advance(seconds=3_600)
    hub.post("/v1/tokens", {})

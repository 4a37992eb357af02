"""People and programs who come to a hub's door: over HTTP, with what they have."""

import re
from typing import Any, Final

import pyotp
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete
from sqlmodel import SQLModel, col, select

from cloud.audit.tables import AuditEntry
from cloud.dashboard.door import COOKIE, HOME_PATH, SIGN_IN_PATH
from shared.cbor import decode
from tests.cloud.hub_api import HubApi
from tests.support.clock import START

ORIGIN: Final = "https://hub.test"
BROWSER: Final = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}
PASSWORD: Final = "correct horse battery"

PATIENT: Final[dict[str, Any]] = {
    "http_failed_burst_requests": 1_000_000,
    "http_open_burst_requests": 1_000_000,
}
"""Settings of a hub that many tests share: the rates of its gate are not what they are about."""

on_both = pytest.mark.parametrize(
    "hub", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
"""For tests of what the databases might do differently: locks, upserts, times, bytes."""


def emptied(hub: HubApi) -> HubApi:
    """With nothing in its database, and at the beginning of time."""
    with hub.database.write() as session:
        for table in reversed(SQLModel.metadata.sorted_tables):
            session.execute(delete(table))
    hub.clock.set(START)
    hub.people.seals._reported.clear()
    return hub


def browser(hub: HubApi) -> TestClient:
    """Somebody's browser, with cookies of its own."""
    return TestClient(hub.client.app, base_url=ORIGIN, headers=BROWSER, follow_redirects=False)


def program(hub: HubApi, token: str) -> TestClient:
    """A program with a bearer token."""
    return TestClient(
        hub.client.app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False
    )


def add_user(
    hub: HubApi, name: str, role: str = "operator", tenant: str = "main", password: str | None = PASSWORD
) -> None:
    hub.post("/v1/users", {"name": name, "password": password, "role": role, "tenant": tenant})


def sign_in(visitor: TestClient, name: str, password: str = PASSWORD, code: str = "") -> Any:
    return visitor.post(SIGN_IN_PATH, data={"name": name, "password": password, "code": code})


def signed_in(hub: HubApi, name: str, password: str = PASSWORD, code: str = "") -> TestClient:
    visitor = browser(hub)
    answer = sign_in(visitor, name, password, code)
    assert answer.status_code == 303, answer.text
    return visitor


def is_signed_in(visitor: TestClient) -> bool:
    """There is no page behind this door: signed in, one gets as far as to hear that."""
    return {404: True, 401: False}[visitor.get(HOME_PATH).status_code]


def cookie_of(visitor: TestClient) -> str:
    return str(visitor.cookies[COOKIE])


def csrf_of(visitor: TestClient) -> str:
    """As the forms of the account page carry it."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', visitor.get("/dashboard/account").text)
    assert found is not None
    return found[1]


def api_token(hub: HubApi, client: TestClient | None = None, **request: Any) -> tuple[str, str]:
    """A new token's text and id."""
    body = {"label": "ci", "role": "operator", "tenant": "main", **request}
    answer = (client or hub.client).post("/v1/api-tokens", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["token"], answer.json()["view"]["id"]


def enrol_totp(hub: HubApi, name: str) -> pyotp.TOTP:
    """Let a user's codes be asked for from now on; what makes them."""
    made = hub.post(f"/v1/users/{name}/totp")
    generator = pyotp.TOTP(made["secret"])
    answer = hub.client.put(
        f"/v1/users/{name}/totp",
        json={"ticket": made["ticket"], "code": generator.at(hub.clock.now())},
    )
    assert answer.status_code == 200, answer.text
    return generator


def deeds(hub: HubApi, action: str) -> list[dict[str, Any]]:
    """What the audit log holds of one kind, oldest first."""
    with hub.database.read() as session:
        rows = session.exec(select(AuditEntry).order_by(col(AuditEntry.seq))).all()
    found = [decode(row.entry) for row in rows if row.action == action]
    return [entry for entry in found if isinstance(entry, dict)]

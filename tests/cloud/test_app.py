"""The door of the HTTP API: default deny, bounds on bodies, one shape of error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from cloud.access import Reader
from cloud.app import create_app
from cloud.http_gate import OPEN_PATHS, HttpGate
from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi


def every_route(hub: HubApi) -> Iterator[tuple[str, str]]:
    document = hub.get("/v1/openapi.json")
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), path


def test_only_health_authority_and_enrolment_are_open(hub: HubApi) -> None:
    routes = list(every_route(hub))
    assert len(routes) >= 15
    del hub.client.headers["Authorization"]
    closed = {path for method, path in routes if hub.client.request(method, path).status_code == 401}
    assert {path for _, path in routes} - closed == OPEN_PATHS
    for path in ("/v1/openapi.json", "/docs", "/", "/v1/tasks/", "/v1//health", "/v1/health/"):
        assert hub.refusal("GET", path) == (401, "unauthorized")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {ADMIN_TOKEN}", f"Bearer {ADMIN_TOKEN}x", ADMIN_TOKEN],
)
def test_any_other_credential_is_refused(hub: HubApi, header: str) -> None:
    response = hub.client.get("/v1/devices", headers={"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_numbers_that_no_database_holds_are_refused(hub: HubApi, number: int) -> None:
    path = f"/v1/devices/{hub.device('fridge-1').principal}"
    task = hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})["id"]
    answer = {"call": number, "happened": True}
    assert hub.refusal("POST", f"/v1/tasks/{task}/nodes/0/answer", answer) == (422, "invalid")
    assert hub.refusal("POST", f"{path}/deadletters", {"action": "retry", "seqs": [number]}) == (
        422,
        "invalid",
    )
    assert hub.refusal("GET", f"{path}/journal?after={number}") == (422, "invalid")
    for after in (f"1.{number}", f"{number}.1", "x"):
        assert hub.refusal("GET", f"{path}/deadletters?after={after}") == (422, "invalid")


def test_health_tells_no_more_than_that_it_answers(hub: HubApi) -> None:
    del hub.client.headers["Authorization"]
    assert hub.client.get("/v1/health").json() == {"status": "ok", "version": "0.0.0"}


def test_a_body_at_the_bound_is_read_and_one_byte_more_is_refused(hub: HubApi) -> None:
    bound = hub.settings.body_max_bytes
    frame = len(json.dumps({"device": ""}))
    for size, expected in ((bound, (422, "invalid")), (bound + 1, (413, "body_too_large"))):
        body = json.dumps({"device": "x" * (size - frame)})
        assert len(body) == size
        response = hub.client.post("/v1/tokens", content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["code"]) == expected


def test_a_body_without_a_length_is_counted_as_it_comes(hub: HubApi) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(hub.settings.body_max_bytes // 1_024 + 1):
            yield b" " * 1_024

    response = hub.client.post("/v1/enroll", content=endless())
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_a_strangers_body_is_not_read() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request got past the gate")

    async def never() -> Message:
        raise AssertionError("the body of a stranger was read")

    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    gate = HttpGate(inner, admin_token=ADMIN_TOKEN, body_max_bytes=1_024)
    await gate({"type": "http", "method": "POST", "path": "/v1/tokens", "headers": []}, never, keep)
    assert sent[0]["status"] == 401


def test_errors_have_one_shape(hub: HubApi) -> None:
    assert hub.refusal("GET", "/v1/nothing") == (404, "not_found")
    assert hub.refusal("DELETE", "/v1/devices") == (405, "method_not_allowed")
    assert hub.refusal("POST", "/v1/tokens", [1]) == (422, "invalid")
    response = hub.client.post("/v1/tokens", content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProtocolError("No."), 400, "protocol"),
        (RefusedError("No.", code="task_ended"), 409, "task_ended"),
        (RefusedError("No.", code="token_used"), 403, "token_used"),
        (RefusedError("No.", code="task_unknown"), 404, "task_unknown"),
        (UnavailableError("No."), 503, "unavailable"),
        (CapacityError("No.", bound="x", limit=1), 429, "capacity"),
        (CapacityError("No.", bound="x", limit=1, code="goal_too_large"), 413, "goal_too_large"),
        (ConfigError("No."), 500, "config"),
    ],
)
def test_one_table_gives_each_error_its_status(error: CoveyError, status: int, code: str) -> None:
    with _failing(error) as client:
        response = client.get("/v1/fail")
    assert (response.status_code, response.json()) == (status, {"code": code, "message": "No."})


def test_a_mistake_of_ours_tells_nothing_about_itself() -> None:
    with _failing(KeyError("secret detail")) as client:
        response = client.get("/v1/fail")
    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert "secret" not in response.text


def _failing(error: Exception) -> TestClient:
    router = APIRouter()

    def fail(_: Reader) -> Any:
        raise error

    router.routes.append(APIRoute("/v1/fail", fail, methods=["GET"]))
    app = create_app(version="0", admin_token=ADMIN_TOKEN, body_max_bytes=1_024, routers=[router])
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return TestClient(app, headers=headers, raise_server_exceptions=False)

"""Nothing is served beside what the OpenAPI document describes, but what a door guards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from cloud.access import Admin, Reader
from cloud.app import create_app
from cloud.dashboard.door import DashboardDoor
from cloud.declarations import undeclared
from cloud.http_gate import OPEN_PATHS
from tests.cloud.doors.world import ROOT, World
from tests.cloud.hub_api import ADMIN_TOKEN

STARTING_MAX_S = 60


def app_with(router: APIRouter) -> FastAPI:
    return create_app(version="0", admin_token=ADMIN_TOKEN, body_max_bytes=1_024, routers=[router])


def test_every_route_of_the_api_is_in_its_document(world: World) -> None:
    document = world.call(ROOT, "GET", "/v1/openapi.json").json()
    described = {(method.upper(), path) for path, of_path in document["paths"].items() for method in of_path}
    served = {
        (method, route.path_format)
        for route in iter_route_contexts(world.app.routes)
        for method in route.methods or {f"no method: {route.path}"}
    }
    assert served == described


def test_the_api_has_no_websockets(world: World) -> None:
    for path in ("/v1/tasks", "/", "/metrics", "/nothing"):
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        with pytest.raises(WebSocketDisconnect), world.client.websocket_connect(path, headers=headers):
            pass


@pytest.mark.slow
def test_with_the_page_everything_is_open_or_declared_or_behind_its_door(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cloud.doors.mounted", str(tmp_path / "hub")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STARTING_MAX_S, check=False)
    assert done.returncode == 0, done.stderr
    routes = [json.loads(line) for line in done.stdout.splitlines()]
    outside = [each for each in routes if not DashboardDoor.guards(None, each["path"])]  # type: ignore[arg-type]  # uses no state
    assert {each["kind"] for each in outside} == {"APIRoute"}
    assert {each["path"] for each in outside if each["needs"] == 0} == OPEN_PATHS
    assert any(each["kind"] == "Mount" for each in routes)


def test_a_route_that_declares_nothing_stops_the_program() -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(ValueError, match="/v1/forgotten has 0 `Needs`"):
        app_with(router)


def test_a_route_that_declares_two_things_stops_the_program() -> None:
    router = APIRouter()

    @router.get("/v1/torn")
    def torn(_: Reader, __: Admin) -> None: ...

    with pytest.raises(ValueError, match="/v1/torn has 2 `Needs`"):
        app_with(router)


def test_an_open_route_that_wants_to_know_who_asks_stops_the_program() -> None:
    router = APIRouter()

    @router.post("/v1/enroll")
    def enrol(_: Reader) -> None: ...

    with pytest.raises(ValueError, match="/v1/enroll is open"):
        app_with(router)


def test_routers_within_routers_mounts_and_websockets_are_looked_at_too() -> None:
    inner, outer = APIRouter(), APIRouter(prefix="/v1")

    @inner.get("/deep")
    def deep() -> None: ...

    @inner.websocket("/socket")
    async def socket(websocket: WebSocket) -> None: ...

    outer.include_router(inner)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(outer)
    app.mount("/side", PlainTextResponse("x"))
    assert [wrong.split()[0] for wrong in undeclared(app.routes, [])] == ["/v1/deep", "/v1/socket", "/side"]


def test_without_the_gate_a_declared_route_lets_nobody_in() -> None:
    """The second line of defence: what declares a need refuses a request that came past the gate."""
    router = APIRouter()

    @router.get("/v1/closed")
    def closed(_: Reader) -> None: ...

    app = app_with(router)
    app.user_middleware.clear()
    with TestClient(app) as client:
        answer = client.get("/v1/closed")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

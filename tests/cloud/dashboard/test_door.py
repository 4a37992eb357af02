"""The door to the page: a signed-in browser from one of our own pages, or no further. No NiceGUI behind it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cloud.dashboard.door import COOKIE, HOME_PATH, LIBRARY_CACHING, SIGN_IN_PATH, DashboardDoor
from cloud.dashboard.sessions import Sessions
from cloud.db import Database
from cloud.http_gate import CLOSE_POLICY, HttpGate
from cloud.people.browser_sessions import BrowserSessions, SessionLimits, key_of
from cloud.people.seals import PeopleSeals
from cloud.row_seal import RowSeal
from tests.cloud.hub_api import ADMIN_TOKEN
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_sqlite

HOST = "hub.test:8443"
ORIGIN = f"https://{HOST}"
BEARER = {"authorization": f"Bearer {ADMIN_TOKEN}"}
WAIT_S = 30.0


class House:
    """A gate with the door in it, and an application behind that notes who came in."""

    def __init__(self, clock: ManualClock, database: Database, *, sockets_max: int = 10) -> None:
        self.database = database
        hour = timedelta(hours=1)
        self.stored = BrowserSessions(
            database=database,
            seals=PeopleSeals(RowSeal(bytes(32))),
            key=bytes(32),
            clock=clock,
            limits=SessionLimits(lifetime=hour, idle=hour),
        )
        self.sessions = Sessions(self.stored)
        self.door = DashboardDoor(sessions=self.sessions, clock=clock, sockets_max=sockets_max)
        self.gate = HttpGate(self.inside, admin_token=ADMIN_TOKEN, body_max_bytes=1_024, doors=[self.door])
        self.came_in: list[str] = []
        self.heard: list[Message] = []
        self.nonces: list[str] = []
        self.accepted = asyncio.Event()

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came_in.append(scope["path"])
        self.nonces.append(scope.get("state", {}).get("csp_nonce", ""))
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            self.accepted.set()
            while self.heard[-1:] != [{"type": "websocket.disconnect", "code": CLOSE_POLICY}]:
                self.heard.append(await receive())
            await send({"type": "websocket.send", "text": "too late"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    def begin(self) -> str:
        """Sign the administrator in."""
        with self.database.write() as session:
            return self.stored.begin(session, user="root", tenant="*", address="")

    def end(self, session_id: str) -> None:
        """Sign out, here or at another process."""
        key = key_of(session_id)
        assert key is not None
        with self.database.write() as session:
            self.stored.end(session, key)

    def cookie(self) -> dict[str, str]:
        return {"cookie": f"{COOKIE}={self.begin()}"}

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self.gate(scope_of("http", path, headers, method=method), _empty_body, send)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}

    async def knock(self, path: str = f"{HOME_PATH}_nicegui_ws/socket.io/", **headers: str) -> list[Message]:
        """What a websocket hears that says nothing and stays."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async with asyncio.timeout(WAIT_S):
            await self.gate(scope_of("websocket", path, headers), Silent(), send)
        return sent


class Silent:
    """A browser that connects and then says nothing."""

    def __init__(self) -> None:
        self.is_connected = False

    async def __call__(self) -> Message:
        if self.is_connected:
            await asyncio.Event().wait()
        self.is_connected = True
        return {"type": "websocket.connect"}


def scope_of(kind: str, path: str, headers: dict[str, str], **more: Any) -> Scope:
    names = {name.replace("_", "-"): value for name, value in {"host": HOST, **headers}.items()}
    raw = [(name.encode(), value.encode()) for name, value in names.items()]
    return {"type": kind, "path": path, "query_string": b"", "headers": raw, **more}


async def wait_for(event: asyncio.Event) -> None:
    async with asyncio.timeout(WAIT_S):
        await event.wait()


async def _empty_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(migrated_sqlite(tmp_path / "hub.sqlite"))
    yield opened
    opened.close()


@pytest.fixture
def house(clock: ManualClock, database: Database) -> House:
    return House(clock, database)


PATHS = (
    "/dashboard/",
    "/dashboard/device/main.fridge-1",
    "/dashboard/_nicegui/3/static/nicegui.js",
    "/dashboard/_nicegui_ws/socket.io/",
    "/dashboard/assets/x/covey.css",
    "/dashboard/sign-out",
    "/dashboard/nothing",
    "/dashboard",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("credential", [{}, {"cookie": f"{COOKIE}=wrong"}, {"cookie": COOKIE}, BEARER])
async def test_nobody_gets_past_without_a_session(
    house: House, path: str, credential: dict[str, str]
) -> None:
    assert (await house.ask("GET", path, **credential))[0] == 401
    assert house.came_in == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_signed_in_browser_gets_everywhere(house: House, path: str) -> None:
    assert (await house.ask("GET", path, **house.cookie()))[0] == 200
    assert house.came_in == [path]


@pytest.mark.parametrize(
    "path", ["/v1/devices", "/v1/openapi.json", "/dashboards", "/dashboard-x/", "/x/dashboard/"]
)
async def test_the_cookie_opens_nothing_else(house: House, path: str) -> None:
    assert (await house.ask("GET", path, **house.cookie()))[0] == 401
    assert (await house.ask("POST", path, **house.cookie(), origin=ORIGIN))[0] == 401
    assert house.came_in == []


async def test_the_sign_in_page_is_open_and_says_where_one_wanted_to_go(house: House) -> None:
    assert (await house.ask("GET", SIGN_IN_PATH))[0] == 200
    status, headers = await house.ask("GET", "/dashboard/device/main.a", accept="text/html")
    assert (status, headers["location"]) == (303, "/dashboard/sign-in?next=%2Fdashboard%2Fdevice%2Fmain.a")
    assert (await house.ask("POST", "/dashboard/", accept="text/html"))[0] == 401


async def test_who_types_the_hubs_name_arrives_at_the_page(house: House) -> None:
    status, headers = await house.ask("GET", "/")
    assert (status, headers["location"]) == (303, HOME_PATH)


async def test_a_session_that_ended_opens_nothing(house: House, clock: ManualClock) -> None:
    cookie = house.cookie()
    assert (await house.ask("GET", HOME_PATH, **cookie))[0] == 200
    clock.advance(timedelta(hours=1))
    assert (await house.ask("GET", HOME_PATH, **cookie))[0] == 401


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"origin": ORIGIN}, True),
        ({"origin": "null", "sec_fetch_site": "same-origin"}, True),  # a form under no-referrer
        ({"sec_fetch_site": "same-origin"}, True),
        ({}, True),  # no browser: nobody makes it send what it does not want to
        ({"origin": "null"}, False),
        ({"origin": "null", "sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"origin": "https://evil.test"}, False),
        ({"origin": "https://evil.test", "sec_fetch_site": "same-origin"}, False),
        ({"origin": f"http://{HOST}"}, False),
        ({"origin": "https://hub.test"}, False),  # another port is another origin
        ({"origin": f"https://{HOST}.evil.test"}, False),
    ],
)
async def test_a_foreign_page_cannot_make_a_browser_change_something(
    house: House, headers: dict[str, str], is_ours: bool
) -> None:
    status, _ = await house.ask("POST", "/dashboard/sign-out", **house.cookie(), **headers)
    assert status == (200 if is_ours else 403)
    assert (await house.ask("POST", SIGN_IN_PATH, **headers))[0] == (200 if is_ours else 403)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": ORIGIN},
        {"cookie": f"{COOKIE}=wrong", "origin": ORIGIN},
        {**BEARER, "origin": ORIGIN},
    ],
)
async def test_a_socket_without_a_session_is_refused(house: House, headers: dict[str, str]) -> None:
    assert await house.knock(**headers) == [{"type": "websocket.close", "code": CLOSE_POLICY}]
    assert house.came_in == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "null"}, {"origin": "https://evil.test"}, {"sec_fetch_site": "same-origin"}],
)
async def test_a_socket_from_another_page_is_refused(house: House, headers: dict[str, str]) -> None:
    sent = await house.knock(**house.cookie(), **headers)
    assert sent == [{"type": "websocket.close", "code": CLOSE_POLICY}]
    assert house.came_in == []


@pytest.mark.parametrize("path", ["/", "/v1/devices", "/ws"])
async def test_elsewhere_there_are_no_sockets(house: House, path: str) -> None:
    for headers in ({**house.cookie(), "origin": ORIGIN}, {**BEARER, "origin": ORIGIN}):
        assert await house.knock(path, **headers) == [{"type": "websocket.close", "code": CLOSE_POLICY}]
    assert house.came_in == []


async def test_a_socket_ends_when_its_browser_signs_out(house: House) -> None:
    session_id = house.begin()
    headers = {"cookie": f"{COOKIE}={session_id}", "origin": ORIGIN}
    socket = asyncio.create_task(house.knock(**headers))
    await wait_for(house.accepted)
    house.end(session_id)
    await house.sessions.check()
    sent = await socket
    # Both sides are told that the other has gone; what comes after that is dropped.
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert house.heard == [{"type": "websocket.disconnect", "code": CLOSE_POLICY}]


async def test_a_socket_ends_at_once_when_its_browser_signs_out_at_this_process(house: House) -> None:
    session_id = house.begin()
    headers = {"cookie": f"{COOKIE}={session_id}", "origin": ORIGIN}
    socket = asyncio.create_task(house.knock(**headers))
    await wait_for(house.accepted)
    key = key_of(session_id)
    assert key is not None
    house.sessions.end(key)
    assert [message["type"] for message in await socket] == ["websocket.accept", "websocket.close"]


async def test_a_socket_stays_while_its_session_is_what_it_was(house: House) -> None:
    socket = asyncio.create_task(house.knock(**house.cookie(), origin=ORIGIN))
    await wait_for(house.accepted)
    await house.sessions.check()
    assert not socket.done()
    socket.cancel()
    await asyncio.gather(socket, return_exceptions=True)


async def test_a_database_that_is_away_is_told_and_opens_nothing(house: House) -> None:
    cookie = house.cookie()
    with house.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE browser_session RENAME TO elsewhere")
    status, _ = await house.ask("GET", HOME_PATH, **cookie)
    assert status == 503
    assert house.came_in == []
    assert (await house.ask("GET", SIGN_IN_PATH))[0] == 200


async def test_a_socket_ends_with_its_sessions_time(clock: ManualClock, database: Database) -> None:
    house = House(clock, database)
    cookie = house.cookie()
    clock.advance(timedelta(hours=1) - timedelta(milliseconds=50))
    sent = await house.knock(**cookie, origin=ORIGIN)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_one_socket_more_than_the_bound_is_refused(clock: ManualClock, database: Database) -> None:
    house = House(clock, database, sockets_max=1)
    session_id = house.begin()
    headers = {"cookie": f"{COOKIE}={session_id}", "origin": ORIGIN}
    first = asyncio.create_task(house.knock(**headers))
    await wait_for(house.accepted)
    assert await house.knock(**headers) == [{"type": "websocket.close", "code": CLOSE_POLICY}]
    house.end(session_id)
    await house.sessions.check()
    await first
    house.accepted.clear()
    again = asyncio.create_task(house.knock(**house.cookie(), origin=ORIGIN))
    await wait_for(house.accepted)  # the place is free again
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_answers_tell_the_browser_what_it_may_not_do(house: House) -> None:
    for path, cookie in ((HOME_PATH, house.cookie()), (HOME_PATH, {}), (SIGN_IN_PATH, {})):
        _, headers = await house.ask("GET", path, **cookie)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        policy = {part.partition(" ")[0]: part.partition(" ")[2] for part in policy_of(headers)}
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe-inline" not in policy.get("script-src", "")
        assert "http" not in headers["content-security-policy"]


async def test_each_answer_has_its_own_nonce_which_the_page_is_told(house: House) -> None:
    cookie = house.cookie()
    answers = [await house.ask("GET", HOME_PATH, **cookie) for _ in range(2)]
    assert len(set(house.nonces)) == 2
    for nonce, (_, headers) in zip(house.nonces, answers, strict=True):
        assert f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'" in policy_of(headers)


async def test_the_sign_in_page_may_run_no_script_at_all(house: House) -> None:
    _, headers = await house.ask("GET", SIGN_IN_PATH)
    assert "script-src" not in headers["content-security-policy"]


async def test_only_what_is_named_by_its_version_may_be_kept(house: House) -> None:
    cookie = house.cookie()
    for path, expected in (
        ("/dashboard/_nicegui/3/static/nicegui.js", LIBRARY_CACHING),
        ("/dashboard/assets/x/covey.css", LIBRARY_CACHING),
        ("/dashboard/device/main.a", "no-store"),
    ):
        assert (await house.ask("GET", path, **cookie))[1]["cache-control"] == expected


def policy_of(headers: dict[str, str]) -> list[str]:
    return headers["content-security-policy"].split("; ")

"""Event streams and their places: bounded for all and for each, and given back however a stream ends."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cloud.tasks.feed import TaskFeed
from shared.errors import CapacityError
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi, hub_api
from tests.cloud.people.visitors import PASSWORD, add_user
from tests.support.clock import ManualClock

WAIT_S = 30.0


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubApi]:
    with hub_api(tmp_path_factory.mktemp("streams") / "hub", ManualClock()) as hub:
        yield hub


async def watch(hub: HubApi, send: Any, left: asyncio.Event) -> None:
    """Ask for events as a server does that knows how to tell who goes."""
    task = (await asyncio.to_thread(hub.post, "/v1/tasks", {"goal": "?", "any": True}))["id"]
    is_asked = False

    async def receive() -> dict[str, Any]:
        nonlocal is_asked
        if is_asked:
            await left.wait()
            return {"type": "http.disconnect"}
        is_asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    path = f"/v1/tasks/{task}/events"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("hub.test", 443),
    }
    async with asyncio.timeout(WAIT_S):
        await hub.client.app(scope, receive, send)


@pytest.mark.parametrize("how", ["send_fails", "client_leaves_while_sending", "client_leaves_between"])
async def test_a_stream_gives_its_place_back_however_it_ends(streaming: HubApi, how: str) -> None:
    left = asyncio.Event()
    streams: list[int] = []
    kept: list[Exception] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] != "http.response.body" or not message["body"]:
            return
        streams.append(streaming.feed.streams)
        if how == "send_fails":
            raise OSError("the credential is good no more")
        left.set()
        if how == "client_leaves_while_sending":
            await asyncio.Event().wait()

    try:
        await watch(streaming, send, left)
    except (OSError, ExceptionGroup) as error:
        # With its traceback: what it refers to is not collected, which would hide a place that nobody gave back.
        kept.append(error)
    assert streams == [1]
    assert bool(kept) == (how == "send_fails")
    assert streaming.feed.streams == 0


async def test_one_user_cannot_take_all_streams() -> None:
    feed = TaskFeed(streams_max=3, per_caller_max=2)
    with ExitStack() as open_streams:
        for _ in range(2):
            open_streams.enter_context(feed.watch("a", "ada"))
        with pytest.raises(CapacityError, match="close some") as refused:
            open_streams.enter_context(feed.watch("a", "ada"))
        assert refused.value.code == "too_many_streams"
        open_streams.enter_context(feed.watch("a", "bob"))
        with pytest.raises(CapacityError, match="event_streams_max"):
            open_streams.enter_context(feed.watch("a", "eve"))
    assert feed.streams == 0


@pytest.mark.slow
async def test_streams_of_all_tokens_of_a_user_are_counted_together(tmp_path: Path) -> None:
    with hub_api(tmp_path / "hub", ManualClock()) as hub:
        add_user(hub, "ada")
        answers = [
            hub.client.post("/v1/sign-in", json={"name": "ada", "password": PASSWORD}).json() for _ in "12"
        ]
        callers = [hub.people.authenticate(each["token"], "") for each in answers]
        assert {caller.person for caller in callers if caller is not None} == {"ada"}
        assert len({caller.name for caller in callers if caller is not None}) == 2
        made = hub.post("/v1/api-tokens", {"label": "ci", "role": "viewer"})
        by_root = hub.people.authenticate(made["token"], "")
        assert by_root is not None
        assert by_root.person == ""

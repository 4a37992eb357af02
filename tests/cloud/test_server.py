"""The hub as a server: real HTTPS, live event streams, an orderly stop, and parts that fail."""

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from cloud import server
from cloud.adapters.clock_system import SystemClock
from cloud.connection_limits import ConnectionLimits
from shared.enrolment import BrokerAddress
from shared.errors import UnavailableError
from shared.tasks.states import NodeState
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.ports import free_port

END = "-----END CERTIFICATE-----"
WAIT_S = 20.0


@pytest.fixture
def clock() -> ManualClock:
    """TLS judges certificates by the machine's clock, so these are made at its time."""
    return ManualClock(SystemClock().now())


@dataclass
class Running:
    url: str
    verified: ssl.SSLContext
    task: asyncio.Task[None]

    def client(self, **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        return httpx.AsyncClient(
            base_url=self.url,
            verify=self.verified,
            headers=headers,
            trust_env=False,
            timeout=WAIT_S,
            **options,
        )

    async def stop(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            await self.task


@asynccontextmanager
async def running(
    hub: HubApi,
    background: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] | None = None,
    port: int | None = None,
    renew: Callable[[], bool] = lambda: False,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[Running]:
    paths = hub.identity.paths
    listener = server.Listener(
        host="127.0.0.1",
        port=port or free_port(),
        certificate=paths.server,
        key=paths.server_key,
        shutdown_timeout_s=5,
        limits=limits,
    )
    app = hub.client.app
    assert isinstance(app, FastAPI)
    parts = server.Parts(
        web=server.Web(app=app, listener=listener, feed=hub.feed),
        background=background or {},
        connected=None,
        broker=None,
        broker_address=BrokerAddress(host="hub.test", port=8883),
        renew=renew,
        renew_interval_s=0.05,
    )
    is_ready = asyncio.Event()
    task = asyncio.create_task(server.run(parts, is_ready.set))
    ready = asyncio.create_task(is_ready.wait())
    try:
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        context = ssl.create_default_context(cafile=str(paths.ca))
        yield Running(f"https://127.0.0.1:{listener.port}", context, task)
    finally:
        ready.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, line.removeprefix("data: ")


@pytest.mark.slow
async def test_a_watcher_sees_each_state_and_then_the_end(hub: HubApi) -> None:
    fridge = await asyncio.to_thread(hub.device, "fridge-1")
    request = {"goal": "?", "devices": ["fridge-1"]}
    task = (await asyncio.to_thread(hub.post, "/v1/tasks", request))["id"]
    async with running(hub) as up, up.client() as client, asyncio.timeout(WAIT_S):  # noqa: SIM117 - two thoughts
        async with client.stream("GET", f"/v1/tasks/{task}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            seen = events(response)
            kind, data = await anext(seen)
            assert (kind, json.loads(data)["state"]) == ("task", "queued")

            async def next_state(state: str) -> Any:
                """Streams may show less than each change, but never the same twice."""
                async for kind, data in seen:
                    if kind == "task" and json.loads(data)["state"] == state:
                        return json.loads(data)
                raise AssertionError(f"the stream ended before {state}")

            await asyncio.to_thread(fridge.move, task, NodeState.RUNNING)
            hub.feed.publish({task})
            assert (await next_state("running"))["revision"] > 1
            await asyncio.to_thread(fridge.move, task, NodeState.SUCCEEDED, result="4.2")
            # Nobody publishes this one, as when another process made the change: the poll finds it.
            assert (await next_state("succeeded"))["nodes"][0]["result"] == "4.2"
            assert await anext(seen) == ("end", "succeeded")
            assert [event async for event in seen] == []


async def test_watching_what_is_not_there_is_an_ordinary_error(hub: HubApi) -> None:
    async with running(hub) as up, up.client() as client:
        response = await client.get(f"/v1/tasks/{'a' * 16}/events")
        assert (response.status_code, response.json()["code"]) == (404, "task_unknown")


@pytest.mark.slow
async def test_one_stream_more_than_the_bound_is_refused(tmp_path: Any, clock: ManualClock) -> None:
    with hub_api(tmp_path / "hub", clock, event_streams_max=2) as hub:
        task = (await asyncio.to_thread(hub.post, "/v1/tasks", {"goal": "?", "any": True}))["id"]
        path = f"/v1/tasks/{task}/events"
        async with running(hub) as up, up.client() as client, asyncio.timeout(WAIT_S):  # noqa: SIM117 - two thoughts
            async with client.stream("GET", path) as one, client.stream("GET", path) as two:
                assert (one.status_code, two.status_code) == (200, 200)
                third = await client.get(path)
                assert (third.status_code, third.json()["code"]) == (429, "too_many_streams")
                assert third.headers["retry-after"] == "5"


async def test_a_stop_ends_open_streams_and_then_the_parts_beside(hub: HubApi) -> None:
    order: list[str] = []

    async def beside() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("beside")

    task = (await asyncio.to_thread(hub.post, "/v1/tasks", {"goal": "?", "any": True}))["id"]
    async with running(hub, {"beside": beside}) as up, up.client() as client, asyncio.timeout(WAIT_S):
        async with client.stream("GET", f"/v1/tasks/{task}/events") as response:
            seen = events(response)
            await anext(seen)
            await up.stop()
            assert [event async for event in seen] == []
        async with up.client() as another:
            with pytest.raises(httpx.ConnectError):
                await another.get("/v1/health")
    assert order == ["beside"]


async def test_a_part_that_fails_ends_the_hub_with_its_error(hub: HubApi) -> None:
    fail = asyncio.Event()

    async def beside() -> None:
        await fail.wait()
        raise UnavailableError("The broker's certificate is gone.")

    async with running(hub, {"beside": beside}) as up, asyncio.timeout(WAIT_S):
        fail.set()
        with pytest.raises(UnavailableError, match="certificate is gone"):
            await up.task


async def test_a_port_that_is_taken_is_said_in_one_sentence(hub: HubApi) -> None:
    port = free_port()
    async with running(hub, port=port):
        with pytest.raises(UnavailableError, match=f"Cannot listen on 127.0.0.1:{port}"):
            async with running(hub, port=port):
                pass


async def test_a_client_that_does_not_know_the_authority_does_not_trust_the_hub(hub: HubApi) -> None:
    async with running(hub) as up, httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(f"{up.url}/v1/health")


async def test_a_certificate_that_is_made_anew_is_shown_without_a_restart(
    hub: HubApi, clock: ManualClock
) -> None:
    paths = hub.identity.paths

    def held() -> str:
        """The certificate itself: in its file the authority's follows."""
        leaf, end, _ = paths.server.read_text().partition(END)
        return f"{leaf}{end}\n"

    before = held()
    is_due = asyncio.Event()

    def renew() -> bool:
        if not is_due.is_set():
            return False
        is_due.clear()
        return hub.identity.renew(["127.0.0.1", "another-name.example"], now=clock.now())

    async with running(hub, renew=renew) as up, asyncio.timeout(WAIT_S):
        port = int(up.url.rpartition(":")[2])

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port))

        assert (await asyncio.to_thread(shown)) == before
        is_due.set()
        while (await asyncio.to_thread(shown)) == before:  # noqa: ASYNC110 - bounded by the timeout
            await asyncio.sleep(0.02)
        assert (await asyncio.to_thread(shown)) == held()

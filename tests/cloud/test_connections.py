"""How many connections a hub holds, and for how long in silence: with real sockets and TLS."""

import asyncio
import ssl
from pathlib import Path

import pytest

from cloud.adapters.clock_system import SystemClock
from cloud.connection_limits import ConnectionLimits
from tests.cloud.hub_api import hub_api
from tests.cloud.test_server import WAIT_S, Running, running
from tests.support.clock import ManualClock

REQUEST = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(up: Running, *, with_tls: bool = True) -> Ends:
    port = int(up.url.rpartition(":")[2])
    context = up.verified if with_tls else None
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if with_tls else None
    )


async def ended(ends: Ends) -> bool:
    """Waits until the hub has closed it."""
    try:
        return await ends[0].read() == b""
    except (ConnectionError, ssl.SSLError):
        return True
    finally:
        ends[1].transport.abort()


async def answer(ends: Ends) -> bytes:
    ends[1].write(REQUEST + b"\r\n")
    return await ends[0].readline()


def close(*connections: Ends) -> None:
    for _, writer in connections:
        writer.transport.abort()


@pytest.mark.parametrize("limits", [ConnectionLimits(per_address_max=3), ConnectionLimits(max=3)])
@pytest.mark.slow
async def test_one_address_has_so_many_connections_and_no_more(
    tmp_path: Path, limits: ConnectionLimits
) -> None:
    with hub_api(tmp_path / "hub", ManualClock(SystemClock().now())) as hub:
        async with running(hub, limits=limits) as up, asyncio.timeout(WAIT_S):
            silent = [await connect(up, with_tls=False) for _ in range(2)]
            good = await connect(up)
            assert b"200" in await answer(good)
            for _ in range(5):  # each is closed, before TLS
                assert await ended(await connect(up, with_tls=False))
            close(silent[0])
            while True:  # its place is free again as soon as the hub has noticed
                try:
                    again = await connect(up)
                    break
                except (ConnectionError, ssl.SSLError):
                    continue
            assert b"200" in await answer(again)
            close(*silent, good, again)


@pytest.mark.slow
async def test_proxies_that_the_operator_named_count_for_none(tmp_path: Path) -> None:
    with hub_api(tmp_path / "hub", ManualClock(SystemClock().now())) as hub:
        chosen = ConnectionLimits(per_address_max=1, trusted_proxies=("127.0.0.0/8",))
        async with running(hub, limits=chosen) as up, asyncio.timeout(WAIT_S):
            several = [await connect(up) for _ in range(3)]
            assert [b"200" in await answer(each) for each in several] == [True] * 3
            close(*several)


@pytest.mark.slow
async def test_who_says_nothing_or_half_a_head_is_cut_off(tmp_path: Path) -> None:
    with hub_api(tmp_path / "hub", ManualClock(SystemClock().now())) as hub:
        chosen = ConnectionLimits(head_timeout_s=0.5)
        async with running(hub, limits=chosen) as up, asyncio.timeout(WAIT_S):
            without_tls = await connect(up, with_tls=False)
            silent = await connect(up)
            half = await connect(up)
            half[1].write(REQUEST)
            second_half = await connect(up)
            assert b"200" in await answer(second_half)
            second_half[1].write(REQUEST)  # cancels the time between requests; its own begins
            assert await ended(without_tls)
            assert await ended(silent)
            assert await ended(half)
            await second_half[0].read()
            close(second_half)


@pytest.mark.slow
async def test_a_stream_outlives_the_time_for_its_head(tmp_path: Path) -> None:
    with hub_api(tmp_path / "hub", ManualClock(SystemClock().now())) as hub:
        task = (await asyncio.to_thread(hub.post, "/v1/tasks", {"goal": "?", "any": True}))["id"]
        chosen = ConnectionLimits(head_timeout_s=0.2)
        async with running(hub, limits=chosen) as up, up.client() as client, asyncio.timeout(WAIT_S):  # noqa: SIM117 - two thoughts
            async with client.stream("GET", f"/v1/tasks/{task}/events") as response:
                lines = response.aiter_lines()
                assert (await anext(lines)).startswith("id:")
                silent = await connect(up)
                assert await ended(silent)  # begun later than the stream, and its time is over
                await asyncio.to_thread(hub.post, f"/v1/tasks/{task}/cancel")
                assert "event: end" in [line async for line in lines]

"""Commands that work with the daemon or without: through the running one, or by building what it would be.

Must not know what is asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from edge.local_api import daemon_address
from edge.settings import EdgeSettings

if TYPE_CHECKING:
    from edge.daemon import Daemon


def told(
    settings: EdgeSettings,
    there: Callable[[], dict[str, Any]],
    here: "Callable[[Daemon], Awaitable[dict[str, Any]]]",
) -> dict[str, Any]:
    """By the running daemon, or by what it would be. Raises what either raises."""
    if daemon_address(settings) is not None:
        return there()

    async def look() -> dict[str, Any]:
        async with opened(settings) as daemon:
            return await here(daemon)

    return asyncio.run(look())


@asynccontextmanager
async def opened(settings: EdgeSettings) -> "AsyncIterator[Daemon]":
    """A daemon that does not run, with its rules and its knowledge looked up."""
    from edge.wiring import build_daemon, open_ports

    async with open_ports(settings, with_link=False) as ports:
        daemon = build_daemon(settings, ports)
        try:
            twin = await daemon.desired.twin()
            await daemon.knowledge.look(twin["applied"]["document"]["knowledge"])
            await daemon.rules.refresh()
            yield daemon
        finally:
            await asyncio.to_thread(daemon.shelf.release)
            await asyncio.to_thread(daemon.mind.shelf.release)

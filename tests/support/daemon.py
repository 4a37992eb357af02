"""The real daemon in a test's own process: its store, its local API on a real port, and a scripted model.

async with daemon_in(tmp_path, ScriptedModel("Hello.")) as device:
    answer = await device.client.get("/status")
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.daemon import Daemon
from edge.identity import Identity
from edge.ports import Link, Traces
from edge.settings import EdgeSettings
from edge.tools import Tool
from edge.wiring import Ports, build_daemon
from shared.inference.ports import LanguageModel
from tests.support.board import ScriptedBoard
from tests.support.clock import ManualClock
from tests.support.edge_database import open_store
from tests.support.retention import ScriptedBallast
from tests.support.rules import permit

TOKEN = "the-token"
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    daemon: Daemon
    journal: SqliteJournal
    client: httpx.AsyncClient
    url: str


@asynccontextmanager
async def daemon_in(
    home: Path,
    model: LanguageModel,
    *,
    tools: Sequence[Tool] = (),
    identity: Identity | None = None,
    link: Link | None = None,
    traces: Traces | None = None,
    is_permissive: bool = True,
    **changes: Any,
) -> AsyncIterator[RunningDaemon]:
    """Runs until the block ends, then stops in order. `changes` are of its settings."""
    home.mkdir(exist_ok=True)
    settings = EdgeSettings(home=home, models_dir=home / "models", api_port=0, index="off", **changes)
    database = await asyncio.to_thread(open_store, settings.store_path)
    try:
        name = {} if identity is None else {"principal": str(identity.principal)}
        journal = await asyncio.to_thread(lambda: SqliteJournal(database, **name))
        if is_permissive:
            await asyncio.to_thread(permit, database, [tool.spec for tool in tools])
        ports = Ports(
            database=database,
            journal=journal,
            model=model,
            identity=identity,
            link=link,
            clock=ManualClock(),
            tools=tools,
            embedder=None,
            board=ScriptedBoard(),
            ballast=ScriptedBallast(),
            traces=traces,
            api_token=TOKEN,
        )
        daemon = build_daemon(settings, ports)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(daemon.run(on_ready=ready.set_result), name="daemon")
        try:
            async with asyncio.timeout(WAIT_S):
                waiting: set[asyncio.Future[Any]] = {ready, running}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    await running
                url = await ready
            async with httpx.AsyncClient(
                base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=WAIT_S
            ) as client:
                yield RunningDaemon(daemon, journal, client, url)
        finally:
            daemon.stop()
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(running, return_exceptions=True)
        assert running.exception() is None
    finally:
        await asyncio.to_thread(database.close)

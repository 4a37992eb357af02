"""One process of the hub: HTTPS, or ingest, or both, and perhaps the broker; ready once, stopped in order.

Start: broker, then ingest and the leader, then HTTPS. Stop (SIGTERM, SIGINT, or any part failing): HTTPS first, so
nobody gets half an answer; then ingest, which says goodbye on its connection; then the broker. A part that fails ends
the whole process with that error: a supervisor restarts it, and nothing acknowledged is lost.

With HTTPS it is ready when that answers; without, when it can hear the devices.
"""

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import uvicorn
from fastapi import FastAPI

from cloud.connection_limits import ConnectionLimits
from cloud.connections import Connections, ListeningSocket, protocol_of
from cloud.tasks.feed import TaskFeed
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError, CoveyError, UnavailableError

logger = logging.getLogger(__name__)

POLL_S: Final = 0.05
SOCKET_MESSAGE_MAX_BYTES: Final = 65_536
"""What a browser may send in one message; what goes to it is not bounded by this."""
BACKLOG: Final = 512
"""Connections that the kernel holds until they are accepted."""
KEEP_ALIVE_S: Final = 5
"""How long a connection may wait for its next request. How many there are: `cloud.connections`."""
FLUSH_S: Final = 0.2
"""For the last bytes of the last answers."""


class Broker(Protocol):
    """A broker that the hub itself runs (`cloud.adapters.broker_mosquitto`)."""

    async def start(self) -> None: ...

    async def watch(self) -> None: ...

    def reload(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where HTTPS listens, and with which certificate."""

    host: str
    port: int
    certificate: Path
    key: Path
    shutdown_timeout_s: int
    limits: ConnectionLimits = ConnectionLimits()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """What answers HTTPS, and where. `feed` is closed before the open requests are waited for.

    `has_sockets`: the application takes websockets.
    """

    app: FastAPI
    listener: Listener
    feed: TaskFeed
    has_sockets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What runs. `background`: name and endless coroutine of each part beside HTTPS. `broker`: if it is our own.

    `connected` is set while ingest hears the devices, and None in a process without ingest. `renew` (blocking) makes
    our certificates anew when it is time, and tells whether they are other ones than when it was last asked. `aside` is
    a second, smaller door: metrics of a process without `web`.
    """

    web: Web | None
    background: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
    connected: asyncio.Event | None
    broker: Broker | None
    broker_address: BrokerAddress
    renew: Callable[[], bool]
    renew_interval_s: float
    aside: Web | None = None


async def run(parts: Parts, on_ready: Callable[[], None]) -> None:
    """Until asked to stop. `on_ready` is called once. Raises the `CoveyError` of a failed part."""
    try:
        if parts.web is None:
            await _run_without_https(parts, on_ready)
        else:
            await _run_with_https(parts, parts.web, on_ready)
    except BaseExceptionGroup as failed:
        # Not `except*`: what is raised in one is put into a group again, on some versions of Python.
        known = failed.subgroup(CoveyError)
        if known is None:
            raise
        raise _first(known) from failed


async def _run_with_https(parts: Parts, web: Web, on_ready: Callable[[], None]) -> None:
    connections = Connections(web.listener.limits)
    sock = _listen(web.listener, connections)
    server = _Server(_configuration(web, connections), on_ready)

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        web.feed.close()

    def renewed() -> None:
        if server.config.ssl is not None:
            server.config.ssl.load_cert_chain(web.listener.certificate, web.listener.key)

    try:
        async with _running_beside(parts, renewed), web.app.router.lifespan_context(web.app):
            with _on_signals(stop):
                await server.serve(sockets=[sock])
    finally:
        sock.close()


async def _run_without_https(parts: Parts, on_ready: Callable[[], None]) -> None:
    stopped = asyncio.Event()
    async with _running_beside(parts, lambda: None):
        with _on_signals(stopped.set):
            async with asyncio.TaskGroup() as group:
                ready = group.create_task(_tell_ready(parts, on_ready), name="ready")
                await stopped.wait()
                ready.cancel()


async def _tell_ready(parts: Parts, on_ready: Callable[[], None]) -> None:
    if parts.connected is not None:
        await parts.connected.wait()
    on_ready()


@asynccontextmanager
async def _running_beside(parts: Parts, renewed: Callable[[], None]) -> AsyncIterator[None]:
    """Broker and background while the block runs; `renewed` is called when our certificates are new ones."""
    connections = None if parts.aside is None else Connections(parts.aside.listener.limits)
    aside = None
    if parts.aside is not None and connections is not None:
        aside = _Server(_configuration(parts.aside, connections), lambda: None)

    def all_renewed() -> None:
        renewed()
        if parts.aside is not None and aside is not None and aside.config.ssl is not None:
            aside.config.ssl.load_cert_chain(parts.aside.listener.certificate, parts.aside.listener.key)

    async with _broker_running(parts.broker), asyncio.TaskGroup() as group:
        beside = [group.create_task(work(), name=name) for name, work in parts.background.items()]
        beside.append(group.create_task(_renew(parts, all_renewed), name="certificates"))
        if parts.aside is not None and aside is not None and connections is not None:
            serving = _serve_aside(aside, parts.aside.listener, connections)
            beside.append(group.create_task(serving, name="https-aside"))
        yield
        for task in beside:
            task.cancel()


async def _serve_aside(server: "_Server", listener: Listener, connections: Connections) -> None:
    """Until cancelled; then in order: cut off as it stands, it would leave its connections open."""
    sock = _listen(listener, connections)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="https-aside-server")
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
        sock.close()


async def _renew(parts: Parts, renewed: Callable[[], None]) -> None:
    """A hub that runs for months must not let its own certificates expire. The link reads its own at each connect."""
    while True:
        await asyncio.sleep(parts.renew_interval_s)
        if await asyncio.to_thread(parts.renew):
            logger.info("the hub's certificates were made anew")
            renewed()
            if parts.broker is not None:
                parts.broker.reload()


@asynccontextmanager
async def _broker_running(broker: Broker | None) -> AsyncIterator[None]:
    if broker is None:
        yield
        return
    await broker.start()
    watch = asyncio.create_task(broker.watch(), name="broker")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await broker.stop()


def _listen(listener: Listener, connections: Connections) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        plain = socket.create_server((listener.host, listener.port), family=family, backlog=BACKLOG)
        return ListeningSocket.taking_over(plain, connections)
    except OSError as error:
        raise UnavailableError(
            f"Cannot listen on {listener.host}:{listener.port} ({error.strerror}); stop what does, or choose"
            " another with --port."
        ) from error


def _configuration(web: Web, connections: Connections) -> uvicorn.Config:
    config = uvicorn.Config(
        web.app,
        http=protocol_of(connections),  # h11's: one implementation everywhere, with bounds on header sizes
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="websockets-sansio" if web.has_sockets else "none",
        ws_max_size=SOCKET_MESSAGE_MAX_BYTES,
        ws_per_message_deflate=False,
        loop="asyncio",
        lifespan="off",  # `run` enters it: here it would not be left when the server is told to hurry
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `cloud.http_gate` decides whom to believe
        ssl_certfile=web.listener.certificate,
        ssl_keyfile=web.listener.key,
        timeout_graceful_shutdown=web.listener.shutdown_timeout_s,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{web.listener.certificate} or its key cannot be used; remove both and start again."
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us, and a word when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        leaving = asyncio.create_task(self._leave_idle_clients(), name="https-leave")
        try:
            await super().shutdown(sockets)
        finally:
            leaving.cancel()

    async def _leave_idle_clients(self) -> None:
        """Wait for requests, not for connections: an idle client need not answer TLS's goodbye for half a minute."""
        while self.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(FLUSH_S)
        self.force_exit = True


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Generator[None, None, None]:
    """The first SIGTERM or SIGINT stops in order, the second does not wait for open requests."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _first(failed: BaseExceptionGroup[CoveyError]) -> CoveyError:
    inner = failed.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner

"""A network between a client and a server that a test can make bad: a TCP proxy on 127.0.0.1 with a thread of its own.

    with Network(Random(7)) as network:
        link = network.link(target_port)
        connect(link.port)
        link.delay(latency_s=0.1, jitter_s=0.05)
        link.cut(Direction.UP, after_bytes=100)    # in the middle of whatever is sent next
        link.black_hole()                          # both ends stay open, and nothing arrives any more

What a link does to bytes it does in their order, as TCP would; reordering comes of connections that overtake one
another (`hold`, then a new connection, then `release`). All methods may be called from any thread and return at once.
Must not know what travels.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from types import TracebackType
from typing import Any, Final, Self

CHUNK_BYTES: Final = 65_536
BUFFER_MAX_BYTES: Final = 4_194_304
"""What one direction of a connection keeps of bytes that are late; then its source has to wait."""
CONNECT_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 10.0
LOOPBACK: Final = "127.0.0.1"
_RESET: Final = struct.pack("ii", 1, 0)
"""Linger of 0 s: closing sends RST, as a router that has forgotten the connection would (socket(7), tcp(7))."""


class Direction(Enum):
    """Of bytes: `UP` goes from the client that connected to the target."""

    UP = "up"
    DOWN = "down"


BOTH: Final = (Direction.UP, Direction.DOWN)


@dataclass(slots=True)
class _Weather:
    """How a link is now; connections look at it for each piece."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    is_closed: bool = False


class Network:
    """The thread in which the links live. Use as a context manager."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._links: list[Link] = []

    def link(self, target_port: int) -> "Link":
        """A new link to something on 127.0.0.1, which need not be there yet."""
        link = Link(target_port, self._loop, Random(self._random.getrandbits(64)))
        self._links.append(link)
        return link

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(STOP_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT_S)
        self._loop.close()

    async def _end(self) -> None:
        for link in self._links:
            link.end()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Link:
    """One listening port in front of one target. Made by `Network.link`."""

    def __init__(self, target_port: int, loop: asyncio.AbstractEventLoop, random: Random) -> None:
        self.target_port = target_port
        self._loop = loop
        self._random = random
        self._weather = _Weather()
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._tasks: set[asyncio.Task[None]] = set()
        self._do(lambda: self._keep(self._accept()))

    @property
    def connections(self) -> int:
        """How many connections are open, also those of which only one end still is."""
        return len(self._connections)

    def delay(self, *, latency_s: float, jitter_s: float = 0.0) -> None:
        """From now on each piece is late by `latency_s` plus up to `jitter_s`, in both directions."""
        self._weather.latency_s, self._weather.jitter_s = latency_s, jitter_s

    def hold(self, *directions: Direction) -> None:
        """Keep what is sent over the connections that are open now, until `release` delivers it.

        Even if its sender has gone meanwhile. New connections are as good as ever, so they overtake these.
        """
        self._do(lambda: self._each(lambda connection: connection.hold(directions)))

    def release(self) -> None:
        """No delays, and deliver what was held."""
        self._weather.latency_s = self._weather.jitter_s = 0.0
        self._do(lambda: self._each(lambda connection: connection.release()))

    def cut(self, direction: Direction = Direction.UP, *, after_bytes: int = 0) -> None:
        """Reset each open connection after so many more bytes in a direction; no byte behind those arrives."""
        self._do(lambda: self._each(lambda connection: connection.cut(direction, after_bytes)))

    def black_hole(self, *directions: Direction) -> None:
        """What is sent over the connections that are open now vanishes, and their ends too: nobody is told anything.

        Without `directions` in both. New connections are as good as ever.
        """
        self._do(lambda: self._each(lambda connection: connection.swallow(directions or BOTH)))

    def close(self) -> None:
        """Reset whoever connects from now on, until `open`."""
        self._weather.is_closed = True

    def open(self) -> None:
        self._weather.is_closed = False

    def end(self) -> None:
        """Reset everything and listen no more. Only in the network's thread."""
        self._each(lambda connection: connection.cut(Direction.UP, 0))
        for task in self._tasks:
            task.cancel()
        self._listener.close()

    def _do(self, action: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(action)

    def _each(self, action: Callable[["_Connection"], None]) -> None:
        for connection in list(self._connections):
            action(connection)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(self._listener)
            except ConnectionError:  # the client has gone before it was accepted
                continue
            if self._weather.is_closed:
                _reset(client)
                continue
            self._keep(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, server, self._weather, self._random)
        self._connections.add(connection)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.sock_connect(server, (LOOPBACK, self.target_port))
        except (OSError, TimeoutError):
            _reset(client)
            _reset(server)
        else:
            await connection.run()
        finally:
            self._connections.discard(connection)


@dataclass(slots=True, eq=False)
class _Pipe:
    """One direction of a connection. `waiting`: pieces with the time at which each is due."""

    source: socket.socket
    sink: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    waiting_bytes: int = 0
    has_ended: bool = False
    is_held: bool = False
    is_swallowed: bool = False
    cut_after_bytes: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class _Connection:
    """Two sockets and the two pipes between them. Only the network's thread touches it."""

    def __init__(
        self, client: socket.socket, server: socket.socket, weather: _Weather, random: Random
    ) -> None:
        self._weather = weather
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._pipes = {Direction.UP: _Pipe(client, server), Direction.DOWN: _Pipe(server, client)}
        self._is_cut = asyncio.Event()

    async def run(self) -> None:
        """Until both directions have ended, or the connection is cut."""
        cut = asyncio.ensure_future(self._is_cut.wait())
        pumps = [
            asyncio.ensure_future(work)
            for pipe in self._pipes.values()
            for work in (self._read(pipe), self._write(pipe))
        ]
        try:
            everything = asyncio.ensure_future(asyncio.wait(pumps))
            await asyncio.wait({cut, everything}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (cut, everything, *pumps):
                task.cancel()
            await asyncio.gather(cut, everything, *pumps, return_exceptions=True)
            for pipe in self._pipes.values():
                if self._is_cut.is_set():
                    _reset(pipe.source)
                else:
                    pipe.source.close()

    def hold(self, directions: Iterable[Direction]) -> None:
        for direction in directions:
            self._pipes[direction].is_held = True

    def release(self) -> None:
        for pipe in self._pipes.values():
            pipe.is_held = False
            # What was to come later comes now.
            pipe.waiting = deque((0.0, piece) for _, piece in pipe.waiting)
            pipe.changed.set()

    def cut(self, direction: Direction, after_bytes: int) -> None:
        if after_bytes <= 0:
            self._is_cut.set()
        else:
            self._pipes[direction].cut_after_bytes = after_bytes

    def swallow(self, directions: Iterable[Direction]) -> None:
        for direction in directions:
            pipe = self._pipes[direction]
            pipe.is_swallowed = True
            pipe.waiting.clear()
            pipe.waiting_bytes = 0
            pipe.changed.set()

    async def _read(self, pipe: _Pipe) -> None:
        while True:
            while pipe.waiting_bytes > BUFFER_MAX_BYTES:
                pipe.changed.clear()
                await pipe.changed.wait()
            try:
                piece = await self._loop.sock_recv(pipe.source, CHUNK_BYTES)
            except OSError:
                piece = b""
            if not piece:
                pipe.has_ended = True
                pipe.changed.set()
                return
            if pipe.is_swallowed:
                continue
            pipe.waiting.append((self._due(pipe), piece))
            pipe.waiting_bytes += len(piece)
            pipe.changed.set()

    def _due(self, pipe: _Pipe) -> float:
        late_s = self._weather.latency_s + self._weather.jitter_s * self._random.random()
        due = self._loop.time() + late_s
        return max(due, pipe.waiting[-1][0]) if pipe.waiting else due

    async def _write(self, pipe: _Pipe) -> None:
        while True:
            piece = await self._next(pipe)
            if piece is None:
                break
            if pipe.cut_after_bytes is not None:
                piece = piece[: pipe.cut_after_bytes]
                pipe.cut_after_bytes -= len(piece)
            try:
                await self._loop.sock_sendall(pipe.sink, piece)
            except OSError:
                # Nobody reads any more; let whoever writes hear of it.
                self._is_cut.set()
                return
            if pipe.cut_after_bytes == 0:
                self._is_cut.set()
                return
        if pipe.is_swallowed:
            return  # the end is as lost as the bytes were: the other side must find out by itself
        with contextlib.suppress(OSError):
            pipe.sink.shutdown(socket.SHUT_WR)

    async def _next(self, pipe: _Pipe) -> bytes | None:
        """The next piece that is due and not held; None when there are no more."""
        while True:
            pipe.changed.clear()
            if pipe.waiting and not pipe.is_held:
                wait_s = pipe.waiting[0][0] - self._loop.time()
                if wait_s <= 0:
                    _, piece = pipe.waiting.popleft()
                    pipe.waiting_bytes -= len(piece)
                    pipe.changed.set()
                    return piece
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await pipe.changed.wait()
                continue
            if pipe.has_ended and not pipe.waiting:
                return None
            await pipe.changed.wait()


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()

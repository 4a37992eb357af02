"""How many connections a listener holds, of all and of one address, and how long one may take to say what it wants.

Counted where they are accepted, before TLS and before any thread or buffer is spent: one more is closed unanswered.
Each has a time for handshake and first request head, and again for each further head from its first byte on. Bodies
and answers are others' business (`cloud.http_gate`, uvicorn). Proxies that the operator named (`trusted_proxies`)
count as none, for everybody's connections come from them.

Everything happens in the event loop.
"""

import asyncio
import errno
import logging
import socket
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Self

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud.addresses import ClientAddresses, place_of
from cloud.connection_limits import ConnectionLimits

logger = logging.getLogger(__name__)

REPORT_EACH_S: Final = 60.0
"""That connections are turned away is logged at most so often."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE_S: Final = 1.0
"""asyncio leaves the socket alone for as long, and writes a line, for each such error that it sees."""


class Connections:
    """The open connections of one listener."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._proxies = ClientAddresses(limits.trusted_proxies)
        self._open: dict[Any, Connection] = {}
        self._places: Counter[str] = Counter()
        self._reported_at_s = -REPORT_EACH_S

    def __len__(self) -> int:
        return len(self._open)

    def take(self, connection: "Connection", peer: Any) -> bool:
        """Count it, and begin its time; False: there are too many."""
        place = "" if self._proxies.trusts(peer[0]) else place_of(peer[0])
        is_one_too_many = place != "" and self._places[place] >= self._limits.per_address_max
        if is_one_too_many or len(self._open) >= self._limits.max:
            self._report(peer[0])
            return False
        connection.place = place
        self._open[peer] = connection
        self._places[place] += 1
        self.wait_for_head(peer)
        return True

    def leave(self, connection: "Connection", peer: Any) -> None:
        """It is closed."""
        if self._open.get(peer) is not connection:
            return
        self.head_came(peer)
        del self._open[peer]
        self._places[connection.place] -= 1
        if not self._places[connection.place]:
            del self._places[connection.place]

    def wait_for_head(self, peer: Any) -> None:
        """Close it if no whole request head comes in time; the time does not begin anew."""
        connection = self._open.get(peer)
        if connection is not None and connection.timer is None:
            loop = asyncio.get_running_loop()
            connection.timer = loop.call_later(self._limits.head_timeout_s, connection.cut)

    def head_came(self, peer: Any) -> None:
        connection = self._open.get(peer)
        if connection is not None and connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None

    def _report(self, address: str) -> None:
        now_s = monotonic()
        if now_s - self._reported_at_s >= REPORT_EACH_S:
            self._reported_at_s = now_s
            logger.warning(
                "connections are turned away, the last one from %s: %d are open"
                " (`http_connections_max`, `http_connections_per_address_max`)",
                address,
                len(self._open),
            )


class Connection(socket.socket):
    """One that was accepted: tells when it is closed. `place`: what it is counted under."""

    counted_by: Connections | None = None
    peer: Any = None
    place: str = ""
    timer: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """End it as if the client had gone; what reads from it then closes it."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self.counted_by is not None:
            self.counted_by.leave(self, self.peer)
            self.counted_by = None
        super().close()


class ListeningSocket(socket.socket):
    """Accepts what `connections` has room for, and closes the others."""

    connections: Connections
    _exhausted_at_s: float = -EXHAUSTED_PAUSE_S

    @classmethod
    def taking_over(cls, listening: socket.socket, connections: Connections) -> Self:
        taken = cls(listening.family, listening.type, listening.proto, fileno=listening.detach())
        taken.connections = connections
        return taken

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises `BlockingIOError` when nobody waits."""
        while True:
            try:
                plain, peer = super().accept()
            except OSError as error:
                # asyncio asks as often as its backlog is long, and writes a traceback for each time.
                if error.errno in EXHAUSTED and monotonic() - self._exhausted_at_s < EXHAUSTED_PAUSE_S:
                    raise BlockingIOError from error
                if error.errno in EXHAUSTED:
                    self._exhausted_at_s = monotonic()
                raise
            connection = Connection(plain.family, plain.type, plain.proto, fileno=plain.detach())
            if self.connections.take(connection, peer):
                connection.counted_by, connection.peer = self.connections, peer
                return connection, peer
            connection.close()


def protocol_of(connections: Connections) -> type[H11Protocol]:
    """Uvicorn's protocol, which tells `connections` when a request head is waited for and when it has come."""

    class TimedProtocol(H11Protocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            peer = self.transport.get_extra_info("peername")
            if self.conn.their_state is h11.IDLE:
                connections.wait_for_head(peer)
            else:
                connections.head_came(peer)

    return TimedProtocol

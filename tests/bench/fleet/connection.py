"""One device's MQTT 5 connection on a non-blocking TLS socket: told when it may go on, never waits.

A connection goes `CONNECTING → HANDSHAKING → OPENING → SUBSCRIBING → UP` and is then used up by its first failure. Must
not know what messages mean, nor the time: the simulator holds it against the clock.
"""

import errno
import select
import socket
import ssl
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from shared.errors import ProtocolError, UnavailableError
from shared.gate import MESSAGE_MAX_BYTES
from tests.bench.fleet import mqtt
from tests.bench.fleet.mqtt import Kind, Packet, Publish

PACKET_MAX_BYTES: Final = 2 * MESSAGE_MAX_BYTES
READ_BYTES: Final = 65_536
READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
SUBSCRIBE_ID: Final = 1


class Phase(IntEnum):
    """How far a connection got."""

    CONNECTING = 0
    HANDSHAKING = 1
    OPENING = 2
    SUBSCRIBING = 3
    UP = 4


class Connection:
    """Made from a started TCP connection. Every method raises `UnavailableError` when the connection has ended."""

    __slots__ = (
        "_context", "_filters", "_hello", "_host", "_out", "_packet_id", "_reader", "_sock", "_tls", "fd", "id",
        "phase", "wants",
    )  # fmt: skip

    def __init__(
        self,
        address: tuple[str, int],
        *,
        host: str,
        context: ssl.SSLContext,
        connect: bytes,
        filters: Sequence[str],
        id_: bytes,
    ) -> None:
        """`host` is the name in the broker's certificate, `connect` the CONNECT packet, `id_` what the will says."""
        self.id = id_
        self._sock: socket.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.fd = self._sock.fileno()
        self._tls: ssl.SSLSocket | None = None
        self._host = host
        self._context = context
        self._hello = connect
        self._filters = filters
        self._out = b""
        self._packet_id = SUBSCRIBE_ID
        self._reader = mqtt.Reader(packet_max_bytes=PACKET_MAX_BYTES)
        self.phase = Phase.CONNECTING
        self.wants = WRITABLE
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self.close()
            raise _ended(OSError(code, errno.errorcode.get(code, "?")))

    def proceed(self) -> list[Publish]:
        """The socket is ready: go on as far as possible. What the broker published, acknowledged already."""
        try:
            if self.phase is Phase.CONNECTING:
                self._begin_tls()
            if self.phase is Phase.HANDSHAKING and not self._shake_hands():
                return []
            published = self._read()
            self._flush()
        except (OSError, ProtocolError) as error:
            raise _ended(error) from error
        return published

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        """Queue a message at QoS 1; `flush` sends what is queued."""
        self._packet_id = self._packet_id % mqtt.MAX_PACKET_ID + 1
        self._out += mqtt.publish(topic, payload, packet_id=self._packet_id, is_retained=is_retained)

    def ping(self) -> None:
        self._out += mqtt.PINGREQ

    def flush(self) -> None:
        try:
            self._flush()
        except OSError as error:
            raise _ended(error) from error

    def leave(self) -> None:
        """Say goodbye if it can be said at once, and close."""
        try:
            if self.phase is Phase.UP and self._tls is not None:
                self._tls.send(mqtt.DISCONNECT)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        self._sock.close()

    def _begin_tls(self) -> None:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, "?"))
        # Takes the descriptor over, so its registration stands.
        self._tls = self._sock = self._context.wrap_socket(
            self._sock, do_handshake_on_connect=False, server_hostname=self._host
        )
        self.phase = Phase.HANDSHAKING

    def _shake_hands(self) -> bool:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = READABLE
            return False
        except ssl.SSLWantWriteError:
            self.wants = WRITABLE
            return False
        self.phase = Phase.OPENING
        self._out += self._hello
        return True

    def _read(self) -> list[Publish]:
        assert self._tls is not None
        published: list[Publish] = []
        while True:
            try:
                data = self._tls.recv(READ_BYTES)
            except ssl.SSLWantReadError:
                return published
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the broker closed the connection")
            for packet in self._reader.feed(data):
                self._take(packet, published)

    def _take(self, packet: Packet, published: list[Publish]) -> None:
        match packet.kind:
            case Kind.PUBLISH:
                message = mqtt.parse_publish(packet)
                if message.packet_id is not None:
                    self._out += mqtt.puback(message.packet_id)
                published.append(message)
            case Kind.PUBACK:
                if (reason := mqtt.puback_reason(packet)) >= mqtt.FAILURE_FROM:
                    raise ProtocolError(f"The broker refused a message with reason {reason:#04x}.")
            case Kind.CONNACK:
                if reason := mqtt.connack_reason(packet):
                    raise ProtocolError(f"The broker refused the connection with reason {reason:#04x}.")
                self._out += mqtt.subscribe(SUBSCRIBE_ID, self._filters)
                self.phase = Phase.SUBSCRIBING
            case Kind.SUBACK:
                if any(reason >= mqtt.FAILURE_FROM for reason in mqtt.suback_reasons(packet)):
                    raise ProtocolError("The broker refused a subscription.")
                self.phase = Phase.UP
            case Kind.DISCONNECT:
                raise ProtocolError(
                    f"The broker disconnected with reason {mqtt.disconnect_reason(packet):#04x}."
                )
            case Kind.PINGRESP:
                pass
            case Kind.CONNECT | Kind.SUBSCRIBE | Kind.PINGREQ:
                raise ProtocolError(f"The broker sent a {packet.kind.name}.")

    def _flush(self) -> None:
        assert self._tls is not None
        try:
            while self._out:
                self._out = self._out[self._tls.send(self._out) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        self.wants = READABLE | WRITABLE if self._out else READABLE


def _ended(error: Exception) -> UnavailableError:
    match error:
        case ssl.SSLError():
            reason = error.reason or "TLS"
        case OSError():
            reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
        case _:
            reason = str(error)
    return UnavailableError(f"The connection ended: {reason}")

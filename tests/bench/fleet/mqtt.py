"""MQTT 5 (OASIS, 7 March 2019) as a device speaks it: packets to bytes and back. Pure.

Only what the protocol of `shared` needs: a clean start with a will, QoS 1 in both directions, no session at the broker,
no topic aliases. paho holds three descriptors and a thread for each client; ten thousand of them would not fit one
process, so the fleet simulator speaks for itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shared.errors import ProtocolError

PROTOCOL_LEVEL: Final = 5
FAILURE_FROM: Final = 0x80
"""Reason codes from here on say no (section 2.4)."""
MAX_PACKET_ID: Final = 65_535
REMAINING_LENGTH_MAX_BYTES: Final = 4

_CLEAN_START, _WILL, _WILL_QOS_1, _WILL_RETAIN = 0x02, 0x04, 0x08, 0x20
_SESSION_EXPIRY_INTERVAL, _MAXIMUM_PACKET_SIZE = 0x11, 0x27
_RETAIN, _QOS_1, _QOS_BITS = 0x01, 0x02, 0x06


class Kind(IntEnum):
    """The packet types that a device sends or hears (section 2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it came: the flags of its first byte, and what follows the remaining length."""

    kind: Kind
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """A message from the broker. `packet_id` is to be acknowledged; None at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int | None


PINGREQ: Final = bytes([Kind.PINGREQ << 4, 0])
DISCONNECT: Final = bytes([Kind.DISCONNECT << 4, 0])
"""An orderly end: the broker forgets the will."""


def connect(
    *, client_id: str, keepalive_s: int, will_topic: str, will_payload: bytes, packet_max_bytes: int
) -> bytes:
    """A clean start with a retained will at QoS 1 and no session afterwards (section 3.1)."""
    flags = _CLEAN_START | _WILL | _WILL_QOS_1 | _WILL_RETAIN
    properties = (
        bytes([_SESSION_EXPIRY_INTERVAL])
        + bytes(4)
        + bytes([_MAXIMUM_PACKET_SIZE])
        + packet_max_bytes.to_bytes(4, "big")
    )
    return _packet(
        Kind.CONNECT << 4,
        _text("MQTT")
        + bytes([PROTOCOL_LEVEL, flags])
        + keepalive_s.to_bytes(2, "big")
        + _length(len(properties))
        + properties
        + _text(client_id)
        + _length(0)  # the will's properties
        + _text(will_topic)
        + _binary(will_payload),
    )


def subscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    """Each filter at QoS 1 (section 3.8)."""
    wanted = b"".join(_text(filter_) + bytes([1]) for filter_ in filters)
    return _packet(Kind.SUBSCRIBE << 4 | _QOS_1, packet_id.to_bytes(2, "big") + _length(0) + wanted)


def publish(topic: str, payload: bytes, *, packet_id: int, is_retained: bool = False) -> bytes:
    """A message at QoS 1 (section 3.3)."""
    flags = _QOS_1 | (_RETAIN if is_retained else 0)
    return _packet(Kind.PUBLISH << 4 | flags, _text(topic) + packet_id.to_bytes(2, "big") + b"\0" + payload)


def puback(packet_id: int) -> bytes:
    """Success, in the short form (section 3.4.2.1)."""
    return bytes([Kind.PUBACK << 4, 2]) + packet_id.to_bytes(2, "big")


class Reader:
    """Bytes as they come to whole packets. Raises `ProtocolError` for a packet larger than the bound, or unknown."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, *, packet_max_bytes: int) -> None:
        self._buffer = b""
        self._max_bytes = packet_max_bytes

    def feed(self, data: bytes) -> Iterator[Packet]:
        buffer = self._buffer + data if self._buffer else data
        position = 0
        while (found := self._cut(buffer, position)) is not None:
            packet, position = found
            self._buffer = buffer[position:]
            yield packet
        self._buffer = buffer[position:]

    def _cut(self, buffer: bytes, begin: int) -> tuple[Packet, int] | None:
        """The packet at `begin` and where it ends, or None while it is not whole."""
        found = _read_length(buffer, begin + 1)
        if found is None:
            return None
        size, first = found
        if size > self._max_bytes:
            raise ProtocolError(f"The broker sent a packet of {size} bytes; {self._max_bytes} are allowed.")
        if len(buffer) < first + size:
            return None
        try:
            kind = Kind(buffer[begin] >> 4)
        except ValueError as error:
            raise ProtocolError(f"The broker sent a packet of type {buffer[begin] >> 4}.") from error
        return Packet(kind, buffer[begin] & 0x0F, buffer[first : first + size]), first + size


def parse_publish(packet: Packet) -> Publish:
    body = packet.body
    end = 2 + int.from_bytes(body[:2], "big")
    topic = body[2:end].decode()
    packet_id: int | None = None
    if packet.flags & _QOS_BITS:
        packet_id = int.from_bytes(body[end : end + 2], "big")
        end += 2
    found = _read_length(body, end)
    if found is None:
        raise ProtocolError("A PUBLISH ends within its properties.")
    size, first = found
    return Publish(topic, body[first + size :], packet_id)


def connack_reason(packet: Packet) -> int:
    """0 is yes (section 3.2.2.2)."""
    if len(packet.body) < 2:
        raise ProtocolError("A CONNACK is too short.")
    return packet.body[1]


def suback_reasons(packet: Packet) -> bytes:
    """One a filter; below 0x80 the granted QoS (section 3.9.3)."""
    found = _read_length(packet.body, 2)
    if found is None:
        raise ProtocolError("A SUBACK ends within its properties.")
    size, first = found
    return packet.body[first + size :]


def puback_reason(packet: Packet) -> int:
    """Left out when it is 0 (section 3.4.2.1)."""
    return packet.body[2] if len(packet.body) > 2 else 0


def disconnect_reason(packet: Packet) -> int:
    return packet.body[0] if packet.body else 0


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _length(size: int) -> bytes:
    """A variable byte integer (section 1.5.5)."""
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def _read_length(buffer: bytes, begin: int) -> tuple[int, int] | None:
    """A variable byte integer and where it ends, or None while it is not whole."""
    value = 0
    for place in range(REMAINING_LENGTH_MAX_BYTES):
        if begin + place >= len(buffer):
            return None
        byte = buffer[begin + place]
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, begin + place + 1
    raise ProtocolError("A length takes more than four bytes.")

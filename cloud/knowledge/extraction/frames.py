"""Messages between the hub and its child over pipes: eight bytes of length, then so many bytes."""

import struct
from typing import Final, Protocol

_LENGTH: Final = struct.Struct(">Q")
_READ_BYTES: Final = 1_048_576


class Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class Writable(Protocol):
    def write(self, data: bytes | memoryview, /) -> int | None: ...


def send(stream: Writable, payload: bytes) -> None:
    """Raises `OSError` when nobody reads any more."""
    for piece in (_LENGTH.pack(len(payload)), payload):
        view = memoryview(piece)
        while view:
            view = view[stream.write(view) or 0 :]


def receive(stream: Readable, *, max_bytes: int) -> bytes | None:
    """The next message, or None when there is none, only part of one, or one that is larger."""
    header = _exactly(stream, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    return _exactly(stream, length) if length <= max_bytes else None


def _exactly(stream: Readable, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = stream.read(min(count - len(data), _READ_BYTES))
        if not piece:
            return None
        data += piece
    return bytes(data)

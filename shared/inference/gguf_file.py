"""GGUF files: read the header before anything native sees the file, and write small ones.

llama.cpp maps the file into memory and trusts it, so a truncated or foreign file is refused here, by one sentence
instead of a signal. Must not import llama.cpp. The format: ggml's docs/gguf.md, versions 2 and 3, little endian.
"""

import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

MAGIC: Final = b"GGUF"
VERSION: Final = 3
DEFAULT_ALIGNMENT_BYTES: Final = 32
MAX_ITEMS: Final = 65_536
MAX_DIMENSIONS: Final = 4
MAX_SCALAR_STRING_BYTES: Final = 1 << 20

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32, TENSOR_F16 = 0, 1

_SCALARS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# ggml type -> (values in a block, bytes of a block). A type that is not here is checked for its start only.
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


class GgufError(ValueError):
    """What is wrong with the file, as the second half of a sentence. Never leaves this package."""


class Buffer(Protocol):
    """What a tensor must offer to be written; numpy arrays do."""

    @property
    def nbytes(self) -> int: ...

    def tobytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """`metadata` holds the scalar values only: token lists are skipped."""

    metadata: Mapping[str, str | int | float | bool]
    tensor_count: int
    file_bytes: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` is in ggml's order: fastest dimension first."""

    name: str
    shape: tuple[int, ...]
    type: int
    data: Buffer


def read_header(path: Path) -> GgufHeader:
    """Walk the whole header and check that every tensor lies within the file.

    Raises: OSError, GgufError.
    """
    with path.open("rb") as stream:
        if stream.read(4) != MAGIC:
            raise GgufError("is not a GGUF file")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            try:
                return _Walk(view).header()
            except (struct.error, IndexError, UnicodeDecodeError) as exc:
                raise GgufError("ends inside its header") from exc


class _Walk:
    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._at = 4

    def header(self) -> GgufHeader:
        version = self._number("I")
        if version not in (2, 3):
            raise GgufError(f"has GGUF version {version}, which is not 2 or 3")
        tensor_count, value_count = self._number("Q"), self._number("Q")
        if tensor_count > MAX_ITEMS or value_count > MAX_ITEMS:
            raise GgufError("claims more tensors or values than any model has")
        metadata: dict[str, str | int | float | bool] = {}
        for _ in range(value_count):
            key = self._string()
            value = self._value(self._number("I"))
            if value is not None:
                metadata[key] = value
        extents = [self._extent() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT_BYTES)
        if not isinstance(alignment, int) or alignment <= 0:
            raise GgufError("has an impossible alignment")
        start = -(-self._at // alignment) * alignment
        end = max((offset + length for offset, length in extents), default=0)
        if start + end > len(self._view):
            raise GgufError(f"is truncated: it needs {start + end:,} bytes and has {len(self._view):,}")
        return GgufHeader(metadata=metadata, tensor_count=tensor_count, file_bytes=len(self._view))

    def _number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self._view, self._at)
        self._at += struct.calcsize("<" + code)
        return int(value)

    def _skip(self, length: int) -> int:
        start, self._at = self._at, self._at + length
        if self._at > len(self._view):
            raise GgufError("ends inside its header")
        return start

    def _string(self) -> str:
        length = self._number("Q")
        if length > MAX_SCALAR_STRING_BYTES:
            raise GgufError("has an impossible text in its header")
        start = self._skip(length)
        return self._view[start : self._at].decode("utf-8")

    def _value(self, kind: int) -> str | int | float | bool | None:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            self._skip_array()
            return None
        code = _SCALARS.get(kind)
        if code is None:
            raise GgufError(f"has a value of unknown type {kind}")
        (value,) = struct.unpack_from("<" + code, self._view, self._at)
        self._at += struct.calcsize("<" + code)
        scalar: int | float | bool = value
        return scalar

    def _skip_array(self) -> None:
        kind, count = self._number("I"), self._number("Q")
        if kind in _SCALARS:
            self._skip(count * struct.calcsize("<" + _SCALARS[kind]))
        elif kind == STRING:
            view, at, limit, length_of = (
                self._view,
                self._at,
                len(self._view),
                struct.Struct("<Q").unpack_from,
            )
            for _ in range(count):
                at += 8 + length_of(view, at)[0]
                if at > limit:
                    raise GgufError("ends inside its header")
            self._at = at
        else:
            raise GgufError(f"has a list of unknown type {kind}")

    def _extent(self) -> tuple[int, int]:
        self._string()
        dimensions = self._number("I")
        if dimensions > MAX_DIMENSIONS:
            raise GgufError("has a tensor with too many dimensions")
        values = 1
        for _ in range(dimensions):
            values *= self._number("Q")
        kind, offset = self._number("I"), self._number("Q")
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        return offset, -(-values // per_block) * block_bytes


MetadataValue = str | bool | int | float | Sequence[str] | Sequence[int]


def write_gguf(path: Path, metadata: Mapping[str, MetadataValue], tensors: Iterable[Tensor]) -> None:
    """Write a version 3 file. `int` becomes u32, a list of `int` i32, `float` f32. The caller renames it into place."""
    tensors = list(tensors)
    with path.open("wb") as out:
        out.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            out.write(_packed_string(key) + _packed_value(value))
        offset = 0
        for tensor in tensors:
            out.write(_packed_string(tensor.name) + struct.pack("<I", len(tensor.shape)))
            out.write(struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape))
            out.write(struct.pack("<IQ", tensor.type, offset))
            offset += _aligned(tensor.data.nbytes)
        _pad(out)
        for tensor in tensors:
            out.write(tensor.data.tobytes())
            _pad(out)


def _packed_string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _packed_value(value: MetadataValue) -> bytes:
    match value:
        case str():
            return struct.pack("<I", STRING) + _packed_string(value)
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", U32, value)
        case float():
            return struct.pack("<If", F32, value)
        case _:
            texts = [item for item in value if isinstance(item, str)]
            if texts:
                return struct.pack("<IIQ", ARRAY, STRING, len(texts)) + b"".join(map(_packed_string, texts))
            return struct.pack(f"<IIQ{len(value)}i", ARRAY, I32, len(value), *value)


def _aligned(length: int) -> int:
    return -(-length // DEFAULT_ALIGNMENT_BYTES) * DEFAULT_ALIGNMENT_BYTES


def _pad(out: BinaryIO) -> None:
    out.write(b"\0" * (_aligned(out.tell()) - out.tell()))

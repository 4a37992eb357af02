"""The file of `covey-hub audit export`: a CBOR sequence (RFC 8742) in a zstd frame (RFC 8878), readable without a hub.

Each item of the sequence is a byte string that holds one item of CBOR, so a reader knows how much comes before it
reads it. An item is an array that begins with its kind; the kinds, in their order in the file:

    header   {format, tenant, since_ms, until_ms, journals, size, at_ms}     what was asked for; null: no limit
    keys     root public key (DER), [statement, …]                           rule P23
    entries  first number, [entry, …]                                        whole entries of the audit log
    leaves   first number, hashes of 32 bytes, joined                        entries that this export may not show
    head     signed tree head                                                right after the last entry it covers
    device   principal, [[public key, since ms, until ms or null], …]        with --journals, in the order of names
    lane     {principal, lane, epoch, tail_seq, tail_hash, head_seq, head_hash}
                                                                             again, if metrics were trimmed meanwhile
    seals    [[sequence, key id, signature], …]                              before the records or gap they lie in
    records  first sequence, [record, …]
    gap      first sequence, last sequence, hash after, reason
    end      signed `ExportSeal` over the SHA-256 of every byte before

Pure but for the file that a reader is given. Memory is bounded by `ITEM_MAX_BYTES` and zstd's window.
"""

import hashlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from typing import Annotated, BinaryIO, ClassVar, Final, cast

import zstandard
from pydantic import Field

from shared.cbor import decode, encode
from shared.clock import MAX_MS
from shared.errors import ProtocolError
from shared.keys import Purpose
from shared.messages import Hash, Payload, SeqOrZero

FORMAT: Final = 1
ITEM_MAX_BYTES: Final = 2_097_152
BATCH_BYTES: Final = 262_144
"""About so much is put into one item of entries or records."""
ZSTD_LEVEL: Final = 3
WINDOW_MAX_BYTES: Final = 8_388_608
READ_BYTES: Final = 262_144
NOT_OURS: Final = "This is no export of `covey-hub audit export`, or it was damaged"

_SHORT: Final = 0x40
_LENGTH_BYTES: Final = {0x58: 1, 0x59: 2, 0x5A: 4}


class ExportSeal(Payload):
    """The hub's signature over an export: the bytes before it, how many items they are, and the log's state."""

    content_type: ClassVar[str] = "application/vnd.covey.audit-export+cbor"
    key_purpose: ClassVar[Purpose] = Purpose.AUDIT

    sha256: Hash
    items: SeqOrZero
    size: SeqOrZero
    root: Hash
    chain: Hash
    at_ms: Annotated[int, Field(ge=0, le=MAX_MS)]


class Packer:
    """Items to compressed bytes. `sha256` and `items` are of what was packed so far."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
        self.items = 0

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    def pack(self, item: list[object]) -> bytes:
        """The compressed bytes that are ready; often none."""
        framed = encode(encode(item))
        self._hash.update(framed)
        self.items += 1
        return self._zstd.compress(framed)

    def finish(self) -> bytes:
        """The rest."""
        return self._zstd.flush()


class Unpacker:
    """Items of a file, in order. `sha256` and `items` are of those before the one that was handed out last."""

    def __init__(self, file: BinaryIO) -> None:
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES).stream_reader(
            file, read_size=READ_BYTES, read_across_frames=True
        )
        self._stream = BufferedReader(cast("RawIOBase", reader), READ_BYTES)
        self._hash = hashlib.sha256()
        self._last = b""
        self.items = -1

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    def __iter__(self) -> Iterator[list[object]]:
        """Raises `ProtocolError` for what is no item of this format."""
        while True:
            self._hash.update(self._last)
            self.items += 1
            head = self._read(1)
            if not head:
                return
            size, prefix = self._size(head[0])
            body = self._exactly(size)
            self._last = head + prefix + body
            item = decode(body)
            if not isinstance(item, list) or not item or not isinstance(item[0], str):
                raise ProtocolError(f"{NOT_OURS}: item {self.items} is none of its kinds.", code="damaged")
            yield item

    def _size(self, first: int) -> tuple[int, bytes]:
        if _SHORT <= first < min(_LENGTH_BYTES):
            return first - _SHORT, b""
        if first not in _LENGTH_BYTES:
            raise ProtocolError(f"{NOT_OURS}: item {self.items} is no byte string.", code="damaged")
        prefix = self._exactly(_LENGTH_BYTES[first])
        size = int.from_bytes(prefix, "big")
        if size > ITEM_MAX_BYTES:
            raise ProtocolError(
                f"{NOT_OURS}: item {self.items} claims {size} bytes; an item has at most {ITEM_MAX_BYTES}.",
                code="damaged",
            )
        return size, prefix

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) != size:
            raise ProtocolError(f"The file ends within item {self.items}: it was cut off.", code="cut_off")
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise ProtocolError(f"{NOT_OURS}: it cannot be decompressed.", code="damaged") from error

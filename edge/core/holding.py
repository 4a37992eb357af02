"""Which part of a collection a device holds, when there is no room for all of it. Pure.

Documents are taken whole, in the order of the manifest, as long as they fit: half a document would answer half of a
question as if it were all. What a chunk takes is reckoned from where it stands in its document, before anything is
fetched; the reckoning is cautious, and measured on an English manual (`tests/edge/core/test_holding.py`).
"""

from dataclasses import dataclass
from typing import Final

from shared.knowledge import ChunkEntry, Manifest
from shared.knowledge.manifest import chunk_id

ROW_BYTES: Final = 1_536
"""Of a chunk in the library: its rows, their indexes and its embedding."""
BYTES_PER_CHARACTER: Final = 2
"""Of its text, and of the postings of its words."""
VECTOR_BYTES: Final = 3_072
"""Of a chunk in the vector index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`only` None: all of it. `contents`: names of what it is made of. `size`: bytes that it takes, about."""

    only: frozenset[bytes] | None
    contents: frozenset[bytes]
    chunks: int
    size: int


def part_of(manifest: Manifest, *, room: int, has_index: bool) -> Part:
    """The documents that fit `room` bytes."""
    sizes = [0] * len(manifest.documents)
    for chunk in manifest.chunks:
        sizes[chunk.document] += size_of(chunk, has_index=has_index)
    held, left = set(), room
    for document, size in enumerate(sizes):
        if size <= left:
            held.add(document)
            left -= size
    chunks = [chunk for chunk in manifest.chunks if chunk.document in held]
    return Part(
        only=None if len(held) == len(sizes) else frozenset(_key(manifest, chunk) for chunk in chunks),
        contents=frozenset(chunk.content for chunk in chunks),
        chunks=len(chunks),
        size=sum(sizes[document] for document in held),
    )


def size_of(chunk: ChunkEntry, *, has_index: bool) -> int:
    """Bytes that a chunk takes on the disk, about."""
    text = (chunk.end - chunk.start) * BYTES_PER_CHARACTER
    return ROW_BYTES + text + (VECTOR_BYTES if has_index else 0)


def _key(manifest: Manifest, chunk: ChunkEntry) -> bytes:
    return chunk_id(manifest.documents[chunk.document].id, chunk)

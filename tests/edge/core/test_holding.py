"""Which documents of a collection are held, when not all of them fit."""

from contextlib import closing
from pathlib import Path

import pytest

from edge.core.holding import BYTES_PER_CHARACTER, ROW_BYTES, VECTOR_BYTES, part_of
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest
from shared.knowledge.manifest import chunk_id
from shared.library.library import Library
from tests.support.device import bytes_from

CHARACTERS = 100
WORDS = "the pump valve filter is closed before cleaning and changed twice a year with tool"
PLAIN = ROW_BYTES + CHARACTERS * BYTES_PER_CHARACTER


def manifest(*chunks_of: int) -> Manifest:
    """Documents of so many chunks each."""
    return Manifest(
        tenant="main",
        name="manuals",
        number=1,
        labels=[],
        model=bytes_from("model", 32),
        documents=[
            DocumentEntry(f"{at}.md", f"{at}", "text/markdown", bytes_from(f"file {at}", 32))
            for at in range(len(chunks_of))
        ],
        chunks=[
            ChunkEntry(
                at, number * CHARACTERS, (number + 1) * CHARACTERS, 0, bytes_from(f"{at} {number}", 32)
            )
            for at, count in enumerate(chunks_of)
            for number in range(count)
        ],
    )


def test_what_fits_exactly_is_held_whole_and_a_byte_less_is_not() -> None:
    """P28"""
    whole = part_of(manifest(2, 1), room=3 * PLAIN, has_index=False)
    assert (whole.only, whole.chunks, whole.size) == (None, 3, 3 * PLAIN)
    part = part_of(manifest(2, 1), room=3 * PLAIN - 1, has_index=False)
    assert part.only is not None
    assert (part.chunks, part.size) == (2, 2 * PLAIN)


def test_documents_are_taken_whole_in_their_order_and_a_large_one_does_not_shut_out_the_rest() -> None:
    of = manifest(1, 50, 2)
    part = part_of(of, room=10 * PLAIN, has_index=False)
    assert part.only == frozenset(
        chunk_id(of.documents[chunk.document].id, chunk) for chunk in of.chunks if chunk.document in (0, 2)
    )
    assert part.contents == {chunk.content for chunk in of.chunks if chunk.document in (0, 2)}


def test_an_index_takes_room_too() -> None:
    room = PLAIN + VECTOR_BYTES
    assert part_of(manifest(1), room=room, has_index=True).only is None
    assert part_of(manifest(1), room=room - 1, has_index=True).chunks == 0


def test_without_room_nothing_is_held_and_an_empty_collection_is_held_whole() -> None:
    assert part_of(manifest(1), room=0, has_index=False).only == frozenset()
    assert part_of(manifest(), room=0, has_index=False).only is None


@pytest.mark.slow
def test_the_reckoning_is_cautious_but_not_without_measure(tmp_path: Path) -> None:
    words = WORDS.split()
    contents = [
        Content(
            ("Care",), " ".join(words[(at * 7 + n * (at % 5 + 1)) % len(words)] for n in range(120)) + f" {at}",
            bytes_from(f"vector {at}", 32) * 12,
        )
        for at in range(150)
    ]  # fmt: skip
    model, at, chunks = bytes_from("model", 32), 0, []
    for content in contents:
        chunks.append(ChunkEntry(0, at, at + len(content.text), 0, content.id))
        at += len(content.text) + 2
    of = Manifest(
        tenant="main", name="manuals", number=1, labels=[], model=model,
        documents=[DocumentEntry("care.md", "Care", "text/markdown", bytes(32))], chunks=chunks,
    )  # fmt: skip
    with closing(Library(tmp_path, mac_key=bytes(32), index=None)) as library:
        library.add_contents(contents, model=model)
        library.apply("manuals", of)
        used = library.bytes_used
    size = part_of(of, room=10**9, has_index=False).size
    assert used <= size <= 2.5 * used

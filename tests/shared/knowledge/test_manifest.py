"""A revision has one encoding and one name, and nothing that contradicts itself is one."""

import cbor2
import pytest

from shared.cbor import decode
from shared.errors import ProtocolError
from shared.knowledge import ChunkEntry, DocumentEntry, Manifest
from shared.knowledge.manifest import HASH_BYTES, chunk_id
from shared.knowledge.pack import content_id
from shared.merkle import EMPTY_ROOT
from tests.shared.knowledge.revisions import MODEL, manifest_of

SOME = manifest_of({"a.md": ["one", "two"], "b.md": ["three"]}, labels=["internal"])


def test_a_manifest_reads_as_it_was_written() -> None:
    read = Manifest.parse(SOME.raw)
    assert (read.documents, read.chunks, read.labels) == (SOME.documents, SOME.chunks, SOME.labels)
    assert (read.hash, read.root) == (SOME.hash, SOME.root)


def test_the_root_tells_chunks_and_their_places_and_nothing_else() -> None:
    relabelled = manifest_of({"a.md": ["one", "two"], "b.md": ["three"]}, number=9)
    assert (relabelled.root, relabelled.hash != SOME.hash) == (SOME.root, True)
    assert manifest_of({"a.md": ["one", "two"], "c.md": ["three"]}).root != SOME.root
    assert manifest_of({"a.md": ["two", "one"], "b.md": ["three"]}).root != SOME.root


def test_an_empty_collection_has_a_revision_too() -> None:
    assert manifest_of({}).root == EMPTY_ROOT
    assert Manifest.parse(manifest_of({}).raw).chunks == ()


@pytest.mark.parametrize(
    ("documents", "chunks"),
    [
        ([DocumentEntry("b", "", "", MODEL), DocumentEntry("a", "", "", MODEL)], []),
        ([DocumentEntry("a", "", "", MODEL), DocumentEntry("a", "", "", MODEL)], []),
        ([DocumentEntry("a", "", "", b"short")], []),
        ([DocumentEntry("", "", "", MODEL)], []),
        ([DocumentEntry("a", "x" * 513, "", MODEL)], []),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(1, 0, 3, 0, MODEL)]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(-1, 0, 3, 0, MODEL)]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(0, 3, 3, 0, MODEL)]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(0, 0, 3, -1, MODEL)]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(0, 0, 3, 0, b"")]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(0, 9, 12, 0, MODEL), ChunkEntry(0, 0, 3, 0, MODEL)]),
        ([DocumentEntry("a", "", "", MODEL)], [ChunkEntry(0, 0, 3, 0, MODEL)] * 2),
    ],
)  # fmt: skip
def test_entries_out_of_order_or_out_of_bounds_are_refused(
    documents: list[DocumentEntry], chunks: list[ChunkEntry]
) -> None:
    with pytest.raises(ProtocolError):
        Manifest(
            tenant="main", name="m", number=1, labels=(), model=MODEL, documents=documents, chunks=chunks
        )


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"name": "../x"}, {"number": 0}, {"labels": ["B", "a"]}, {"model": b"x"},
        {"contents": b"x" * HASH_BYTES}, {"pages": []}, {"extra": 1}, {"labels": ["b", "a"]},
        {"starts": [0.0, 1.0, 2.0]},
    ],
)  # fmt: skip
def test_other_forms_are_refused(change: dict[str, object]) -> None:
    fields = decode(SOME.raw)
    assert isinstance(fields, dict)
    with pytest.raises(ProtocolError):
        Manifest.parse(cbor2.dumps(fields | change, canonical=True))


@pytest.mark.parametrize("cut", [0, 1, len(SOME.raw) // 2, len(SOME.raw) - 1])
def test_a_truncated_manifest_is_refused(cut: int) -> None:
    with pytest.raises(ProtocolError):
        Manifest.parse(SOME.raw[:cut])


def test_another_encoding_of_the_same_is_refused() -> None:
    fields = decode(SOME.raw)
    assert isinstance(fields, dict)
    with pytest.raises(ProtocolError):
        Manifest.parse(cbor2.dumps(dict(reversed(list(fields.items())))))


def test_a_chunk_is_named_by_what_it_holds_and_where_that_stands() -> None:
    content = content_id(("Pump", "Care"), "Close valve V2.")
    here = ChunkEntry(0, 3, 18, 4, content)
    assert content.hex() == "8220ca0169b7a0299027a47b7ae7301f322dbe5e90b561fbd361803872ce3445"
    assert (
        chunk_id("manual.pdf", here).hex()
        == "a6cfcb40bee872393d13ddce8c7a23d5f53f2d699ccaf21b5390dffa122cdbc7"
    )
    others = (chunk_id("other.pdf", here), chunk_id("manual.pdf", here._replace(start=4)))
    assert chunk_id("manual.pdf", here) not in others

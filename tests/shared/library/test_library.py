"""A collection is taken up whole or not at all, found again, and gone when it is removed."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigError, ProtocolError, UnavailableError
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest
from shared.library.corpus import Item
from shared.library.library import FILE, Findings, Library
from shared.retrieval.search import query_of
from tests.support.device import bytes_from
from tests.support.vectors import MemoryVectors, vector_of

MAC_KEY = bytes_from("mac key", 32)
MODEL = bytes_from("model", 32)
FIRST = {
    "pump.md": ["Close valve V2 before cleaning the pump", "The filter is changed twice a year"],
    "oven.md": ["The oven reaches 250 degrees", "Let the oven cool down before cleaning"],
}
SECOND = {
    **FIRST,
    "pump.md": [FIRST["pump.md"][0], "The filter is changed each month"],
    "bell.md": ["Ring the bell"],
}


def test_a_program_that_takes_words_apart_in_another_way_makes_the_postings_anew(
    tmp_path: Path, index: MemoryVectors
) -> None:
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index)) as library:
        library.add_contents(contents_of(FIRST), model=MODEL)
        library.apply("manuals", manifest_of(FIRST))
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("UPDATE posting SET term = 'as-before-' || term")
        db.execute("UPDATE item SET body_length = 99")
        db.commit()
        db.execute("PRAGMA application_id=0")
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index)) as library:
        found = library.search(query_of("clean the pump"), ["manuals"], limit=1)
        assert [each.item.text for each in found.passages] == [FIRST["pump.md"][0]]
        assert library.verify() == []


def contents_of(documents: Mapping[str, Sequence[str]]) -> list[Content]:
    return [Content((), text, vector_of(text)) for texts in documents.values() for text in texts]


def manifest_of(
    documents: Mapping[str, Sequence[str]], number: int = 1, *, model: bytes = MODEL, title: str = ""
) -> Manifest:
    chunks = []
    for index, name in enumerate(sorted(documents)):
        start = 0
        for text in documents[name]:
            chunks.append(ChunkEntry(index, start, start + len(text), 0, Content((), text, b"").id))
            start += len(text) + 1
    return Manifest(
        tenant="main", name="manuals", number=number, labels=["internal"], model=model,
        documents=[
            DocumentEntry(name, title or name, "text/markdown", bytes_from(name, 32)) for name in sorted(documents)
        ],
        chunks=chunks,
    )  # fmt: skip


@pytest.fixture
def index() -> MemoryVectors:
    return MemoryVectors()


@pytest.fixture
def library(tmp_path: Path, index: MemoryVectors) -> Iterator[Library]:
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index)) as made:
        yield made


def take_up(library: Library, documents: Mapping[str, Sequence[str]], number: int = 1) -> None:
    library.add_contents(contents_of(documents), model=MODEL)
    library.apply("manuals", manifest_of(documents, number))


def ask(library: Library, question: str, *, by_keywords: bool = False) -> Findings:
    query = query_of(question, None if by_keywords else vector_of(question))
    return library.search(query, ["manuals"], limit=3)


def texts(findings: Findings) -> list[str]:
    return [passage.item.text for passage in findings.passages]


def test_what_was_taken_up_is_found_with_its_place_and_labels(library: Library) -> None:
    take_up(library, FIRST)
    found = ask(library, "cleaning the pump valve")
    best = found.passages[0]
    assert best.item.text == FIRST["pump.md"][0]
    assert (best.item.document, best.item.start, best.item.end) == ("pump.md", 0, len(best.item.text))
    assert (best.labels, best.number, found.ranked_by, found.refused) == (("internal",), 1, "fused", 0)


def test_the_next_revision_takes_the_place_of_the_one_before(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    take_up(library, SECOND, 2)
    assert texts(ask(library, "filter changed"))[0] == "The filter is changed each month"
    assert "The filter is changed twice a year" not in texts(ask(library, "filter twice a year"))
    (held,) = library.held()
    assert (held.number, held.chunks, held.held_chunks) == (2, 5, 5)
    assert len(index.ids("manuals")) == 5


def test_ranks_do_not_depend_on_how_the_revision_was_reached(tmp_path: Path) -> None:
    with (
        closing(Library(tmp_path / "a", mac_key=MAC_KEY, index=MemoryVectors())) as long_way,
        closing(Library(tmp_path / "b", mac_key=bytes_from("another", 32), index=MemoryVectors())) as at_once,
    ):
        take_up(long_way, {"x.md": ["Something else", "and more of it", "and more"]})
        take_up(long_way, FIRST, 2)
        take_up(long_way, SECOND, 3)
        take_up(at_once, SECOND, 3)
        for question in ("filter", "cleaning the oven", "bell", "degrees of the valve", "changed each month"):
            ours, theirs = ask(long_way, question), ask(at_once, question)
            assert [(each.item.key, each.score) for each in ours.passages] == [
                (each.item.key, each.score) for each in theirs.passages
            ]


def test_a_title_that_changes_alone_is_shown_anew(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    library.apply("manuals", manifest_of(FIRST, 2, title="Zeppelin"))
    assert {passage.item.title for passage in ask(library, "oven").passages} == {"Zeppelin"}
    assert len(index.ids("manuals")) == 4


def test_a_revision_of_which_a_content_is_missing_changes_nothing(library: Library) -> None:
    take_up(library, FIRST)
    with pytest.raises(ProtocolError, match="not here"):
        library.apply("manuals", manifest_of(SECOND, 2))
    assert library.held()[0].number == 1
    assert texts(ask(library, "filter changed"))[0] == "The filter is changed twice a year"


def test_what_is_missing_is_told_by_model(library: Library) -> None:
    take_up(library, FIRST)
    wanted = manifest_of(SECOND, 2).contents
    assert library.missing(wanted, model=MODEL) == {each.id for each in contents_of(SECOND)} - {
        each.id for each in contents_of(FIRST)
    }
    assert library.missing(wanted, model=bytes_from("other", 32)) == wanted


def test_embeddings_of_another_model_replace_all_of_the_one_before(
    library: Library, index: MemoryVectors
) -> None:
    take_up(library, FIRST)
    before = index.ids("manuals")
    other = bytes_from("other model", 32)
    turned = [Content(each.headings, each.text, vector_of(each.text[::-1])) for each in contents_of(FIRST)]
    library.add_contents(turned, model=other)
    library.apply("manuals", manifest_of(FIRST, 2, model=other))
    assert library.held()[0].model == other
    assert len(index.ids("manuals")) == len(before)
    assert ask(library, "oven").refused == 0
    assert library.verify() == []


def test_a_part_of_a_revision_is_held_and_said(library: Library) -> None:
    manifest = manifest_of(FIRST)
    library.add_contents(contents_of(FIRST), model=MODEL)
    from shared.knowledge.manifest import chunk_id

    some = frozenset(
        chunk_id("pump.md", each)
        for each in manifest.chunks
        if manifest.documents[each.document].id == "pump.md"
    )
    held = library.apply("manuals", manifest, only=some)
    assert (held.held_chunks, held.chunks) == (2, 4)
    assert all(passage.item.document == "pump.md" for passage in ask(library, "oven cleaning").passages)


def test_removal_leaves_nothing(library: Library, index: MemoryVectors, tmp_path: Path) -> None:
    take_up(library, FIRST)
    assert ask(library, "oven").passages
    assert library.remove("manuals")
    assert not library.remove("manuals")
    assert library.held() == []
    assert ask(library, "oven").passages == ()
    assert index.held == {}
    for file in tmp_path.iterdir():
        assert b"valve V2" not in file.read_bytes()


def test_a_broken_index_is_said_and_keywords_go_on(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    index.is_broken = True
    found = ask(library, "filter")
    assert texts(found)[0] == "The filter is changed twice a year"
    assert found.ranked_by == "keywords"
    assert found.note is not None
    take_up(library, SECOND, 2)
    with pytest.raises(UnavailableError):
        library.check()
    index.is_broken = False
    assert library.check() > 0
    assert library.check() == 0
    assert ask(library, "filter").ranked_by == "fused"


def test_what_the_index_lost_or_kept_too_long_is_mended(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    lost = sorted(index.ids("manuals"))[:2]
    index.remove("manuals", lost)
    index.add("manuals", ["7-0011223344556677-0011223344556677"], np.zeros((1, 32), np.float32))
    assert library.check() == 3
    assert set(lost) <= index.ids("manuals")
    assert "7-0011223344556677-0011223344556677" not in index.ids("manuals")


def test_a_stranger_in_the_index_is_not_found(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    index.held["manuals"] = {f"{number}-0011223344556677-0011223344556677": [1.0] * 32 for number in range(9)}
    index.held["manuals"] |= {name: [1.0] * 32 for name in ("none", "-1", "99999999999999999999", "4-x")}
    found = ask(library, "filter")
    assert {passage.item.document for passage in found.passages} <= {"pump.md", "oven.md"}


@pytest.mark.parametrize(
    "deed",
    [
        "UPDATE content SET text = replace(text, 'Close', 'Open')",
        "UPDATE content SET vector = zeroblob(length(vector)) WHERE text LIKE 'Close%'",
        "UPDATE item SET document = 'forged.md'",
        "UPDATE item SET page = 4",
        "UPDATE item SET mac = zeroblob(32)",
    ],
)
def test_what_was_written_behind_its_back_is_refused_and_told(
    tmp_path: Path, index: MemoryVectors, deed: str
) -> None:
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index)) as library:
        take_up(library, FIRST)
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(deed)
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index)) as library:
        found = ask(library, "close valve before cleaning the pump", by_keywords=True)
        assert all("valve" not in text for text in texts(found))
        assert found.refused >= 1
        assert library.verify()


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError, match="newer"):
        Library(tmp_path, mac_key=MAC_KEY, index=None)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(UnavailableError):
        Library(tmp_path, mac_key=MAC_KEY, index=None)


def test_memory_is_given_back_and_taken_again(library: Library, index: MemoryVectors) -> None:
    take_up(library, FIRST)
    before = texts(ask(library, "oven"))
    library.release()
    assert index.releases == 1
    assert texts(ask(library, "oven")) == before


def test_vectors_of_another_model_are_not_compared(library: Library) -> None:
    take_up(library, FIRST)
    query = query_of("oven", vector_of("oven"))
    assert library.search(query, ["manuals"], limit=3, model=MODEL).ranked_by == "fused"
    assert library.search(query, ["manuals"], limit=3, model=bytes_from("other", 32)).ranked_by == "keywords"


def item_of(name: str, text: str, vector: bytes) -> Item:
    return Item(
        key=bytes_from(name, 32), content=Content((), text, b"").id, model=MODEL, headings=(), text=text, vector=vector,
        document=name, title=name, start=0, end=len(text), page=0,
    )  # fmt: skip


def test_the_same_text_embedded_in_another_batch_is_found_as_well(library: Library) -> None:
    vector = vector_of("Ring the bell")
    rounded = bytes([vector[0] ^ 1, *vector[1:]])
    library.change("episodes", added=[item_of("first", "Ring the bell", vector)])
    library.change("episodes", added=[item_of("second", "Ring the bell", rounded)])
    found = library.search(query_of("bell", vector), ["episodes"], limit=5)
    assert {each.item.document for each in found.passages} == {"first", "second"}
    assert found.refused == 0
    assert library.verify() == []


def test_a_vector_that_was_changed_behind_the_programs_back_is_not_taken_over(
    library: Library, tmp_path: Path
) -> None:
    vector = vector_of("Ring the bell")
    library.change("episodes", added=[item_of("first", "Ring the bell", vector)])
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as file:
        file.execute("UPDATE content SET vector = ?", (vector_of("something else entirely"),))
    library.change("episodes", added=[item_of("second", "Ring the bell", vector)])
    found = library.search(query_of("bell", vector), ["episodes"], limit=5)
    assert (found.passages, found.refused) == ((), 2)


@pytest.mark.parametrize(("scanned_items", "is_scanned"), [(4, True), (3, False)])
def test_a_small_collection_is_looked_at_whole_and_the_index_kept_up_with_it(
    tmp_path: Path, index: MemoryVectors, scanned_items: int, is_scanned: bool
) -> None:
    with closing(Library(tmp_path, mac_key=MAC_KEY, index=index, scanned_items=scanned_items)) as library:
        take_up(library, FIRST)
        assert len(index.ids("manuals")) == 4
        index.is_broken = True
        found = ask(library, "filter")
        assert (found.ranked_by, found.note is None) == (
            ("fused", True) if is_scanned else ("keywords", False)
        )
        assert texts(found)[0] == "The filter is changed twice a year"

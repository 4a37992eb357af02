"""What the demo ships and claims: manuals that the hub reads, questions that they alone answer, checks that fail."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.knowledge.extraction import Extractor
from cloud.knowledge.librarian import ReadDocument
from cloud.knowledge.scribe import DocumentScribe
from deploy.demo import knowing
from deploy.demo.knowing import (
    AT_THE_HUB,
    FACT,
    HERE,
    NEWER_FACT,
    SINCE_WHEN,
    WHILE_CUT_OFF,
    WHILE_LINKED,
    Asked,
)
from deploy.demo.paper import draw
from deploy.demo.stage import StageError
from deploy.demo.story import QUESTION, SECOND_QUESTION
from deploy.demo.told import Told, must_rest_on, must_say, told_in
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest
from shared.knowledge.answer import extract
from shared.library.answering import quotes_of
from shared.library.library import Library
from shared.memory.statements import fact_in, statement_in
from shared.memory.when import asks_since_when
from shared.merkle import leaf_hash
from shared.retrieval.search import query_of

QUESTIONS = (*AT_THE_HUB, WHILE_LINKED, *WHILE_CUT_OFF)


def manuals(directory: Path) -> list[Path]:
    sheet = directory / "compressor-sheet.pdf"
    draw((HERE / "compressor-sheet.txt").read_text(encoding="utf-8"), sheet)
    return sorted([*(HERE / knowing.COLLECTION).iterdir(), sheet])


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReadDocument]:
    """As the hub reads them."""
    with Extractor() as extractor:
        scribe = DocumentScribe(extractor=extractor, count_tokens=lambda text: len(text.split()))
        return {
            path.name: scribe.read(path.name, path.read_bytes())
            for path in manuals(tmp_path_factory.mktemp("manuals"))
        }


@pytest.fixture
def library(tmp_path: Path, documents: dict[str, ReadDocument]) -> Iterator[Library]:
    model = bytes(32)
    entries, chunks, contents = [], [], []
    for index, (name, read) in enumerate(sorted(documents.items())):
        entries.append(DocumentEntry(name, read.title, read.media_type, leaf_hash(read.text.encode())))
        for piece in read.pieces:
            contents.append(Content(piece.headings, piece.text, bytes(8)))
            chunks.append(ChunkEntry(index, piece.start, piece.end, piece.page, piece.id))
    manifest = Manifest(
        tenant="main",
        name="manuals",
        number=1,
        labels=(),
        model=model,
        documents=entries,
        chunks=sorted(chunks),
    )
    with closing(Library(tmp_path, mac_key=bytes(32), index=None)) as made:
        made.add_contents(contents, model=model)
        made.apply("manuals", manifest)
        yield made


@pytest.mark.slow  # documents are read in a process of their own
def test_the_hub_reads_every_manual_and_of_the_drawn_pdf_titles_headings_and_pages(
    documents: dict[str, ReadDocument],
) -> None:
    assert {Path(name).suffix for name in documents} == {".md", ".html", ".csv", ".pdf"}
    assert all(read.pieces and not read.warnings for read in documents.values())
    sheet = documents["compressor-sheet.pdf"]
    assert [(piece.page, piece.headings[-1]) for piece in sheet.pieces] == [
        (1, "Compressor unit VK-12: service sheet"),
        (1, "Oil"),
        (1, "Screws"),
        (2, "Noise"),
        (2, "Condenser"),
    ]


@pytest.mark.slow  # documents are read in a process of their own
@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.question)
def test_even_by_keywords_alone_each_question_is_answered_from_the_manual_that_it_expects(
    library: Library, asked: Asked
) -> None:
    found = library.search(query_of(asked.question), ["manuals"], limit=6)
    quotes = quotes_of(found.passages)
    (source, *_) = [quotes[number - 1].source for number in extract(asked.question, quotes).cited]
    assert source.startswith(asked.title)


def test_no_question_about_the_manuals_names_what_a_tool_reads() -> None:
    """Else the device would look at its sensor or its clock instead."""
    for asked in QUESTIONS:
        words = set(asked.question.lower().rstrip("?").split())
        assert not words & {
            "fridge",
            "temperature",
            "sensor",
            "range",
            "time",
            "date",
            "day",
            "hour",
            "year",
            "clock",
        }
    assert "fridge" in QUESTION
    assert "time" in SECOND_QUESTION


def test_the_newer_fact_is_about_the_same_and_says_something_else() -> None:
    older, newer = (fact_in(statement_in(told) or "") for told in (FACT, NEWER_FACT))
    assert older.key == newer.key
    assert (older.value, newer.value) == ("Anna Berg", "Jonas Falk")
    assert asks_since_when(SINCE_WHEN)


def test_an_answer_is_taken_apart_from_its_sources() -> None:
    told = told_in(
        "Shut it. [1] Wait. [2]\n\nSources:\n[1] Manual, The door (manuals)\n[2] Sheet, page 2 (manuals)"
    )
    assert told == Told(
        text="Shut it. [1] Wait. [2]", sources=("Manual, The door (manuals)", "Sheet, page 2 (manuals)")
    )
    assert told_in("I do not know.") == Told(text="I do not know.", sources=())


def test_an_answer_without_a_source_or_from_another_manual_fails_the_demo() -> None:
    told = Told(text="Shut it. [1]", sources=("Manual, The door (manuals)",))
    assert must_rest_on(told, "Manual", who="fridge-1", question="And?") is told
    with pytest.raises(StageError, match="fridge-1 answered “And\\?” from something else than “Sheet”"):
        must_rest_on(told, "Sheet", who="fridge-1", question="And?")
    for text in ("I do not know.", ""):
        with pytest.raises(StageError, match="without a source"):
            must_rest_on(Told(text=text, sources=()), "Manual", who="fridge-1", question="And?")


def test_a_fact_that_does_not_come_back_as_it_was_told_fails_the_demo() -> None:
    told = Told(text="the key holder is Jonas Falk.", sources=())
    assert must_say(told, ["jonas falk"], who="fridge-3", question="Who?") is told
    with pytest.raises(StageError, match="without saying Anna Berg"):
        must_say(told, ["Jonas Falk", "Anna Berg"], who="fridge-3", question="Who?")

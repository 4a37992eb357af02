"""The door: what it gives, the same each time, from several threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud.knowledge.extraction import FORMATS, Extractor
from cloud.knowledge.extraction.rehearsal import rehearsals
from tests.cloud.knowledge.extraction.files import Drawn, pdf, rows_book, word
from tests.cloud.knowledge.extraction.shown import blocks

FILES = {
    "a.md": b"# Pump\n\nClose *V2*.\n\n* one\n* two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n",
    "a.txt": b"Pump\n====\n\nClose V2.\n",
    "a.html": b"<h1>Pump</h1><p>Close V2.",
    "a.csv": b"a,b\n1,2\n",
    "a.pdf": pdf([Drawn("Pump", y=780, size=24), Drawn("Close V2.")]),
    "a.docx": word(lambda document: document.add_heading("Pump", 1)),
    "a.xlsx": rows_book([["a", "b"], [1, 2]]),
}


def test_markdown_and_text_keep_their_source_as_text(extractor: Extractor) -> None:
    found = extractor.extract("a.md", FILES["a.md"])
    assert found.document.text == FILES["a.md"].decode()
    assert blocks(found) == [
        ("heading 1", "Pump"),
        ("paragraph", "Close *V2*."),
        ("list", "* one\n* two"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("code", "```\ncode\n```"),
    ]
    assert found.document.title == "Pump"
    assert blocks(extractor.extract("notes.txt", FILES["a.txt"]))[0] == ("heading 1", "Pump")


@pytest.mark.parametrize("name", FILES)
def test_spans_are_exact_in_order_and_apart(extractor: Extractor, name: str) -> None:
    document = extractor.extract(name, FILES[name]).document
    end = 0
    for block in document.blocks:
        assert end <= block.start < block.end <= len(document.text)
        assert document.text_of(block).strip()
        end = block.end


@pytest.mark.parametrize("name", FILES)
def test_same_bytes_give_the_same_document(extractor: Extractor, name: str) -> None:
    first = extractor.extract(name, FILES[name])
    assert extractor.extract(name, FILES[name]) == first


@pytest.mark.slow
def test_another_child_gives_the_same_documents(extractor: Extractor) -> None:
    with Extractor() as other:
        for name, content in FILES.items():
            assert other.extract(name, content) == extractor.extract(name, content)


@pytest.mark.slow
def test_threads_take_turns(extractor: Extractor) -> None:
    names = list(FILES) * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: extractor.extract(name, FILES[name]), names))
    expected = {name: extractor.extract(name, content) for name, content in FILES.items()}
    assert found == [expected[name] for name in names]


def test_every_format_is_rehearsed_before_the_child_is_closed_in() -> None:
    assert rehearsals().keys() == {one.name for one in FORMATS}


def test_suffixes_and_media_types_are_of_one_format_each() -> None:
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert len({one.media_type for one in FORMATS}) == len(FORMATS)

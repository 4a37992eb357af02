"""Each bound: a document at it is read, one past it is refused with a code."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cloud.knowledge.extraction import Extractor
from cloud.knowledge.extraction.limits import MIB, ExtractionLimits
from tests.cloud.knowledge.extraction.files import Drawn, pdf, rows_book, with_part, word_of, workbook
from tests.cloud.knowledge.extraction.shown import refusal

pytestmark = pytest.mark.slow

PARAGRAPH = "<w:p><w:r><w:t>text</w:t></w:r></w:p>"


@contextmanager
def limited(**limits: int) -> Iterator[Extractor]:
    with Extractor(dataclasses.replace(ExtractionLimits(), **limits)) as extractor:
        yield extractor


def test_bytes_of_the_file() -> None:
    with limited(content_max_bytes=10) as extractor:
        extractor.extract("a.txt", b"x" * 10)
        assert refusal(extractor, "a.txt", b"x" * 11) == "file_too_large"


def test_characters_of_the_text() -> None:
    with limited(text_max_chars=20) as extractor:
        extractor.extract("a.txt", b"x" * 20)
        assert refusal(extractor, "a.txt", b"x" * 21) == "file_too_large"
        extractor.extract("a.html", b"<p>a<p>" + b"x" * 17)  # and what parts blocks
        assert refusal(extractor, "a.html", b"<p>a<p>" + b"x" * 18) == "file_too_large"
        extractor.extract("a.csv", b"x" * 16)
        assert refusal(extractor, "a.csv", b"x" * 17) == "file_too_large"


def test_blocks() -> None:
    with limited(blocks_max=2) as extractor:
        extractor.extract("a.html", b"<p>a<p>b")
        assert refusal(extractor, "a.html", b"<p>a<p>b<p>c") == "file_too_complex"
        extractor.extract("a.txt", b"a\n\nb")
        assert refusal(extractor, "a.txt", b"a\n\nb\n\nc") == "file_too_complex"


def test_bytes_of_the_answer() -> None:
    with limited(output_max_bytes=1_000) as extractor:
        extractor.extract("a.txt", b"x" * 700)
        assert refusal(extractor, "a.txt", b"x" * 1_000) == "extraction_crashed"


def test_pages() -> None:
    with limited(pages_max=2) as extractor:
        extractor.extract("a.pdf", pdf([Drawn("a")], [Drawn("b")]))
        assert refusal(extractor, "a.pdf", pdf([Drawn("a")], [Drawn("b")], [Drawn("c")])) == "file_too_large"


def test_sheets() -> None:
    with limited(sheets_max=2) as extractor:
        one = workbook(lambda book: (book.active.append(["x"]), book.create_sheet()))
        two = workbook(lambda book: (book.active.append(["x"]), book.create_sheet(), book.create_sheet()))
        extractor.extract("a.xlsx", one)
        assert refusal(extractor, "a.xlsx", two) == "file_too_complex"


def test_rows_and_columns() -> None:
    with limited(table_max_rows=3, table_max_columns=2) as extractor:
        for name, content in (
            ("a.csv", b"a,b\n1,2\n3,4"),
            ("a.xlsx", rows_book([["a", "b"]] * 3)),
            ("a.html", b"<table>" + b"<tr><td>a<td>b" * 3 + b"</table>"),
        ):
            extractor.extract(name, content)
        for name, content in (
            ("a.csv", b"a,b\n1,2\n3,4\n5,6"),
            ("a.csv", b"a,b,c\n"),
            ("a.xlsx", rows_book([["a", "b"]] * 4)),
            ("a.xlsx", rows_book([["a", "b", "c"]])),
            ("a.html", b"<table>" + b"<tr><td>a<td>b" * 4 + b"</table>"),
            ("a.html", b"<table><tr><td>a<td colspan=2>b</table>"),
        ):
            assert refusal(extractor, name, content) == "file_too_large"


def test_depth() -> None:
    with limited(nesting_max_depth=2) as extractor:
        extractor.extract("a.html", b"<ul><li>a" * 3)
        assert refusal(extractor, "a.html", b"<ul><li>a" * 4) == "file_too_complex"
        frame, end = "<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>"
        extractor.extract("a.docx", word_of(frame * 2 + PARAGRAPH + end * 2))
        assert refusal(extractor, "a.docx", word_of(frame * 3 + PARAGRAPH + end * 3)) == "file_too_complex"


def test_entries_of_an_archive() -> None:
    with limited(archive_max_entries=4) as extractor:
        content = with_part(word_of(PARAGRAPH), "word/a.xml", "")
        extractor.extract("a.docx", content)
        assert refusal(extractor, "a.docx", with_part(content, "word/b.xml", "")) == "file_too_complex"


def test_unpacked_bytes_of_an_archive_and_of_a_part() -> None:
    content = with_part(word_of(PARAGRAPH), "word/a.xml", "a" * 5_000)
    with limited(archive_part_max_bytes=5_000) as extractor:
        extractor.extract("a.docx", content)
    with limited(archive_part_max_bytes=4_999) as extractor:
        assert refusal(extractor, "a.docx", content) == "file_too_large"
    with limited(archive_max_bytes=5_000) as extractor:
        assert refusal(extractor, "a.docx", content) == "file_too_large"


def test_ratio_counts_only_for_large_parts() -> None:
    content = with_part(word_of(PARAGRAPH), "word/a.xml", bytes(MIB))
    with limited(archive_max_ratio=10) as extractor:
        extractor.extract("a.docx", content)
        larger = with_part(content, "word/a.xml", bytes(MIB + 1))
        assert refusal(extractor, "a.docx", larger) == "file_too_large"


def test_what_the_issue_names_is_within_the_bounds(extractor: Extractor) -> None:
    """A table of 100,000 rows and a line of 50 MB."""
    rows = "\n".join(f"{at};part {at};{at / 7:.2f}" for at in range(100_000))
    table = extractor.extract("a.csv", rows.encode()).document
    assert len(table.blocks) == 1
    assert table.text.count("\n") == 100_000
    line = extractor.extract("a.txt", b"word " * 10_000_000).document
    assert len(line.text) == 50_000_000
    content = rows_book([[at, f"part {at}"] for at in range(100_000)])
    assert extractor.extract("a.xlsx", content).document.text.count("\n") == 100_000 + 2

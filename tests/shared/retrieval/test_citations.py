"""A citation can be read by a person and checked against the text."""

from collections.abc import Callable

import pytest

from shared.retrieval.blocks import Document
from shared.retrieval.chunking import chunks
from shared.retrieval.citations import (
    NAME_SHOWN_MAX_CHARS,
    QUOTE_MAX_CHARS,
    Citation,
    quoted_span,
)
from shared.retrieval.structure import markdown_document

REVISION = bytes.fromhex("1a2b3c4d") + bytes(28)
MANUAL = markdown_document(
    "# Pump manual\n\n## Care\n\nFirst close\nvalve V2. Then open the lid.\n\n## Parts\n\nA seal.\n"
)


def cited(
    document: Document, number: int, count: Callable[[str], int] = lambda text: len(text.split())
) -> Citation:
    chunk = list(chunks(document, count, target_tokens=500))[number]
    return Citation(
        collection="manuals",
        document="pump.md",
        title=document.title,
        headings=chunk.headings,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        revision=REVISION,
    )


def made(*, title: str = "", headings: tuple[str, ...] = (), page: int | None = None) -> Citation:
    return Citation(
        collection="manuals",
        document="pump.pdf",
        title=title,
        headings=headings,
        page=page,
        start=0,
        end=1,
        revision=REVISION,
    )


def test_a_citation_reads_as_one_line() -> None:
    assert cited(MANUAL, 0).line == "Pump manual, Care (manuals, revision 1a2b3c4d)"


def test_a_page_is_named_where_there_is_one() -> None:
    line = made(title="Pump manual", headings=("Pump manual", "Care", "Oil"), page=4).line
    assert line == "Pump manual, page 4, Care > Oil (manuals, revision 1a2b3c4d)"


def test_a_document_without_a_title_is_called_by_its_id() -> None:
    assert made().line == "pump.pdf (manuals, revision 1a2b3c4d)"


def test_a_name_cannot_break_the_line_or_turn_its_direction() -> None:
    assert made(title="a\u202eb\nc\u2066d").line == "a b c d (manuals, revision 1a2b3c4d)"


@pytest.mark.parametrize(
    ("length", "is_cut"), [(NAME_SHOWN_MAX_CHARS, False), (NAME_SHOWN_MAX_CHARS + 1, True)]
)
def test_a_long_name_is_cut(length: int, is_cut: bool) -> None:
    assert ("…" in made(title="t" * length).line) is is_cut


def test_a_quote_is_found_where_it_stands_however_its_lines_were_broken() -> None:
    span = quoted_span(cited(MANUAL, 0), MANUAL.text, "close valve  V2.")
    assert span is not None
    assert MANUAL.text[slice(*span)] == "close\nvalve V2."


@pytest.mark.parametrize("quote", ["close valve V3", "A seal.", "", "   "])
def test_what_the_span_does_not_hold_is_not_quoted(quote: str) -> None:
    assert quoted_span(cited(MANUAL, 0), MANUAL.text, quote) is None


def test_a_span_beyond_the_text_holds_nothing() -> None:
    assert quoted_span(cited(MANUAL, 1), "A seal.", "A seal.") is None


@pytest.mark.parametrize(("length", "is_found"), [(QUOTE_MAX_CHARS, True), (QUOTE_MAX_CHARS + 1, False)])
def test_a_quote_has_a_length(length: int, is_found: bool) -> None:
    document = markdown_document("q" * length)
    citation = cited(document, 0, lambda _: 1)
    assert (quoted_span(citation, document.text, "q" * length) is not None) is is_found

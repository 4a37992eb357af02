"""Markdown and plain text become blocks whose spans point into the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.blocks import BlockKind, Document
from shared.retrieval.structure import PART_MAX_CHARS, TITLE_MAX_CHARS, markdown_document, plain_document

H, P, L, T, C = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST, BlockKind.TABLE, BlockKind.CODE
SOURCE = st.text(alphabet=st.sampled_from("ab#-=*`|~> \t\n\r1.\\<!é\0\ud800"), max_size=300)


def blocks(document: Document) -> list[tuple[BlockKind, int, str]]:
    return [(block.kind, block.level, document.text_of(block)) for block in document.blocks]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# A #\n\ntext", [(H, 1, "A"), (P, 0, "text")]),
        ("A\nb\n===\n", [(H, 1, "A\nb")]),
        ("   A\n   b\n---\ntext", [(H, 2, "A\n   b"), (P, 0, "text")]),
        ("#\n\n###### F", [(H, 6, "F")]),
        ("- a\n  - b\n\n  c\n- d\n\ntext", [(L, 0, "- a\n  - b\n\n  c\n- d"), (P, 0, "text")]),
        ("3. a\n4. b", [(L, 0, "3. a\n4. b")]),
        ("```py\n# no heading\n\n```\ntext", [(C, 0, "```py\n# no heading\n\n```"), (P, 0, "text")]),
        ("    x = 1\n      y\n", [(C, 0, "    x = 1\n      y")]),
        ("| a | b |\n|---|--:|\n| 1 | 2 |", [(T, 0, "| a | b |\n|---|--:|\n| 1 | 2 |")]),
        ("> a\n> b\n\n---\n", [(P, 0, "> a\n> b")]),
        ("<script>alert(1)</script>\n\n<!-- no -->\n\n<p>yes</p>", [(P, 0, "<p>yes</p>")]),
        ("[a]: http://b\n", []),
        ("", []),
        (" \n\t\n", []),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_markdown_has_these_blocks(
    source: str, expected: list[tuple[BlockKind, int, str]], newline: str
) -> None:
    found = blocks(markdown_document(source.replace("\n", newline)))
    assert [(kind, level, text.replace(newline, "\n")) for kind, level, text in found] == expected


@pytest.mark.slow
@given(SOURCE)
def test_any_source_is_a_document_and_stays_as_it_is(source: str) -> None:
    for document in (markdown_document(source), plain_document(source)):
        assert len(document.text) == len(source)
        assert all(text and text == text.rstrip() for _, _, text in blocks(document))


def test_front_matter_gives_the_title_and_no_block() -> None:
    document = markdown_document('---\ntitle: "Pump manual"\ntags: [a]\n---\n# Care\n', name="x.md")
    assert document.title == "Pump manual"
    assert blocks(document) == [(H, 1, "Care")]


@pytest.mark.parametrize(
    ("source", "title"), [("# Pump\n\ntext", "Pump"), ("text\n\n# Pump", "x.md"), ("## Pump", "x.md")]
)
def test_the_first_heading_is_the_title_or_else_the_name(source: str, title: str) -> None:
    assert markdown_document(source, name="x.md").title == title


@pytest.mark.parametrize("length", [TITLE_MAX_CHARS, TITLE_MAX_CHARS + 1])
def test_a_title_has_a_length(length: int) -> None:
    assert plain_document("", name="n" * length).title == "n" * TITLE_MAX_CHARS


def test_plain_text_is_paragraphs_and_only_underlined_headings() -> None:
    document = plain_document("1. Care\n\nClean it\n  daily.\n \t\nParts\n-----\nA seal.\n\n# no heading\n")
    assert blocks(document) == [
        (P, 0, "1. Care"),
        (P, 0, "Clean it\n  daily."),
        (H, 2, "Parts"),
        (P, 0, "A seal."),
        (P, 0, "# no heading"),
    ]


@pytest.mark.slow
def test_a_long_source_is_parsed_in_parts_without_a_difference() -> None:
    section = "## Part\n\nsome text\n\n- a\n- b\n\n```\n\n# code\n\n```\n\n"
    document = markdown_document(section * (3 * PART_MAX_CHARS // len(section)))
    assert blocks(document) == blocks(markdown_document(section)) * (len(document.blocks) // 4)
    assert len(document.blocks) == 4 * (3 * PART_MAX_CHARS // len(section))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 100_000, T),
        ("x" * 2_000_000, P),
        ("word " * 400_000, P),
        ("> " * 100_000 + "a", P),
        ("- a\n" * 30_000, L),
    ],
)
@pytest.mark.slow
def test_what_has_no_place_to_be_parted_is_one_block(source: str, kind: BlockKind) -> None:
    (block,) = markdown_document(source).blocks
    assert (block.kind, block.end - block.start) == (kind, len(source.rstrip()))


def test_nesting_without_end_is_text() -> None:
    assert markdown_document("> " * 5_000 + "a").blocks

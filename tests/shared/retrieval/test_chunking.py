"""Chunks cover a document, exactly, under a budget."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.blocks import BlockKind, Document, DocumentBuilder
from shared.retrieval.chunking import (
    CHARS_PER_TOKEN_MAX,
    HEADING_MAX_CHARS,
    OVERLAP_MAX_TOKENS,
    PASSAGE_HEADINGS_MAX_CHARS,
    Chunk,
    CountTokens,
    chunks,
)
from shared.retrieval.structure import markdown_document, plain_document

TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n\r\t.!?。|-#*`1aé\u0301\u200d\U0001f469\U0001f3fd\U0001f1e9\u0e01\u4e00"),
        st.characters(exclude_categories=()),
    ),
    max_size=400,
)
BLOCKS = st.lists(
    st.tuples(st.sampled_from(BlockKind), TEXT, st.integers(1, 6), st.none() | st.integers(1, 3)), max_size=8
)

Blocks = list[tuple[BlockKind, str, int, int | None]]


def words(text: str) -> int:
    return len(text.split())


def letters(text: str) -> int:
    return len(text)


def built(*blocks: tuple[BlockKind, str, int, int | None]) -> Document:
    builder = DocumentBuilder(title="Manual")
    for kind, text, level, page in blocks:
        builder.add(kind, text, level=level, page=page)
    return builder.build()


def prose(*sentences: str) -> Document:
    return built((BlockKind.PARAGRAPH, " ".join(sentences), 0, None))


@pytest.mark.slow
@given(BLOCKS, st.sampled_from([words, letters]), st.integers(8, 60))
def test_every_character_is_in_a_chunk_or_in_a_heading_of_one(
    blocks: Blocks, count: CountTokens, target: int
) -> None:
    document = built(*blocks)
    made = list(chunks(document, count, target_tokens=target))
    covered = bytearray(len(document.text))
    for chunk in made:
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    paths = {heading for chunk in made for heading in chunk.headings}
    for block in document.blocks:
        text = document.text_of(block)
        if block.kind is BlockKind.HEADING and " ".join(text.split()) in paths:
            continue
        missing = [text[at - block.start] for at in range(block.start, block.end) if not covered[at]]
        assert all(character.isspace() for character in missing)


@pytest.mark.slow
@given(BLOCKS, st.sampled_from([words, letters]), st.integers(8, 60))
def test_spans_and_pages_are_exact_and_the_budget_is_kept(
    blocks: Blocks, count: CountTokens, target: int
) -> None:
    document = built(*blocks)
    for chunk in chunks(document, count, target_tokens=target):
        assert chunk.text.endswith(document.text[chunk.start : chunk.end])
        assert chunk.start < chunk.end
        assert chunk.end - chunk.start <= max(target * CHARS_PER_TOKEN_MAX, HEADING_MAX_CHARS)
        pages = {
            block.page
            for block in document.blocks
            if block.start < chunk.end and chunk.start < block.end and block.kind is not BlockKind.HEADING
        }
        assert pages <= {chunk.page}


@pytest.mark.slow
@given(TEXT, st.integers(8, 20))
def test_a_cut_never_separates_a_mark_from_its_letter(text: str, target: int) -> None:
    document = plain_document(text)
    for chunk in chunks(document, letters, target_tokens=target):
        for at in (chunk.start, chunk.end):
            is_inner = any(block.start < at < block.end for block in document.blocks)
            if is_inner and not document.text[at - 1].isspace():
                assert not unicodedata.combining(document.text[at])
                assert "\u200d" not in document.text[at - 1 : at + 1]


@pytest.mark.parametrize("cluster", ["👩🏽‍🚀", "🇩🇪", "e\u0301", "한", "\u1112\u1161\u11ab", "ก็", "क्षि"])
def test_a_long_word_is_cut_between_what_a_reader_sees_as_characters(cluster: str) -> None:
    document = prose(cluster * 200)
    made = list(chunks(document, letters, target_tokens=70))
    assert len(made) > 1
    assert all(chunk.text == cluster * (len(chunk.text) // len(cluster)) for chunk in made)


def test_a_text_of_marks_alone_is_cut_all_the_same() -> None:
    made = list(chunks(prose("a" + "\u0301" * 5_000), letters, target_tokens=100))
    assert "".join(chunk.text for chunk in made) == "a" + "\u0301" * 5_000


def test_headings_travel_as_a_path() -> None:
    document = markdown_document(
        "# Pump\n\nIntro.\n\n## Care\n\nOil it.\n\n### Oil\n\nUse X.\n\n## Parts\n\nNone.\n"
    )
    assert [(chunk.headings, chunk.text) for chunk in chunks(document, words)] == [
        (("Pump",), "Intro."),
        (("Pump", "Care"), "Oil it."),
        (("Pump", "Care", "Oil"), "Use X."),
        (("Pump", "Parts"), "None."),
    ]


def test_a_title_that_is_no_heading_heads_every_path() -> None:
    document = markdown_document("## Care\n\nOil it.\n", name="pump.md")
    assert [chunk.headings for chunk in chunks(document, words)] == [("pump.md", "Care")]


def test_a_heading_with_nothing_under_it_is_a_chunk() -> None:
    document = markdown_document("# A\n\n## B\n\n## C\n\ntext\n")
    assert [(chunk.headings, chunk.text) for chunk in chunks(document, words)] == [
        (("A",), "B"),
        (("A", "C"), "text"),
    ]


@pytest.mark.parametrize(("length", "paths"), [(HEADING_MAX_CHARS, 1), (HEADING_MAX_CHARS + 1, 0)])
def test_an_endless_heading_is_a_paragraph(length: int, paths: int) -> None:
    document = built((BlockKind.HEADING, "h" * length, 1, None), (BlockKind.PARAGRAPH, "text", 0, None))
    (*_, last) = chunks(document, words)
    assert len(last.headings) == 1 + paths


def test_small_blocks_share_a_chunk() -> None:
    document = markdown_document("One two.\n\n- three\n- four\n\nfive\n")
    assert [chunk.text for chunk in chunks(document, words)] == [document.text.strip()]


def test_a_list_stays_whole_where_it_fits() -> None:
    document = markdown_document("a b c d e f\n\n- one two\n- three four\n")
    assert [chunk.text for chunk in chunks(document, words, target_tokens=8)] == [
        "a b c d e f",
        "- one two\n- three four",
    ]


def test_a_long_list_is_cut_between_its_outermost_items() -> None:
    document = markdown_document("- one two\n  - three\n- four five\n  - six\n- seven\n")
    assert [chunk.text for chunk in chunks(document, words, target_tokens=8)] == [
        "- one two\n  - three",
        "- four five\n  - six\n- seven",
    ]


def test_each_part_of_a_long_table_begins_with_its_header() -> None:
    document = markdown_document("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 7)
    made = list(chunks(document, words, target_tokens=18))
    header = "| a | b |\n|---|---|\n"
    assert len(made) > 2
    assert all(chunk.text.startswith(header) and words(chunk.text) <= 18 for chunk in made)
    assert sum(chunk.text.count("| 1 | 2 |") for chunk in made) == 7


def test_code_is_cut_between_lines() -> None:
    source = "".join(f"    x{number} = {number}\n" for number in range(9))
    made = list(chunks(built((BlockKind.CODE, "def f():\n" + source, 0, None)), words, target_tokens=9))
    assert len(made) > 2
    assert all(line.startswith("    x") for chunk in made[1:] for line in chunk.text.splitlines())


def test_a_part_of_a_paragraph_repeats_the_sentence_before_it() -> None:
    document = prose("One two three.", "Four five six.", "Seven eight.", "Nine ten.", "Eleven twelve.")
    made = [chunk.text for chunk in chunks(document, words, target_tokens=8)]
    assert made == [
        "One two three. Four five six. Seven eight.",
        "Seven eight. Nine ten. Eleven twelve.",
    ]


@pytest.mark.parametrize(("size", "repeats"), [(OVERLAP_MAX_TOKENS, True), (OVERLAP_MAX_TOKENS + 1, False)])
def test_a_long_sentence_is_not_repeated(size: int, repeats: bool) -> None:
    document = prose("a " * 150 + "end.", "b " * (size - 1) + "end.", "c " * 100 + "end.")
    _, second = chunks(document, words)
    assert second.text.startswith("b") is repeats


def test_a_point_within_a_number_ends_no_sentence() -> None:
    document = prose("Set it to 3.14 bar now please.", "Then wait for it.")
    assert [chunk.text for chunk in chunks(document, words, target_tokens=8)] == [
        "Set it to 3.14 bar now please.",
        "Then wait for it.",
    ]


def test_a_chunk_stays_on_its_page() -> None:
    document = built((BlockKind.PARAGRAPH, "one", 0, 1), (BlockKind.PARAGRAPH, "two", 0, 2))
    assert [(chunk.text, chunk.page) for chunk in chunks(document, words)] == [("one", 1), ("two", 2)]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="8 tokens"):
        chunks(prose("a"), words, target_tokens=7)
    assert list(chunks(prose("a"), words, target_tokens=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["x" * 3_000_000, "word " * 600_000, "| 1 | 2 |\n" * 100_000, "漢" * 500_000, "a. " * 700_000]
)
def test_a_huge_block_is_counted_in_small_pieces_and_once_or_twice(text: str) -> None:
    kind = BlockKind.TABLE if text.startswith("|") else BlockKind.PARAGRAPH
    counted = 0

    def count(piece: str) -> int:
        nonlocal counted
        assert len(piece) <= 200 * CHARS_PER_TOKEN_MAX
        counted += len(piece)
        return max(words(piece), len(piece) // 8)

    made = sum(1 for _ in chunks(built((kind, text, 0, None)), count))
    assert made > 100
    assert counted <= 3 * len(text)


def test_content_is_the_same_content_wherever_it_stands() -> None:
    one = Chunk(text="t", headings=("h",), start=0, end=1, page=None)
    moved = Chunk(text="t", headings=("h",), start=5, end=6, page=2)
    assert one.content_id == moved.content_id


def test_a_passage_is_embedded_under_its_innermost_headings() -> None:
    chunk = Chunk(text="t", headings=("a" * PASSAGE_HEADINGS_MAX_CHARS, "b", "c"), start=0, end=1, page=None)
    assert chunk.passage == "b > c\nt"
    assert Chunk(text="t", headings=(), start=0, end=1, page=None).passage == "t"


def test_chunks_follow_one_another() -> None:
    document = markdown_document("# A\n\n" + "word " * 900 + "\n\n## B\n\n" + "other. " * 500)
    made = list(chunks(document, words))
    assert all(one.start < other.start for one, other in pairwise(made))

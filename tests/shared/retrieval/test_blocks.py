"""A document and its blocks always agree about where things stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.blocks import (
    HEADING_MAX_LEVEL,
    Block,
    BlockKind,
    Document,
    DocumentBuilder,
    sound_text,
)

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(BlockKind), ANY_TEXT, st.integers(-2, 9))))
def test_a_built_document_holds_each_block_at_its_span(blocks: list[tuple[BlockKind, str, int]]) -> None:
    builder = DocumentBuilder(title="t")
    for kind, text, level in blocks:
        builder.add(kind, text, level=level)
    document = builder.build()
    wanted = [(kind, sound_text(text).strip()) for kind, text, _ in blocks if sound_text(text).strip()]
    assert [(block.kind, document.text_of(block)) for block in document.blocks] == wanted
    document.text.encode()


@pytest.mark.slow
@given(ANY_TEXT)
def test_sound_text_is_as_long_and_can_be_encoded(text: str) -> None:
    sound = sound_text(text)
    assert len(sound) == len(text)
    assert b"\0" not in sound.encode()


def test_blocks_that_overlap_are_refused() -> None:
    first = Block(kind=BlockKind.PARAGRAPH, start=0, end=3)
    second = Block(kind=BlockKind.PARAGRAPH, start=2, end=4)
    with pytest.raises(ValueError, match="overlap"):
        Document(title="", text="abcd", blocks=(first, second))


@pytest.mark.parametrize(("end", "refused"), [(4, False), (5, True)])
def test_a_block_ends_within_the_text(end: int, refused: bool) -> None:
    blocks = (Block(kind=BlockKind.PARAGRAPH, start=0, end=end),)
    if refused:
        with pytest.raises(ValueError, match="beyond"):
            Document(title="", text="abcd", blocks=blocks)
    else:
        assert Document(title="", text="abcd", blocks=blocks).text_of(blocks[0]) == "abcd"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_text_that_no_database_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sound_text"):
        Document(title="", text=text, blocks=())


def test_a_block_holds_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Block(kind=BlockKind.CODE, start=1, end=1)


@pytest.mark.parametrize("level", [0, HEADING_MAX_LEVEL + 1])
def test_a_heading_has_a_level(level: int) -> None:
    with pytest.raises(ValueError, match="level"):
        Block(kind=BlockKind.HEADING, start=0, end=1, level=level)


def test_only_a_heading_has_a_level() -> None:
    with pytest.raises(ValueError, match="level"):
        Block(kind=BlockKind.LIST, start=0, end=1, level=1)


def test_pages_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Block(kind=BlockKind.LIST, start=0, end=1, page=0)

"""A document as text and the blocks that make it up. Pure; it knows no file format.

Whoever reads a format (Markdown, PDF, DOCX) produces a `Document`; chunking reads nothing else. Invariants, checked
when a `Document` is made:

* `text[block.start:block.end]` is the block exactly, so the span of a citation can be checked against the text;
* blocks are in order, not empty, and do not overlap; what lies between them (blank lines, the `##` before a
  heading) is markup that nobody searches for;
* the text can be encoded as UTF-8 and holds no NUL, since both databases and CBOR would refuse it later
  (`sound_text`).

    builder = DocumentBuilder(title="Pump manual")
    builder.add(BlockKind.HEADING, "Cleaning", level=1, page=3)
    builder.add(BlockKind.PARAGRAPH, "Close valve V2 first.", page=3)
    document = builder.build()
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HEADING_MAX_LEVEL: Final = 6
"""As in Markdown, HTML and DOCX's built-in styles. Deeper ones are taken for this level."""
BLOCK_SEPARATOR: Final = "\n\n"
"""What `DocumentBuilder` puts between two blocks."""
_UNSOUND: Final = re.compile("[\0\ud800-\udfff]")


class BlockKind(StrEnum):
    HEADING = "heading"
    """Its span is the heading's words alone, without `##` or underline."""
    PARAGRAPH = "paragraph"
    LIST = "list"
    """All items of an outermost list, markers included, one item a line or more."""
    TABLE = "table"
    """One row a line; the first line is the header row, and a Markdown delimiter row may follow."""
    CODE = "code"
    """Lines which are never joined or wrapped, fences included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`level` is 1 to `HEADING_MAX_LEVEL` for a heading and 0 for anything else; `page` counts from 1, where the
    format has pages. `start` and `end` count characters (code points) of the document's text."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError("a block holds at least one character")
        if (self.kind is BlockKind.HEADING) != (1 <= self.level <= HEADING_MAX_LEVEL):
            raise ValueError(f"a heading, and nothing else, has a level of 1 to {HEADING_MAX_LEVEL}")
        if self.page is not None and self.page < 1:
            raise ValueError("pages count from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Raises `ValueError` where an invariant of this module does not hold."""

    title: str
    text: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if is_unsound(self.text) or is_unsound(self.title):
            raise ValueError("pass the text of a document through sound_text first")
        end = 0
        for block in self.blocks:
            if block.start < end:
                raise ValueError("blocks are in order and do not overlap")
            end = block.end
        if end > len(self.text):
            raise ValueError("a block ends beyond the text")

    def text_of(self, block: Block) -> str:
        return self.text[block.start : block.end]


@dataclass(slots=True)
class DocumentBuilder:
    """Puts together a document whose format has no plain text of its own. Not for Markdown: there the source is the
    text, and blocks point into it."""

    title: str = ""
    _pieces: list[str] = field(default_factory=list)
    _blocks: list[Block] = field(default_factory=list)
    _length: int = 0

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """White space around the block is dropped, and with it a block that holds nothing else; so is the `level` of
        what is no heading. What is unsound is replaced. `level` below 1 or above `HEADING_MAX_LEVEL` is clamped."""
        text = sound_text(text).strip()
        if not text:
            return
        if self._pieces:
            self._pieces.append(BLOCK_SEPARATOR)
            self._length += len(BLOCK_SEPARATOR)
        start = self._length
        self._pieces.append(text)
        self._length += len(text)
        level = min(max(level, 1), HEADING_MAX_LEVEL) if kind is BlockKind.HEADING else 0
        self._blocks.append(Block(kind=kind, level=level, start=start, end=self._length, page=page))

    def build(self) -> Document:
        return Document(
            title=sound_text(self.title).strip(), text="".join(self._pieces), blocks=tuple(self._blocks)
        )


def is_unsound(text: str) -> bool:
    return not text.isprintable() and _UNSOUND.search(text) is not None


def sound_text(text: str) -> str:
    """The text with U+FFFD for each NUL and each half of a surrogate pair: as long as before, so spans still hold."""
    return _UNSOUND.sub("\ufffd", text) if is_unsound(text) else text

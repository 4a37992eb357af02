"""A document cut into chunks that an embedder takes whole and a reader understands alone. Pure.

* A chunk stands under one path of headings and on one page; the path travels with it. Neighbouring blocks share a
  chunk as long as they fit into the budget.
* A list, a table or a piece of code stays whole where it fits. Where it does not, it is cut between items, rows or
  lines, and each further part of a table begins with its header row. What is longer still is cut between sentences,
  then words, then characters (`graphemes`).
* A part of a cut paragraph begins with the last sentence of the part before it, if that is short.
* Every character of every block is in a chunk, or is a heading in the path of one; a heading with nothing under it
  is a chunk of its own. `document.text[chunk.start:chunk.end]` is the chunk's text, behind the repeated header row
  if it has one.

One pass: time is linear in the text, and memory holds one chunk. Tokens are only ever counted of what may fit.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shared.knowledge.pack import content_id
from shared.retrieval.blocks import Block, BlockKind, Document
from shared.retrieval.graphemes import cut_before, may_cut

TARGET_TOKENS: Final = 200
"""all-MiniLM-L6-v2 reads 256 tokens; the rest is for the headings."""
OVERLAP_MAX_TOKENS: Final = 40
CHARS_PER_TOKEN_MAX: Final = 10
"""A chunk has at most this many characters for each token of its budget, whatever the tokenizer says: it counts a
word that it does not know, however long, as one token."""
HEADING_MAX_CHARS: Final = 200
"""What is longer is a paragraph that somebody formatted as a heading."""
PASSAGE_HEADINGS_MAX_CHARS: Final = 200
"""About 50 tokens of headings are put before a chunk's text to be embedded; the innermost go first."""
WORD_PIECE_CHARS: Final = 64
_DELIMITER_MAX_CHARS: Final = 10_000
HEADINGS_JOINT: Final = " > "

CountTokens = Callable[[str], int]
Span = tuple[int, int]

_ROWS: Final = re.compile(r"[^\n]*+\n|[^\n]++\Z")
# No possessive groups in these: Python before 3.11.4 goes wrong in them, and hub and device must cut alike.
_ITEMS: Final = re.compile(r"[^\n]*+(?:\n(?![^\S\n]?(?:[-*+•‣▪–]|\d{1,9}[.)])[^\S\n])[^\n]*+)*(?:\n|\Z)")
"""Of the outermost list: a line with a marker that is indented by one space at most, and what follows."""
_SENTENCES: Final = re.compile(
    r"[^.!?…。！？]*+(?:[.!?…](?![\"'”’)\]]*+(?:\s|\Z))[^.!?…。！？]*+)*(?:(?:[.!?…]|[。！？]++)[\"'”’)\]]*+\s*+|\Z)"
)
_WORDS: Final = re.compile(r"\s*+\S++\s*+|\s++\Z")
_DELIMITER_ROW: Final = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")
_FINER: Final[dict[BlockKind, tuple[re.Pattern[str], ...]]] = {
    BlockKind.HEADING: (_WORDS,),
    BlockKind.PARAGRAPH: (_SENTENCES, _ROWS, _WORDS),
    BlockKind.LIST: (_ITEMS, _ROWS, _SENTENCES, _WORDS),
    BlockKind.TABLE: (_ROWS, _SENTENCES, _WORDS),
    BlockKind.CODE: (_ROWS, _WORDS),
}
"""What a block of each kind is cut into, coarse to fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """`headings`: the document's title and the headings above, outermost first. `start` and `end` count characters of
    the document's text."""

    text: str
    headings: tuple[str, ...]
    start: int
    end: int
    page: int | None

    @property
    def passage(self) -> str:
        """What is embedded: the innermost headings, and the text."""
        kept: list[str] = []
        room = PASSAGE_HEADINGS_MAX_CHARS
        for heading in reversed(self.headings):
            room -= len(heading) + len(HEADINGS_JOINT)
            if room < 0:
                break
            kept.insert(0, heading)
        return "\n".join((HEADINGS_JOINT.join(kept), self.text)) if kept else self.text

    @property
    def content_id(self) -> bytes:
        """What an embedding is kept under and a transfer asks for: the same wherever these words stand."""
        return content_id(self.headings, self.text)


def chunks(
    document: Document, count_tokens: CountTokens, *, target_tokens: int = TARGET_TOKENS
) -> Iterator[Chunk]:
    """`count_tokens`: the embedder's own, asked about at most `target_tokens * CHARS_PER_TOKEN_MAX` characters at
    once. Raises `ValueError` for a budget below 8 tokens."""
    if target_tokens < 8:
        raise ValueError("a chunk needs at least 8 tokens")
    return _Chunker(document, count_tokens, target_tokens).run()


@dataclass(slots=True)
class _Heading:
    level: int
    words: str
    block: Block
    is_used: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    tokens: int


@dataclass(slots=True)
class _Chunker:
    document: Document
    count_tokens: CountTokens
    target: int
    headings: list[_Heading] = field(default_factory=list)
    filling: _Piece | None = None
    """Blocks that will be a chunk, all of them on `page`."""
    page: int | None = None

    def run(self) -> Iterator[Chunk]:
        for block in self.document.blocks:
            if block.kind is BlockKind.HEADING and block.end - block.start <= HEADING_MAX_CHARS:
                yield from self._flush()
                yield from self._leave(block.level)
                words = " ".join(self.document.text_of(block).split())
                self.headings.append(_Heading(block.level, words, block))
            else:
                if block.page != self.page:
                    yield from self._flush()
                self.page = block.page
                yield from self._add(block)
        yield from self._flush()
        yield from self._leave(1)

    def _add(self, block: Block) -> Iterator[Chunk]:
        whole = self._counted(block.start, block.end, self.target)
        if whole is None:
            yield from self._flush()
            yield from self._cut_table(block) if block.kind is BlockKind.TABLE else self._cut(block)
        elif self.filling is not None and self._fit(self.filling, whole, self.target):
            self.filling = _joined(self.filling, whole)
        else:
            yield from self._flush()
            self.filling = whole

    def _flush(self) -> Iterator[Chunk]:
        if self.filling is not None:
            yield from self._chunk(self.filling, self.page)
        self.filling = None

    def _leave(self, level: int) -> Iterator[Chunk]:
        """Ends the sections of this level and below."""
        while self.headings and self.headings[-1].level >= level:
            left = self.headings.pop()
            if not left.is_used:
                yield from self._chunk(_Piece(left.block.start, left.block.end, 0), left.block.page)

    def _cut(self, block: Block) -> Iterator[Chunk]:
        has_sentences = block.kind in {BlockKind.PARAGRAPH, BlockKind.HEADING}
        overlap = min(OVERLAP_MAX_TOKENS, self.target // 4) if has_sentences else 0
        pieces = self._pieces(block.start, block.end, _FINER[block.kind], self.target)
        for part in self._packed(pieces, self.target, overlap):
            yield from self._chunk(part, block.page)

    def _cut_table(self, block: Block) -> Iterator[Chunk]:
        body = self._body_start(block)
        header = self._counted(block.start, body, self.target // 2)
        room = self.target if header is None else self.target - header.tokens
        lead = "" if header is None else self.document.text[block.start : body]
        for part in self._packed(self._pieces(block.start, block.end, _FINER[block.kind], room), room, 0):
            yield from self._chunk(part, block.page, lead=lead if part.start >= body else "")

    def _body_start(self, block: Block) -> int:
        """Where a table's first row is: behind the header row and the delimiter row that Markdown has."""
        text = self.document.text
        end = text.find("\n", block.start, block.end) + 1 or block.end
        second = text.find("\n", end, min(block.end, end + _DELIMITER_MAX_CHARS)) + 1
        return second if second and _DELIMITER_ROW.fullmatch(text, end, second) else end

    def _chunk(self, part: _Piece, page: int | None, *, lead: str = "") -> Iterator[Chunk]:
        text, start, end = self.document.text, part.start, part.end
        while end > start and text[end - 1].isspace():
            end -= 1
        while start < end and text[start] in "\r\n":
            start += 1
        if start == end:
            return
        for heading in self.headings:
            heading.is_used = True
        yield Chunk(text=lead + text[start:end], headings=self._path(), start=start, end=end, page=page)

    def _path(self) -> tuple[str, ...]:
        words = [heading.words for heading in self.headings]
        title = self.document.title
        title = title[: cut_before(title, 0, HEADING_MAX_CHARS)] if len(title) > HEADING_MAX_CHARS else title
        return tuple(words) if not title or words[:1] == [title] else (title, *words)

    def _pieces(
        self, start: int, end: int, patterns: tuple[re.Pattern[str], ...], target: int
    ) -> Iterator[_Piece]:
        """Pieces of at most `target` tokens, as coarse as possible, which together are the span."""
        if not patterns:
            yield from self._word_pieces(start, end)
            return
        for first, last in _spans(patterns[0], self.document.text, start, end):
            piece = self._counted(first, last, target)
            if piece is None:
                yield from self._pieces(first, last, patterns[1:], target)
            else:
                yield piece

    def _word_pieces(self, start: int, end: int) -> Iterator[_Piece]:
        text = self.document.text
        while start < end:
            last = (
                end if end - start <= WORD_PIECE_CHARS else cut_before(text, start, start + WORD_PIECE_CHARS)
            )
            yield _Piece(start, last, self.count_tokens(text[start:last]))
            start = last

    def _packed(self, pieces: Iterator[_Piece], target: int, overlap: int) -> Iterator[_Piece]:
        part = previous = next(pieces)
        for piece in pieces:
            if self._fit(part, piece, target):
                part = _joined(part, piece)
            else:
                yield part
                repeats = previous.tokens <= overlap and self._fit(previous, piece, target)
                part = _joined(previous, piece) if repeats else piece
            previous = piece
        yield part

    def _fit(self, one: _Piece, other: _Piece, target: int) -> bool:
        chars = other.end - one.start
        return one.tokens + other.tokens <= target and chars <= target * CHARS_PER_TOKEN_MAX

    def _counted(self, start: int, end: int, target: int) -> _Piece | None:
        """None: it is more than `target` tokens."""
        if end - start > target * CHARS_PER_TOKEN_MAX:
            return None
        tokens = self.count_tokens(self.document.text[start:end])
        return _Piece(start, end, tokens) if tokens <= target else None


def _joined(one: _Piece, other: _Piece) -> _Piece:
    return _Piece(one.start, other.end, one.tokens + other.tokens)


def _spans(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[Span]:
    """What the pattern cuts a span into, without a gap and without tearing a character apart."""
    at = start
    for match in pattern.finditer(text, start, end):
        last = match.end()
        if last > at and (last == end or may_cut(text, last)):
            yield at, last
            at = last
    if at < end:
        yield at, end

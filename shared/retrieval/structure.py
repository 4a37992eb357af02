"""Markdown and plain text as documents. Pure; the text of the document is the source itself, so spans point into
the file.

Markdown is parsed by markdown-it-py (CommonMark and pipe tables), blocks only: emphasis and links stay as written.
It gives a block's lines, which become the block's span. A source is parsed in parts of at most `PART_MAX_CHARS`,
so that neither time nor memory grows faster than the source; a part ends at a blank line or before a heading, and
what has neither for so long (a table of 100,000 rows, a line of 50 MB) is recognised as a table or taken for a
paragraph.

Left out of the blocks: rules, comments, scripts and styles, link definitions, and front matter but for its title.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from shared.retrieval.blocks import Block, BlockKind, Document, sound_text

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

PART_MAX_CHARS: Final = 65_536
NESTING_MAX: Final = 20
"""Lists in lists, quotes in quotes: what is deeper is text of the last level."""
TITLE_MAX_CHARS: Final = 200

_LINE: Final = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n|$)")
_FRONT_MATTER: Final = re.compile(
    r"---[ \t]*\r?\n(.{0,8192}?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$)", re.DOTALL
)
_FRONT_TITLE: Final = re.compile(r"^title[ \t]*:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_HIDDEN_HTML: Final = re.compile(r"\s*<(?:!--|script\b|style\b|\?|!\[CDATA)", re.IGNORECASE)
# No possessive groups here: Python before 3.11.4 goes wrong in them. After each piece the next is decided by its first
# character, so plain repetition does not backtrack either.
_PARAGRAPH: Final = re.compile(r"\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*")
_UNDERLINED: Final = re.compile(r"(?P<words>\S[^\n]{0,199}?)[^\S\n]*\n(?P<rule>={3,}|-{3,})[^\S\n]*(?:\n|\Z)")
_SIMPLE_KINDS: Final = {
    "paragraph_open": BlockKind.PARAGRAPH,
    "blockquote_open": BlockKind.PARAGRAPH,
    "html_block": BlockKind.PARAGRAPH,
    "bullet_list_open": BlockKind.LIST,
    "ordered_list_open": BlockKind.LIST,
    "table_open": BlockKind.TABLE,
    "fence": BlockKind.CODE,
    "code_block": BlockKind.CODE,
}


def markdown_document(text: str, *, name: str = "") -> Document:
    """`name` is the title where the text has none: neither front matter nor a first heading of level 1."""
    text = sound_text(text)
    front = _FRONT_MATTER.match(text)
    title = _FRONT_TITLE.search(front[1]) if front is not None else None
    start = front.end() if front is not None else 0
    blocks = tuple(block for part in _parts(text, start) for block in _blocks_of_part(text, *part))
    if title is not None:
        words = title[1].strip("\"' ")
    elif blocks and blocks[0].level == 1:
        words = text[blocks[0].start : blocks[0].end]
    else:
        words = name
    return Document(title=_title(words), text=text, blocks=blocks)


def plain_document(text: str, *, name: str = "") -> Document:
    """Paragraphs are what blank lines separate. A heading is a line that is underlined with `===` or `---`, nothing
    else: a short line may be anything."""
    text = sound_text(text)
    return Document(title=_title(name), text=text, blocks=tuple(_plain_blocks(text, 0, len(text))))


def _title(words: str) -> str:
    return " ".join(sound_text(words[:TITLE_MAX_CHARS]).split())


def _plain_blocks(text: str, start: int, end: int) -> Iterator[Block]:
    for match in _PARAGRAPH.finditer(text, start, end):
        at = match.start()
        underlined = _UNDERLINED.match(text, at, match.end())
        if underlined is not None:
            level = 1 if underlined["rule"][0] == "=" else 2
            first, last = underlined.span("words")
            yield Block(kind=BlockKind.HEADING, level=level, start=first, end=last)
            at = underlined.end()
        yield from _trimmed(BlockKind.PARAGRAPH, text, at, match.end())


def _trimmed(kind: BlockKind, text: str, start: int, end: int) -> Iterator[Block]:
    """The block without white space around it; of code the indentation of the first line stays."""
    while end > start and text[end - 1].isspace():
        end -= 1
    first = start
    while first < end and text[first].isspace():
        first += 1
        if kind is not BlockKind.CODE or text[first - 1] in "\r\n":
            start = first
    if start < end:
        yield Block(kind=kind, start=start, end=end)


# ---------------------------------------------------------------- Markdown


def _parts(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Spans which can be parsed one by one. Only one that has no place to end is longer than `PART_MAX_CHARS`."""
    fence = ""
    place = start
    for match in _LINE.finditer(text, start):
        line_start, line_end = match.span()
        if line_end == line_start:
            break
        mark = _FENCE.match(text, line_start, line_end)
        if mark is not None:
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence):
                fence = ""
        is_blank = text[line_start : min(line_start + 200, line_end)].isspace()
        is_place = not fence and (is_blank or text.startswith("#", line_start))
        if line_end - start > PART_MAX_CHARS and place > start:
            yield start, place
            start = place
        if is_place:
            place = line_start
    if start < len(text):
        if len(text) - start > PART_MAX_CHARS and place > start:
            yield start, place
            start = place
        yield start, len(text)


def _blocks_of_part(text: str, start: int, end: int) -> Iterator[Block]:
    if end - start <= 2 * PART_MAX_CHARS:
        yield from _parsed(text, start, end)
    elif _is_table(text, start, end):
        yield from _trimmed(BlockKind.TABLE, text, start, end)
    else:
        yield from _plain_blocks(text, start, end)


def _is_table(text: str, start: int, end: int) -> bool:
    """Whether a part that is too long to be parsed begins with a table's header row and delimiter row."""
    head = text[start : min(end, start + 8_192)].lstrip().splitlines()[:2]
    return len(head) == 2 and "|" in head[0] and re.fullmatch(r"[\s|:-]*-[\s|:-]*", head[1]) is not None


def _parsed(text: str, start: int, end: int) -> Iterator[Block]:
    lines = [match.start() for match in _LINE.finditer(text, start, end)]
    if lines[-1] != end:
        lines.append(end)
    tokens = _parser().parse(text[start:end])
    for at, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        first, last = lines[token.map[0]], lines[min(token.map[1], len(lines) - 1)]
        if token.type == "heading_open":
            yield from _heading(text, token, tokens[at + 1], first, last)
        elif token.type == "html_block" and _HIDDEN_HTML.match(text, first, last):
            continue
        elif token.type in _SIMPLE_KINDS:
            yield from _trimmed(_SIMPLE_KINDS[token.type], text, first, last)


def _heading(text: str, token: "Token", inline: "Token", first: int, last: int) -> Iterator[Block]:
    words = inline.content
    start = text.find(words, first, last)
    if start < 0:  # of several lines, each indented: all but the underline
        start, words = first, "".join(text[first:last].rstrip().splitlines(keepends=True)[:-1])
    for block in _trimmed(BlockKind.PARAGRAPH, text, start, start + len(words)):
        yield Block(kind=BlockKind.HEADING, level=int(token.tag[1]), start=block.start, end=block.end)


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    # Without the rules for what is inside a line: blocks are all that is asked for.
    parser = MarkdownIt("commonmark", {"maxNesting": NESTING_MAX}).enable("table")
    return parser.disable(["inline", "text_join"])

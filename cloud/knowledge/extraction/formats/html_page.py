"""HTML, parsed as browsers do (lexbor): headings, paragraphs, lists, tables and code of the page's main part.

What the page does not show is left out, and counted where it holds text: `hidden`, and inline styles that hide.
Style sheets are not evaluated, so what they hide is read. Scripts, frames, forms' controls and embedded objects are
never looked into; nothing is fetched. Main part: the one `main`, else the one `article`, else the body without its
navigation, asides and footer. Walks the tree with a stack of its own: pages nest as deep as they like.
"""

import re
from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from cloud.knowledge.extraction.decoding import decoded
from cloud.knowledge.extraction.draft import Draft, Source
from cloud.knowledge.extraction.extracted import NoticeCode
from cloud.knowledge.extraction.reasons import Reason, refused
from cloud.knowledge.extraction.tables import table_text
from shared.retrieval.blocks import BlockKind, Document

ELEMENTS_OPEN_MAX: Final = 10_000
"""The parser's time grows with the square of the depth: 0.4 s at this one, minutes at 200,000."""
SPAN_MAX: Final = 1_000
"""Rows or columns of one cell, as in the HTML standard."""

_DECLARED: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN_BYTES: Final = 4_096
_PAIRED: Final = re.compile(
    r"<(/?)(?:div|span|section|article|table|ul|ol|dl|blockquote|center|form|fieldset|b|i|u|em|strong|font|a)\b",
    re.IGNORECASE,
)
_HIDING: Final = re.compile(
    r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|(?:font-size|opacity|max-height)\s*:\s*0+(?:\.0*)?(?:[a-z%]+)?\s*(?:;|!|$))",
    re.IGNORECASE,
)
_NEVER: Final = frozenset({
    "script", "style", "template", "noscript", "noframes", "iframe", "frame", "object", "embed", "applet", "svg",
    "canvas", "audio", "video", "map", "head", "title", "select", "button", "input", "textarea", "datalist", "progress",
    "meter", "nav",
})  # fmt: skip
_AROUND: Final = frozenset({"aside", "footer"})
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html", "legend", "li",
    "main", "ol", "p", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_LISTS: Final = frozenset({"ul", "ol", "dl", "menu"})


def read(source: Source, draft: Draft) -> Document:
    declared = _DECLARED.search(source.content[:_DECLARED_WITHIN_BYTES])
    text = decoded(
        source.content, draft, declared=declared[1].decode("ascii", "replace") if declared else None
    )
    _refuse_depth(text)
    page = LexborHTMLParser(text)
    title = page.css_first("head > title")
    draft.title = title.text() if title is not None else ""
    root, skipped = _main_part(page)
    if root is not None:
        _Page(draft, skipped).read(root)
    return draft.built(source)


def _refuse_depth(text: str) -> None:
    depth = deepest = 0
    for match in _PAIRED.finditer(text):
        depth = max(depth - 1, 0) if match[1] else depth + 1
        deepest = max(deepest, depth)
    if deepest > ELEMENTS_OPEN_MAX:
        raise refused(
            Reason.TOO_COMPLEX, f"The page nests deeper than {ELEMENTS_OPEN_MAX:,} elements; it is not read."
        )


def _main_part(page: LexborHTMLParser) -> tuple[LexborNode | None, frozenset[str]]:
    for selector in ("main, [role=main]", "article"):
        found = page.css(selector)
        if len(found) == 1 and not _is_hidden(found[0]) and found[0].text().strip():
            return found[0], _NEVER
    return page.body, _NEVER | _AROUND


class _Page:
    """Blocks in the order in which they stand. Text that is not in a block yet waits in `_waiting`."""

    def __init__(self, draft: Draft, skipped: frozenset[str]) -> None:
        self._draft = draft
        self._skipped = skipped
        self._waiting: list[str] = []

    def read(self, root: LexborNode) -> None:
        stack: list[tuple[LexborNode, bool]] = [(root, False)]
        while stack:
            node, is_end = stack.pop()
            if is_end:
                self._paragraph()
                continue
            if node.is_text_node:
                self._waiting.append(node.text_content or "")
                continue
            tag = node.tag or ""
            if not self._is_shown(node, tag):
                continue
            if tag == "br":
                self._waiting.append("\v")
            elif self._is_taken_whole(node, tag):
                continue
            else:
                if tag in _BLOCKS:
                    self._paragraph()
                    stack.append((node, True))
                stack.extend((child, False) for child in reversed(list(_children(node))))
        self._paragraph()

    def _is_taken_whole(self, node: LexborNode, tag: str) -> bool:
        if tag in _HEADINGS:
            self._block(BlockKind.HEADING, self._inline(node), level=_HEADINGS[tag])
        elif tag == "pre":
            self._block(BlockKind.CODE, self._raw(node).strip("\r\n"))
        elif tag in _LISTS:
            self._block(BlockKind.LIST, "\n".join(self._items(node)))
        elif tag == "table" and _is_data(node):
            caption = node.css_first("caption")
            if caption is not None:
                self._block(BlockKind.PARAGRAPH, self._inline(caption))
            self._block(BlockKind.TABLE, table_text(self._rows(node), self._draft))
        else:
            return False
        return True

    def _block(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        self._paragraph()
        self._draft.add(kind, text, level=level)

    def _paragraph(self) -> None:
        if self._waiting:
            text = _spaced("".join(self._waiting))
            self._waiting.clear()
            self._draft.add(BlockKind.PARAGRAPH, text)

    def _is_shown(self, node: LexborNode, tag: str) -> bool:
        if tag in self._skipped or not node.is_element_node:
            return False
        if _is_hidden(node):
            self._draft.note(NoticeCode.HIDDEN_TEXT, len("".join(node.text().split())))
            return False
        return True

    def _inline(self, node: LexborNode) -> str:
        return " ".join(self._raw(node).split())

    def _raw(self, root: LexborNode, *, inner_lists: list[LexborNode] | None = None) -> str:
        """All text that is shown, blocks parted by line feeds, white space as it stands.

        With `inner_lists` the lists in it are not read but put there.
        """
        pieces: list[str] = []
        stack: list[LexborNode | str] = list(reversed(list(_children(root))))
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                pieces.append(node)
            elif node.is_text_node:
                pieces.append(node.text_content or "")
            elif not self._is_shown(node, tag := node.tag or ""):
                continue
            elif tag in _LISTS and inner_lists is not None:
                inner_lists.append(node)
            elif tag == "br":
                pieces.append("\n")
            else:
                edge = "\n" if tag in _BLOCKS else ""
                pieces.append(edge)
                stack.append(edge)
                stack.extend(reversed(list(_children(node))))
        return "".join(pieces)

    def _items(self, root: LexborNode, depth: int = 0) -> Iterator[str]:
        """A line for each item; items of inner lists stand two spaces further in."""
        if depth > self._draft.limits.nesting_max_depth:
            raise refused(Reason.TOO_COMPLEX, "The page nests lists deeper than people do; it is not read.")
        number = 0
        for item in _children(root):
            tag = item.tag or ""
            if item.is_text_node:
                if text := " ".join((item.text_content or "").split()):
                    yield f"{'  ' * depth}{text}"
                continue
            if not self._is_shown(item, tag):
                continue
            if tag in _LISTS or (root.tag == "dl" and tag == "div"):
                yield from self._items(item, depth + (tag in _LISTS))
                continue
            inner: list[LexborNode] = []
            number += 1
            if text := " ".join(self._raw(item, inner_lists=inner).split()):
                yield f"{'  ' * depth}{_marker(root, tag, number)}{text}"
            for inner_list in inner:
                yield from self._items(inner_list, depth + 1)

    def _rows(self, table: LexborNode) -> Iterator[list[str]]:
        """What spans several rows is repeated in each, what spans columns stands in the first."""
        spanning: dict[int, tuple[int, str]] = {}  # column -> rows to come, text
        for line in table.css("tr"):
            if not self._is_shown(line, "tr"):
                continue
            row: list[str] = []
            for cell in _children(line):
                if cell.tag not in ("td", "th") or not self._is_shown(cell, cell.tag):
                    continue
                _carry(spanning, row)
                column = len(row)
                row += [self._inline(cell), *[""] * (_span(cell, "colspan") - 1)]
                if (rows := _span(cell, "rowspan")) > 1:
                    spanning[column] = (rows - 1, row[column])
            _carry(spanning, row)
            yield row


def _carry(spanning: dict[int, tuple[int, str]], row: list[str]) -> None:
    """Fill in, where the row has come to a column that a cell above spans."""
    while (above := spanning.pop(len(row), None)) is not None:
        rows, text = above
        if rows > 1:
            spanning[len(row)] = (rows - 1, text)
        row.append(text)


def _marker(root: LexborNode, tag: str, number: int) -> str:
    if root.tag == "dl":
        return "" if tag == "dt" else "  "
    return f"{number}. " if root.tag == "ol" else "- "


def _span(cell: LexborNode, name: str) -> int:
    value = cell.attributes.get(name) or ""
    return min(max(int(value), 1), SPAN_MAX) if value.isascii() and value.isdigit() and len(value) < 9 else 1


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    if "hidden" in attributes or (node.tag == "dialog" and "open" not in attributes):
        return True
    style = attributes.get("style")
    return bool(style and _HIDING.search(style))


def _is_data(table: LexborNode) -> bool:
    """Not a table that only lays out: no table in it, and more than one cell."""
    if any(inner.mem_id != table.mem_id for inner in table.css("table")):
        return False
    return (table.attributes.get("role") or "") not in ("presentation", "none") and len(
        table.css("td, th")
    ) > 1


def _spaced(text: str) -> str:
    """White space as a browser shows it; lines only where the page breaks them."""
    lines = (" ".join(line.split()) for line in text.replace("\n", " ").split("\v"))
    return "\n".join(line for line in lines if line)

"""Word documents (ECMA-376, WordprocessingML): headings, paragraphs, lists, tables, code and notes, in reading
order.

Read from the XML itself, because readers of documents for editing leave out what a person sees: insertions that
are tracked, content controls, text boxes, footnotes. Deletions that are tracked and hidden text are not shown
to a reader and not read. Pages are not in such a file: each program makes its own.

Headings are told by their outline level or the built-in name of their style, also inherited; list items by
their numbering; code by the style's name. A table of one cell is a frame, not a table.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloud.knowledge.extraction import office, xml_part
from cloud.knowledge.extraction.archive import Archive
from cloud.knowledge.extraction.draft import Draft, Source
from cloud.knowledge.extraction.extracted import NoticeCode
from cloud.knowledge.extraction.reasons import Reason, refused
from cloud.knowledge.extraction.tables import table_text
from cloud.knowledge.extraction.xml_part import Element, attribute, child, local
from shared.retrieval.blocks import BlockKind, Document

INHERITED_MAX: Final = 20
"""Styles based on styles; a longer chain is a circle."""
COLUMNS_SPANNED_MAX: Final = 1_024

_HEADING: Final = re.compile("heading ([1-9])")
_CODE_STYLES: Final = frozenset({"html preformatted", "code", "source code", "macro text", "macro"})
_NOT_SHOWN: Final = frozenset(
    {
        "del",
        "moveFrom",
        "pPr",
        "rPr",
        "instrText",
        "delText",
        "delInstrText",
        "sdtPr",
        "sdtEndPr",
        "tblPr",
        "trPr",
        "tcPr",
    }
)
_TRANSPARENT: Final = frozenset({"ins", "moveTo", "customXml", "smartTag", "sdtContent"})
_CHARACTERS: Final = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """What paragraphs of a style are. `outline`: 0 is the highest heading; None is no heading."""

    name: str = ""
    outline: int | None = None
    numbering: str = ""


@dataclass(slots=True)
class _Run:
    """Blocks of one kind that follow one another and are one: items of a list, lines of code."""

    kind: BlockKind | None = None
    lines: list[str] = field(default_factory=list)


def read(source: Source, draft: Draft) -> Document:
    archive = Archive(source.content, draft.limits)
    main = office.main_part(archive)
    related = office.relations_of(archive, main)
    body = _content(archive, main, "body")
    draft.title = office.core_title(archive)
    reading = _Reading(
        draft, _styles(archive, related.get("styles")), _formats(archive, related.get("numbering"))
    )
    reading.read(body)
    for kind, item in (("footnotes", "footnote"), ("endnotes", "endnote")):
        if (part := related.get(kind)) in archive.names and part is not None:
            for note in xml_part.tree(archive, part) or ():
                if local(note) == item and attribute(note, "type") in (None, "normal"):
                    reading.read(note)
    return draft.built(source)


def _content(archive: Archive, part: str, name: str) -> Element:
    tree = xml_part.tree(archive, part)
    found = child(tree, name) if tree is not None else None
    if found is None:
        raise refused(Reason.BROKEN, "The file is damaged (its document has no body); save it anew.")
    return found


class _Reading:
    def __init__(self, draft: Draft, styles: dict[str, _Style], formats: dict[tuple[str, str], str]) -> None:
        self._draft = draft
        self._styles = styles
        self._formats = formats
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        self._run = _Run()

    def read(self, container: Element) -> None:
        for element in _elements(container):
            if local(element) == "tbl":
                self._table(element, depth=1)
            else:
                self._paragraph(element)
        self._end_run()

    # ------------------------------------------------------------ paragraphs

    def _paragraph(self, paragraph: Element) -> None:
        boxes: list[Element] = []
        text = self._text(paragraph, boxes)
        style, outline, numbering = self._properties(paragraph)
        if style.name == "title" and text.strip():
            self._draft.title = self._draft.title or text
            outline = 0 if outline is None else outline
        if outline is not None:
            self._end_run()
            self._draft.add(BlockKind.HEADING, " ".join(text.split()), level=outline + 1)
        elif numbering is not None and text.strip():
            self._add_line(BlockKind.LIST, f"{self._marker(*numbering)}{' '.join(text.split())}")
        elif style.name in _CODE_STYLES:
            self._add_line(BlockKind.CODE, text)
        else:
            if text.strip() or self._run.kind is not BlockKind.LIST:
                self._end_run()
            self._draft.add(BlockKind.PARAGRAPH, text)
        for box in boxes:
            self.read(box)

    def _properties(self, paragraph: Element) -> tuple[_Style, int | None, tuple[str, int] | None]:
        """Its style, its outline level, and its numbering with the depth in it."""
        properties = child(paragraph, "pPr")
        if properties is None:
            return self._styles.get("", _Style()), self._styles.get("", _Style()).outline, None
        style = self._styles.get(_value(properties, "pStyle") or "", _Style())
        outline = _outline(_value(properties, "outlineLvl"), style.outline)
        numbers = child(properties, "numPr")
        number = (_value(numbers, "numId") if numbers is not None else None) or style.numbering
        if not number or number == "0":
            return style, outline, None
        depth = _number(_value(numbers, "ilvl") if numbers is not None else None)
        return style, outline, (number, min(depth, 8))

    def _marker(self, numbering: str, depth: int) -> str:
        counts = self._numbers[numbering]
        del counts[depth + 1 :]
        counts.extend([0] * (depth + 1 - len(counts)))
        counts[depth] += 1
        is_bullet = self._formats.get((numbering, str(depth)), "bullet") in ("bullet", "none")
        return f"{'  ' * depth}{'- ' if is_bullet else f'{counts[depth]}. '}"

    def _add_line(self, kind: BlockKind, line: str) -> None:
        if self._run.kind is not kind:
            self._end_run()
        self._run.kind = kind
        self._run.lines.append(line)

    def _end_run(self) -> None:
        run, self._run = self._run, _Run()
        if run.kind is not None:
            self._draft.add(run.kind, "\n".join(run.lines))

    def _text(self, paragraph: Element, boxes: list[Element] | None = None) -> str:
        """What is shown of it. Text boxes in it are put into `boxes`, or read in place without."""
        pieces: list[str] = []
        stack = list(reversed(paragraph))
        while stack:
            element = stack.pop()
            name = local(element)
            if name == "t":
                pieces.append(element.text or "")
            elif name in _CHARACTERS:
                pieces.append(_CHARACTERS[name])
            elif name == "AlternateContent":
                stack.extend(_alternative(element))
            elif name == "r" and _is_hidden(element):
                hidden = sum(len((one.text or "").strip()) for one in element if local(one) == "t")
                self._draft.note(NoticeCode.HIDDEN_TEXT, hidden)
            elif name == "txbxContent" and boxes is not None:
                boxes.append(element)
            elif name not in _NOT_SHOWN:
                if name == "p":  # in a cell: words of two paragraphs are two words
                    pieces.append("\n")
                stack.extend(reversed(element))
        return "".join(pieces)

    # ------------------------------------------------------------ tables

    def _table(self, table: Element, *, depth: int) -> None:
        rows = [list(_cells(row)) for row in _children(table, "tr")]
        if len(rows) == 1 and len(rows[0]) == 1:
            if depth > self._draft.limits.nesting_max_depth:
                raise refused(Reason.TOO_COMPLEX, "The document nests tables deeper than people do.")
            for element in _elements(rows[0][0]):
                if local(element) == "tbl":
                    self._table(element, depth=depth + 1)
                else:
                    self._paragraph(element)
            return
        self._end_run()
        self._draft.add(BlockKind.TABLE, table_text(self._rows(rows), self._draft))

    def _rows(self, rows: list[list[Element]]) -> Iterator[list[str]]:
        """What is merged downwards is repeated in each row, what spans columns stands in the first."""
        above: dict[int, str] = {}
        for cells in rows:
            row: list[str] = []
            for cell in cells:
                properties = child(cell, "tcPr")
                merge = child(properties, "vMerge") if properties is not None else None
                column = len(row)
                text = (
                    " ".join(self._text(cell).split())
                    if merge is None or attribute(merge, "val") == "restart"
                    else ""
                )
                if merge is not None:
                    text = text or above.get(column, "")
                    above[column] = text
                span = _number(_value(properties, "gridSpan") if properties is not None else None)
                row += [text, *[""] * (min(span, COLUMNS_SPANNED_MAX) - 1)]
            yield row


def _elements(container: Element) -> Iterator[Element]:
    """The paragraphs and tables in it, through what only wraps them."""
    stack = list(reversed(container))
    while stack:
        element = stack.pop()
        name = local(element)
        if name in ("p", "tbl"):
            yield element
        elif name == "AlternateContent":
            stack.extend(_alternative(element))
        elif name == "sdt" or name in _TRANSPARENT:
            stack.extend(reversed(element))


def _children(container: Element, name: str) -> Iterator[Element]:
    """Rows of a table or cells of a row, through what only wraps them."""
    stack = list(reversed(container))
    while stack:
        element = stack.pop()
        if local(element) == name:
            yield element
        elif local(element) == "sdt" or local(element) in _TRANSPARENT:
            stack.extend(reversed(element))


def _cells(row: Element) -> Iterator[Element]:
    return _children(row, "tc")


def _alternative(element: Element) -> Iterator[Element]:
    """One of the ways to write the same thing (ECMA-376-3): the first."""
    choice = child(element, "Choice")
    if choice is None:
        choice = child(element, "Fallback")
    return reversed(choice) if choice is not None else iter(())


def _is_hidden(run: Element) -> bool:
    properties = child(run, "rPr")
    vanish = child(properties, "vanish") if properties is not None else None
    return vanish is not None and attribute(vanish, "val") not in ("0", "false", "off")


# ---------------------------------------------------------------- styles and numbering


def _styles(archive: Archive, part: str | None) -> dict[str, _Style]:
    """Style id -> what its paragraphs are, inheritance worked out; "" is the default style."""
    tree = xml_part.tree(archive, part) if part else None
    elements = {
        identifier: style
        for style in (tree if tree is not None else ())
        if local(style) == "style" and attribute(style, "type") == "paragraph"
        and (identifier := attribute(style, "styleId"))
    }  # fmt: skip
    styles = {identifier: _style(identifier, elements) for identifier in elements}
    default = next(
        (one for one, style in elements.items() if attribute(style, "default") in ("1", "true")), None
    )
    return {**styles, "": styles[default]} if default else styles


def _style(identifier: str, elements: dict[str, Element]) -> _Style:
    name, outline, numbering = "", None, ""
    for _ in range(INHERITED_MAX):
        element = elements.get(identifier)
        if element is None:
            break
        own = (_value(element, "name") or "").lower()
        name = name or own
        properties = child(element, "pPr")
        if outline is None:
            built_in = _HEADING.fullmatch(own)
            by_name = int(built_in[1]) - 1 if built_in else None
            outline = _outline(_value(properties, "outlineLvl") if properties is not None else None, by_name)
        numbers = child(properties, "numPr") if properties is not None else None
        numbering = numbering or (_value(numbers, "numId") if numbers is not None else None) or ""
        identifier = _value(element, "basedOn") or ""
    return _Style(name=name, outline=outline, numbering=numbering)


def _formats(archive: Archive, part: str | None) -> dict[tuple[str, str], str]:
    """(number id, level) -> "bullet", "decimal" and so on."""
    tree = xml_part.tree(archive, part) if part else None
    abstract: dict[str, dict[str, str]] = {}
    formats: dict[tuple[str, str], str] = {}
    for element in tree if tree is not None else ():
        if local(element) == "abstractNum":
            abstract[attribute(element, "abstractNumId") or ""] = {
                attribute(level, "ilvl") or "": _value(level, "numFmt") or ""
                for level in element
                if local(level) == "lvl"
            }
        elif local(element) == "num":
            number = attribute(element, "numId") or ""
            for level, shown in abstract.get(_value(element, "abstractNumId") or "", {}).items():
                formats[number, level] = shown
    return formats


def _value(element: Element, name: str) -> str | None:
    """`w:val` of the child of that name."""
    found = child(element, name)
    return attribute(found, "val") if found is not None else None


def _number(value: str | None) -> int:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 9 else 0


def _outline(value: str | None, otherwise: int | None) -> int | None:
    """Levels 0 to 8 are headings; 9 is body text, also where the style says otherwise."""
    if value is None or not value.isascii() or not value.isdigit():
        return otherwise
    return int(value) if len(value) == 1 and value < "9" else None

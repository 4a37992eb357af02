"""PDF (ISO 32000) through PDFium: paragraphs, headings and lists, each with its page.

Text comes in the order in which the page draws it, which is how programs write columns; where a page says
nothing certain, nothing is made up: tables are read as lines of text. Headings are the entries of the outline
(bookmarks) that stand on their pages as lines; without any, lines in clearly larger letters than the body's.
Lines that repeat at the same height of the page on many pages, but for their digits, are headers and footers.
What layout means is decided in `pdf_layout.py`; here PDFium is asked, page by page. A page of nothing but a
picture has no text: that is said.
"""

import ctypes
import math
from collections.abc import Iterator
from typing import Final

import pypdfium2
from pypdfium2 import raw

from cloud.knowledge.extraction.draft import Draft, Source
from cloud.knowledge.extraction.extracted import NoticeCode
from cloud.knowledge.extraction.formats.pdf_layout import (
    Entry,
    Letter,
    Line,
    Page,
    has_right_to_left,
    in_reading_order,
    line,
    written,
)
from cloud.knowledge.extraction.reasons import Reason, refused
from shared.errors import RefusedError
from shared.retrieval.blocks import Document

OUTLINE_MAX_ENTRIES: Final = 5_000
OUTLINE_MAX_DEPTH: Final = 6
PAGE_MAX_CHARS: Final = 200_000
"""A page of a book has 3,000. More is drawn over and over, to cost time."""
SAMPLED_LETTERS: Final = 6
"""Of a line, to tell the size of its letters."""
_OUR_TITLES: Final = ("microsoft ", "untitled", "(anonymous)")
"""What programs put where nobody gave a title."""


def read(source: Source, draft: Draft) -> Document:
    document = _opened(source.content)
    try:
        if len(document) > draft.limits.pages_max:
            raise refused(
                Reason.TOO_LARGE,
                f"The PDF has {len(document):,} pages; at most {draft.limits.pages_max:,} are read.",
            )
        pages = [_page(document, index) for index in range(len(document))]
        entries = list(_outline(document))
        title = document.get_metadata_value("Title").strip()
    finally:
        document.close()
    empty = sum(not page.lines for page in pages)
    if empty == len(pages):
        raise refused(
            Reason.NO_TEXT,
            "The PDF holds pictures of pages and no text; recognise its text (OCR), then add it again.",
        )
    draft.note(NoticeCode.PAGES_WITHOUT_TEXT, empty)
    draft.title = "" if title.lower().startswith(_OUR_TITLES) else title
    written(pages, entries, draft)
    return draft.built(source)


def _opened(content: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise refused(Reason.ENCRYPTED, "The PDF has a password; save it without one.") from error
        raise _broken() from error


def _page(document: pypdfium2.PdfDocument, index: int) -> Page:
    """A page that cannot be read is one without text: most of a damaged PDF is better than none of it."""
    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return Page(number=index + 1)
    text = page.get_textpage()
    try:
        _, bottom, _, top = page.get_bbox()
        return Page(number=index + 1, lines=tuple(_lines(text)), bottom=bottom, top=top)
    finally:
        text.close()
        page.close()


class _Measure:
    """Where letters of one page stand. PDFium is asked for few of them: each question costs as much as ten letters."""

    def __init__(self, handle: raw.FPDF_TEXTPAGE) -> None:
        self._handle = handle
        self._box = raw.FS_RECTF()
        self._x, self._baseline = ctypes.c_double(), ctypes.c_double()
        self._matrix = raw.FS_MATRIX()

    def edges(self, at: int) -> tuple[float, float]:
        """Of what the letter takes up in its line, not of its ink: an "l" in a typewriter's face has room around it."""
        raw.FPDFText_GetLooseCharBox(self._handle, at, self._box)
        return self._box.left, self._box.right

    def is_drawn(self, at: int, char: str) -> bool:
        """Spaces and line ends may be the library's own, which stand nowhere."""
        return not char.isspace() or raw.FPDFText_IsGenerated(self._handle, at) == 0

    def baseline(self, at: int) -> float:
        raw.FPDFText_GetCharOrigin(self._handle, at, self._x, self._baseline)
        return self._baseline.value

    def size(self, at: int) -> float:
        """As drawn: pages may be scaled as a whole."""
        size = raw.FPDFText_GetFontSize(self._handle, at)
        if raw.FPDFText_GetMatrix(self._handle, at, self._matrix):
            size *= math.hypot(self._matrix.c, self._matrix.d)
        return round(size, 1) or 1.0


def _lines(text: pypdfium2.PdfTextPage) -> Iterator[Line]:
    count = raw.FPDFText_CountChars(text.raw)
    if count > PAGE_MAX_CHARS:
        raise refused(Reason.TOO_COMPLEX, f"A page of the PDF draws {count:,} characters; it is not read.")
    measure = _Measure(text.raw)
    start = 0
    for chars in _chars(text.raw, count).split("\n"):
        if line := _line(chars, start, measure):
            yield line
        start += len(chars) + 1


def _chars(handle: raw.FPDF_TEXTPAGE, count: int) -> str:
    """One for each of PDFium's, which are halves of surrogate pairs beyond the basic plane."""
    buffer = (ctypes.c_ushort * (count + 1))()
    if raw.FPDFText_GetText(handle, 0, count, buffer) == count + 1:
        return "".join(map(chr, buffer[:count]))
    # It left out what has no Unicode value, so places would not match.
    return "".join(chr(raw.FPDFText_GetUnicode(handle, at) & 0xFFFF) for at in range(count))


def _line(chars: str, start: int, measure: _Measure) -> Line | None:
    drawn = [at for at, char in enumerate(chars, start) if not char.isspace()]
    if not drawn:
        return None
    if has_right_to_left(chars):
        letters = [
            Letter(char, *measure.edges(at))
            for at, char in enumerate(chars, start)
            if measure.is_drawn(at, char)
        ]
        chars = in_reading_order(letters, measure.size(drawn[0]))
    first, last = measure.edges(drawn[0]), measure.edges(drawn[-1])
    return line(
        chars,
        sizes=[measure.size(at) for at in drawn[:: len(drawn) // SAMPLED_LETTERS + 1]],
        left=min(first[0], last[0]),
        right=max(first[1], last[1]),
        baseline=measure.baseline(drawn[0]),
        foot=measure.baseline(drawn[-1]),
    )


def _outline(document: pypdfium2.PdfDocument) -> Iterator[Entry]:
    for count, bookmark in enumerate(document.get_toc(max_depth=OUTLINE_MAX_DEPTH)):
        if count == OUTLINE_MAX_ENTRIES:
            return
        target = bookmark.get_dest()
        page = target.get_index() if target is not None else None
        if page is not None and page >= 0:
            yield Entry(title=bookmark.get_title(), level=bookmark.level + 1, page=page + 1)


def _broken() -> RefusedError:
    return refused(Reason.BROKEN, "The PDF is damaged; open it in its own program and export it anew.")

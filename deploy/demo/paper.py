"""A service sheet as a PDF, drawn when the demo starts: so that a PDF is read, and the repository holds only text.

The text has one line a line of the page, "# " before a title, "## " before a heading, and "---" between pages. Only
what Helvetica's standard encoding can draw. Must not know what the sheet says.
"""

import ctypes
from pathlib import Path
from typing import Final

import pypdfium2
from pypdfium2 import raw

PAGE_PT: Final = (595.0, 842.0)
"""A4, in points of 1/72 inch."""
MARGIN_PT: Final = 60.0
SIZES_PT: Final = {"# ": 18.0, "## ": 14.0}
BODY_PT: Final = 10.5
LEADING: Final = 1.45
"""From one line to the next, in sizes of its letters."""
PAGE_BREAK: Final = "---"


def draw(text: str, path: Path) -> None:
    """Write the PDF. Blocking."""
    document = pypdfium2.PdfDocument.new()
    try:
        face = raw.FPDFText_LoadStandardFont(document, b"Helvetica")
        for lines in text.split(f"\n{PAGE_BREAK}\n"):
            _draw_page(document, face, lines.splitlines())
        document.save(path)
        raw.FPDFFont_Close(face)
    finally:
        document.close()


def _draw_page(document: pypdfium2.PdfDocument, face: raw.FPDF_FONT, lines: list[str]) -> None:
    page = document.new_page(*PAGE_PT)
    height = PAGE_PT[1] - MARGIN_PT
    for line in lines:
        mark = next((mark for mark in SIZES_PT if line.startswith(mark)), "")
        size = SIZES_PT.get(mark, BODY_PT)
        height -= size * LEADING
        if words := line.removeprefix(mark).strip():
            item = raw.FPDFPageObj_CreateTextObj(document, face, size)
            raw.FPDFText_SetText(item, _utf16(words))
            raw.FPDFPageObj_Transform(item, 1, 0, 0, 1, MARGIN_PT, height)
            raw.FPDFPage_InsertObject(page, item)
    raw.FPDFPage_GenerateContent(page)
    page.close()


def _utf16(text: str) -> "ctypes.Array[ctypes.c_ushort]":
    """As PDFium takes text: UTF-16, ended by a zero."""
    data = f"{text}\0".encode("utf-16-le")
    return (ctypes.c_ushort * (len(data) // 2)).from_buffer_copy(data)

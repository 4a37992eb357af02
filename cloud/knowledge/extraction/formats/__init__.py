"""The formats that are read, one file each. This table is all that the rest knows of them."""

from typing import Final

from cloud.knowledge.extraction.media import Format

_HERE: Final = "cloud.knowledge.extraction.formats"

FORMATS: Final = (
    Format(
        name="markdown",
        media_type="text/markdown",
        suffixes=(".md", ".markdown"),
        reader=f"{_HERE}.markdown:read",
    ),
    Format(
        name="text",
        media_type="text/plain",
        suffixes=(".txt", ".text", ".log"),
        reader=f"{_HERE}.plain_text:read",
    ),
    Format(
        name="html",
        media_type="text/html",
        suffixes=(".html", ".htm", ".xhtml"),
        reader=f"{_HERE}.html_page:read",
    ),
    Format(name="pdf", media_type="application/pdf", suffixes=(".pdf",), reader=f"{_HERE}.pdf:read"),
    Format(
        name="docx",
        media_type="application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        suffixes=(".docx", ".docm"),
        reader=f"{_HERE}.docx:read",
    ),
    Format(name="csv", media_type="text/csv", suffixes=(".csv", ".tsv"), reader=f"{_HERE}.csv_table:read"),
    Format(
        name="xlsx",
        media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        suffixes=(".xlsx", ".xlsm"),
        reader=f"{_HERE}.xlsx:read",
    ),
)

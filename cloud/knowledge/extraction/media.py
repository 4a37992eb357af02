"""Which format a file is, judged from its bytes; a name that says otherwise is refused. Pure.

Formats with a signature are told by it, whatever the name. Text has none: there the name decides between
Markdown, plain text, CSV and HTML, and only bytes that are HTML from the first make a liar of it. Without a
known suffix it is plain text, so `README` and `LICENSE` are read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from cloud.knowledge.extraction.archive import Archive
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.reasons import Reason, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`reader` is "module:function" (`draft.Reader`), imported only in the child; `suffixes` have their dot."""

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    reader: str


PDF_WITHIN_BYTES: Final = 1_024
"""In a file called PDF, readers look for `%PDF-` that far in."""
HTML_WITHIN_BYTES: Final = 4_096

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_MARK: Final = b"\xef\xbb\xbf"
_HTML: Final = re.compile(
    rb"(?>\s+|<\?xml[^>]{0,200}\?>|<!--(?:(?!-->).){0,1000}-->)*<(?:!doctype\s+html|html)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_SUFFIX: Final = re.compile(r"\.[a-z][a-z0-9]{0,9}")
_FOREIGN: Final = (
    (b"\x89PNG\r\n", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"), (b"MM\0*", "a TIFF image"), (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a\x07", "a RAR archive"), (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"), (b"{\\rtf", "a rich text (RTF) file"), (b"%!PS", "a PostScript file"),
    (b"SQLite format 3\0", "a database"), (b"\x28\xb5\x2f\xfd", "a Zstandard archive"), (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an XZ archive"),
)  # fmt: skip
_SHOWN: Final = {
    "pdf": "a PDF", "docx": "a Word document (DOCX)", "xlsx": "a workbook (XLSX)", "html": "an HTML page",
}  # fmt: skip
"""The formats that bytes tell. All but HTML must have their signature."""


def judged(name: str, content: bytes, formats: Sequence[Format], limits: ExtractionLimits) -> Format:
    """The format to read it as. Raises `RefusedError`: lying, unknown, encrypted, or an archive made to harm."""
    suffix = PurePosixPath(name).suffix.lower()
    by_name = next((one for one in formats if suffix in one.suffixes), None)
    told, what = _told(content, suffix, limits, is_office=by_name is None or by_name.name in ("docx", "xlsx"))
    if by_name is not None and by_name.name not in _SHOWN and told is None and not what:
        return by_name
    if by_name is not None and by_name.name != told and not (by_name.name == "html" and not what):
        seems = what or "something else"
        raise refused(
            Reason.TYPE_LIES, f"The file is named {suffix} but its bytes are {seems}; rename or replace it."
        )
    if by_name is not None:
        return by_name
    if told is None and (what or _SUFFIX.fullmatch(suffix)):
        readable = ", ".join(sorted({one for each in formats for one in each.suffixes}))
        raise refused(
            Reason.TYPE_UNKNOWN, f"The file is {what or f'a {suffix} file'}; what is read: {readable}."
        )
    return next(one for one in formats if one.name == (told or "text"))


def _told(
    content: bytes, suffix: str, limits: ExtractionLimits, *, is_office: bool
) -> tuple[str | None, str]:
    """The format that the bytes tell, if it is one of ours, and what they are in words ("" for text)."""
    start = content.removeprefix(_MARK)
    if start.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in content[:PDF_WITHIN_BYTES]):
        return "pdf", _SHOWN["pdf"]
    if start.startswith(_ZIP):
        return _inside(content, limits) if is_office else (None, "a ZIP archive")
    if start.startswith(_OLE):
        if is_office and _OLE_ENCRYPTED in content:
            raise refused(Reason.ENCRYPTED, "The file has a password; save it without one.")
        return None, "an Office 97-2003 document"
    if _HTML.match(start[:HTML_WITHIN_BYTES]):
        return "html", _SHOWN["html"]
    return None, next((what for signature, what in _FOREIGN if start.startswith(signature)), "")


def _inside(content: bytes, limits: ExtractionLimits) -> tuple[str | None, str]:
    """What an archive is, by the folders in it (ECMA-376; OpenDocument 1.3, part 2)."""
    names = Archive(content, limits).names
    folders = {name.partition("/")[0] for name in names}
    if "[Content_Types].xml" in names:
        if "word" in folders:
            return "docx", _SHOWN["docx"]
        if "xl/workbook.bin" in names:
            return None, "a binary workbook (XLSB)"
        if "xl" in folders:
            return "xlsx", _SHOWN["xlsx"]
        if "ppt" in folders:
            return None, "a presentation (PPTX)"
    return None, "an OpenDocument file" if "mimetype" in names else "a ZIP archive"

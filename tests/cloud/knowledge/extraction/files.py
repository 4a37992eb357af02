"""Files as programs write them, and as attackers do, made in memory."""

import hashlib
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import docx
import openpyxl

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TO_UNICODE = (
    b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /U def /CMapType 2 def "
    b"1 begincodespacerange <0000> <FFFF> endcodespacerange "
    b"1 beginbfrange <0000> <FFFF> <0000> endbfrange endcmap end end"
)
_PAD = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


class Drawn(NamedTuple):
    """Text on a page, as drawn from left to right; points from the lower left corner."""

    text: str
    x: float = 72
    y: float = 700
    size: float = 10


def pdf(
    *pages: Sequence[Drawn],
    title: str = "",
    outline: Iterable[tuple[str, int]] = (),
    password: str | None = None,
) -> bytes:
    """A PDF 1.4 in whatever script, letters half as wide as high. `outline`: titles with the index of their page."""
    entries = list(outline)
    first_page = 8
    first_entry = first_page + 2 * len(pages)
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>",
        2: b"<</Type/Pages/Kids[%s]/Count %d>>"
        % (b" ".join(b"%d 0 R" % (first_page + 2 * at) for at in range(len(pages))), len(pages)),
        3: b"<</Type/Font/Subtype/Type0/BaseFont/Any/Encoding/Identity-H/DescendantFonts[4 0 R]/ToUnicode 5 0 R>>",
        4: b"<</Type/Font/Subtype/CIDFontType2/BaseFont/Any/DW 500/CIDSystemInfo<<"
        b"/Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor<</Type/FontDescriptor/FontName/Any"
        b"/Flags 4/FontBBox[0 -200 500 800]/Ascent 800/Descent -200/CapHeight 700/ItalicAngle 0/StemV 80>>>>",
        5: _stream(_TO_UNICODE),
        6: b"<</First %d 0 R/Last %d 0 R/Count %d>>"
        % (first_entry, first_entry + len(entries) - 1, len(entries))
        if entries
        else b"<<>>",
        7: b"<</Title<%s>>>" % (b"\xfe\xff" + title.encode("utf-16-be")).hex().encode(),
    }
    for at, page in enumerate(pages):
        drawn = b"\n".join(
            b"BT /F %.1f Tf 1 0 0 1 %.1f %.1f Tm <%s> Tj ET"
            % (one.size, one.x, one.y, one.text.encode("utf-16-be").hex().encode())
            for one in page
        )
        objects[first_page + 2 * at] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>"
            % (first_page + 2 * at + 1)
        )
        objects[first_page + 2 * at + 1] = _stream(drawn)
    for at, (words, page_index) in enumerate(entries):
        after = b"/Next %d 0 R" % (first_entry + at + 1) if at + 1 < len(entries) else b""
        objects[first_entry + at] = b"<</Title<%s>/Parent 6 0 R/Dest[%d 0 R/Fit]%s>>" % (
            (b"\xfe\xff" + words.encode("utf-16-be")).hex().encode(), first_page + 2 * page_index, after,
        )  # fmt: skip
    return _assembled(objects, b"" if password is None else _encryption(password))


def paragraph(text: str, *, x: float = 72, y: float = 700, size: float = 10, chars: int = 60) -> list[Drawn]:
    """Lines of a paragraph, one under the other."""
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) >= chars:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [Drawn(line, x, y - at * size * 1.2, size) for at, line in enumerate(lines)]


def scanned_pdf(pages: int = 2) -> bytes:
    """Pages that hold a picture and no text."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[%s]/Count %d>>"
        % (b" ".join(b"%d 0 R" % (5 + at) for at in range(pages)), pages),
        3: b"<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"
        b"stream\n\x80\nendstream",
        4: _stream(b"q 595 0 0 842 0 0 cm /I Do Q"),
        7: b"<<>>",
    }
    for at in range(pages):
        objects[5 + at if at < 2 else 6 + at] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</XObject<</I 3 0 R>>>>>>"
        )
    return _assembled(objects)


def _stream(content: bytes) -> bytes:
    return b"<</Length %d>>stream\n%s\nendstream" % (len(content), content)


def _assembled(objects: Mapping[int, bytes], encryption: bytes = b"") -> bytes:
    content = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places: dict[int, int] = {}
    for number, one in sorted(objects.items()):
        places[number] = len(content)
        content += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    count = max(objects) + 1
    table = b"".join(
        b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 65535 f \n"
        for number in range(count)
    )
    start = len(content)
    content += b"xref\n0 %d\n%strailer<</Size %d/Root 1 0 R/Info 7 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (
        count, table, count, encryption, start,
    )  # fmt: skip
    return bytes(content)


def _encryption(password: str) -> bytes:
    """The standard handler of PDF 1.1, RC4 of 40 bits: enough for a reader to want the password."""
    padded = (password.encode() + _PAD)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", -4) + b"id").digest()[:5]
    return b"/ID[<6964><6964>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>" % (
        owner.hex().encode(), _rc4(key, _PAD).hex().encode(),
    )  # fmt: skip


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    swap = 0
    for at in range(256):
        swap = (swap + state[at] + key[at % len(key)]) % 256
        state[at], state[swap] = state[swap], state[at]
    first = second = 0
    out = bytearray()
    for byte in data:
        first = (first + 1) % 256
        second = (second + state[first]) % 256
        state[first], state[second] = state[second], state[first]
        out.append(byte ^ state[(state[first] + state[second]) % 256])
    return bytes(out)


# ---------------------------------------------------------------- Office


def word(make: Callable[["docx.document.Document"], object]) -> bytes:
    """A document as python-docx writes it."""
    document = docx.Document()
    make(document)
    content = BytesIO()
    document.save(content)
    return content.getvalue()


def workbook(make: Callable[[openpyxl.Workbook], object]) -> bytes:
    book = openpyxl.Workbook()
    make(book)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def rows_book(rows: Iterable[Sequence[object]]) -> bytes:
    def make(book: openpyxl.Workbook) -> None:
        for row in rows:
            book.active.append(list(row))

    return workbook(make)


def word_of(body: str) -> bytes:
    """A document of the given XML of its body, and nothing else."""
    return archive(
        {
            "[Content_Types].xml": f"<Types xmlns='{_PACKAGE}/content-types'/>",
            "_rels/.rels": f"<Relationships xmlns='{_PACKAGE}/relationships'>"
            f"<Relationship Id='r1' Type='{_RELATION}/officeDocument' Target='word/document.xml'/></Relationships>",
            "word/document.xml": f"<w:document xmlns:w='{WORD}'><w:body>{body}</w:body></w:document>",
        }
    )


def archive(
    parts: Mapping[str, str | bytes] | Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", method) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return content.getvalue()


def with_part(content: bytes, name: str, part: str | bytes) -> bytes:
    """The archive with one part replaced or added."""
    with zipfile.ZipFile(BytesIO(content)) as packed:
        parts: dict[str, str | bytes] = {one: packed.read(one) for one in packed.namelist()}
    return archive({**parts, name: part})

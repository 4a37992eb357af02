"""A small file of each format, read once before the child gives up opening files. Pure.

Libraries import parts of themselves when first needed: codecs, tables, helpers for an error. After the
rehearsal they have. It is also the proof, at every start, that what the extra installs can read what we
promise; a library that is missing or has changed stops the child here, and not at somebody's document.
"""

import zipfile
from io import BytesIO
from typing import Final

_WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATION: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"

_MARKDOWN: Final = """\
# Heading

* item

| a | b |
|---|---|
| 1 | 2 |

```
code
```
"""
_HTML: Final = """\
<!doctype html><title>Title</title><meta charset="utf-8"><main><h1>Heading</h1><p hidden>unseen</p><p>Text<br>more</p>
<ul><li>item<ol><li>inner</ol></ul><table><tr><th rowspan=2>a<th>b<tr><td>1</table><pre>code</pre></main>"""


def rehearsals() -> dict[str, tuple[tuple[str, bytes], ...]]:
    """Name of a format -> names and contents of files in it. Each is to be read whole, and cut in half."""
    return {
        "markdown": (("a.md", _MARKDOWN.encode()),),
        "text": (
            ("a.txt", "Straße, שלום, 你好 👍🏽\n\nText\n".encode("utf-16")),
            ("b.txt", ("Насос следует чистить раз в месяц. " * 9).encode("cp1251")),
        ),
        "html": (("a.html", _HTML.encode()),),
        "csv": (("a.csv", b"a;b\n1;2\n"),),
        "pdf": (("a.pdf", _pdf()),),
        "docx": (("a.docx", _docx()),),
        "xlsx": (("a.xlsx", _xlsx()),),
    }


def _pdf() -> bytes:
    page = (
        b"BT /F 24 Tf 72 720 Td (Heading) Tj /F 10 Tf 0 -40 Td (Text of a para-) Tj 0 -12 Td (graph.) Tj ET"
    )
    objects = (
        b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(page), page),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</First 7 0 R/Last 7 0 R/Count 1>>",
        b"<</Title(Heading)/Parent 6 0 R/Dest[3 0 R/Fit]>>",
    )
    content = bytearray(b"%PDF-1.4\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(content) + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (len(objects) + 1, table, len(objects) + 1, len(content))
    )


def _docx() -> bytes:
    paragraph = "<w:p><w:pPr><w:outlineLvl w:val='0'/></w:pPr><w:r><w:t>Heading</w:t></w:r></w:p>"
    cell = "<w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc>"
    return _package(
        "word/document.xml",
        {
            "word/document.xml": f"<w:document xmlns:w='{_WORD}'><w:body>{paragraph}"
            f"<w:tbl><w:tr>{cell}{cell}</w:tr></w:tbl></w:body></w:document>",
        },
    )


def _xlsx() -> bytes:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return _package(
        "xl/workbook.xml",
        {
            "xl/workbook.xml": f"<workbook xmlns='{_SHEET}' xmlns:r='{_RELATION}'><sheets>"
            "<sheet name='Sheet' sheetId='1' r:id='r1'/></sheets></workbook>",
            "xl/_rels/workbook.xml.rels": f"<Relationships xmlns='{_PACKAGE}/relationships'>"
            f"<Relationship Id='r1' Type='{_RELATION}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
            "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{_SHEET}'><sheetData><row r='1'>"
            "<c r='A1' t='inlineStr'><is><t>a</t></is></c><c r='B1'><v>1.5</v></c></row></sheetData></worksheet>",
        },
        (f"<Override PartName='/xl/workbook.xml' ContentType='{kind}.sheet.main+xml'/>"
         f"<Override PartName='/xl/worksheets/sheet1.xml' ContentType='{kind}.worksheet+xml'/>"),
    )  # fmt: skip


def _package(main: str, parts: dict[str, str], types: str = "") -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f"<Types xmlns='{_PACKAGE}/content-types'><Default Extension='xml' ContentType='application/xml'/>"
            "<Default Extension='rels' ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
            f"{types}</Types>",
        )
        archive.writestr(
            "_rels/.rels",
            f"<Relationships xmlns='{_PACKAGE}/relationships'>"
            f"<Relationship Id='r1' Type='{_RELATION}/officeDocument' Target='{main}'/></Relationships>",
        )
        for name, part in parts.items():
            archive.writestr(name, part)
    return content.getvalue()

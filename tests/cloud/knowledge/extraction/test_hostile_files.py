"""Files made to harm, or to deceive, and those that are merely broken: each has its code."""

import struct
import zipfile
from io import BytesIO

import pytest
from docx.document import Document as WordDocument

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.files import (
    Drawn,
    archive,
    pdf,
    rows_book,
    with_part,
    word,
    word_of,
)
from tests.cloud.knowledge.extraction.shown import blocks, refusal

PARAGRAPH = "<w:p><w:r><w:t>text</w:t></w:r></w:p>"
PDF = pdf([Drawn("text")])
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
ENTITIES = (
    "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
    "<!ENTITY c '&b;&b;&b;&b;&b;&b;'>]>"
)
OUTSIDE = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.xlsx", "a.csv", "a.html", "a.md", "a.txt", "a"])
def test_empty_file_is_empty_whatever_it_is_called(extractor: Extractor, name: str) -> None:
    assert refusal(extractor, name, b"") == "file_empty"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", archive({"x": "y"})),
        ("a.pdf", word_of(PARAGRAPH)),
        ("a.pdf", b"just text"),
        ("a.pdf", OLE),
        ("a.docx", PDF),
        ("a.docx", rows_book([["x"]])),
        ("a.docx", archive({"x": "y"})),
        ("a.docx", b"just text"),
        ("a.docx", OLE),
        ("a.xlsx", word_of(PARAGRAPH)),
        ("a.xlsx", archive({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"})),
        ("a.csv", b"<!DOCTYPE html><table><tr><td>x</table>"),
        ("a.csv", PDF),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        ("a.txt", bytes(range(256)) * 4),
        ("a.md", b"\x7fELF" + bytes(60)),
        ("a.md", b"\x1f\x8b\x08" + bytes(60)),
        ("a.html", PDF),
        ("a.txt", b"{\\rtf1 text}"),
    ],
)
def test_name_that_lies_about_the_bytes_is_refused(extractor: Extractor, name: str, content: bytes) -> None:
    assert refusal(extractor, name, content) == "file_type_lies"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a", OLE),
        ("a.doc", OLE),
        ("a.zip", archive({"x": "y"})),
        ("a.py", b"print()"),
    ],
)
def test_kind_that_is_not_read_is_refused(extractor: Extractor, name: str, content: bytes) -> None:
    assert refusal(extractor, name, content) == "file_type_unknown"


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("README", b"plain", "text/plain"),
        ("notes.2026", b"plain", "text/plain"),
        ("a", PDF, "application/pdf"),
        ("A.PDF", PDF, "application/pdf"),
        ("a.pdf", b"\r\n junk before \r\n" + PDF, "application/pdf"),
        ("folder/a.html", b"<p>no doctype", "text/html"),
        ("a.md", b"<b>Markdown</b> may hold HTML", "text/markdown"),
        ("a.txt", b"%PDF is how a PDF starts", "text/plain"),
        ("a", b"\xef\xbb\xbf<!-- x --> <!DOCTYPE html><p>x", "text/html"),
    ],
)
def test_bytes_tell_the_kind_and_the_name_only_among_texts(
    extractor: Extractor, name: str, content: bytes, media_type: str
) -> None:
    assert extractor.extract(name, content).media_type == media_type


def test_start_that_could_be_parsed_in_countless_ways_takes_no_time(extractor: Extractor) -> None:
    assert refusal(extractor, "a.html", b"<!---->" * 580) == "no_text"


def test_locked_office_files_are_encrypted(extractor: Extractor) -> None:
    locked = OLE + "EncryptedPackage".encode("utf-16-le")
    assert refusal(extractor, "a.docx", locked) == "file_encrypted"
    assert refusal(extractor, "a.xlsx", locked) == "file_encrypted"
    flagged = bytearray(word_of(PARAGRAPH))
    at = flagged.index(b"PK\x01\x02")
    flagged[at + 8] |= 1  # the entry's flag of encryption, in the directory
    assert refusal(extractor, "a.docx", bytes(flagged)) == "file_encrypted"


# ---------------------------------------------------------------- archives


@pytest.mark.slow
def test_zip_bomb_of_a_high_ratio_is_refused(extractor: Extractor) -> None:
    bomb = with_part(word_of(PARAGRAPH), "word/media/a.xml", bytes(20_000_000))
    assert refusal(extractor, "a.docx", bomb) == "file_too_large"


def test_zip_bomb_that_lies_about_its_size_is_broken(extractor: Extractor) -> None:
    content = bytearray(with_part(word_of(""), "word/document.xml", bytes(3_000_000)))
    directory = content.index(b"PK\x01\x02")
    at = content.index(b"word/document.xml", directory) - 46
    content[at + 24 : at + 28] = struct.pack("<I", 1_000)
    assert refusal(extractor, "a.docx", bytes(content)) == "file_broken"


@pytest.mark.slow
def test_more_parts_than_any_document_are_refused_before_they_are_listed(extractor: Extractor) -> None:
    many = archive({f"word/{at}": "" for at in range(10_001)}, method=zipfile.ZIP_STORED)
    assert refusal(extractor, "a.docx", many) == "file_too_complex"


def test_directory_larger_than_its_count_says_is_refused(extractor: Extractor) -> None:
    content = bytearray(word_of(PARAGRAPH))
    content[-10:-6] = struct.pack("<I", 0x7FFF_FFFF)
    assert refusal(extractor, "a.docx", bytes(content)) == "file_too_complex"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_parts_of_one_name_are_unsafe(extractor: Extractor) -> None:
    content = BytesIO(word_of(PARAGRAPH))
    with zipfile.ZipFile(content, "a") as packed:
        packed.writestr("word/document.xml", "<other/>")
    assert refusal(extractor, "a.docx", content.getvalue()) == "file_unsafe"
    assert refusal(extractor, "a.docx", with_part(word_of(""), "WORD/Document.xml", "x")) == "file_unsafe"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "word/../../evil", "C:/evil", "word\\..\\evil"])
def test_paths_that_lead_out_are_unsafe(extractor: Extractor, name: str) -> None:
    assert refusal(extractor, "a.docx", with_part(word_of(PARAGRAPH), name, "x")) == "file_unsafe"


def test_other_compressions_are_broken(extractor: Extractor) -> None:
    packed = archive({"[Content_Types].xml": "", "word/document.xml": "x" * 100}, method=zipfile.ZIP_LZMA)
    assert refusal(extractor, "a.docx", packed) == "file_broken"


def test_archive_without_its_end_is_broken(extractor: Extractor) -> None:
    content = word_of(PARAGRAPH)
    assert refusal(extractor, "a.docx", content[:-30]) == "file_broken"
    assert refusal(extractor, "a.docx", b"PK\x03\x04") == "file_broken"


# ---------------------------------------------------------------- XML


@pytest.mark.parametrize("prolog", [ENTITIES, OUTSIDE, f"<!--{'x' * 200_000}-->{ENTITIES}"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_never_expanded_or_fetched(extractor: Extractor, prolog: str, encoding: str) -> None:
    for content, part in ((word_of(""), "word/document.xml"), (rows_book([["x"]]), "xl/sharedStrings.xml")):
        hostile = f"<?xml version='1.0' encoding='{encoding}'?>{prolog}<x>&a;</x>".encode(encoding)
        name = "a.docx" if part.startswith("word") else "a.xlsx"
        assert refusal(extractor, name, with_part(content, part, hostile)) == "file_unsafe"


def test_broken_xml_is_broken(extractor: Extractor) -> None:
    for part in ("", "<w:document", "no xml", "<a><b></a>", "\0\0"):
        content = with_part(word_of(""), "word/document.xml", part)
        assert refusal(extractor, "a.docx", content) == "file_broken"


def test_package_without_its_document_is_broken(extractor: Extractor) -> None:
    content = archive({"[Content_Types].xml": "<Types/>", "word/other.xml": "<x/>"})
    assert refusal(extractor, "a.docx", content) == "file_broken"


def test_relation_that_points_outside_is_not_followed(extractor: Extractor) -> None:
    relations = (
        "<Relationships><Relationship Type='x/footnotes' TargetMode='External' Target='https://evil.example/n.xml'/>"
        "<Relationship Type='x/endnotes' Target='../../../etc/passwd'/></Relationships>"
    )
    content = with_part(word_of(PARAGRAPH), "word/_rels/document.xml.rels", relations)
    assert blocks(extractor.extract("a.docx", content)) == [("paragraph", "text")]


@pytest.mark.slow
def test_elements_nested_fifty_thousand_deep_do_no_harm(extractor: Extractor) -> None:
    deep = "<w:r>" * 50_000 + "<w:t>deep</w:t>" + "</w:r>" * 50_000
    content = word_of(f"<w:p>{deep}</w:p>")
    assert blocks(extractor.extract("a.docx", content)) == [("paragraph", "deep")]
    frames = "<w:tbl><w:tr><w:tc>" * 5_000 + PARAGRAPH + "</w:tc></w:tr></w:tbl>" * 5_000
    assert refusal(extractor, "a.docx", word_of(frames)) == "file_too_complex"
    boxes = "<w:p><w:txbxContent>" * 5_000 + "</w:txbxContent></w:p>" * 5_000
    assert refusal(extractor, "a.docx", word_of(boxes)) == "file_too_complex"


def test_styles_based_on_each_other_in_a_circle_end(extractor: Extractor) -> None:
    def circular(document: WordDocument) -> None:
        styles = document.styles
        first, second = styles.add_style("First", 1), styles.add_style("Second", 1)
        first.base_style, second.base_style = second, first
        document.add_paragraph("round", style=first)

    assert blocks(extractor.extract("a.docx", word(circular))) == [("paragraph", "round")]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["", ".", "/", "../../etc/passwd", "a\0b.txt", "x" * 10_000, "\udcff.txt", "\u202efdp.txt"]
)
def test_names_do_no_harm(extractor: Extractor, name: str) -> None:
    found = extractor.extract(name, b"text")
    assert blocks(found) == [("paragraph", "text")]
    assert found.document.title.isprintable()

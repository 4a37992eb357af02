"""Workbooks: sheets as headings and tables; values, dates, merged cells."""

import datetime

import openpyxl

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.files import rows_book, with_part, workbook
from tests.cloud.knowledge.extraction.shown import blocks, notices, refusal

SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def sheet_of(cells: str) -> bytes:
    """A workbook whose one sheet has the given XML."""
    sheet = f"<worksheet xmlns='{SHEET}'><sheetData>{cells}</sheetData></worksheet>"
    return with_part(rows_book([["x"]]), "xl/worksheets/sheet1.xml", sheet)


def test_sheets_are_headings_and_tables(extractor: Extractor) -> None:
    def prices(book: openpyxl.Workbook) -> None:
        book.active.title = "Prices"
        for row in (["Part", "Price", "New"], ["Seal", 12.5, True], ["Ring", 3, False]):
            book.active.append(row)
        book.create_sheet("Empty")
        book.create_sheet("Notes").append(["one", "two"])

    found = extractor.extract("parts.xlsx", workbook(prices))
    assert found.document.title == "parts"
    assert blocks(found) == [
        ("heading 1", "Prices"),
        (
            "table",
            "| Part | Price | New |\n| --- | --- | --- |\n| Seal | 12.5 | TRUE |\n| Ring | 3 | FALSE |",
        ),
        ("heading 1", "Notes"),
        ("table", "| one | two |"),
    ]


def test_dates_and_times_are_iso(extractor: Extractor) -> None:
    moments = [datetime.date(2026, 3, 1), datetime.datetime(2026, 3, 1, 14, 30), datetime.time(8, 5)]  # noqa: DTZ001 - workbooks know no zones
    found = extractor.extract("a.xlsx", rows_book([["day", "moment", "time"], moments]))
    assert blocks(found)[1][1].splitlines()[2] == "| 2026-03-01 | 2026-03-01 14:30 | 08:05 |"


def test_formulas_give_their_stored_value_errors_none_and_those_without_are_counted(
    extractor: Extractor,
) -> None:
    row = (
        "<row r='1'><c r='A1'><f>1+1</f><v>2</v></c><c r='B1' t='str'><f>A1&amp;\"x\"</f><v>2x</v></c>"
        "<c r='C1'><f>NOW()</f></c><c r='D1' t='e'><f>1/0</f><v>#DIV/0!</v></c></row>"
    )
    found = extractor.extract("a.xlsx", sheet_of(row))
    assert blocks(found)[1] == ("table", "| 2 | 2x |")
    assert notices(found) == {"formulas_without_value": 1}


def test_cells_merged_downwards_are_repeated(extractor: Extractor) -> None:
    def merged(book: openpyxl.Workbook) -> None:
        for row in ([None, None, None], [None, "Pump", "Seal"], [None, None, "Ring"], [None, "Fan", "Belt"]):
            book.active.append(row)
        book.active.merge_cells("B2:B3")

    assert blocks(extractor.extract("a.xlsx", workbook(merged)))[1] == (
        "table", "| Pump | Seal |\n| --- | --- |\n| Pump | Ring |\n| Fan | Belt |",
    )  # fmt: skip


def test_caption_and_empty_rows_part_tables(extractor: Extractor) -> None:
    rows: list[list[object]] = [
        ["Price list", None], [None, None], ["Part", "Price"], ["Seal", 1], [None, None], ["Ring", 2], [None],
        ["a", "b", "c"],
    ]  # fmt: skip
    assert blocks(extractor.extract("a.xlsx", rows_book(rows)))[1:] == [
        ("table", "| Price list |"),
        ("table", "| Part | Price |\n| --- | --- |\n| Seal | 1 |\n| Ring | 2 |"),
        ("table", "| a | b | c |"),
    ]


def test_hidden_sheets_are_left_out_and_counted(extractor: Extractor) -> None:
    def hiding(book: openpyxl.Workbook) -> None:
        book.active.append(["seen"])
        hidden = book.create_sheet("Secret")
        hidden.append(["unseen"])
        hidden.sheet_state = "veryHidden"

    found = extractor.extract("a.xlsx", workbook(hiding))
    assert "unseen" not in found.document.text
    assert notices(found) == {"hidden_sheets_skipped": 1}


def test_workbook_without_cells_has_no_text(extractor: Extractor) -> None:
    assert refusal(extractor, "a.xlsx", rows_book([])) == "no_text"


def test_workbook_without_sheets_is_broken(extractor: Extractor) -> None:
    content = with_part(rows_book([["x"]]), "xl/workbook.xml", "<workbook/")
    assert refusal(extractor, "a.xlsx", content) == "file_broken"

"""Workbooks of Excel 2007 and later (ECMA-376) through calamine: a heading and its tables for each sheet that is
shown.

Values, not formulas: what the program that saved the file had worked out. Dates and times in ISO 8601. A cell
merged downwards counts for each of its rows. A sheet falls into tables at empty rows, unless what follows has
the same columns; rows of one cell before a table are its captions.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Final

import python_calamine as calamine

from cloud.knowledge.extraction.archive import Archive
from cloud.knowledge.extraction.draft import Draft, Source
from cloud.knowledge.extraction.extracted import NoticeCode
from cloud.knowledge.extraction.office import core_title
from cloud.knowledge.extraction.reasons import Reason, refused
from cloud.knowledge.extraction.tables import check_size, table_text
from cloud.knowledge.extraction.xml_part import refuse_document_type
from shared.retrieval.blocks import BlockKind, Document

WHOLE_MAX: Final = 1e15
"""Beyond, a double no longer tells each whole number from the next."""
_NO_VALUE: Final = re.compile(rb"<f(?:\s[^>]*)?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>|</c>)")
_Cells = Sequence[str]
_Merged = tuple[tuple[int, int], tuple[int, int]]


def read(source: Source, draft: Draft) -> Document:
    archive = Archive(source.content, draft.limits)
    _look_through(archive, draft)
    draft.title = core_title(archive) or source.stem  # a sheet's name is none
    try:
        with calamine.load_workbook(BytesIO(source.content)) as book:
            _sheets(book, draft)
    except calamine.PasswordError as error:
        raise refused(Reason.ENCRYPTED, "The workbook has a password; save it without one.") from error
    except calamine.CalamineError as error:
        raise refused(
            Reason.BROKEN, "The workbook is damaged; open it in a spreadsheet program and save it anew."
        ) from error
    return draft.built(source)


def _look_through(archive: Archive, draft: Draft) -> None:
    """Calamine unpacks by itself and unbounded, so each part is unpacked once under our bounds before."""
    for name in sorted(archive.names):
        if not name.startswith("xl/") or not name.endswith((".xml", ".rels")):
            continue
        part = archive.part(name) or b""
        refuse_document_type(part)
        if name.startswith("xl/worksheets/"):
            draft.note(NoticeCode.FORMULAS_WITHOUT_VALUE, sum(1 for _ in _NO_VALUE.finditer(part)))


def _sheets(book: calamine.CalamineWorkbook, draft: Draft) -> None:
    sheets = book.sheets_metadata
    if len(sheets) > draft.limits.sheets_max:
        raise refused(
            Reason.TOO_COMPLEX,
            f"The workbook has {len(sheets)} sheets; at most {draft.limits.sheets_max} are read.",
        )
    for sheet in sheets:
        if sheet.typ != calamine.SheetTypeEnum.WorkSheet:
            continue
        if sheet.visible != calamine.SheetVisibleEnum.Visible:
            draft.note(NoticeCode.HIDDEN_SHEETS)
            continue
        _sheet(book.get_sheet_by_name(sheet.name), draft)


def _sheet(sheet: calamine.CalamineSheet, draft: Draft) -> None:
    check_size(draft, rows=sheet.height, columns=sheet.width)
    tables = list(_tables(_filled(sheet)))
    if not tables:
        return
    draft.add(BlockKind.HEADING, sheet.name, level=1)
    for rows in tables:
        captions = 0
        while captions < len(rows) and sum(map(bool, rows[captions])) == 1 < len(rows[captions]):
            draft.add(BlockKind.PARAGRAPH, "".join(rows[captions]))
            captions += 1
        draft.add(BlockKind.TABLE, table_text(rows[captions:], draft))


def _filled(sheet: calamine.CalamineSheet) -> Iterator[list[str]]:
    """The rows as text, cells that are merged downwards repeated. Calamine gives rows from the sheet's first, columns
    from the first that is filled."""
    _, first_column = sheet.start or (0, 0)
    waiting = sorted(_downwards(sheet.merged_cell_ranges or ()), reverse=True)
    open_ranges: dict[int, tuple[int, str]] = {}  # column -> last row, text
    for index, cells in enumerate(sheet.iter_rows()):
        row = [_text(cell) for cell in cells]
        for column, (last, text) in list(open_ranges.items()):
            if index > last:
                del open_ranges[column]
            elif not row[column]:
                row[column] = text
        while waiting and waiting[-1][0][0] <= index:
            (_, left), (bottom, _) = waiting.pop()
            column = left - first_column
            if 0 <= column < len(row) and row[column]:
                open_ranges[column] = (bottom, row[column])
        yield row


def _downwards(merged: Iterable[_Merged]) -> Iterator[_Merged]:
    return (one for one in merged if one[1][0] > one[0][0])


def _tables(rows: Iterable[_Cells]) -> Iterator[list[_Cells]]:
    """Rows of one table, cut to its columns. An empty row ends it, unless the next rows fill the same columns."""
    tables: list[tuple[tuple[int, int], list[_Cells]]] = []
    group: list[_Cells] = []
    for row in (*rows, ()):
        if any(row):
            group.append(row)
            continue
        if not group:
            continue
        columns = (
            min(next(at for at, cell in enumerate(one) if cell) for one in group),
            max(len(one) - next(at for at, cell in enumerate(reversed(one)) if cell) for one in group),
        )
        if tables and tables[-1][0] == columns:
            tables[-1][1].extend(group)
        else:
            tables.append((columns, group))
        group = []
    for (first, end), found in tables:
        yield [one[first:end] for one in found]


def _text(cell: object) -> str:
    match cell:
        case str():
            return cell.strip()
        case bool():
            return "TRUE" if cell else "FALSE"
        case float() if cell.is_integer() and abs(cell) < WHOLE_MAX:
            return str(int(cell))
        case datetime.datetime():
            return cell.isoformat(sep=" ", timespec="minutes" if not cell.second else "seconds")
        case datetime.time():
            return cell.isoformat(timespec="minutes" if not cell.second else "seconds")
        case datetime.date():
            return cell.isoformat()
        case _:
            return "" if cell is None else str(cell)

"""What the device measured, read back from its metrics lane for as long as that is kept."""

import sqlite3
from typing import Final

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.trimming import Fields, read_fields
from edge.ports import Measured
from shared.ids import Lane

WINDOWS_MAX: Final = 20_000
"""Records that one question reads at most: two weeks of windows of a minute."""


class SqliteMeasured:
    """`MeasuredPast` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def measured(self, series: str, *, start_ms: int, end_ms: int) -> tuple[Measured, ...]:
        return await self._database.read(lambda db: read_measured(db, series, start_ms, end_ms))


def read_measured(db: sqlite3.Connection, series: str, start_ms: int, end_ms: int) -> tuple[Measured, ...]:
    """The windows of a series that end within the span, and the last one before it; oldest first.

    A series that did not change is in no window: the one before the span tells how it stood when it began.
    """
    lane = db.execute(
        "SELECT id, tail_seq, head_seq FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1",
        (Lane.METRICS.value,),
    ).fetchone()
    if lane is None:
        return ()
    lane_id, tail, head = lane
    first = _first_from(db, lane_id, tail, head, start_ms)
    found: list[Measured] = []
    for fields in _backwards(db, lane_id, first - 1, tail):
        if (before := _of(fields, series)) is not None:
            found.append(before)
            break
    rows = db.execute(
        "SELECT data FROM record WHERE lane_id = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (lane_id, first, WINDOWS_MAX),
    )
    for (data,) in rows:
        fields = read_fields(data)
        if fields.get("at_ms", 0) > end_ms:
            break
        if (window := _of(fields, series)) is not None:
            found.append(window)
    return tuple(found)


def _first_from(db: sqlite3.Connection, lane_id: int, tail: int, head: int, start_ms: int) -> int:
    """The first record that was made at `start_ms` or later: records of a lane are in the order of time, as far as the
    clock was."""
    low, high = tail, head + 1
    while low < high:
        middle = (low + high) // 2
        row = db.execute(
            "SELECT data FROM record WHERE lane_id = ? AND seq = ?", (lane_id, middle)
        ).fetchone()
        if row is not None and read_fields(row[0]).get("at_ms", 0) < start_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _backwards(db: sqlite3.Connection, lane_id: int, upto: int, tail: int) -> list[Fields]:
    rows = db.execute(
        "SELECT data FROM record WHERE lane_id = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?",
        (lane_id, tail, upto, WINDOWS_MAX // 10),
    )
    return [read_fields(data) for (data,) in rows]


def _of(fields: Fields, series: str) -> Measured | None:
    listed = fields.get("series")
    at_ms, span_ms = fields.get("at_ms"), fields.get("span_ms")
    if not isinstance(listed, list) or not isinstance(at_ms, int) or not isinstance(span_ms, int):
        return None
    for each in listed:
        if each.get("name") == series:
            return Measured(
                at_ms=at_ms,
                span_ms=span_ms,
                unit=str(each.get("unit", "")),
                min=float(each["min"]),
                max=float(each["max"]),
                mean=float(each["mean"]),
                last=float(each["last"]),
            )
    return None

"""Retention on the store: what it holds, and one short transaction a step. What is to go is decided elsewhere.

A segment goes in one transaction with what follows from it, and with the tombstone that tells of telemetry which the
hub never got. So a crash leaves a sound log, and no window is lost without being counted.
"""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, assert_never

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.gauge import PAGE_BYTES, Gauge, measure, read_pages
from edge.adapters.store_sqlite.trimming import (
    PAST_ENDED,
    PAST_EPISODE,
    Segment,
    drop_segment,
    forget_episodes,
    read_fields,
    read_segment,
    settle,
)
from edge.ports import (
    Draft,
    ForgetEpisodes,
    LaneUsage,
    RetentionStep,
    SettleEnded,
    ShrinkFile,
    StoreUsage,
    TrimLane,
)
from shared.clock import from_ms, to_ms
from shared.ids import Lane
from shared.records import MetricsShed, encode_record

SEGMENT_RECORDS: Final = 25
"""Records of work that one transaction trims at most, with their content: some milliseconds, as appends wait for it."""
SHED_RECORDS: Final = 500
"""Records of telemetry that one transaction drops at most. They stand alone, so many go in the same time."""
SEGMENT_BYTES: Final = 262_144
"""Records and content that one transaction drops at most, but for the last record."""
SEGMENT_NODES: Final = 50
"""Nodes of work that one transaction settles or forgets at most."""
SHRINK_PAGES: Final = 256
"""Pages that one transaction gives back at most."""

Append = Callable[[sqlite3.Connection, Lane, Sequence[tuple[Draft, bytes]]], tuple[int, ...]]


class SqliteRetention:
    """`RetentionStore` over one `Database`. `append` writes at the end of one of our own lanes.

    From now on `gauge` lets nothing into the journal beyond `hard_max_bytes`.
    """

    def __init__(self, database: Database, gauge: Gauge, append: Append, *, hard_max_bytes: int) -> None:
        self._database = database
        self._gauge = gauge
        gauge.hard_max_bytes = hard_max_bytes
        self._append = append
        database.read_blocking(gauge.measure)

    @property
    def journal_bytes(self) -> int:
        return self._gauge.journal_bytes

    @property
    def metrics_bytes(self) -> int:
        return self._gauge.metrics_bytes

    async def usage(self, now: datetime) -> StoreUsage:
        return await self._database.read(lambda db: read_usage(db, now))

    async def perform(self, step: RetentionStep, now: datetime) -> bool:
        segment: Segment | None = None
        if isinstance(step, TrimLane):
            # Outside of the transaction, for which appends wait.
            segment = await self._database.read(lambda db: read_step(db, step))
            if segment is None:
                return False

        def change(db: sqlite3.Connection) -> bool:
            has_changed = take_step(db, step, segment, now, self._append)
            self._gauge.measure(db)
            return has_changed

        # Not durable: what comes back after a power cut is trimmed again, and a tombstone comes back with its segment.
        return await self._database.write(change, durable=False)


def read_step(db: sqlite3.Connection, step: TrimLane) -> Segment | None:
    """The segment that goes with a step; None if there is none."""
    is_telemetry = step.name is Lane.METRICS
    return read_segment(
        db,
        step.key,
        upto=step.upto,
        before_ms=None if step.before is None else to_ms(step.before),
        free_bytes=min(SEGMENT_BYTES, SEGMENT_BYTES if step.free_bytes is None else step.free_bytes),
        max_records=SHED_RECORDS if is_telemetry else SEGMENT_RECORDS,
        # Two at least: a tombstone that was replaced by its like would make no room, for ever.
        min_records=2 if is_telemetry else 1,
    )


def take_step(
    db: sqlite3.Connection, step: RetentionStep, segment: Segment | None, now: datetime, append: Append
) -> bool:
    """Take one step within a transaction; False if there was nothing to do. Runs on the writer thread.

    `segment` is what `read_step` found.
    """
    match step:
        case TrimLane() if segment is None:
            return False
        case TrimLane(name=Lane.METRICS):
            assert segment is not None
            return _shed(db, step, segment, now, append)
        case TrimLane():
            assert segment is not None
            return _trim(db, step, segment, now)
        case SettleEnded(is_pressed):
            now_ms = None if is_pressed else to_ms(now)
            return settle(db, now_ms=now_ms, max_nodes=SEGMENT_NODES) > 0
        case ForgetEpisodes(count):
            return forget_episodes(db, min(count, SEGMENT_NODES)) > 0
        case ShrinkFile(free_bytes):
            return _shrink(db, free_bytes)
        case _:
            assert_never(step)


def read_usage(db: sqlite3.Connection, now: datetime) -> StoreUsage:
    """What the store holds. Blocks for the time of a few look-ups."""
    journal_bytes, metrics_bytes = measure(db)
    pages = read_pages(db)
    past: dict[int, int] = {}
    due = 0
    for kind, count, over in db.execute(
        "SELECT past, count(*), sum(deadline_ms IS NULL OR deadline_ms <= ?) FROM node WHERE past > 0"
        " GROUP BY past",
        (to_ms(now),),
    ):
        past[kind] = count
        due = over if kind == PAST_ENDED else due
    return StoreUsage(
        lanes=tuple(
            _lane_usage(db, row)
            for row in db.execute(
                "SELECT id, name, tail_seq, head_seq, acked, stored_bytes, waiting_bytes, shed FROM lane"
                " ORDER BY id"
            ).fetchall()
        ),
        journal_bytes=journal_bytes,
        metrics_bytes=metrics_bytes,
        file_bytes=pages.file_bytes,
        free_bytes=pages.free_bytes,
        ended=due,
        deferred=past.get(PAST_ENDED, 0) - due,
        episodes=past.get(PAST_EPISODE, 0),
    )


def _lane_usage(db: sqlite3.Connection, row: tuple[int, str, int, int, int, int, int, int]) -> LaneUsage:
    key, name, tail, head, acked, stored_bytes, waiting_bytes, shed = row
    oldest = db.execute("SELECT data FROM record WHERE lane_id = ? AND seq = ?", (key, tail)).fetchone()
    at_ms = None if oldest is None else read_fields(oldest[0]).get("at_ms")
    return LaneUsage(
        key=key,
        name=Lane(name),
        tail=tail,
        head=head,
        acked=acked,
        stored_bytes=stored_bytes,
        waiting_bytes=waiting_bytes,
        shed=shed,
        oldest_at=from_ms(at_ms) if isinstance(at_ms, int) else None,
    )


def _trim(db: sqlite3.Connection, step: TrimLane, segment: Segment, now: datetime) -> bool:
    (acked,) = db.execute("SELECT acked FROM lane WHERE id = ?", (step.key,)).fetchone()
    if step.name is Lane.JOURNAL and segment.last.seq > acked:
        return True  # the hub was restored from a backup since, and needs them again
    if drop_segment(db, step.key, segment):
        settle(db, now_ms=None if step.is_pressed else to_ms(now), max_nodes=SEGMENT_NODES)
    return True


def _shed(db: sqlite3.Connection, step: TrimLane, segment: Segment, now: datetime, append: Append) -> bool:
    """Drop a segment of telemetry; what of it the hub did not acknowledge is told by one record (`MetricsShed`)."""
    acked, held = db.execute("SELECT acked, waiting_bytes FROM lane WHERE id = ?", (step.key,)).fetchone()
    lost = [
        (seq, size, fields)
        for seq, size, fields in zip(segment.seqs, segment.sizes, segment.fields, strict=True)
        if seq > acked
    ]
    if not drop_segment(db, step.key, segment) or not lost:
        return True
    older = [fields for _, _, fields in lost if fields.get("kind") == "metrics.shed"]
    windows = len(lost) - len(older)
    db.execute(
        "UPDATE lane SET shed = shed + ?, waiting_bytes = ? WHERE id = ?",
        (windows, max(0, held - sum(size for _, size, _ in lost)), step.key),
    )
    tombstone = MetricsShed(
        at_ms=to_ms(now),
        first=min([lost[0][0], *(fields["first"] for fields in older)]),
        last=lost[-1][0],
        count=windows + sum(fields["count"] for fields in older),
    )
    append(db, Lane.METRICS, [(Draft(tombstone), encode_record(tombstone))])
    return True


def _shrink(db: sqlite3.Connection, free_bytes: int) -> bool:
    """Only a store that was made with `auto_vacuum` can do this."""
    (mode,) = db.execute("PRAGMA auto_vacuum").fetchone()
    pages = max(1, min(SHRINK_PAGES, free_bytes // PAGE_BYTES))
    before = read_pages(db)
    if mode == 0:
        return False
    db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return read_pages(db) != before

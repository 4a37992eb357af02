"""What time does to metrics: windows become hours, windows that are old go, and in the end the hours go too.

One process does it (`cloud.leader`), a chunk a transaction, and may be killed anywhere: how far a log is rolled up
moves in the transaction that writes its hours, so no window is counted twice or left out. A log's tail is cut only
behind that, and keeps the hash before it: what is left verifies as before.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import CursorResult, delete, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.db import Transactions, table_of
from cloud.journal import repository
from cloud.telemetry.series import Summary, add_window
from cloud.telemetry.tables import DeviceMetrics, MetricHour, MetricRollUp
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import MetricsWindow, parse_records

logger = logging.getLogger(__name__)

LANES_CHUNK: Final = 100
LANE_CHUNK_RECORDS: Final = 500
CHUNK_RECORDS: Final = 4_000
"""One transaction rolls up so many logs, so many records of each, so many records in all, at most."""
TRIM_CHUNK_RECORDS: Final = 2_000
RAW_MAX_RECORDS: Final = 50_000
"""Windows of one log that are kept whatever their age: a device's clock may be wrong by years."""
TRIM_SLACK_DIVISOR: Final = 16
"""A tail is cut only when it is older than it may be by a sixteenth: so a log is cut rarely, and then by much."""
EXPIRE_CHUNK_DEVICES: Final = 500


@dataclass(slots=True)
class RolledUp:
    """What one round did: windows rolled up, hours written, records trimmed, hours expired."""

    windows: int = 0
    hours: int = 0
    trimmed: int = 0
    expired: int = 0


def roll_up(
    transactions: Transactions,
    now: datetime,
    *,
    raw_keep_s: int,
    hours_keep_days: int,
    raw_max_records: int = RAW_MAX_RECORDS,
) -> RolledUp:
    """One round; done when nothing is left to do. Blocking."""
    done = RolledUp()
    _roll_up_windows(transactions, done)
    _trim_windows(transactions, now, timedelta(seconds=raw_keep_s), raw_max_records, done)
    _expire_hours(transactions, now - timedelta(days=hours_keep_days), done)
    logger.debug("metrics: %s", done)
    return done


@dataclass(slots=True)
class _Progress:
    """Records of one log that are to be added to hours: those after `after`, up to `upto`. `is_cut`: there are more."""

    lane_id: int
    principal: str
    after: int
    upto: int
    is_cut: bool
    windows: int = 0
    hours: dict[datetime, dict[str, Summary]] = field(default_factory=dict)


def _roll_up_windows(transactions: Transactions, done: RolledUp) -> None:
    is_more = True
    while is_more:  # only logs with a backlog take a second pass: what comes meanwhile is the next round's
        is_more = False
        behind = 0
        while True:
            with transactions.read() as session:
                chunk = _read_chunk(session, behind)
            if not chunk:
                break
            with transactions.write() as session:
                _write_chunk(session, chunk, done)
            behind = chunk[-1].lane_id
            is_more = is_more or any(progress.is_cut for progress in chunk)


def _read_chunk(session: Session, behind: int) -> list[_Progress]:
    """What is to be rolled up of the next logs after `behind`."""
    query = text(
        "SELECT lane.id, lane.principal, coalesce(metric_roll_up.rolled_seq, 0) AS rolled, lane.head_seq"
        " FROM lane LEFT JOIN metric_roll_up ON metric_roll_up.lane_id = lane.id"
        " WHERE lane.lane = :metrics AND lane.id > :behind AND lane.head_seq > coalesce(metric_roll_up.rolled_seq, 0)"
        " ORDER BY lane.id LIMIT :limit"
    ).bindparams(metrics=Lane.METRICS.value, behind=behind, limit=LANES_CHUNK)
    chunk: list[_Progress] = []
    records = 0
    for lane_id, principal, rolled, head_seq in session.execute(query).all():
        found = session.execute(
            text(
                "SELECT seq, data FROM record WHERE lane_id = :lane AND seq > :after AND seq <= :head"
                " ORDER BY seq LIMIT :limit"
            ).bindparams(lane=lane_id, after=rolled, head=head_seq, limit=LANE_CHUNK_RECORDS)
        ).all()
        is_cut = len(found) == LANE_CHUNK_RECORDS
        progress = _Progress(lane_id, principal, rolled, found[-1][0] if is_cut else head_seq, is_cut)
        for record in parse_records([bytes(data) for _, data in found]):
            if isinstance(record, MetricsWindow):
                add_window(progress.hours, record)
                progress.windows += 1
        chunk.append(progress)
        records += len(found)
        if records >= CHUNK_RECORDS:
            break
    return chunk


def _write_chunk(session: Session, chunk: Sequence[_Progress], done: RolledUp) -> None:
    """Add to the hours and move on; not for a log that somebody else has moved on meanwhile."""
    rows = _lock_roll_ups(session, [progress.lane_id for progress in chunk])
    ours = [progress for progress in chunk if rows[progress.lane_id].rolled_seq == progress.after]
    places = sorted({(progress.principal, hour) for progress in ours for hour in progress.hours})
    hours = _lock_hours(session, places)
    for progress in ours:
        for hour, added in progress.hours.items():
            row = hours.get((progress.principal, hour))
            if row is None:
                row = hours[progress.principal, hour] = MetricHour(principal=progress.principal, hour=hour)
                session.add(row)
            series = dict(row.series)
            for name, summary in added.items():
                before = series.get(name)
                series[name] = (summary if before is None else Summary.parse(before).then(summary)).stored()
            row.series = series
        rows[progress.lane_id].rolled_seq = progress.upto
        done.windows += progress.windows
    done.hours += len(places)
    session.flush()


def _lock_roll_ups(session: Session, lane_ids: Sequence[int]) -> dict[int, MetricRollUp]:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(
        insert(table_of(MetricRollUp)).on_conflict_do_nothing(),
        [{"lane_id": lane_id, "rolled_seq": 0} for lane_id in lane_ids],
    )
    query = select(MetricRollUp).where(col(MetricRollUp.lane_id).in_(lane_ids))
    rows = session.exec(query.order_by(col(MetricRollUp.lane_id)).with_for_update()).all()
    return {row.lane_id: row for row in rows}


def _lock_hours(
    session: Session, places: Sequence[tuple[str, datetime]]
) -> dict[tuple[str, datetime], MetricHour]:
    found: dict[tuple[str, datetime], MetricHour] = {}
    for begin in range(0, len(places), LANES_CHUNK):
        part = places[begin : begin + LANES_CHUNK]
        query = select(MetricHour).where(tuple_(col(MetricHour.principal), col(MetricHour.hour)).in_(part))
        for row in session.exec(query.with_for_update()).all():
            found[row.principal, row.hour] = row
    return found


# --- trimming ------------------------------------------------------------------------------------------------------


def _trim_windows(
    transactions: Transactions, now: datetime, keep: timedelta, most: int, done: RolledUp
) -> None:
    cutoff_ms = to_ms(now - keep)
    overdue_ms = to_ms(now - keep - keep / TRIM_SLACK_DIVISOR)
    behind = 0
    while True:
        with transactions.read() as session:
            lanes = _overdue_lanes(session, behind, overdue_ms, most)
        if not lanes:
            return
        behind = lanes[-1]
        for lane_id in lanes:
            # A transaction for each: ingest waits for the row of a log that it appends to.
            trimmed = TRIM_CHUNK_RECORDS
            while trimmed >= TRIM_CHUNK_RECORDS:
                with transactions.write() as session:
                    trimmed = _trim(session, lane_id, cutoff_ms, most)
                done.trimmed += trimmed


def _overdue_lanes(session: Session, behind: int, overdue_ms: int, most: int) -> list[int]:
    """Logs whose first record is too old, or which hold too many."""
    query = text(
        "SELECT lane.id FROM lane WHERE lane.lane = :metrics AND lane.id > :behind AND lane.head_seq >= lane.tail_seq"
        " AND (lane.head_seq - lane.tail_seq > :most OR (SELECT record.at_ms FROM record WHERE record.lane_id = lane.id"
        " AND record.seq >= lane.tail_seq ORDER BY record.seq LIMIT 1) < :overdue) ORDER BY lane.id LIMIT :limit"
    ).bindparams(
        metrics=Lane.METRICS.value,
        behind=behind,
        most=most + TRIM_CHUNK_RECORDS,
        overdue=overdue_ms,
        limit=LANES_CHUNK,
    )
    return list(session.execute(query).scalars())


def _trim(session: Session, lane_id: int, cutoff_ms: int, most: int) -> int:
    """Forget the oldest records of a log, as many as may go and a chunk at most; returns how many went."""
    lane = repository.lock_lane(session, lane_id)
    rolled = session.get(MetricRollUp, lane_id)
    if rolled is None:
        return 0
    young = session.execute(
        text(
            "SELECT seq FROM record WHERE lane_id = :lane AND seq >= :tail AND at_ms >= :cutoff ORDER BY seq LIMIT 1"
        ).bindparams(lane=lane_id, tail=lane.tail_seq, cutoff=cutoff_ms)
    ).scalar()
    upto = max(lane.head_seq if young is None else young - 1, lane.head_seq - most)
    chunk = session.execute(
        text(
            "SELECT seq, hash FROM record WHERE lane_id = :lane AND seq >= :tail AND seq <= :upto"
            " ORDER BY seq LIMIT :limit"
        ).bindparams(
            lane=lane_id, tail=lane.tail_seq, upto=min(upto, rolled.rolled_seq), limit=TRIM_CHUNK_RECORDS
        )
    ).all()
    if not chunk:
        return 0
    last_seq, last_hash = chunk[-1]
    for table in ("record", "seal", "dead_letter"):
        session.execute(
            text(f"DELETE FROM {table} WHERE lane_id = :lane AND seq <= :last").bindparams(  # noqa: S608  # our names
                lane=lane_id, last=last_seq
            )
        )
    lane.tail_seq, lane.tail_hash = last_seq + 1, bytes(last_hash)
    return len(chunk)


def _expire_hours(transactions: Transactions, before: datetime, done: RolledUp) -> None:
    """By device: hours are found by their device, and there is no other index on so large a table."""
    behind = ""
    while True:
        with transactions.read() as session:
            query = select(DeviceMetrics.principal).where(DeviceMetrics.principal > behind)
            names = session.exec(
                query.order_by(col(DeviceMetrics.principal)).limit(EXPIRE_CHUNK_DEVICES)
            ).all()
        if not names:
            return
        behind = names[-1]
        with transactions.write() as session:
            gone: Any = session.execute(
                delete(MetricHour).where(col(MetricHour.principal).in_(names), col(MetricHour.hour) < before)
            )
            assert isinstance(gone, CursorResult)
            done.expired += gone.rowcount

"""Queries over metrics. The raw windows are the records of the metrics lanes: there is no second copy."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session, col, select

from cloud.telemetry.tables import MetricHour
from shared.ids import Lane
from shared.records import MetricsWindow, parse_records


def windows_between(
    session: Session, principal: str, *, after_ms: int, upto_ms: int, limit: int
) -> list[MetricsWindow]:
    """The newest `limit` windows that ended in this range, oldest first by the device's clock; of every epoch.

    The key of the records is read and their age compared: a log holds a few days at most (`metrics_raw_keep_s`).
    """
    query = text(
        "SELECT record.data FROM record JOIN lane ON lane.id = record.lane_id"
        " WHERE lane.principal = :principal AND lane.lane = :metrics AND record.seq >= lane.tail_seq"
        " AND record.kind = 'metrics.window' AND record.at_ms > :after AND record.at_ms <= :upto"
        " ORDER BY record.lane_id DESC, record.seq DESC LIMIT :limit"
    ).bindparams(principal=principal, metrics=Lane.METRICS.value, after=after_ms, upto=upto_ms, limit=limit)
    records = parse_records([bytes(data) for data in session.execute(query).scalars()])
    windows = [record for record in reversed(records) if isinstance(record, MetricsWindow)]
    return sorted(windows, key=lambda window: window.at_ms)


def hours_between(
    session: Session, principal: str, *, first: datetime, last: datetime, limit: int
) -> Sequence[MetricHour]:
    """The newest `limit` hours that begin at `first` or later and before `last`, oldest first."""
    query = (
        select(MetricHour)
        .where(MetricHour.principal == principal, MetricHour.hour >= first, MetricHour.hour < last)
        .order_by(col(MetricHour.hour).desc())
        .limit(limit)
    )
    return session.exec(query).all()[::-1]

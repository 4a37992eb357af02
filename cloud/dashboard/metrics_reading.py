"""What a device measured, as series to draw. Functions block; none commits."""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from cloud.dashboard.facts import MetricsFacts, SeriesFacts
from cloud.dashboard.query import MetricsSpan
from cloud.journal import repository as journal
from cloud.telemetry.tables import DeviceMetrics
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import MetricsWindow, parse_records

SERIES_SHOWN: Final = 24
WINDOWS_MAX: Final = 720
"""The newest that are drawn: a point each 10 s for two hours, or each minute for half a day."""


def read_series(session: Session, principal: str, span: MetricsSpan, now: datetime) -> MetricsFacts:
    """The series of the last hours in the order of their names, `SERIES_SHOWN` at most, and how many are beyond."""
    known = session.get(DeviceMetrics, principal)
    shed = 0 if known is None else known.shed_count
    lane = journal.newest_lane(session, principal, Lane.METRICS)
    if lane is None:
        return MetricsFacts(series=(), hidden=0, shed_count=shed)
    rows = journal.read_rows(session, lane, after=max(lane.head_seq - WINDOWS_MAX, 0), limit=WINDOWS_MAX)
    since_ms = to_ms(now) - span.ms
    points: dict[str, list[tuple[int, float]]] = {}
    units: dict[str, str] = {}
    recent = [bytes(row["data"]) for row in rows if row["at_ms"] >= since_ms]
    for window in parse_records(recent):
        if isinstance(window, MetricsWindow):
            for series in window.series:
                points.setdefault(series.name, []).append((window.at_ms, series.mean))
                units[series.name] = series.unit
    names = sorted(points)
    return MetricsFacts(
        series=tuple(
            SeriesFacts(name=name, unit=units[name], points=tuple(points[name]))
            for name in names[:SERIES_SHOWN]
        ),
        hidden=max(len(names) - SERIES_SHOWN, 0),
        shed_count=shed,
    )

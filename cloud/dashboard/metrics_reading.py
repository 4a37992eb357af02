"""What a device measured, as series to draw. Functions block; none commits."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.dashboard.facts import MetricsFacts, SeriesFacts
from cloud.dashboard.query import MetricsSpan
from cloud.journal import repository as journal
from cloud.telemetry import repository as telemetry
from cloud.telemetry.series import Point, Summary, hour_of, thinned
from cloud.telemetry.tables import DeviceMetrics
from shared.clock import to_ms
from shared.ids import Lane

SERIES_SHOWN: Final = 24
POINTS_MAX: Final = 240
"""Of one series: about what a small chart has room for."""
WINDOWS_MAX: Final = 1_500
"""A day of windows of a minute."""
HOUR_MS: Final = 3_600_000

Version = tuple[int, int, int]


def read_version(session: Session, principal: str, now: datetime) -> Version:
    """Something that changes when `read_metrics` may have more to tell: one small query."""
    lane = journal.newest_lane(session, principal, Lane.METRICS)
    minute = to_ms(now) // 60_000
    return (0, 0, minute) if lane is None else (journal.key_of(lane), lane.head_seq, minute)


def read_metrics(session: Session, principal: str, span: MetricsSpan, now: datetime) -> MetricsFacts:
    """Each series that is known, in the order of their names, with what was measured within `span`.

    At most `SERIES_SHOWN`, and how many there are beyond. A week is drawn by its hours.
    """
    known = session.get(DeviceMetrics, principal)
    latest = {} if known is None else known.latest
    drawn: dict[str, list[Point]] = {}
    read = _hours if span is MetricsSpan.WEEK else _windows
    for name, point in read(session, principal, now - timedelta(milliseconds=span.ms), now):
        drawn.setdefault(name, []).append(point)
    names = sorted(drawn.keys() | latest.keys())
    series = []
    for name in names[:SERIES_SHOWN]:
        points = thinned(drawn.get(name, []), POINTS_MAX)
        told = latest.get(name)
        newest = points[-1] if points else None
        if told is None and newest is not None:
            told = {"value": newest.summary.last, "unit": newest.summary.unit, "at_ms": newest.at_ms}
        assert told is not None
        series.append(
            SeriesFacts(
                name=name,
                unit=told["unit"],
                value=told["value"],
                at_ms=told["at_ms"],
                points=tuple((point.at_ms, point.summary.mean) for point in points),
            )
        )
    return MetricsFacts(
        series=tuple(series),
        hidden=max(len(names) - SERIES_SHOWN, 0),
        shed_count=0 if known is None else known.shed_count,
    )


def _windows(session: Session, principal: str, begin: datetime, end: datetime) -> Iterator[tuple[str, Point]]:
    windows = telemetry.windows_between(
        session, principal, after_ms=to_ms(begin), upto_ms=to_ms(end), limit=WINDOWS_MAX
    )
    for window in windows:
        for each in window.series:
            yield each.name, Point(at_ms=window.at_ms, span_ms=window.span_ms, summary=Summary.of(each))


def _hours(session: Session, principal: str, begin: datetime, end: datetime) -> Iterator[tuple[str, Point]]:
    first = hour_of(to_ms(begin))
    for row in telemetry.hours_between(session, principal, first=first, last=end, limit=WINDOWS_MAX):
        for name, stored in row.series.items():
            yield name, Point(at_ms=to_ms(row.hour) + HOUR_MS, span_ms=HOUR_MS, summary=Summary.parse(stored))

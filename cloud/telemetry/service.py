"""What is known of a device's metrics: the newest values, and a series over a range of time. Never commits."""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.devices.repository import find_device
from cloud.telemetry import repository
from cloud.telemetry.schemas import (
    DeviceMetricsView,
    LatestValue,
    MetricPoint,
    MetricSeriesView,
    Resolution,
)
from cloud.telemetry.series import Point, Summary, hour_of, thinned
from cloud.telemetry.tables import DeviceMetrics
from shared.clock import EPOCH, MAX_MS, from_ms, to_ms
from shared.errors import RefusedError

POINTS_MAX: Final = 1_000
"""Of one answer. What is more is thinned out: neighbours become one point."""
RANGE_DEFAULT: Final = timedelta(days=1)
READ_MAX_WINDOWS: Final = 20_000
READ_MAX_HOURS: Final = 20_000
RAW_RANGE_MAX: Final = timedelta(days=1)
"""A longer range is answered with hours, unless windows are asked for."""
HOUR_MS: Final = 3_600_000


def latest(session: Session, principal: str) -> DeviceMetricsView:
    """Raises `RefusedError` (code `device_unknown`)."""
    find_device(session, principal)
    row = session.get(DeviceMetrics, principal)
    if row is None:
        return DeviceMetricsView(principal=principal, at=None, shed=0, series=[])
    return DeviceMetricsView(
        principal=principal,
        at=from_ms(row.at_ms) if row.latest else None,
        shed=row.shed_count,
        series=[
            LatestValue(series=name, value=told["value"], unit=told["unit"], at=from_ms(told["at_ms"]))
            for name, told in sorted(row.latest.items())
        ],
    )


def read_series(
    session: Session,
    principal: str,
    series: str,
    *,
    begin: datetime | None,
    end: datetime,
    resolution: Resolution,
    now: datetime,
    raw_keep_s: int,
) -> MetricSeriesView:
    """Windows that ended, or hours that lie, after `begin` and up to `end`: at most `POINTS_MAX` points.

    Without `begin` it is the `RANGE_DEFAULT` before `end`. Of a series that is not known there are none.

    Raises `RefusedError` (codes `device_unknown`, `range_invalid`).
    """
    find_device(session, principal)
    end = max(end, EPOCH)
    begin = max(EPOCH, min(begin, end)) if begin is not None else max(EPOCH, end - RANGE_DEFAULT)
    if begin >= end:
        raise RefusedError("The range is empty: its beginning must lie before its end.", code="range_invalid")
    if resolution is Resolution.AUTO:
        is_kept = begin >= now - timedelta(seconds=raw_keep_s)
        is_short = end - begin <= RAW_RANGE_MAX
        resolution = Resolution.RAW if is_kept and is_short else Resolution.HOUR
    read = _raw if resolution is Resolution.RAW else _hours
    points = thinned(read(session, principal, series, begin, end), POINTS_MAX)
    return MetricSeriesView(
        principal=principal,
        series=series,
        unit=points[-1].summary.unit if points else "",
        resolution=resolution,
        points=[_view(point) for point in points],
    )


def _raw(session: Session, principal: str, series: str, begin: datetime, end: datetime) -> list[Point]:
    windows = repository.windows_between(
        session, principal, after_ms=to_ms(begin), upto_ms=to_ms(end), limit=READ_MAX_WINDOWS
    )
    return [
        Point(at_ms=window.at_ms, span_ms=window.span_ms, summary=Summary.of(each))
        for window in windows
        for each in window.series
        if each.name == series
    ]


def _hours(session: Session, principal: str, series: str, begin: datetime, end: datetime) -> list[Point]:
    rows = repository.hours_between(
        session, principal, first=hour_of(to_ms(begin)), last=end, limit=READ_MAX_HOURS
    )
    return [
        Point(
            at_ms=min(to_ms(row.hour) + HOUR_MS, MAX_MS),
            span_ms=HOUR_MS,
            summary=Summary.parse(row.series[series]),
        )
        for row in rows
        if series in row.series
    ]


def _view(point: Point) -> MetricPoint:
    summary = point.summary
    return MetricPoint(
        at=from_ms(point.at_ms),
        span_s=point.span_ms / 1000,
        count=summary.count,
        min=summary.min,
        max=summary.max,
        mean=summary.mean,
        last=summary.last,
    )

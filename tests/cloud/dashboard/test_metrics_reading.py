"""Measurements as series to draw."""

from datetime import timedelta

from sqlmodel import Session

from cloud.dashboard.facts import MetricsFacts
from cloud.dashboard.metrics_reading import POINTS_MAX, SERIES_SHOWN, read_metrics, read_version
from cloud.dashboard.query import MetricsSpan
from cloud.db import Database
from cloud.journal.tables import LaneRow
from cloud.telemetry.tables import DeviceMetrics, MetricHour
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import MetricsWindow, Series
from tests.cloud.dashboard.rows import add_device, add_lane, principal_of
from tests.support.clock import START

NOW = START
AT = to_ms(NOW)
MINUTE_MS = 60_000


def series(name: str, value: float, unit: str = "") -> Series:
    return Series(name=name, unit=unit, count=2, min=value - 1, max=value + 1, mean=value, last=value + 0.5)


def window(before_ms: int, *measured: Series) -> MetricsWindow:
    return MetricsWindow(at_ms=AT - before_ms, span_ms=MINUTE_MS, series=measured)


def add(session: Session, *windows: MetricsWindow) -> LaneRow:
    add_device(session, "a", now=NOW)
    return add_lane(session, "a", Lane.METRICS, now=NOW, records=windows)


def read(database: Database, span: MetricsSpan = MetricsSpan.HOUR) -> MetricsFacts:
    with database.read() as session:
        return read_metrics(session, principal_of("a"), span, NOW)


def test_a_device_that_measured_nothing_has_no_series(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
    assert read(database) == MetricsFacts(series=(), hidden=0, shed_count=0)


def test_windows_become_series_of_means_in_the_order_of_their_names(database: Database) -> None:
    with database.write() as session:
        add(
            session, window(120_000, series("b", 5, "%"), series("a", 1)), window(60_000, series("b", 7, "%"))
        )
    first, second = read(database).series
    assert (first.name, first.points, first.value) == ("a", ((AT - 120_000, 1.0),), 1.5)
    assert (second.unit, second.points) == ("%", ((AT - 120_000, 5.0), (AT - 60_000, 7.0)))
    assert (second.value, second.at_ms) == (7.5, AT - 60_000)


def test_only_the_span_that_was_asked_for_is_drawn(database: Database) -> None:
    hour = MetricsSpan.HOUR.ms
    with database.write() as session:
        add(session, window(hour + 1_000, series("a", 1)), window(hour - 1_000, series("a", 2)))
    assert [len(each.points) for each in read(database).series] == [1]
    assert [len(each.points) for each in read(database, MetricsSpan.DAY).series] == [2]


def test_a_value_that_has_not_changed_for_long_is_told_without_a_course(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        latest = {"disk.free": {"value": 3.5, "unit": "GB", "at_ms": AT - 9_000_000}}
        session.add(DeviceMetrics(principal=principal_of("a"), latest=latest, shed_count=12))
    metrics = read(database)
    (only,) = metrics.series
    assert (only.name, only.value, only.unit, only.at_ms, only.points) == (
        "disk.free",
        3.5,
        "GB",
        AT - 9_000_000,
        (),
    )
    assert metrics.shed_count == 12


def test_a_week_is_drawn_by_its_hours(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        for hours in (200, 100, 2):
            stored = {"unit": "%", "count": 4, "min": 0.0, "max": 9.0, "sum": 4.0 * hours, "last": 1.0}
            at = NOW - timedelta(hours=hours)
            session.add(MetricHour(principal=principal_of("a"), hour=at, series={"cpu": stored}))
    (cpu,) = read(database, MetricsSpan.WEEK).series
    assert [at for at, _ in cpu.points] == [AT - 99 * 3_600_000, AT - 3_600_000]
    assert [value for _, value in cpu.points] == [9.0, 2.0]  # a mean is never beyond what was read


def test_more_points_than_there_is_room_for_are_thinned(database: Database) -> None:
    count = 3 * POINTS_MAX
    with database.write() as session:
        add(session, *(window(1_000 * (count - number), series("a", number)) for number in range(count)))
    (only,) = read(database).series
    assert POINTS_MAX // 2 < len(only.points) <= POINTS_MAX
    assert only.points[-1][0] == AT - 1_000


def test_more_series_than_there_is_room_for_are_counted(database: Database) -> None:
    with database.write() as session:
        add(session, window(1_000, *(series(f"s{number:03d}", 1) for number in range(SERIES_SHOWN + 6))))
    metrics = read(database)
    assert (len(metrics.series), metrics.hidden) == (SERIES_SHOWN, 6)


def test_the_version_changes_with_each_new_window(database: Database) -> None:
    def version() -> tuple[int, int, int]:
        with database.read() as session:
            return read_version(session, principal_of("a"), NOW)

    with database.write() as session:
        add_device(session, "a", now=NOW)
    before = version()
    with database.write() as session:
        lane = add_lane(session, "a", Lane.METRICS, now=NOW, records=[window(1_000, series("a", 1))])
    between = version()
    with database.write() as session:
        session.merge(lane).head_seq += 1
    assert len({before, between, version()}) == 3

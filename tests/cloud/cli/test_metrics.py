"""`covey-hub device metrics` in a terminal: a line that shows the course, whatever the numbers are."""

from datetime import UTC, datetime, timedelta

import pytest

from cloud.cli.metrics import SPARKLINE_CHARS, check_known, history, latest, sparkline
from cloud.telemetry.schemas import (
    DeviceMetricsView,
    LatestValue,
    MetricPoint,
    MetricSeriesView,
    Resolution,
)
from shared.errors import RefusedError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_series_that_was_never_sent_is_refused_with_the_nearest_name() -> None:
    known = LatestValue(series="sensor.oven", unit="°C", value=4.0, at=NOON)
    newest = DeviceMetricsView(principal="main.oven-1", at=NOON, series=[known], shed=0)
    check_known("sensor.oven", newest)
    with pytest.raises(RefusedError, match=r"no series sensor\.ovn; did you mean sensor\.oven\?"):
        check_known("sensor.ovn", newest)
    check_known("sensor.ovn", DeviceMetricsView(principal="main.oven-1", at=NOON, series=[], shed=0))


def test_bars_go_from_the_least_to_the_greatest() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 60) == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize("value", [0.0, 4.2, -1e308, 1e308])
def test_values_that_do_not_change_are_a_flat_line(value: float) -> None:
    assert sparkline([value] * 5, 60) == "▁▁▁▁▁"


def test_numbers_at_the_ends_of_their_range_make_a_line() -> None:
    assert sparkline([-1.7e308, 0.0, 1.7e308], 60) == "▁▅█"


def test_many_values_are_averaged_into_the_width() -> None:
    line = sparkline([float(number) for number in range(1_000)], SPARKLINE_CHARS)
    assert len(line) <= SPARKLINE_CHARS
    assert (line[0], line[-1]) == ("▁", "█")
    assert sorted(line) == list(line)


def test_history_shows_line_and_points(capsys: pytest.CaptureFixture[str]) -> None:
    points = [
        MetricPoint(
            at=NOON + timedelta(minutes=number),
            span_s=60.0,
            count=6,
            min=number,
            max=number + 1,
            mean=number + 0.5,
            last=number,
        )
        for number in range(3)
    ]
    history(
        MetricSeriesView(
            principal="main.oven-1",
            series="sensor.oven",
            unit="°C",
            resolution=Resolution.RAW,
            points=points,
        )
    )
    shown = capsys.readouterr().out
    assert "sensor.oven of main.oven-1: 3 points (raw), 0.5 to 2.5" in shown
    assert "▁▅█" in shown
    assert shown.count("°C") == 3


def test_series_that_is_not_known_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    history(
        MetricSeriesView(
            principal="main.oven-1", series="nothing", unit="", resolution=Resolution.HOUR, points=[]
        )
    )
    assert "Nothing is known of nothing" in capsys.readouterr().out


def test_newest_values_tell_what_was_shed(capsys: pytest.CaptureFixture[str]) -> None:
    values = [LatestValue(series="load", value=0.25, unit="\x1b[31m", at=NOON)]
    latest(DeviceMetricsView(principal="main.oven-1", at=NOON, shed=7, series=values))
    shown = capsys.readouterr().out
    assert "0.25" in shown
    assert "7 windows were shed" in shown
    assert "\x1b[31m" not in shown

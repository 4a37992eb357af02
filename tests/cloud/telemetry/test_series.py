"""Windows add up to hours, and points to fewer points, without losing an extreme or a reading."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.series import Point, Summary, add_window, hour_of, thinned
from shared.clock import MAX_MS, to_ms
from shared.records import MetricsWindow, Series

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def summary(*values: float, unit: str = "°C") -> Summary:
    return Summary(
        unit=unit, count=len(values), min=min(values), max=max(values), sum=sum(values), last=values[-1]
    )


def window(at_ms: int, *values: float, name: str = "load") -> MetricsWindow:
    series = Series(
        name=name,
        unit="°C",
        count=len(values),
        min=min(values),
        max=max(values),
        mean=sum(values) / len(values),
        last=values[-1],
    )
    return MetricsWindow(at_ms=at_ms, span_ms=60_000, series=(series,))


def test_two_summaries_become_one() -> None:
    assert summary(1.0, 5.0).then(summary(2.0)) == summary(1.0, 5.0, 2.0)


def test_summary_in_another_unit_begins_anew() -> None:
    assert summary(20.0).then(summary(293.0, unit="K")) == summary(293.0, unit="K")


def test_stored_summary_is_read_back() -> None:
    assert Summary.parse(summary(1.0, 2.5).stored()) == summary(1.0, 2.5)


def test_window_belongs_to_the_hour_in_which_it_ended() -> None:
    hours: dict[datetime, dict[str, Summary]] = {}
    noon_ms = to_ms(NOON)
    for at_ms, value in ((noon_ms - 1, 1.0), (noon_ms, 2.0), (noon_ms + 3_599_999, 4.0)):
        add_window(hours, window(at_ms, value))
    assert {hour.hour: found["load"] for hour, found in hours.items()} == {
        11: summary(1.0),
        12: summary(2.0, 4.0),
    }


def test_every_time_that_a_record_can_have_lies_in_an_hour() -> None:
    assert hour_of(0).year == 1970
    assert hour_of(MAX_MS).year == 9999


def points(values: list[float]) -> list[Point]:
    return [
        Point(at_ms=(index + 1) * 1_000, span_ms=1_000, summary=summary(value))
        for index, value in enumerate(values)
    ]


def test_few_points_stay_as_they_are() -> None:
    given_points = points([1.0, 2.0, 3.0])
    assert thinned(given_points, 3) == given_points
    assert thinned([], 3) == []


def test_thinned_point_spans_what_it_is_made_of() -> None:
    first, second = thinned(points([1.0, 9.0, 2.0]), 2)
    assert (first.at_ms, first.span_ms, first.summary.max) == (2_000, 2_000, 9.0)
    assert (second.at_ms, second.span_ms) == (3_000, 1_000)


@given(
    st.lists(st.integers(-1_000, 1_000).map(float), min_size=1, max_size=200),
    st.integers(min_value=1, max_value=50),
)
@pytest.mark.slow
def test_thinning_keeps_extremes_counts_and_the_last_value(values: list[float], most: int) -> None:
    few = thinned(points(values), most)
    assert len(few) <= most
    assert sum(point.summary.count for point in few) == len(values)
    assert min(point.summary.min for point in few) == min(values)
    assert max(point.summary.max for point in few) == max(values)
    assert few[-1].summary.last == values[-1]
    assert [point.at_ms for point in few] == sorted(point.at_ms for point in few)

"""What is worth a record: a change beyond the deadband, a heartbeat, and nothing else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.telemetry import (
    SERIES_MAX,
    WINDOW_MAX_SERIES,
    Deadband,
    Recorder,
    speeds,
)
from edge.ports import Measurement
from shared.records import MetricsWindow, ModelCalled, Series, encode_record

AT_MS = 1_767_268_800_000
HEARTBEAT_S = 600.0


def recorder(**deadbands: Deadband) -> Recorder:
    return Recorder(deadbands=deadbands, heartbeat_s=HEARTBEAT_S)


def take(into: Recorder, *values: float, name: str = "load", unit: str = "") -> None:
    into.take(Measurement(name, unit, value) for value in values)


def close(of: Recorder, at_s: float) -> list[Series]:
    """Close the window and write what is due."""
    windows = of.close(at_ms=AT_MS, span_ms=60_000, at_s=at_s)
    of.wrote(windows, at_s=at_s)
    return [series for window in windows for series in window.series]


def test_window_holds_count_extremes_mean_and_last() -> None:
    its = recorder()
    take(its, 1.0, 5.0, 3.0, unit="°C")
    (window,) = its.close(at_ms=AT_MS, span_ms=60_000, at_s=60.0)
    assert window == MetricsWindow(
        at_ms=AT_MS,
        span_ms=60_000,
        series=(Series(name="load", unit="°C", count=3, min=1.0, max=5.0, mean=3.0, last=3.0),),
    )


def test_window_begins_empty() -> None:
    its = recorder()
    take(its, 1.0)
    close(its, 60.0)
    take(its, 7.0)
    (series,) = close(its, 120.0)
    assert (series.count, series.min) == (1, 7.0)


def test_unchanged_series_is_written_again_only_when_its_heartbeat_is_due() -> None:
    its = recorder()
    written = []
    for minute in range(1, 22):
        take(its, 4.0)
        written.append(len(close(its, minute * 60.0)))
    assert written == [1, *[0] * 9, 1, *[0] * 9, 1]


@pytest.mark.parametrize(("value", "is_written"), [(10.0, False), (11.0, False), (11.01, True), (8.99, True)])
def test_change_counts_from_beyond_the_deadband(value: float, is_written: bool) -> None:
    its = recorder(load=Deadband(absolute=1.0))
    take(its, 10.0)
    close(its, 60.0)
    take(its, value)
    assert bool(close(its, 120.0)) is is_written


def test_deadband_may_be_a_share_of_what_was_written_last() -> None:
    its = recorder(load=Deadband(share=0.1))
    take(its, 1_000.0)
    close(its, 60.0)
    take(its, 1_099.0)
    assert close(its, 120.0) == []
    take(its, 1_101.0)
    assert len(close(its, 180.0)) == 1


def test_slow_drift_is_written_although_each_step_is_small() -> None:
    its = recorder(load=Deadband(absolute=1.0))
    written = []
    for step in range(30):
        take(its, step * 0.1)
        written += [series.last for series in close(its, step * 10.0)]
    assert written == pytest.approx([0.0, 1.1, 2.2])


def test_peak_within_a_window_is_news_and_its_absence_afterwards_is_not() -> None:
    its = recorder(load=Deadband(absolute=3.0))
    take(its, *[1.0] * 99)
    close(its, 60.0)
    take(its, *[1.0] * 50, 9.0, *[1.0] * 49)
    (peak,) = close(its, 120.0)
    assert peak.max == 9.0
    take(its, *[1.0] * 99)
    assert close(its, 180.0) == []


def test_what_could_not_be_stored_stays_due() -> None:
    its = recorder()
    take(its, 1.0)
    its.close(at_ms=AT_MS, span_ms=60_000, at_s=60.0)  # and not stored
    take(its, 1.0)
    assert len(close(its, 120.0)) == 1


def test_series_whose_unit_changed_is_written() -> None:
    its = recorder()
    take(its, 1.0, unit="°C")
    close(its, 60.0)
    take(its, 1.0, unit="K")
    assert [series.unit for series in close(its, 120.0)] == ["K"]


@pytest.mark.parametrize(
    "bad",
    [
        Measurement("load", "", math.nan),
        Measurement("load", "", math.inf),
        Measurement("two words", "", 1.0),
        Measurement("n" * 65, "", 1.0),
        Measurement("load", "u" * 17, 1.0),
        Measurement("load\n", "", 1.0),
    ],
)
def test_what_no_record_could_hold_is_refused_and_counted(bad: Measurement) -> None:
    its = recorder()
    its.take([bad])
    assert its.refused == 1
    assert its.latest == {}
    assert close(its, 60.0) == []


def test_series_beyond_the_bound_are_refused() -> None:
    its = recorder()
    for number in range(SERIES_MAX + 3):
        take(its, 1.0, name=f"s{number}")
    assert its.refused == 3
    assert len(close(its, 60.0)) == SERIES_MAX


def test_many_series_are_split_over_records_that_fit_at_their_longest_names() -> None:
    its = recorder()
    for number in range(WINDOW_MAX_SERIES + 1):
        take(its, math.pi, name=f"{number:_>64}".replace("_", "n", 1), unit="°" * 16)
    windows = its.close(at_ms=AT_MS, span_ms=60_000, at_s=60.0)
    assert [len(window.series) for window in windows] == [WINDOW_MAX_SERIES, 1]
    for window in windows:
        encode_record(window)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_any_finite_readings_make_a_window_that_does_not_contradict_itself(values: list[float]) -> None:
    its = recorder()
    take(its, *values)
    (series,) = close(its, 60.0)
    assert series.min <= series.mean <= series.max
    assert (series.min, series.max, series.last, series.count) == (
        min(values),
        max(values),
        values[-1],
        len(values),
    )


def called(**changes: float) -> ModelCalled:
    fields: dict[str, float] = {
        "prompt_tokens": 120,
        "cached_tokens": 20,
        "output_tokens": 41,
        "first_token_ms": 500.0,
        "total_ms": 2_500.0,
    }
    return ModelCalled.model_validate(
        {"at_ms": AT_MS, "model": "m", "purpose": "answer", "finish": "stop", **fields, **changes}
    )


def test_speeds_of_a_generation_leave_out_what_was_cached() -> None:
    assert [(each.name, each.value) for each in speeds(called())] == [
        ("model.decode", 20.0),
        ("model.prompt", 200.0),
    ]


def test_short_generations_say_nothing_about_the_speed() -> None:
    assert speeds(called(output_tokens=3, cached_tokens=118)) == ()
    assert speeds(called(total_ms=500.0, first_token_ms=0.0, output_tokens=0)) == ()

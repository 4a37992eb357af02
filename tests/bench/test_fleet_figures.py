"""Percentiles, growth exponents, and how a fleet's figures are judged and written down."""

import json
from dataclasses import replace

import pytest

from tests.bench.fleet.figures import Run, exponents, growth_exponent, percentile
from tests.bench.fleet.report import json_line, judged
from tests.bench.report import exit_code

SIZES = (100, 1_000, 5_000, 10_000)


def run(n: int) -> Run:
    """Every cost grows linearly, none of them out of bounds."""
    return Run(
        n=n,
        connect_s=n * 0.003,
        hub_cpu_share=n * 0.00005,
        broker_cpu_share=n * 0.00001,
        hub_rss_mb=110 + n * 0.01,
        hub_idle_rss_mb=110,
        broker_rss_mb=10 + n * 0.03,
        broker_idle_rss_mb=10,
        records_per_s=20_000,
        fanout_p50_s=n * 0.001,
        fanout_p99_s=n * 0.002,
        storm_settle_s=n * 0.004,
    )


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_nothing_measured_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 0.5)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found_whatever_its_factor(exponent: float) -> None:
    assert growth_exponent(SIZES, [7 * n**exponent for n in SIZES]) == pytest.approx(exponent)


def test_noise_is_averaged_by_least_squares() -> None:
    # By hand: logarithms 0, 1, 2 to the base of 10 over 0, 1.2, 1.9; slope (1.9 - 0) / 2.
    found = growth_exponent([1, 10, 100], [10**0, 10**1.2, 10**1.9])
    assert found == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("sizes", "costs"),
    [((100,), (1.0,)), ((100, 100), (1.0, 2.0)), ((100, 1_000), (0.0, 2.0)), ((1, 2), (-1, 2))],
)
def test_where_nothing_can_be_fitted_there_is_no_exponent(
    sizes: tuple[float, ...], costs: tuple[float, ...]
) -> None:
    assert growth_exponent(sizes, costs) is None


def test_memory_grows_by_what_the_fleet_adds_to_an_idle_process() -> None:
    found = exponents([run(n) for n in SIZES])
    assert found["hub_rss_mb"] == found["broker_rss_mb"] == pytest.approx(1.0)


def test_a_cost_that_did_not_rise_over_idle_has_no_exponent() -> None:
    runs = [replace(run(100), hub_rss_mb=109.0), run(1_000)]
    assert "hub_rss_mb" not in exponents(runs)
    assert "connect_s" in exponents(runs)


def test_the_line_has_the_sizes_in_order_and_the_exponents() -> None:
    line = json.loads(json_line([run(100), run(1_000)]))
    assert set(line) == {"bench", "runs", "exponents"}
    assert line["bench"] == "fleet"
    assert [each["n"] for each in line["runs"]] == [100, 1_000]
    assert {
        "n", "connect_s", "hub_cpu_share", "hub_rss_mb", "broker_rss_mb", "records_per_s", "fanout_p50_s",
        "fanout_p99_s", "storm_settle_s",
    } <= set(line["runs"][0])  # fmt: skip


def test_demands_are_met_by_linear_costs_within_their_bounds() -> None:
    assert exit_code(judged([run(n) for n in SIZES])) == 0


def test_the_fan_out_is_judged_at_a_thousand_devices() -> None:
    slow = [replace(run(n), fanout_p99_s=5.01) for n in SIZES]
    assert [figure.says for figure in judged(slow) if not figure.is_met] == ["fan-out p99 at 1,000 devices"]


def test_the_storm_is_judged_at_five_thousand_devices() -> None:
    slow = [replace(run(n), storm_settle_s=60.01) for n in SIZES]
    assert [figure.says for figure in judged(slow) if not figure.is_met] == ["storm at 5,000 devices"]


def test_a_cost_that_grows_faster_than_the_fleet_is_missed() -> None:
    runs = [replace(run(n), connect_s=n**1.2) for n in SIZES]
    assert [figure.key for figure in judged(runs) if not figure.is_met] == ["connect_s"]

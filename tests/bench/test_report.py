"""How figures are judged and written down."""

import json

import pytest

from tests.bench.report import Bound, Demand, Figure, exit_code, figure, json_line


@pytest.mark.parametrize(
    ("bound", "value", "is_met"),
    [
        ("at least", 50_000, True),
        ("at least", 49_999.9, False),
        ("at most", 0.15, True),
        ("at most", 0.1500001, False),
        ("under", 2, False),
        ("under", 1.999, True),
    ],
)
def test_a_demand_is_judged_at_its_limit_and_just_beside_it(bound: Bound, value: float, is_met: bool) -> None:
    assert Demand(bound, {"at least": 50_000, "at most": 0.15, "under": 2}[bound]).is_met_by(value) is is_met


def test_a_figure_is_the_median_of_its_runs() -> None:
    assert figure("x", "an x", [3.0, 100.0, 1.0]).value == 3.0


def test_rounding_in_the_line_does_not_decide_whether_a_demand_is_met() -> None:
    missed = Figure(key="ratio", says="", value=0.9699, demand=Demand("at least", 0.97), digits=2)
    assert json.loads(json_line("agent", [missed])) == {"bench": "agent", "ratio": 0.97}
    assert exit_code([missed]) == 1


def test_one_missed_demand_fails_the_bench_and_figures_without_one_do_not() -> None:
    met = Figure(key="a", says="", value=2, demand=Demand("at least", 1))
    missed = Figure(key="b", says="", value=0, demand=Demand("at least", 1))
    bare = Figure(key="c", says="", value=-1)
    assert exit_code([met, bare]) == 0
    assert exit_code([met, missed, bare]) == 1


def test_the_line_is_one_line_of_json_with_the_keys_in_order() -> None:
    line = json_line(
        "sync", [Figure(key="b", says="", value=1.26, digits=1), Figure(key="a", says="", value=7, digits=0)]
    )
    assert line == '{"bench": "sync", "b": 1.3, "a": 7}'

"""`./run bench policy`, tiny: every key is there, and what is measured is what it says."""

import json
import random
from pathlib import Path

import pytest

from shared.policy.decisions import Allow
from shared.policy.monitor import monitor_of
from tests.bench import policy
from tests.support.policy import NOW


@pytest.mark.slow
def test_the_whole_bench_runs_and_tells_every_figure(tmp_path: Path) -> None:
    sizes = policy.Sizes(
        decisions=5, runs=1, rules=(10, 100), depths=(10, 50), calls=3, histories=3, hostile_seeds=("1 ",)
    )
    found = policy.measure(tmp_path, sizes)
    told = json.loads(policy.json_line(found))
    assert list(told) == [
        "bench",
        "decisions",
        "cost_per_call_ms",
        "activation_ms",
        "simulated_per_s",
        "hostile_text_ms",
    ]
    assert [(each["rules"], each["depth"]) for each in told["decisions"]] == [
        (10, 10),
        (10, 50),
        (100, 10),
        (100, 50),
    ]
    assert all(each.keys() == {"rules", "depth", "p50_ms", "p99_ms"} for each in told["decisions"])
    assert all(0 < each["p50_ms"] <= each["p99_ms"] for each in told["decisions"])
    assert told["activation_ms"] > 0
    assert told["simulated_per_s"] > 0
    assert told["hostile_text_ms"] > 0


@pytest.mark.parametrize("count", [10, 100])
def test_there_are_so_many_rules_and_a_quarter_is_about_the_tool(count: int) -> None:
    bundle = policy.bundle_of(count)
    sets = bundle.rule_sets(principal=policy.DEVICE.principal, site=policy.DEVICE.site)
    assert len(bundle.content.rules) == count
    assert count // 4 - 1 <= len(sets["refund"].rules) <= count // 4 + 1


@pytest.mark.slow
@pytest.mark.parametrize("depth", policy.DEPTHS)
def test_the_decision_that_is_measured_is_a_yes_at_every_depth(depth: int) -> None:
    flow = policy.flow_of(depth, random.Random(1))
    decision = monitor_of(policy.bundle_of(10), policy.DEVICE).decide(
        flow.situation("refund", policy.REFUND, now=NOW)
    )
    assert isinstance(decision, Allow)


@pytest.mark.parametrize(
    ("rules", "p50_ms", "p99_ms", "is_met"),
    [(100, 0.1, 0.9, True), (100, 0.2, 0.9, False), (100, 0.1, 1.0, False), (1_000, 9.0, 9.0, True)],
)
def test_the_demand_is_about_a_hundred_rules(rules: int, p50_ms: float, p99_ms: float, is_met: bool) -> None:
    assert policy.Decided(rules=rules, depth=10, p50_ms=p50_ms, p99_ms=p99_ms).is_met is is_met

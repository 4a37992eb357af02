"""The whole bench with a small fleet: real hub, real broker, real TLS; and the sizes that a person may ask for."""

import argparse
from pathlib import Path

import pytest

from tests.bench.__main__ import _sizes
from tests.bench.fleet.bench import Plan, run

DEVICES = 20


@pytest.mark.broker
@pytest.mark.slow
def test_a_small_fleet_is_measured_from_its_first_connection_to_the_storm(tmp_path: Path) -> None:
    plan = Plan(
        devices=(DEVICES,),
        warm_up_s=0.1,
        steady_s=1.0,
        routine_interval_s=1.0,
        backlog_records=10,
        fanout_rounds=1,
    )
    (found,) = run(tmp_path, plan)
    assert found.n == DEVICES
    assert found.connect_s > 0
    assert found.hub_cpu_share > 0
    assert found.hub_rss_mb > 0
    assert found.broker_rss_mb > 0
    assert found.records_per_s > 0
    assert 0 < found.fanout_p50_s <= found.fanout_p99_s
    assert found.storm_settle_s > 0


def test_sizes_are_taken_in_order_and_once() -> None:
    assert _sizes("1000,100,100") == (100, 1_000)


@pytest.mark.parametrize("text", ["0", "100,-1", "100,,1000", "many"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises((argparse.ArgumentTypeError, ValueError), match=r"at least 1|invalid literal"):
        _sizes(text)

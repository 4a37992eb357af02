"""A short run of `./run chaos`: real hub, real Mosquitto, real devices, killed and stopped while they transfer."""

import json
from pathlib import Path
from random import Random

import pytest

from tests.chaos.__main__ import Outcome, main, run
from tests.chaos.checker import Violation
from tests.chaos.faults import FAULTS, WEIGHTS, choose


@pytest.mark.broker
@pytest.mark.slow
def test_nothing_is_lost_or_doubled_while_everything_is_killed(tmp_path: Path) -> None:
    outcome = run(tmp_path, cycles=20, seed=20261122, records=12_000)
    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.cycles == 20
    assert outcome.records >= 12_000
    assert {"kill_device", "kill_hub", "kill_broker"} <= outcome.faults.keys()
    assert outcome.starts["hub"] > 1
    assert outcome.starts["device"] > 3


def test_every_fault_is_chosen_now_and_then_and_a_seed_repeats_itself() -> None:

    assert WEIGHTS.keys() == FAULTS.keys()
    chosen = choose(Random(7), 500)
    assert set(chosen) == FAULTS.keys()
    assert chosen == choose(Random(7), 500)


@pytest.mark.parametrize("arguments", [["--cycles", "0"], ["--cycles", "many"], ["--records", "-1"]])
def test_numbers_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: ./run chaos" in capsys.readouterr().err


def test_the_last_line_has_the_agreed_keys() -> None:

    line = json.loads(Outcome(seed=1, violations=[Violation("stuck", "hub", "nothing moved")]).line())
    assert set(line) == {"chaos", "cycles", "seed", "faults", "records", "violations"}
    assert line["violations"] == ["stuck [hub]: nothing moved"]

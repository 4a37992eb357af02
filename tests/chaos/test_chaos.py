"""A short run of `./run chaos`: real hubs, broker, database and devices, attacked while they transfer."""

import json
from pathlib import Path
from random import Random

import pytest

from tests.chaos.__main__ import line, main, shares
from tests.chaos.faults import FAULTS, choose
from tests.chaos.run import Outcome, run
from tests.chaos.violations import Violation

SEED = 20261122


@pytest.mark.broker
@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize(("database", "cycles"), [("sqlite", 10), ("postgresql", 8)])
def test_nothing_is_lost_or_doubled_while_everything_is_attacked(
    tmp_path: Path, database: str, cycles: int
) -> None:
    outcome = run(
        tmp_path / database,
        database=database,
        cycles=cycles,
        seed=SEED,
        records=450 * cycles,
        devices=3,
    )
    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.cycles == cycles
    assert outcome.records >= 450 * cycles
    assert outcome.faults.total() >= cycles
    assert outcome.starts["device"] > 3


def test_every_fault_is_chosen_now_and_then_and_a_seed_repeats_itself() -> None:
    chosen = choose(Random(7), 2_000)
    assert set(chosen) == FAULTS.keys()
    assert chosen == choose(Random(7), 2_000)


@pytest.mark.parametrize(
    ("database", "cycles", "expected"),
    [
        ("both", 5, [("sqlite", 3), ("postgresql", 2)]),
        ("both", 1, [("sqlite", 1)]),
        ("postgresql", 5, [("postgresql", 5)]),
    ],
)
def test_cycles_are_shared_out_among_the_databases(
    database: str, cycles: int, expected: list[tuple[str, int]]
) -> None:
    assert shares(database, cycles) == expected


@pytest.mark.parametrize(
    "arguments", [["--cycles", "0"], ["--cycles", "many"], ["--records", "-1"], ["--database", "oracle"]]
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: ./run chaos" in capsys.readouterr().err


def test_the_last_line_has_the_agreed_keys() -> None:
    outcome = Outcome(violations=[Violation("stuck", "hub", "nothing moved")])
    said = json.loads(line(1, outcome))
    assert set(said) == {"chaos", "cycles", "seed", "faults", "records", "violations"}
    assert said["violations"] == ["stuck [hub]: nothing moved"]

"""`./run chaos --cycles N [--seed S] [--records N]`: faults from a seed, then the checker. The last line is JSON.

Exit code 0 without violations, 1 with, 70 if the run could not be carried out. The faults and their order follow from
the seed; at which instruction they hit does not, so a seed is tried again with the same pressure, not the same luck.
With violations the directory with all logs and databases is kept, and named.
"""

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shared.errors import CoveyError
from tests.chaos.checker import Violation, check, interrupted_calls, records_of
from tests.chaos.customer import Customer
from tests.chaos.faults import FAULTS, choose
from tests.chaos.stage import Stage
from tests.support.process import ProcessFailedError

CYCLES: Final = 100
DEVICES: Final = 3
RECORDS_PER_CYCLE: Final = 1_500
RECORDS_MAX: Final = 450_000
"""Unless more are asked for: the checker holds every record of both sides in memory."""
BEFORE_MAX_S: Final = 0.4
HOLD_MAX_S: Final = 0.5
LONG_HOLD_S: Final = 12.0
"""Longer than a batch waits for its acknowledgement."""
LONG_HOLD_SHARE: Final = 0.02
PROGRESS_TIMEOUT_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 180.0
POLL_S: Final = 0.05
EXIT_FAILED: Final = 70
EXIT_INTERRUPTED: Final = 130


@dataclass(slots=True)
class Outcome:
    """What a run found."""

    seed: int
    cycles: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    records: int = 0
    violations: list[Violation] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    interrupted_calls: int = 0

    def line(self) -> str:
        """For machines."""
        return json.dumps(
            {
                "chaos": "ok" if not self.violations else "violated",
                "cycles": self.cycles,
                "seed": self.seed,
                "faults": dict(sorted(self.faults.items())),
                "records": self.records,
                "violations": [str(violation) for violation in self.violations],
            }
        )


def run(
    directory: Path,
    *,
    cycles: int,
    seed: int,
    records: int,
    devices: int = DEVICES,
    on_cycle: Callable[[], None] = lambda: None,
) -> Outcome:
    """`cycles` times faults, then drain and check. `records`: how many the devices write over the whole run."""
    random = Random(seed)
    outcome = Outcome(seed)
    with Stage(directory, devices=devices) as stage:
        customer = Customer(stage.hub, stage.devices, f"{seed} customer")
        customer.start()
        try:
            arrived = 0
            for cycle in range(1, cycles + 1):
                for device in stage.devices:
                    device.may_write(records * cycle // cycles // devices)
                arrived = _wait_for_transfer(stage, arrived, outcome)
                if outcome.violations:
                    break
                _cycle(stage, random, outcome)
                on_cycle()
            customer.no_more()
            if not outcome.violations:
                _drain(stage, outcome)
        finally:
            customer.stop()
        stage.look()
        history = stage.read(customer.promised)
        outcome.records = records_of(history)
        outcome.violations += check(history)
        outcome.starts = stage.starts
        outcome.tasks = len(history.hub.tasks)
        outcome.interrupted_calls = interrupted_calls(history)
    return outcome


def _cycle(stage: Stage, random: Random, outcome: Outcome) -> None:
    """Drawn in one place and order, so that the faults follow from the seed alone."""
    before_s = random.uniform(0, BEFORE_MAX_S)
    names = choose(random, random.choice((1, 1, 2)))
    hold_s = LONG_HOLD_S if random.random() < LONG_HOLD_SHARE else random.uniform(0, HOLD_MAX_S)
    choices = [Random(random.getrandbits(64)) for _ in names]
    time.sleep(before_s)
    for name, its_random in zip(names, choices, strict=True):
        if FAULTS[name](stage, its_random):
            outcome.faults[name] += 1
    time.sleep(hold_s)
    stage.mend()
    outcome.cycles += 1


def _wait_for_transfer(stage: Stage, arrived: int, outcome: Outcome) -> int:
    """Until records arrive at the hub again, or all have: a fault between two transfers would prove little."""
    deadline = time.monotonic() + PROGRESS_TIMEOUT_S
    while time.monotonic() < deadline:
        stage.mend()
        written, now = stage.look()
        if now > arrived or (now == written and now):
            return now
        time.sleep(POLL_S)
    what = f"nothing arrived at the hub for {PROGRESS_TIMEOUT_S:.0f} s after the faults were mended"
    outcome.violations.append(Violation("stuck", "hub", what))
    return arrived


def _drain(stage: Stage, outcome: Outcome) -> None:
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while time.monotonic() < deadline:
        stage.mend()
        if stage.is_drained():
            return
        time.sleep(POLL_S)
    what = f"not everything was done and sent {DRAIN_TIMEOUT_S:.0f} s after the last fault"
    outcome.violations.append(Violation("stuck", "fleet", what))


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    # Whoever ends us ends what we started too: as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    records = given.records or min(given.cycles * RECORDS_PER_CYCLE, RECORDS_MAX)
    console = Console(stderr=True, markup=False, highlight=False)
    console.print(f"chaos: seed {seed}, {given.cycles} cycles, {given.devices} devices, {records} records")
    directory = Path(tempfile.mkdtemp(prefix="covey-chaos-"))
    started = time.monotonic()
    try:
        with Progress(
            TextColumn("cycles"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        ) as progress:
            bar = progress.add_task("cycles", total=given.cycles)
            outcome = run(
                directory,
                cycles=given.cycles,
                seed=seed,
                records=records,
                devices=given.devices,
                on_cycle=lambda: progress.advance(bar),
            )
    except (CoveyError, ProcessFailedError) as error:
        console.print(f"chaos: {error}\nIts files are in {directory}.")
        return EXIT_FAILED
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        return EXIT_INTERRUPTED
    _show(outcome, time.monotonic() - started)
    if outcome.violations:
        console.print(f"chaos: logs and databases are kept in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    print(outcome.line(), flush=True)
    return 1 if outcome.violations else 0


def _show(outcome: Outcome, took_s: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in sorted(outcome.faults.items()):
        table.add_row(name.replace("_", " "), str(count))
    table.add_row("starts of the hub", str(outcome.starts["hub"]))
    table.add_row("starts of devices", str(outcome.starts["device"]))
    table.add_row("tasks", str(outcome.tasks))
    table.add_row("tool calls cut down", str(outcome.interrupted_calls))
    table.add_row("journal records", str(outcome.records))
    table.add_row("seconds", f"{took_s:.0f}")
    table.add_row("violations", str(len(outcome.violations)))
    Console(highlight=False).print(table)
    for violation in outcome.violations:
        print(violation)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run chaos", description="Faults from a seed; the last line is JSON."
    )
    parser.add_argument(
        "--cycles", type=_positive, default=CYCLES, metavar="N", help=f"faults strike so often ({CYCLES})"
    )
    parser.add_argument(
        "--seed", type=int, default=None, metavar="S", help="which faults when (random, and printed)"
    )
    parser.add_argument(
        "--records",
        type=_positive,
        default=None,
        metavar="N",
        help=f"records the devices write in all ({RECORDS_PER_CYCLE} a cycle, at most {RECORDS_MAX})",
    )
    parser.add_argument(
        "--devices", type=_positive, default=DEVICES, metavar="N", help=f"devices ({DEVICES})"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`./run chaos --cycles N [--seed S] [--database D] [--records N]`: faults from a seed, then the checker.

The last line is JSON. Exit code 0 without violations, 1 with, 70 if the run could not be carried out. The faults and
their order follow from the seed; at which instruction they hit does not: a seed is tried again with the same pressure,
not with the same luck. With violations the directory with all logs and databases is kept, and named.
"""

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shared.errors import CoveyError
from tests.chaos.run import SITES, Outcome, run
from tests.support.disks import can_mount
from tests.support.process import ProcessFailedError

CYCLES: Final = 100
DEVICES: Final = 3
RECORDS_PER_CYCLE: Final = 450
BOTH: Final = "both"
EXIT_FAILED: Final = 70
EXIT_INTERRUPTED: Final = 130


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    # Whoever ends us ends what we started too: as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    records = given.records or given.cycles * RECORDS_PER_CYCLE
    console = Console(stderr=True, markup=False, highlight=False)
    console.print(f"chaos: seed {seed}, {given.cycles} cycles, {given.devices} devices, {records} records")
    if not can_mount():
        console.print("chaos: not root, so no device gets a small disk and none will be full")
    directory = Path(tempfile.mkdtemp(prefix="covey-chaos-"))
    started = time.monotonic()
    outcome = Outcome()
    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            for database, cycles in shares(given.database, given.cycles):
                bar = progress.add_task(f"cycles on {database}", total=cycles)
                outcome.add(
                    run(
                        directory / database,
                        database=database,
                        cycles=cycles,
                        seed=seed,
                        records=records * cycles // given.cycles,
                        devices=given.devices,
                        on_cycle=partial(progress.advance, bar),
                    )
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
    print(line(seed, outcome), flush=True)
    return 1 if outcome.violations else 0


def shares(database: str, cycles: int) -> list[tuple[str, int]]:
    """How many cycles are run on which database."""
    if database != BOTH:
        return [(database, cycles)]
    first, second = SITES
    return [each for each in ((first, cycles - cycles // 2), (second, cycles // 2)) if each[1]]


def line(seed: int, outcome: Outcome) -> str:
    """For machines."""
    return json.dumps(
        {
            "chaos": "ok" if not outcome.violations else "violated",
            "cycles": outcome.cycles,
            "seed": seed,
            "faults": dict(sorted(outcome.faults.items())),
            "records": outcome.records,
            "violations": [str(violation) for violation in outcome.violations],
        }
    )


def _show(outcome: Outcome, took_s: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in sorted(outcome.faults.items()):
        table.add_row(name.replace("_", " "), str(count))
    for name, count in sorted(outcome.starts.items()):
        table.add_row(f"starts of {name}", str(count))
    table.add_row("clones resolved", str(outcome.resolved_clones))
    table.add_row("tasks confirmed", str(outcome.tasks))
    table.add_row("tool calls cut down", str(outcome.interrupted_calls))
    table.add_row("journal records", str(outcome.records))
    table.add_row("seconds", f"{took_s:.0f}")
    table.add_row("of these checking", f"{outcome.check_s:.0f}")
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
        "--database",
        choices=(*SITES, BOTH),
        default=BOTH,
        help=f"one process on SQLite, several on PostgreSQL, or half of the cycles each ({BOTH})",
    )
    parser.add_argument(
        "--records",
        type=_positive,
        default=None,
        metavar="N",
        help=f"records the devices write in all ({RECORDS_PER_CYCLE} a cycle)",
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

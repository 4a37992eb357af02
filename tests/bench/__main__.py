"""`python -m tests.bench NAME [--records N] [--runs N]`, `… fleet [--devices N,N,…]`, `… recall --data DIR`.

Exit code 0 if every demand is met, 1 if one is missed.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from edge.settings import default_models_dir
from shared.errors import CoveyError
from tests.bench import agent, policy, sync, trust
from tests.bench.fleet import bench as fleet
from tests.bench.fleet import report as fleet_report
from tests.bench.recall import bench as recall
from tests.bench.report import Outcome, show
from tests.support.process import ProcessFailedError

EXIT_FAILED: Final = 70
"""The bench could not be carried out: there is no figure."""
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A bench: what it tells, its defaults, and how to run it (directory, processes to stop, records, runs)."""

    tells: str
    records: int
    records_are: str
    runs: int
    run: Callable[[Path, ExitStack, int, int], Outcome | policy.Measured]


BENCHES: Final = {
    "sync": Bench(
        tells="records a second from a device's journal to the hub's acknowledgement, against the plain way",
        records=sync.RECORDS,
        records_are="records in each device's journal",
        runs=sync.RUNS,
        run=sync.run,
    ),
    "agent": Bench(
        tells="what the daemon adds to the bare model, to a tool call, and to the machine while it is idle",
        records=agent.RECORDS,
        records_are="tool calls whose journaling is measured",
        runs=agent.RUNS,
        run=agent.run,
    ),
    "trust": Bench(
        tells="enrolments, gate checks, verifying an audit export, and from revoking a device to its cut",
        records=trust.RECORDS,
        records_are="devices' records in the export that is verified",
        runs=trust.RUNS,
        run=trust.run,
    ),
    "policy": Bench(
        tells="what asking the rules costs: a decision, a tool call, taking up a bundle, simulating a history",
        records=policy.DECISIONS,
        records_are="decisions in each run, by rules and depth",
        runs=policy.RUNS,
        run=policy.run,
    ),
}


RECALL: Final = "recall"
RECALL_TELLS: Final = (
    "how well passages of a judged collection are found, alike on hub and device; how fast against Chroma alone; what a"
    " change costs on the wire"
)
FLEET: Final = "fleet"
FLEET_TELLS: Final = (
    "how far one hub goes: what so many simulated devices cost hub and broker, how fast they link, drain and hear of a"
    " change, how long a restart of the broker is felt, and how all of it grows"
)


def main(arguments: list[str]) -> int:
    given = _parser().parse_args(arguments)
    # Whoever ends us ends what we started too: as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as open_:
            directory = open_.enter_context(tempfile.TemporaryDirectory(prefix="covey-bench-"))
            show_it = _run(given, Path(directory), open_)
    except (CoveyError, ProcessFailedError) as error:
        Console(stderr=True, markup=False, highlight=False).print(f"bench {given.name}: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    # Only now: a process that had to be killed is told about on the way out, and the JSON line comes last.
    return show_it()


def _run(given: argparse.Namespace, directory: Path, open_: ExitStack) -> Callable[[], int]:
    """Carry the bench out; what shows it and tells the exit code."""
    if given.name == FLEET:
        runs = fleet.run(directory, fleet.Plan(devices=given.devices))
        return lambda: fleet_report.show(runs)
    if given.name == RECALL:
        found = recall.run(directory, given.data, default_models_dir(), runs=given.runs, sizes=given.items)
        return lambda: recall.show(found)
    bench = BENCHES[given.name]
    outcome = bench.run(directory, open_, given.records or bench.records, given.runs or bench.runs)
    if isinstance(outcome, policy.Measured):
        return lambda: policy.show(outcome)
    return lambda: show(given.name, outcome)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure; the last line is JSON.")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, bench in BENCHES.items():
        each = names.add_parser(name, help=bench.tells, description=bench.tells)
        each.add_argument(
            "--records", type=_positive, metavar="N", help=f"{bench.records_are} ({bench.records:,})"
        )
        each.add_argument(
            "--runs", type=_positive, metavar="N", help=f"runs to take the median of ({bench.runs})"
        )
    each = names.add_parser(RECALL, help=RECALL_TELLS, description=RECALL_TELLS)
    each.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="docs.jsonl, queries.jsonl and qrels.txt"
    )
    each.add_argument("--runs", type=_positive, default=recall.RUNS, metavar="N", help=f"({recall.RUNS})")
    each.add_argument(
        "--items",
        type=_sizes,
        default=recall.SIZES,
        metavar="N,N,…",
        help=f"items of the collections whose speed is measured ({','.join(map(str, recall.SIZES))})",
    )
    each = names.add_parser(FLEET, help=FLEET_TELLS, description=FLEET_TELLS)
    each.add_argument(
        "--devices",
        type=_sizes,
        default=fleet.DEVICES,
        metavar="N,N,…",
        help=f"sizes of the fleet, one after the other ({','.join(map(str, fleet.DEVICES))})",
    )
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({_positive(part) for part in text.split(",")}))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

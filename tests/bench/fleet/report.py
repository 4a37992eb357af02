"""What a fleet bench found, for people and for programs: a table over the sizes, the demands, one line of JSON."""

import json
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.fleet.figures import Run, as_json, exponents
from tests.bench.report import Demand, Figure, exit_code

BENCH: Final = "fleet"
STORM: Final = (5_000, Demand("at most", 60))
FANOUT: Final = (1_000, Demand("at most", 5))
EXPONENT: Final = Demand("at most", 1.1)
ROWS: Final = {
    "connect_s": ("seconds to link all", 1),
    "hub_cpu_share": ("hub, share of a processor", 3),
    "broker_cpu_share": ("broker, share of a processor", 3),
    "hub_rss_mb": ("hub, MB", 1),
    "hub_idle_rss_mb": ("hub without devices, MB", 1),
    "broker_rss_mb": ("broker, MB", 1),
    "broker_idle_rss_mb": ("broker without devices, MB", 1),
    "records_per_s": ("records/s, a backlog of all", 0),
    "fanout_p50_s": ("fan-out of a setting p50, s", 2),
    "fanout_p99_s": ("fan-out of a setting p99, s", 2),
    "storm_settle_s": ("storm settled after, s", 1),
}


def judged(runs: Sequence[Run]) -> list[Figure]:
    """What is demanded of the sizes that were measured."""
    figures = []
    for run in runs:
        if run.n == FANOUT[0]:
            says = f"fan-out p99 at {run.n:,} devices"
            figures.append(Figure(key="fanout_p99_s", says=says, value=run.fanout_p99_s, demand=FANOUT[1]))
        if run.n == STORM[0]:
            says = f"storm at {run.n:,} devices"
            figures.append(Figure(key="storm_settle_s", says=says, value=run.storm_settle_s, demand=STORM[1]))
    figures += [
        Figure(key=name, says=f"growth exponent of {name}", value=value, demand=EXPONENT)
        for name, value in exponents(runs).items()
    ]
    return figures


def json_line(runs: Sequence[Run]) -> str:
    return json.dumps({"bench": BENCH, "runs": [as_json(run) for run in runs], "exponents": exponents(runs)})


def show(runs: Sequence[Run]) -> int:
    """Print; returns the exit code. The JSON line comes last."""
    growth = exponents(runs)
    table = Table(title=f"bench {BENCH}", title_justify="left", pad_edge=False)
    table.add_column("devices")
    for run in runs:
        table.add_column(f"{run.n:,}", justify="right")
    table.add_column("exponent", justify="right")
    for name, (says, digits) in ROWS.items():
        values = (f"{float(getattr(run, name)):,.{digits}f}" for run in runs)
        table.add_row(says, *values, f"{growth[name]:.2f}" if name in growth else "")
    console = Console()
    console.print(table)
    figures = judged(runs)
    for each in figures:
        if not each.is_met:
            console.print(f"[red]missed:[/] {each.says}: {each.value:,.2f}, demanded {each.demand}")
    # Not through rich, which would break the line at the terminal's width.
    print(json_line(runs), flush=True)
    return exit_code(figures)

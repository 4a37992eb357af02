"""What a bench found: a table for people, one line of JSON for programs, and whether the demands are met.

Pure but for `show`, which prints. The JSON line is the last thing that a bench prints.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

EXIT_MET: Final = 0
EXIT_MISSED: Final = 1

Bound = Literal["at least", "at most", "under"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a figure has to be."""

    bound: Bound
    limit: float

    def is_met_by(self, value: float) -> bool:
        match self.bound:
            case "at least":
                return value >= self.limit
            case "at most":
                return value <= self.limit
            case "under":
                return value < self.limit

    def __str__(self) -> str:
        return f"{self.bound} {self.limit:,g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number: its key in the JSON line, what it says, and the runs that it is the middle of."""

    key: str
    says: str
    value: float
    runs: Sequence[float] = ()
    demand: Demand | None = None
    digits: int = 3

    @property
    def is_met(self) -> bool:
        return self.demand is None or self.demand.is_met_by(self.value)


def figure(
    key: str, says: str, runs: Sequence[float], *, demand: Demand | None = None, digits: int = 3
) -> Figure:
    """The median of `runs`. A demand judges the exact median, not what rounding makes of it."""
    return Figure(key=key, says=says, value=median(runs), runs=tuple(runs), demand=demand, digits=digits)


def json_line(bench: str, figures: Sequence[Figure]) -> str:
    """The figures as one object, in order; `runs` tells of how many runs each is the median."""
    values: dict[str, object] = {"bench": bench}
    values |= {each.key: _rounded(each.value, each.digits) for each in figures}
    return json.dumps(values)


def exit_code(figures: Sequence[Figure]) -> int:
    return EXIT_MET if all(each.is_met for each in figures) else EXIT_MISSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a bench hands back: its figures in the order of the JSON line, and remarks for people."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def show(bench: str, outcome: Outcome) -> int:
    """Print; returns the exit code."""
    figures, notes = outcome.figures, outcome.notes
    table = Table(title=f"bench {bench}", title_justify="left", pad_edge=False)
    for heading in ("", "median", "demanded", "runs"):
        table.add_column(heading, justify="left" if heading in ("", "runs") else "right", overflow="fold")
    for each in figures:
        table.add_row(
            each.says,
            f"{each.value:,.{each.digits}f}",
            "" if each.demand is None else f"[{'green' if each.is_met else 'red'}]{each.demand}[/]",
            " ".join(f"{run:,.{each.digits}f}" for run in each.runs),
        )
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
    for each in figures:
        if not each.is_met:
            console.print(
                f"[red]missed:[/] {each.says}: {each.value:,.{each.digits}f}, demanded {each.demand}"
            )
    # Not through rich, which would break the line at the terminal's width.
    print(json_line(bench, figures), flush=True)
    return exit_code(figures)


def _rounded(value: float, digits: int) -> float | int:
    return round(value, digits) if digits else round(value)

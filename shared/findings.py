"""What a doctor says: one finding a thing that it looked at, the same for a device and a hub. Pure.

A finding is `ok`, `warn` (works, but somebody should know) or `fail` (does not work, or will not for long). Its
sentence stands by itself; `command` is what mends it, ready to be typed, or None if nothing that can be typed does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EXIT_WELL: Final = 0
EXIT_WRONG: Final = 1
"""Something is wrong. Not one of the codes of errors: the doctor itself did its work."""

NAMES_SHOWN: Final = 5


class State(StrEnum):
    """How a thing that was looked at is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`name`: what was looked at, stable, for programs."""

    name: str
    state: State
    sentence: str
    command: str | None = None


def ok(name: str, sentence: str) -> Finding:
    return Finding(name=name, state=State.OK, sentence=sentence)


def warn(name: str, sentence: str, command: str | None = None) -> Finding:
    return Finding(name=name, state=State.WARN, sentence=sentence, command=command)


def fail(name: str, sentence: str, command: str | None = None) -> Finding:
    return Finding(name=name, state=State.FAIL, sentence=sentence, command=command)


def some_of(names: Sequence[str]) -> str:
    """The first `NAMES_SHOWN` of them, and how many more there are."""
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def exit_code(findings: Iterable[Finding]) -> int:
    """A warning alone is no reason to fail a script."""
    return EXIT_WRONG if any(finding.state is State.FAIL for finding in findings) else EXIT_WELL


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line that a person reads."""
    failed = sum(finding.state is State.FAIL for finding in findings)
    warned = sum(finding.state is State.WARN for finding in findings)
    if not failed and not warned:
        return "All is well."
    parts = [
        f"{count} {'thing' if count == 1 else 'things'} {what}"
        for count, what in ((failed, "wrong"), (warned, "to know"))
        if count
    ]
    return f"{' and '.join(parts)}."

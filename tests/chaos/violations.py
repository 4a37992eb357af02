"""What the checker finds, and a bound on how much of it is shown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SHOWN_PER_RULE: Final = 8


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule} [{self.where}]: {self.what}"


def bounded(found: Sequence[Violation]) -> list[Violation]:
    """At most `SHOWN_PER_RULE` of each rule and place, and how many more there are."""
    counts: Counter[tuple[str, str]] = Counter()
    kept: list[Violation] = []
    for violation in found:
        key = (violation.rule, violation.where)
        counts[key] += 1
        if counts[key] <= SHOWN_PER_RULE:
            kept.append(violation)
    more = [
        Violation(rule, where, f"and {count - SHOWN_PER_RULE} more of this kind")
        for (rule, where), count in counts.items()
        if count > SHOWN_PER_RULE
    ]
    return kept + more

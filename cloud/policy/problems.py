"""What is wrong with a package, and where: one line each, as compilers print them."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from shared.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`line` counts from 1; 0 is the whole file. A warning does not keep a package from being compiled."""

    file: str
    line: int
    message: str
    suggestion: str = ""
    severity: Literal["error", "warning"] = "error"
    code: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{place}: {self.severity}: {self.message}{hint}"


class PackageError(RefusedError):
    """A package that is not compiled. `problems` says all that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        errors = [problem for problem in self.problems if problem.severity == "error"]
        super().__init__(
            f"The package has {len(errors)} error{'s' if len(errors) != 1 else ''}; the first: {errors[0]}",
            code="package_refused",
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """ "Did you mean …?", or nothing."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""

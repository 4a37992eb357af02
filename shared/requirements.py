"""Whether the libraries that are there are those that the distribution asks for. Pure: it is told both."""

import re
from collections.abc import Callable, Iterable

# As this project writes them: a name, perhaps extras of it, a lower bound, and the extra that needs it.
_REQUIREMENT = re.compile(
    r"""^(?P<name>[A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*>=\s*(?P<least>[0-9.]+)\s*"""
    r"""(;\s*extra\s*==\s*['"](?P<extra>[a-z]+)['"])?$"""
)


def unmet_requirements(
    requirements: Iterable[str], *, extra: str, installed: Callable[[str], str | None]
) -> list[str]:
    """Of the distribution's requirements, those of `extra` or of every installation that are missing or too old.

    `requirements` as `importlib.metadata.requires` gives them; `installed` tells a library's version, None if it is not
    there. Each is told like "cbor2 5.0, needs at least 6".
    """
    unmet = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match["extra"] not in (None, extra):
            continue
        found = installed(match["name"])
        if found is None:
            unmet.append(f"{match['name']} is not installed, needs at least {match['least']}")
        elif _numbers(found) < _numbers(match["least"]):
            unmet.append(f"{match['name']} {found}, needs at least {match['least']}")
    return unmet


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 16, 0) of "2.16.0rc1"."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
        if digits[0] != part:
            break
    while numbers and numbers[-1] == 0:  # 2.0 is 2
        numbers.pop()
    return tuple(numbers)

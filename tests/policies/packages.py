"""The example packages, and every way to take one thing away from them."""

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from cloud.policy.compiler import Compiled, compile_package, statements
from cloud.policy.history import facts
from cloud.policy.lines import DeviceLine
from cloud.policy.package_tests import run_tests
from cloud.policy.problems import PackageError
from cloud.policy.sources import Sources, read_folder
from shared.policy.monitor import RuleMonitor, monitor_of

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "policies"
NAMES: Final = ("clinic-kiosk", "cold-chain", "customer-service", "valve-control")
_COMPARISONS: Final = (
    (r"<=", "<"), (r">=", ">"), (r"<(?!=)", "<="), (r">(?!=)", ">="),
    (r"lessThanOrEqual\(", "lessThan("), (r"lessThan\(", "lessThanOrEqual("),
    (r"greaterThanOrEqual\(", "greaterThan("), (r"greaterThan\(", "greaterThanOrEqual("),
)  # fmt: skip
"""Each comparison with the one that differs at the bound alone."""
_BLANKED: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*')


@cache
def sources_of(name: str) -> Sources:
    """The package's files."""
    return read_folder(FOLDER / name)


@cache
def compiled(name: str) -> Compiled:
    """The package as it is."""
    return compile_package(sources_of(name))


@cache
def monitor_for(name: str) -> RuleMonitor:
    """Its monitor, for the device of a history that names none."""
    return monitor_of(compiled(name).bundle, facts(DeviceLine()))


def is_noticed(mutant: Sources) -> bool:
    """Whether the package no longer compiles, or one of its tests fails."""
    try:
        made = compile_package(mutant)
    except PackageError:
        return True
    monitor = monitor_of(made.bundle, facts(DeviceLine()))
    return any(result.failures for result in run_tests(mutant.tests, made.package, lambda: monitor))


def mutants(name: str) -> Iterator[tuple[str, Sources]]:
    """Each with one thing less, and what that is."""
    sources = sources_of(name)
    yield from _rules_taken(sources)
    yield from _bounds_moved(sources)
    for where in _parts(sources.package.value):
        yield ".".join(map(str, where)), replace(sources, package=_without(sources, where))


def _rules_taken(sources: Sources) -> Iterator[tuple[str, Sources]]:
    for index, (file, text) in enumerate(sources.cedar):
        for _, statement in statements(text):
            rule = re.search(r'@id\("([^"]+)"\)', statement)
            assert rule is not None
            yield f"rule {rule[1]}", _with_text(sources, index, file, text.replace(statement, ""))


def _bounds_moved(sources: Sources) -> Iterator[tuple[str, Sources]]:
    for index, (file, text) in enumerate(sources.cedar):
        # Strings and comments are no conditions; their places stay.
        bare = _BLANKED.sub(lambda match: " " * len(match[0]), text)
        for pattern, other in _COMPARISONS:
            for number, match in enumerate(re.finditer(pattern, bare)):
                changed = text[: match.start()] + other + text[match.end() :]
                operator = match[0].rstrip("(")
                yield f"bound {file} {operator} {number}", _with_text(sources, index, file, changed)


def _with_text(sources: Sources, index: int, file: str, text: str) -> Sources:
    return replace(sources, cedar=(*sources.cedar[:index], (file, text), *sources.cedar[index + 1 :]))


def _parts(package: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """Where each label, approval, rate, sink, entity, obligation and threat stands."""
    for label, definition in package.get("labels", {}).items():
        yield ("labels", label)
        yield from (("labels", label, part) for part in ("implies", "lifted_by") if part in definition)
    for section in ("tools", "actions"):
        for tool, contract in package.get(section, {}).items():
            yield from (
                (section, tool, part) for part in ("entity", "sink", "approvals", "rates") if part in contract
            )
            for part in ("approvals", "rates"):
                yield from _each((section, tool, part), contract.get(part, []))
            if isinstance(contract.get("sink"), dict):
                yield from ((section, tool, "sink", part) for part in contract["sink"])
                yield from _each((section, tool, "sink", "for"), contract["sink"].get("for", []))
            result = contract.get("result", {})
            if "labels" in result:
                yield (section, tool, "result", "labels")
                yield from _each((section, tool, "result", "labels"), result["labels"])
    yield from _each(("obligations",), package.get("obligations", []))
    for index, obligation in enumerate(package.get("obligations", [])):
        yield from _each(("obligations", index, "redact"), obligation["redact"])
    yield from _each(("names",), package.get("names", []))
    yield from (("threats", threat) for threat in package.get("threats", {}))


def _each(where: tuple[str | int, ...], items: Sequence[object]) -> Iterator[tuple[str | int, ...]]:
    yield from ((*where, index) for index in range(len(items)))


def _without(sources: Sources, where: tuple[str | int, ...]) -> Any:  # a Yaml
    value = copy.deepcopy(sources.package.value)
    parent = value
    for step in where[:-1]:
        parent = parent[step]
    del parent[where[-1]]
    return replace(sources.package, value=value)

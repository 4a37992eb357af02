"""`tests.yaml`: short histories, each with what the monitor has to say of its calls.

- name: only the order that was looked up
  history:
    - {kind: message, text: "Refund order A-17"}
    - {kind: call, id: c1, tool: get_order, arguments: {order_id: A-17}, expect: {decision: allow}}
    - {kind: result, id: c1, content: {total: 20}}
    - {kind: call, tool: refund, arguments: {order_id: B-18, amount: 5}, expect: {decision: deny, rule: no_rule}}
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cloud.policy.history import Replay
from cloud.policy.lines import HistoryError, Line, parse_line
from cloud.policy.problems import PackageError, Problem
from cloud.policy.sources import TESTS, Yaml
from shared.policy.contracts import Package
from shared.policy.monitor import Monitor

TESTS_MAX: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """`failures` is empty if everything was as expected."""

    __test__ = False  # not one of pytest's

    name: str
    line: int
    calls: int
    failures: tuple[str, ...]


def read_tests(tests: Yaml | None) -> list[tuple[str, int, list[tuple[int, Line]]]]:
    """Name, line and events of each test. Raises `PackageError` for what is none."""
    if tests is None or tests.value is None:
        return []
    if not isinstance(tests.value, list) or len(tests.value) > TESTS_MAX:
        raise PackageError([_problem(tests, (), f"{TESTS} is a list of at most {TESTS_MAX} tests.")])
    read = []
    for index, test in enumerate(tests.value):
        match test:
            case {"name": str() as name, "history": list() as lines, **rest} if not rest:
                read.append((name, tests.line((index,)), list(_events(tests, index, lines))))
            case _:
                raise PackageError(
                    [_problem(tests, (index,), "A test has a name and a history, and nothing else.")]
                )
    return read


def _events(tests: Yaml, index: int, lines: list[Any]) -> Iterator[tuple[int, Line]]:
    for number, line in enumerate(lines):
        where = (index, "history", number)
        try:
            yield from ((tests.line(where), event) for event in parse_line(line, tests.line(where)))
        except HistoryError as error:
            raise PackageError([_problem(tests, where, str(error))]) from None


def _problem(tests: Yaml, where: tuple[str | int, ...], message: str) -> Problem:
    return Problem(file=TESTS, line=tests.line(where), message=message)


def run_tests(tests: Yaml | None, package: Package, monitor: Callable[[], Monitor]) -> Iterator[TestResult]:
    """Each test with a monitor of its own."""
    for name, line, events in read_tests(tests):
        outcomes = list(Replay(package, monitor()).run(events))
        failures = [
            f"{TESTS}:{outcome.line}: {outcome.tool}: {outcome.failure}"
            for outcome in outcomes
            if outcome.failure
        ]
        if not any(outcome.expect is not None for outcome in outcomes):
            failures.append(f"{TESTS}:{line}: the test expects nothing, so it cannot fail")
        yield TestResult(name=name, line=line, calls=len(outcomes), failures=tuple(failures))

"""Decisions take bytes or values and `now`; they never look at a clock or a file themselves.

Why: what a decision is told can be replayed, tested with a manual clock and proven; what it fetches cannot. Imports are
the business of import-linter; these are the calls that it cannot see.
"""

import ast

import pytest

from tests.architecture.tree import parse, python_files, relative

CLOCKS = {"now", "utcnow", "today"}  # of datetime and date
IMPURE_NAMES = {"open", "print", "input", "uuid1", "uuid4"}
RUNTIME = "shared/inference/"
"""What both sides run, not what they say (`shared/README.md`); nothing else in `shared` imports it."""
CLOCK_OWNERS = {"datetime", "date", "dt"}


def impure_calls(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_NAMES:
                found.append(f"{name} in line {node.lineno}")
            case ast.Call(func=ast.Attribute(attr=name, value=ast.Name(id=owner))) if (
                name in CLOCKS and owner in CLOCK_OWNERS
            ) or (owner == "uuid" and name in IMPURE_NAMES):
                found.append(f"{owner}.{name} in line {node.lineno}")
    return found


@pytest.mark.slow
def test_shared_and_edge_core_neither_read_clocks_nor_open_files() -> None:
    files = [path for path in python_files("shared", "edge/core") if not relative(path).startswith(RUNTIME)]
    wrong = {relative(path): calls for path in files if (calls := impure_calls(parse(path)))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("source", "is_pure"),
    [
        ("datetime.now(UTC)", False),
        ("dt.datetime(2026, 1, 1)", True),
        ("clock.now()", True),
        ("open('x')", False),
        ("envelope.open(raw)", True),
        ("uuid.uuid4()", False),
    ],
)
def test_rule_tells_a_clock_from_a_value(source: str, is_pure: bool) -> None:
    assert (impure_calls(ast.parse(source)) == []) is is_pure

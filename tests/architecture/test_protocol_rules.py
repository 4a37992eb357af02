"""Each numbered rule of shared/README.md names its test, and no test names a rule that is not there.

Why: the prose is the contract with whoever writes the other side; an untested rule is a wish, and a test of an
unwritten rule is a secret. A test names a rule as `P12` in its docstring or `p12` in its name.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache

import pytest

from tests.architecture.tree import ROOT, checks_of, parse, python_files, relative

RULE = re.compile(r"^\*\*P(\d+)\*\*", re.MULTILINE)
IN_DOCSTRING = re.compile(r"\bP(\d+)\b")
IN_NAME = re.compile(r"(?:^|_)p(\d+)(?=_|$)")


def rules_of(readme: str) -> list[int]:
    return [int(number) for number in RULE.findall(readme)]


def named_by(test: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    numbers = IN_DOCSTRING.findall(ast.get_docstring(test) or "") + IN_NAME.findall(test.name)
    return {int(number) for number in numbers}


@cache
def rules_in_tests() -> dict[int, list[str]]:
    named: dict[int, list[str]] = {}
    for path in python_files("tests"):
        # These tests are about rules in general, and use numbers as examples.
        if path.parent.name == "architecture":
            continue
        for test in checks_of(parse(path)):
            for number in named_by(test):
                named.setdefault(number, []).append(f"{relative(path)}::{test.name}")
    return named


def labels(numbers: Iterable[int]) -> list[str]:
    return [f"P{number}" for number in sorted(numbers)]


def written_rules() -> list[int]:
    return rules_of((ROOT / "shared" / "README.md").read_text(encoding="utf-8"))


def test_rules_are_numbered_from_one_without_gaps() -> None:
    written = written_rules()
    assert written == list(range(1, len(written) + 1))
    assert written


@pytest.mark.slow
def test_every_rule_has_a_test_that_names_it() -> None:
    assert labels(set(written_rules()) - set(rules_in_tests())) == []


@pytest.mark.slow
def test_no_test_names_a_rule_that_is_not_written() -> None:
    unwritten = {
        f"P{number}": tests for number, tests in rules_in_tests().items() if number not in written_rules()
    }
    assert unwritten == {}


def test_every_gate_test_names_its_rule() -> None:
    path = ROOT / "tests" / "shared" / "test_gate.py"
    assert [test.name for test in checks_of(parse(path)) if not named_by(test)] == []


def test_rule_numbers_are_found_in_prose_names_and_docstrings() -> None:
    assert rules_of("**P1** One.\nsee **P2**\n\n**P12** Twelve.\n") == [1, 12]
    module = ast.parse(
        "def test_gap_is_p7_refused():\n    pass\n"
        "async def test_fork():\n    '''P12 and P3; not P-256 or AP4.'''\n"
        "def helper_p9():\n    pass\n"
    )
    assert [named_by(test) for test in checks_of(module)] == [{7}, {12, 3}]

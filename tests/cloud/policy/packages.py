"""Packages for tests, from text."""

from pathlib import Path

import pytest

from cloud.policy.compiler import Compiled, compile_package
from cloud.policy.lint import lint
from cloud.policy.problems import PackageError, Problem
from cloud.policy.sources import PACKAGE, TESTS, Sources, parse_yaml

HEAD = "name: shop\nversion: 1\n"
"""The first two lines of each package."""
PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'


def sources_of(
    package: str = "", rules: str = PERMIT_ALL, tests: str = "", *, file: str = "rules.cedar"
) -> Sources:
    """`package` stands under `HEAD`."""
    return Sources(
        package=parse_yaml(PACKAGE, HEAD + package),
        cedar=((file, rules),),
        tests=parse_yaml(TESTS, tests) if tests else None,
    )


def compiled(package: str = "", rules: str = PERMIT_ALL) -> Compiled:
    return compile_package(sources_of(package, rules))


def problems_of(package: str = "", rules: str = PERMIT_ALL) -> tuple[Problem, ...]:
    """What the compiler finds wrong."""
    with pytest.raises(PackageError) as caught:
        compiled(package, rules)
    return caught.value.problems


def problem_of(package: str = "", rules: str = PERMIT_ALL) -> Problem:
    (problem,) = problems_of(package, rules)
    return problem


def warnings_of(package: str = "", rules: str = PERMIT_ALL) -> list[tuple[str, str, int]]:
    """What lint says: code, file and line."""
    sources = sources_of(package, rules)
    made = compile_package(sources)
    return [(found.code, found.file, found.line) for found in lint(made.package, made.rules, sources)]


def folder(home: Path, package: str = "", rules: str = PERMIT_ALL, tests: str = "") -> Path:
    home.mkdir(exist_ok=True, parents=True)
    (home / PACKAGE).write_text(HEAD + package)
    (home / "rules.cedar").write_text(rules)
    if tests:
        (home / TESTS).write_text(tests)
    return home

"""Each `type: ignore[code]` says why, and there are few.

Why: an ignore is a hole in the type check. It is there for a library's missing types, never to get done sooner.
"""

import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, python_files, relative

pytestmark = pytest.mark.slow

AT_MOST = 30
MARK = re.compile(r"#\s*type:\s*ignore")
WITH_REASON = re.compile(r"#\s*type:\s*ignore\[[a-z0-9, -]+\]\s*(#|-|--)\s*\S.{8,}")


def ignores(path: Path) -> list[str]:
    with path.open("rb") as source:
        return [
            token.string
            for token in tokenize.tokenize(source.readline)
            if token.type == tokenize.COMMENT and MARK.search(token.string)
        ]


def unexplained(comments: list[str]) -> list[str]:
    return [comment for comment in comments if not WITH_REASON.search(comment)]


@cache
def ours() -> dict[str, list[str]]:
    """All of this repository, by file."""
    return {relative(path): ignores(path) for path in python_files(*PACKAGES, "tests", "deploy")}


def test_every_type_ignore_names_its_code_and_its_reason() -> None:
    wrong = {path: found for path, comments in ours().items() if (found := unexplained(comments))}
    assert wrong == {}


def test_type_ignores_are_few() -> None:
    assert sum(map(len, ours().values())) <= AT_MOST


@pytest.mark.parametrize(
    ("comment", "is_explained"),
    [
        ("# type: ignore[arg-type]  # the stubs lack bytes", True),
        ("# type: ignore[arg-type] - the stubs lack bytes", True),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore[arg-type]  # x", False),
        ("# type: ignore  # the stubs lack bytes", False),
    ],
)
def test_rule_tells_a_reason_from_none(tmp_path: Path, comment: str, is_explained: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"x = 1  {comment}\ny = '# type: ignore'\n")
    assert len(ignores(path)) == 1
    assert (unexplained(ignores(path)) == []) is is_explained

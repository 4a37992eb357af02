"""Each path and each test that SECURITY.md names exists.

Why: an auditor follows them; a defence whose test has gone is a claim.
"""

import re

import pytest

from tests.architecture.tree import ROOT, checks_of, parse

DOCUMENT = ROOT / "SECURITY.md"
QUOTED = re.compile(r"`([^`\n]+)`")
TREE = ("cloud/", "edge/", "shared/", "tests/", "deploy/", "firmware-configs/")


def named() -> list[str]:
    """What is quoted and is a path of this repository, with the test behind it if there is one."""
    return [each for each in QUOTED.findall(DOCUMENT.read_text(encoding="utf-8")) if each.startswith(TREE)]


def test_each_path_that_the_security_document_names_exists() -> None:
    paths = [each.partition("::")[0] for each in named() if "…" not in each]
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.slow
def test_each_test_that_the_security_document_names_exists() -> None:
    tests = [each.partition("::") for each in named() if "::" in each and "…" not in each]
    assert len(tests) > 50
    missing = [
        f"{path}::{name}"
        for path, _, name in tests
        if name not in {test.name for test in checks_of(parse(ROOT / path))}
    ]
    assert missing == []

"""The repository holds nothing of the machine it was written on, and no large or binary surprises.

Why: a path or an index address of one machine breaks every other one, and model files belong into the models
directory, where their hash was checked.
"""

import re

import pytest

from tests.architecture.tree import relative, repository_files

# In pieces, so that this file does not contain them.
FORBIDDEN = re.compile(
    "|".join(
        (
            "/work/" + "(main|shared)",
            "/tmp/" + r"w\b",
            "/opt/" + "(wheels|pypi)",
            r"pypi\." + "org",
            r"pythonhosted\." + "org",
            r"registry\.npmjs\." + "org",
        )
    )
)
MAX_FILE_BYTES = 2_000_000
MODEL_SUFFIXES = {".gguf", ".safetensors", ".onnx", ".bin", ".pt", ".part"}


def test_no_file_names_a_path_or_registry_of_one_machine() -> None:
    found = []
    for path in repository_files():
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        ):
            if FORBIDDEN.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_no_model_and_no_large_file_is_in_the_repository() -> None:
    files = repository_files()
    assert files
    wrong = [
        relative(path)
        for path in files
        if path.suffix in MODEL_SUFFIXES or path.stat().st_size > MAX_FILE_BYTES
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("cd /work/" + "main && ls", True),
        ("log = /tmp/" + "w/setup.log", True),
        ("https://pypi" + ".org/simple", True),
        ("tempfile in /tmp/wheels", False),
        ("install from PyPI", False),
    ],
)
def test_rule_tells_a_machine_from_prose(line: str, is_wrong: bool) -> None:
    assert bool(FORBIDDEN.search(line)) is is_wrong

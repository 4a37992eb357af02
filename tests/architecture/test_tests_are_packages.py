"""`tests/` is a package at every level.

Why: a `tests/edge/__init__.py` without `tests/__init__.py` makes pytest put `tests/` on the path, where it hides the
real `edge`; and two test files of one name need packages to be told apart.
"""

from pathlib import Path

from tests.architecture.tree import ROOT, python_files, relative


def test_every_directory_with_python_files_is_a_package() -> None:
    directories: set[Path] = set()
    for path in python_files("tests"):
        directories.update(parent for parent in path.parents if parent.is_relative_to(ROOT / "tests"))
    missing = [
        relative(directory) for directory in sorted(directories) if not (directory / "__init__.py").is_file()
    ]
    assert missing == []
    assert len(directories) > 2

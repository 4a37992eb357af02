"""Tests write in memory where there is room for what they write, and where their programs may run."""

import os
from pathlib import Path

from tests.support.scratch import memory_directory


def test_a_directory_with_room_is_taken(tmp_path: Path) -> None:
    assert memory_directory(tmp_path, free_min_bytes=1) == tmp_path


def test_one_with_less_room_than_is_asked_for_is_not(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert memory_directory(tmp_path, free_min_bytes=found.f_blocks * found.f_frsize + 1) is None


def test_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    assert memory_directory(tmp_path / "none", free_min_bytes=1) is None

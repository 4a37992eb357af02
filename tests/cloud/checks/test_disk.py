"""The hub's doctor on disk space, at each limit and one past it."""

from pathlib import Path

import pytest

from cloud.checks import disk
from cloud.checks.disk import FREE_FAIL_BYTES, FREE_FILES_MIN, FREE_WARN_BYTES, Space
from cloud.checks.subject import Subject
from shared.findings import State


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "state"),
    [
        (FREE_WARN_BYTES, FREE_FILES_MIN, State.OK),
        (FREE_WARN_BYTES, None, State.OK),
        (FREE_WARN_BYTES - 1, None, State.WARN),
        (FREE_FAIL_BYTES, None, State.WARN),
        (FREE_FAIL_BYTES - 1, None, State.FAIL),
        (FREE_WARN_BYTES, FREE_FILES_MIN - 1, State.FAIL),
    ],
)
def test_space_is_judged_at_its_limits(free_bytes: int, free_files: int | None, state: State) -> None:
    found = disk.judge(Space(path=Path("/hub"), free_bytes=free_bytes, free_files=free_files))
    assert found.state is state
    assert (found.command is None) is (state is State.OK)


def test_the_home_s_own_disk_is_looked_at_once(subject: Subject) -> None:
    (found,) = disk.check(subject)
    assert str(subject.settings.home) in found.sentence

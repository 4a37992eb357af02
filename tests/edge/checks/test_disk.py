"""The device's doctor on its disk: room for what the store may still grow to, at each limit and one past it."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.database import open_database
from edge.checks import disk
from edge.checks.disk import FREE_FAIL_BYTES, FREE_FILES_MIN, Space
from edge.checks.subject import Subject
from shared.findings import State

GROWTH = 10 * FREE_FAIL_BYTES


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "state"),
    [
        (GROWTH, FREE_FILES_MIN, State.OK),
        (GROWTH, None, State.OK),
        (GROWTH - 1, None, State.WARN),
        (FREE_FAIL_BYTES, None, State.WARN),
        (FREE_FAIL_BYTES - 1, None, State.FAIL),
        (GROWTH, FREE_FILES_MIN - 1, State.FAIL),
    ],
)
def test_space_is_judged_by_what_the_store_may_still_take(
    free_bytes: int, free_files: int | None, state: State
) -> None:
    space = Space(path=Path("/device"), free_bytes=free_bytes, free_files=free_files)
    found = disk.judge(space, growth_bytes=GROWTH)
    assert found.state is state
    assert (found.command is None) is (state is State.OK)


def test_a_limit_beyond_what_the_disk_has_is_told(alone: Subject) -> None:
    (found,) = disk.check(with_limit(alone, 2**40))
    assert found.state is State.WARN
    (found,) = disk.check(with_limit(alone, 2**20))
    assert found.state is State.OK


def test_what_the_store_has_taken_already_is_not_asked_for_again(alone: Subject) -> None:
    limited = with_limit(alone, 2**40)
    before = disk.growth_bytes(limited)
    open_database(alone.settings.store_path).close()
    assert disk.growth_bytes(limited) == before - alone.settings.store_path.stat().st_size


def test_a_home_that_is_not_there_yet_will_be_on_its_parent_s_disk(alone: Subject, tmp_path: Path) -> None:
    settings = alone.settings.model_copy(update={"home": tmp_path / "a" / "b"})
    (found,) = disk.check(replace(alone, settings=settings))
    assert f"The disk of {tmp_path} " in found.sentence


def with_limit(subject: Subject, journal_max_bytes: int) -> Subject:
    settings = subject.settings.model_copy(update={"journal_max_bytes": journal_max_bytes})
    return replace(subject, settings=settings)

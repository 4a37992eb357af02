"""Locks among the processes of a home, and what they tell each other. Each opened file is a holder of its own."""

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloud.private_files import announced, announcements, home_lock, in_turn
from shared.errors import ConfigError

WAIT_S = 20.0


def refuses(lock: Path, *, is_shared: bool) -> bool:
    try:
        with home_lock(lock, is_shared=is_shared):
            return False
    except ConfigError as error:
        return f"Another hub runs in {lock.parent}" in str(error)


def test_home_is_held_by_one_alone_or_by_several_together(tmp_path: Path) -> None:
    lock = tmp_path / "hub.lock"
    with home_lock(lock, is_shared=True):
        assert not refuses(lock, is_shared=True)
        assert refuses(lock, is_shared=False)
    with home_lock(lock, is_shared=False):
        assert refuses(lock, is_shared=True)
        assert refuses(lock, is_shared=False)
    assert not refuses(lock, is_shared=False)


def test_turns_are_taken_one_after_another(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def take(number: int) -> None:
        with in_turn(tmp_path / "setup.lock"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take, range(12), timeout=WAIT_S))
    assert most == [1] * 12


def test_what_a_living_process_tells_is_read_and_forgotten_when_it_ends(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert announcements(directory) == []
    with announced(directory / "b", b"two"), announced(directory / "a", b"one"):
        assert announcements(directory) == [b"one", b"two"]
        assert (directory / "a").stat().st_mode & 0o777 == 0o600
        assert directory.stat().st_mode & 0o777 == 0o700
    assert announcements(directory) == []


def test_what_a_killed_process_left_is_not_believed_and_is_removed_by_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "api-1.json").write_bytes(b"left")
    assert announcements(directory) == []
    with announced(directory / "api-2.json", b"here"):
        assert [path.name for path in directory.iterdir()] == ["api-2.json"]
        assert announcements(directory) == [b"here"]


def test_two_who_look_at_once_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    left = directory / "api-1.json"
    left.write_bytes(b"left")
    with left.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as somebody who looks at the same moment
        assert announcements(directory) == []

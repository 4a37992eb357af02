"""Room that is kept for a full disk: really taken, given up once, and taken again when there is enough."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.ballast_file import BallastFile
from edge.adapters.store_sqlite.database import open_database
from shared.errors import CapacityError
from tests.support.disks import SmallDisk

SIZE = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", size_bytes=1_000_000) as disk:
        yield disk


def problem_of(ballast: BallastFile) -> str | None:
    ballast.restore()
    return ballast.problem


def test_it_takes_real_room_and_gives_it_up_once(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    ballast = BallastFile(path, SIZE)
    assert not ballast.release()
    ballast.restore()
    assert ballast.problem is None
    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 >= SIZE
    assert path.stat().st_mode & 0o077 == 0
    assert ballast.release()
    assert not ballast.release()


def test_a_ballast_of_another_size_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    path.write_bytes(b"half")
    BallastFile(path, SIZE).restore()
    assert path.stat().st_size == SIZE


def test_no_ballast_is_no_problem(tmp_path: Path) -> None:
    ballast = BallastFile(tmp_path / "ballast", 0)
    ballast.restore()
    assert ballast.problem is None
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    ballast = BallastFile(tmp_path / "gone" / "ballast", SIZE)
    ballast.restore()
    assert ballast.problem is not None
    assert "gone" in ballast.problem


def test_on_a_full_disk_it_is_the_room_that_the_store_needs_and_it_comes_back_later(
    disk: SmallDisk,
) -> None:
    path, store = disk.path / "store.ballast", disk.path / "store.sqlite"
    ballast = BallastFile(path, SIZE)
    ballast.restore()
    open_database(store).close()
    disk.fill()
    with pytest.raises(CapacityError):
        open_database(store)
    assert ballast.release()
    database = open_database(store)
    try:
        assert "free some space" in str(problem_of(ballast))
        disk.free()
        assert problem_of(ballast) is None
        assert path.stat().st_size == SIZE
    finally:
        database.close()

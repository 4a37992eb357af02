"""Where collections lie: opened when used, closed when not, mended when its index broke, and gone with the last."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.key_files import KeyFiles
from edge.shelf import FILE, Opened, Shelf
from edge.vault_key import library_key, open_vault_key
from shared.library.library import FILE as LIBRARY_FILE
from shared.library.library import Library
from tests.edge.core.test_holding import manifest
from tests.support.vectors import MemoryVectors

KEY = bytes(32)


class Place:
    """A shelf over real libraries, with an index in memory that outlives them."""

    def __init__(self, directory: Path) -> None:
        self.index, self.now, self.opened, self.wiped = MemoryVectors(), 0.0, 0, 0
        self.shelf = Shelf(directory / "knowledge", self._open, monotonic_s=lambda: self.now)

    def _open(self, directory: Path) -> Opened:
        self.opened += 1
        return Opened(Library(directory, mac_key=KEY, index=self.index), self._wipe)

    def _wipe(self) -> None:
        self.wiped += 1
        self.index.held.clear()
        self.index.is_broken = False


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.shelf.release()


def test_a_device_that_holds_nothing_has_no_file(place: Place) -> None:
    assert not place.shelf.is_there
    assert not place.shelf.is_open
    assert FILE == LIBRARY_FILE


def test_it_stays_open_a_while_and_is_closed_when_nobody_uses_it(place: Place) -> None:
    with place.shelf.library(), place.shelf.library():
        place.now = 5.0
        assert place.shelf.idle_s == 0.0
        place.shelf.release()
        was_open = place.shelf.is_open
    place.now = 12.0
    assert place.shelf.idle_s == 7.0
    assert place.opened == 1
    place.shelf.release()
    assert (was_open, place.shelf.is_open, place.shelf.is_there) == (True, False, True)


def test_nothing_is_removed_while_somebody_uses_it(place: Place) -> None:
    with place.shelf.library():
        assert not place.shelf.clear()
    assert place.shelf.clear()
    assert not place.shelf.is_there


def test_an_index_that_cannot_be_used_is_made_anew_before_the_first_search(place: Place) -> None:
    with place.shelf.library() as library:
        library.apply("manuals", manifest())
    place.index.is_broken = True
    with place.shelf.searched():
        assert place.shelf.index_problem is None
    assert place.wiped == 1


def test_the_key_of_the_library_is_the_devices_own_and_lasts(tmp_path: Path) -> None:
    files, others = KeyFiles(tmp_path / "a"), KeyFiles(tmp_path / "b")
    key = library_key(files)
    assert len(key) == 32
    assert library_key(files) == key
    assert library_key(others) != key
    assert open_vault_key(files, makes=False) is not None

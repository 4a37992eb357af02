"""Where collections lie on the device: opened when something is done with them, closed when nobody does.

A device that holds nothing has no file of it, and pays nothing. Blocking; from any thread. What is removed last takes
the whole folder with it: nothing of a collection is left in a free page or in an index.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from shared.errors import UnavailableError

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.library.library import Library

logger = logging.getLogger(__name__)

FILE: Final = "library.sqlite"
"""As `shared.library.library.FILE`, which is not imported to look whether it is there."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A library, and how to do away with a vector index that is broken; None: it has none."""

    library: "Library"
    wipe_index: Callable[[], None] | None


class Shelf:
    """The library in `directory`."""

    def __init__(
        self,
        directory: Path,
        open_library: Callable[[Path], Opened],
        *,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self._directory = directory
        self._open_library = open_library
        self._monotonic_s = monotonic_s
        self._lock = threading.RLock()
        self._opened: Opened | None = None
        self._users = 0
        self._used_at = 0.0
        self._is_checked = False
        self.index_problem: str | None = None
        """Why searches go without the vector index, as far as is known."""

    @property
    def is_there(self) -> bool:
        """Whether there is a file: something is held, or was about to be."""
        return (self._directory / FILE).exists()

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def idle_s(self) -> float:
        """Since it was last used."""
        return self._monotonic_s() - self._used_at if self._users == 0 else 0.0

    @contextmanager
    def library(self) -> Iterator["Library"]:
        """Open for as long as the block lasts, and a while after it. Raises what opening it raises."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_library(self._directory)
                self._is_checked = False
            opened = self._opened
            self._users += 1
        try:
            yield opened.library
        finally:
            with self._lock:
                self._users -= 1
                self._used_at = self._monotonic_s()

    @contextmanager
    def searched(self) -> Iterator["Library"]:
        """As `library`, with a vector index that holds what it should: what it lost is made again, once an opening."""
        with self.library() as library:
            with self._lock:
                if not self._is_checked:
                    self._is_checked = True
                    self.index_problem = self._mended(library)
            yield library

    def wipe_index(self) -> None:
        """Do away with the vector index; the next search makes it anew."""
        with self._lock:
            if self._opened is not None and self._opened.wipe_index is not None:
                self._opened.wipe_index()
            self._is_checked = False

    def release(self) -> None:
        """Close it, if nobody uses it."""
        with self._lock:
            if self._users == 0 and self._opened is not None:
                self._opened.library.close()
                self._opened = None

    def clear(self) -> bool:
        """Remove everything, if nothing is held and nobody uses it; whether it is gone."""
        with self._lock:
            self.release()
            if self._opened is not None:
                return False
            import shutil  # here, because the readers of archives come with it

            shutil.rmtree(self._directory, ignore_errors=True)
            return not self._directory.exists()

    def _mended(self, library: "Library") -> str | None:
        assert self._opened is not None
        try:
            library.check()
        except UnavailableError as error:
            if self._opened.wipe_index is None:
                return str(error)
            logger.warning("the vector index is made anew: %s", error)
            self._opened.wipe_index()
            try:
                library.check()
            except UnavailableError as again:
                return str(again)
        return None

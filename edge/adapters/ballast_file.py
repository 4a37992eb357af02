"""Room on the disk that is kept for a bad day: a file of its own that is removed when the store cannot be opened.

A database needs some free space even to be read (SQLite's `-shm` takes 32 KiB), so a device on a completely full disk
could not start, say what is wrong, or sync what would let it make room.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

FREE_FACTOR: Final = 2
"""The ballast is made again when so many times its size is free: else a disk that stays full would take it at once."""


class BallastFile:
    """`Ballast` as a file at `path`; with a size of 0 bytes there is none."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        return self._problem

    def release(self) -> bool:
        """Give the room up; False if there was none to give."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def restore(self) -> None:
        """Take the room again if there is enough. Blocks."""
        if not self._size_bytes or self._is_whole():
            self._problem = None
            return
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < self._size_bytes * FREE_FACTOR:
                self._problem = (
                    f"The disk is full: the reserve of {self._size_bytes} bytes for starting all the same is not there;"
                    " free some space."
                )
                return
            self._make()
        except OSError as error:
            self._problem = (
                f"The reserve for a full disk cannot be made in {self._path.parent}: {error.strerror}."
            )
            return
        self._problem = None

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_size == self._size_bytes
        except OSError:
            return False

    def _make(self) -> None:
        partial = self._path.with_suffix(".part")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Not a hole: the blocks must be taken.
            os.posix_fallocate(fd, 0, self._size_bytes)
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        finally:
            os.close(fd)
        partial.replace(self._path)

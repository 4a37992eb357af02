"""Where tests write: in memory where that is possible.

A suite that makes thousands of databases waits for the disk for minutes, and wears it out, for files that nobody keeps.
"""

import os
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")
FREE_MIN_BYTES: Final = 4 * 2**30
"""A container often has 64 MiB there, which a few hubs fill."""


def memory_directory(place: Path = SHARED_MEMORY, *, free_min_bytes: int = FREE_MIN_BYTES) -> Path | None:
    """A directory in memory where tests may write and run programs, with enough room; None if there is none."""
    if not os.access(place, os.W_OK | os.X_OK):
        return None
    found = os.statvfs(place)
    if found.f_flag & os.ST_NOEXEC or found.f_bavail * found.f_frsize < free_min_bytes:
        return None
    return place

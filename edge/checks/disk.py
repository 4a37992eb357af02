"""Will the disk hold what the store may still grow to?"""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.adapters.store_sqlite.inspection import inspect
from edge.checks.journal import journal_max_bytes
from edge.checks.subject import Subject
from shared.errors import CoveyError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "disk"
FREE_FAIL_BYTES: Final = 33_554_432
"""With less left a task may find no room to end in."""
FREE_FILES_MIN: Final = 100
MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system has left for us. `free_files` is None where it does not count them."""

    path: Path
    free_bytes: int
    free_files: int | None


def check(subject: Subject) -> Iterator[Finding]:
    yield judge(_space(subject.settings.home), growth_bytes=growth_bytes(subject))


def growth_bytes(subject: Subject) -> int:
    """What the store may still take until its own limits hold it."""
    settings = subject.settings
    most = journal_max_bytes(subject) + settings.journal_reserve_bytes + settings.metrics_max_bytes
    if not settings.store_path.exists():
        return most
    try:
        return max(0, most - inspect(settings.store_path).file_bytes)
    except CoveyError:  # the check of the store says so
        return most


def judge(space: Space, *, growth_bytes: int) -> Finding:
    command = f"df -h {shlex.quote(str(space.path))}"
    free = f"{space.free_bytes / MEGABYTE:,.0f} MB"
    if space.free_bytes < FREE_FAIL_BYTES:
        return fail(NAME, f"The disk of {space.path} is full but for {free}: free some space.", command)
    if space.free_files is not None and space.free_files < FREE_FILES_MIN:
        return fail(
            NAME,
            f"The disk of {space.path} can hold only {space.free_files} more files.",
            f"df -i {shlex.quote(str(space.path))}",
        )
    if space.free_bytes < growth_bytes:
        return warn(
            NAME,
            f"The disk of {space.path} has {free} left, and the store may grow by {growth_bytes / MEGABYTE:,.0f} MB"
            " before its own limit: free some space, or lower journal_max_bytes.",
            command,
        )
    return ok(NAME, f"The disk of {space.path} has {free} left, enough for the store at its limit.")


def _space(home: Path) -> Space:
    place = next(path for path in (home, *home.parents) if path.is_dir())
    found = os.statvfs(place)
    return Space(
        path=place,
        free_bytes=found.f_bavail * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
    )

"""Is there room for what devices still have to send?"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud.checks.database import sqlite_path
from cloud.checks.subject import Subject
from shared.findings import Finding, fail, ok, warn

NAME: Final = "disk"
FREE_FAIL_BYTES: Final = 268_435_456
FREE_WARN_BYTES: Final = 2_147_483_648
FREE_FILES_MIN: Final = 1_000
GIGABYTE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system has left for us. `free_files` is None where it does not count them."""

    path: Path
    free_bytes: int
    free_files: int | None


def check(subject: Subject) -> Iterator[Finding]:
    """The home's file system, and the database's if it is another."""
    path = sqlite_path(subject.settings.database)
    places = [subject.settings.home, *([path.parent] if path is not None else [])]
    devices = {place.stat().st_dev: place for place in reversed(places) if place.is_dir()}
    for place in devices.values():
        yield judge(_space(place))


def judge(space: Space) -> Finding:
    free = f"{space.free_bytes / GIGABYTE:.1f} GB"
    command = f"df -h {space.path}"
    if space.free_bytes < FREE_FAIL_BYTES:
        return fail(
            NAME,
            f"The disk of {space.path} is full but for {free}: devices wait with their records.",
            command,
        )
    if space.free_files is not None and space.free_files < FREE_FILES_MIN:
        return fail(
            NAME,
            f"The disk of {space.path} can hold only {space.free_files} more files.",
            f"df -i {space.path}",
        )
    if space.free_bytes < FREE_WARN_BYTES:
        return warn(NAME, f"The disk of {space.path} has only {free} left.", command)
    return ok(NAME, f"The disk of {space.path} has {free} left.")


def _space(path: Path) -> Space:
    found = os.statvfs(path)
    return Space(
        path=path,
        free_bytes=found.f_bavail * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
    )

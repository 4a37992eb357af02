"""Several files of one folder, changed together or not at all, whenever the power goes. Blocking.

A change is staged beside the files it replaces (`NAME.new`), then declared by one rename (`commit`), then carried out.
Before the declaration nothing has happened; from it on whoever looks next carries it out (`recover`). Files are 0600,
and on the disk on return.

Must not know what is in the files.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

COMMIT: Final = "commit"
LOCK: Final = "lock"
STAGED: Final = ".new"
PARTIAL: Final = ".part"


def change(folder: Path, write: Mapping[str, bytes], *, remove: Collection[str] = ()) -> None:
    """Write and remove these files of `folder`, which is made (0700) if it is not there. Raises as `recover`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        _carry_out(folder)
        for name, data in write.items():
            _write(folder / f"{name}{STAGED}", data)
        declared = json.dumps({"write": [*write], "remove": [*remove]}).encode()
        _write(folder / f"{COMMIT}{PARTIAL}", declared)
        _sync(folder)
        (folder / f"{COMMIT}{PARTIAL}").replace(folder / COMMIT)
        _sync(folder)
        _carry_out(folder)


def recover(folder: Path) -> None:
    """Finish a change that was declared and then cut off. Call before reading.

    Raises `OSError`, and `ValueError` for a declaration that is none; then nothing is changed.
    """
    if (folder / COMMIT).exists():
        with _locked(folder):
            _carry_out(folder)


def _carry_out(folder: Path) -> None:
    """What is declared, if anything is; each step may have been done before."""
    try:
        write, remove = _declared((folder / COMMIT).read_bytes())
    except FileNotFoundError:
        return
    for name in write:
        staged = folder / f"{name}{STAGED}"
        if staged.exists():
            staged.replace(folder / name)
    for name in remove:
        (folder / name).unlink(missing_ok=True)
    _sync(folder)
    (folder / COMMIT).unlink()
    _sync(folder)


def _declared(data: bytes) -> tuple[list[str], list[str]]:
    """Names of files in the folder itself, to write and to remove. Raises `ValueError`."""
    match json.loads(data):
        case {"write": list(write), "remove": list(remove)} if all(map(_is_name, [*write, *remove])):
            return write, remove
    raise ValueError(f"{COMMIT} is damaged")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # what a cut-off change left there may be open to others
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Renames are on the disk on return."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: the daemon, and commands beside it."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

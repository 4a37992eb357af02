"""Files that only the hub's account may read, written whole or not at all; and locks among its processes. Blocking.

Locks are flock(2)'s: they end with the process that holds them, however it ends.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from shared.errors import ConfigError, UnavailableError

TURN_TIMEOUT_S: Final = 60.0
"""How long a process waits for another one that prepares the same home; that takes a second or two."""
TURN_POLL_S: Final = 0.05
VISIBLE: Final = "[!.]*"


def make_private_directory(path: Path) -> None:
    """Create `path` (and parents) closed to other accounts. Raises `ConfigError` if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be made a private directory ({error.strerror}); choose another with --home."
        ) from error


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600, atomically and durably: after a power cut it is the old file or the new."""
    _replace(path, data, mode=0o600)


def write_public(path: Path, data: bytes) -> None:
    """As `write_private`, for what is no secret and other accounts must read: mode 0644."""
    _replace(path, data, mode=0o644)


def _replace(path: Path, data: bytes, *, mode: int) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}."
        )  # made with mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); make room or fix its rights."
        ) from error


def read_private(path: Path) -> bytes | None:
    """The file's bytes, or None if there is none. Raises `ConfigError` if it is there but not readable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); run this as the account that owns the hub."
        ) from error


@contextmanager
def home_lock(path: Path, *, is_shared: bool) -> Iterator[None]:
    """Hold a home's lock, with others or alone. Raises `ConfigError` if another process holds it so that we cannot."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another hub runs in {path.parent}; stop that one, or give this one its own --home."
                " Only `serve --role api` and `serve --role ingest` share a home."
            ) from error
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Only one process at a time is in such a block. Raises `UnavailableError` if one stays in it too long."""
    deadline = time.monotonic() + TURN_TIMEOUT_S
    with _opened(path) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"Another process has been preparing {path.parent} for {TURN_TIMEOUT_S:g} s; end it."
                    ) from error
            time.sleep(TURN_POLL_S)
        yield


@contextmanager
def announced(path: Path, data: bytes) -> Iterator[None]:
    """Tell other processes something in a file while the block runs. What a killed process left is removed first."""
    make_private_directory(path.parent)
    for left in path.parent.glob(VISIBLE):
        if _is_abandoned(left):
            left.unlink(missing_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(descriptor, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # held from before it can be seen
        file.write(data)
        file.flush()
        Path(temporary).replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def announcements(directory: Path) -> list[bytes]:
    """What living processes tell in `directory`, in the order of their files' names."""
    return [
        data
        for path in sorted(directory.glob(VISIBLE))
        if not _is_abandoned(path) and (data := read_private(path))
    ]


def _is_abandoned(path: Path) -> bool:
    """Whether the process that announced something there has ended: it held the file's lock for as long as it lived."""
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("a+b")
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened ({error.strerror}); fix its rights.") from error

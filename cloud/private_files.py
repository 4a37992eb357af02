"""Files that only the hub's account may read, written whole or not at all; and the lock on its home. Blocking."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigError


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
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}."
        )  # made with mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
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
def exclusive(path: Path) -> Iterator[None]:
    """Hold `path` as a lock; it is free again when this process ends, however it ends.

    Raises `ConfigError` if another process holds it.
    """
    try:
        file = path.open("a+b")
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened ({error.strerror}); fix its rights.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another hub runs in {path.parent}; stop that one, or give this one its own --home."
            ) from error
        yield

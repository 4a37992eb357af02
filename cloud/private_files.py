"""Files that only the hub's account may read: written whole or not at all. Blocking."""

import os
import tempfile
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
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
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
        raise ConfigError(f"{path} cannot be written ({error.strerror}); make room or fix its rights.") from error


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

"""Disks that fail under a real process: a small one that can be filled up, and writes beyond a size that are refused.

with SmallDisk(tmp_path / "home", size_bytes=8 * 2**20) as disk:
    disk.fill()          # every further byte: ENOSPC
    disk.free()
limit_writes(pid, 0)     # every write of that process to a file: EFBIG, which SQLite takes for an I/O error
limit_writes(pid, None)
"""

import os
import resource
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

COMMAND_TIMEOUT_S: Final = 10.0
BALLAST: Final = "ballast"


def can_mount() -> bool:
    """Whether we may make small disks: that needs root."""
    return os.geteuid() == 0


class SmallDisk:
    """A file system of its own in memory (tmpfs(5)) at `path`, which is made. Use as a context manager."""

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self.path = path
        self._size_bytes = size_bytes

    def fill(self, *, leaving_bytes: int = 0) -> None:
        """Take all that is free, but for so many bytes."""
        space = os.statvfs(self.path)
        wanted = space.f_bavail * space.f_frsize - leaving_bytes
        fd = os.open(self.path / BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with suppress(OSError):  # whoever works here may have been quicker
                os.posix_fallocate(fd, 0, max(1, wanted))
        finally:
            os.close(fd)

    def free(self) -> None:
        (self.path / BALLAST).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size_bytes},mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "covey-test", str(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: a process that is just ending must not keep it.
        _run("umount", "--lazy", str(self.path))


def limit_writes(pid: int, size_bytes: int | None) -> bool:
    """Refuse a process's writes beyond this offset of any file (setrlimit(2), RLIMIT_FSIZE); None: allow all again.

    Whether the process was there. Python ignores the signal that goes with it, as daemons do: the write fails.
    """
    limit = resource.RLIM_INFINITY if size_bytes is None else size_bytes
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
        if owner == os.geteuid():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Only its owner may (prlimit(2)); root itself need not have the capability to do it to others.
    soft = "unlimited" if size_bytes is None else str(size_bytes)
    return _is_done("prlimit", f"--pid={pid}", f"--fsize={soft}:unlimited", user=owner)


def _run(*command: str) -> None:
    done = _ended(command, None)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _is_done(*command: str, user: int) -> bool:
    return _ended(command, user).returncode == 0


def _ended(command: Sequence[str], user: int | None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
        user=user,
    )

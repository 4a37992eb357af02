"""Clocks for tests: one that stands still until a test moves it, one that is wrong. Both are a `shared.clock.Clock`."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
OFFSET_CHARS = 32


class ManualClock:
    """Starts at noon of the first of January 2026, unless told otherwise; never goes on by itself.

    >>> clock = ManualClock()
    >>> clock.advance(seconds=90)
    >>> clock.now().isoformat()
    '2026-01-01T12:01:30+00:00'
    """

    def __init__(self, start: datetime = START) -> None:
        if start.utcoffset() != timedelta(0):
            raise ValueError("a ManualClock starts at an aware UTC time")
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, delta: timedelta | None = None, *, seconds: float = 0.0) -> None:
        """Go on by `delta` plus `seconds`. Only forwards; `set` is for clocks that are put back."""
        step = (delta or timedelta(0)) + timedelta(seconds=seconds)
        if step < timedelta(0):
            raise ValueError("advance goes forwards; use set() to put the clock back")
        self._now += step

    def set(self, instant: datetime) -> None:
        """Jump, also backwards, as a device's clock does when it first hears of the network's time."""
        if instant.utcoffset() != timedelta(0):
            raise ValueError("a ManualClock is set to an aware UTC time")
        self._now = instant


class OffsetClock:
    """The system's time plus so many seconds as the file says, which another process may change at any time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        try:
            offset_s = float(self._file.read_bytes() or b"0")
        except FileNotFoundError:
            offset_s = 0.0
        return datetime.now(tz=UTC) + timedelta(seconds=offset_s)


def set_offset(file: Path, seconds: float) -> None:
    """Let every `OffsetClock` over this file jump. In one write of always the same length, so nobody reads a half."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, f"{seconds:{OFFSET_CHARS}.3f}".encode(), 0)
    finally:
        os.close(fd)

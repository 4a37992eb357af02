"""A clock that stands still until a test moves it. Implements `shared.clock.Clock`."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


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

"""Time as a port. Wire times are whole milliseconds since the Unix epoch (UTC); inside, aware datetimes."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, which is the last a `datetime` can hold."""


class Clock(Protocol):
    """What may be asked for the time. Decisions never ask; they are told `now`."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


def to_ms(instant: datetime) -> int:
    """Milliseconds since the Unix epoch, rounded down."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def from_ms(at_ms: int) -> datetime:
    """The aware UTC datetime of `at_ms` milliseconds since the Unix epoch (0 to `MAX_MS`)."""
    return EPOCH + timedelta(milliseconds=at_ms)

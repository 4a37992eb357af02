"""How long a device has gone without its hub. Pure: takes values, the wall clock and one that cannot be set.

The wall clock alone would do for a board that was switched off in between, and the other alone for one whose clock is
set back: that would give it its lease anew. So the longer of two counts: what the wall clock says, and what went by
while the device ran. The second is kept over restarts, and takes over what the first says once that has gone evenly for
an hour: a board that woke up in 2050 for a moment has not used its lease up for it.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from edge.core.retention import ClockWatch


@dataclass(frozen=True, slots=True)
class Lease:
    """`heard`: when the hub was last heard, by the clock of then; `used_s`: what is known to have gone by since."""

    heard: datetime
    used_s: float
    watch: ClockWatch

    @classmethod
    def since(cls, heard: datetime, *, used_s: float, now: datetime, monotonic_s: float) -> "Lease":
        """As it was stored, taken up by a process that begins now."""
        return cls(heard, used_s, ClockWatch(now, monotonic_s))

    def look(self, now: datetime, monotonic_s: float) -> "Lease":
        """The lease after another look at both clocks."""
        used_s = self.used_s + max(0.0, monotonic_s - self.watch.monotonic_s)
        watch = self.watch.look(now, monotonic_s)
        if watch.is_steady:
            used_s = max(used_s, (now - self.heard).total_seconds())
        return Lease(self.heard, used_s, watch)

    def renewed(self, now: datetime, monotonic_s: float) -> "Lease":
        """The hub is heard at this moment."""
        return replace(self, heard=now, used_s=0.0, watch=self.watch.look(now, monotonic_s))

    def offline_s(self, now: datetime, monotonic_s: float) -> float:
        """Seconds since the hub was heard, the more cautious reckoning of the two."""
        ran_s = self.used_s + max(0.0, monotonic_s - self.watch.monotonic_s)
        return max(0.0, ran_s, (now - self.heard).total_seconds())

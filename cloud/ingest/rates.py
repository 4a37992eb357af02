"""How much one device may say: messages and bytes a second, each with a burst. Pure: the caller says what time it is.

Beyond that its messages are dropped before they take room in the inbox, and it alone is slowed down: whoever keeps to
the protocol repeats what was not answered. What was dropped is counted by device until somebody fetches the counts.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from cloud.rates import Rate, Rates

MESSAGES: Final = Rate(per_s=500, burst=2_000)
BYTES: Final = Rate(per_s=16_777_216, burst=67_108_864)
"""A backlog drains at a few megabytes a second, over the fastest link."""
DEVICES_MAX: Final = 65_536
"""Devices that are counted at a time."""
TOO_FAST: Final = "too_fast"
"""The reason under which such a message is counted as refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRate:
    """The settings `ingest_device_…_per_s` and `ingest_device_burst_…`."""

    messages: Rate = MESSAGES
    bytes: Rate = BYTES


class DeviceRates:
    """Every device's buckets. Not thread-safe."""

    def __init__(self, rate: DeviceRate) -> None:
        self._messages = Rates(rate.messages, entries_max=DEVICES_MAX)
        self._bytes = Rates(rate.bytes, entries_max=DEVICES_MAX)
        self._largest = rate.bytes.burst
        self._refused: Counter[str] = Counter()

    def admits(self, principal: str, size: int, now_s: float) -> bool:
        """Whether the device may say so much now; else it is counted."""
        if self._messages.take(principal, now_s) == 0:
            if self._bytes.take(principal, now_s, cost=min(size, self._largest)) == 0:
                return True
            self._messages.give_back(principal)
        if principal in self._refused or len(self._refused) < DEVICES_MAX:
            self._refused[principal] += 1
        return False

    def fetch_refused(self) -> dict[str, int]:
        """How many messages were refused since the last time, by device."""
        found, self._refused = dict(self._refused), Counter()
        return found

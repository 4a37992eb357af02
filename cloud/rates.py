"""How often somebody may: token buckets by key, in a table that does not grow. Pure: whoever asks says what time it is.

A bucket holds `burst` requests and refills with `per_s`. A full bucket and none are the same, so the table keeps only
those that were used lately; when it is full, the one that was used longest ago goes. Whoever has more addresses than
the table has rows gets a burst for each anyway.

Each process of the hub counts for itself.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

ENTRIES_MAX: Final = 10_000
"""Keys that a table holds (about 0.3 KB each)."""


ROUNDING: Final = 1e-9
"""Tenths do not add up to exactly one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`per_s` requests a second on the long run, and `burst` at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRates:
    """Of the HTTP door: settings `http_open_*`, `http_failed_*`, `http_caller_*` and `http_addresses_max`."""

    stranger: Rate = Rate(per_s=50, burst=1_000)
    failed: Rate = Rate(per_s=1, burst=30)
    caller: Rate = Rate(per_s=500, burst=5_000)
    entries_max: int = ENTRIES_MAX


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class Rates:
    """One limit for many who are counted apart. Not thread-safe."""

    def __init__(self, rate: Rate, *, entries_max: int = ENTRIES_MAX) -> None:
        self._rate = rate
        self._entries_max = entries_max
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now_s: float, *, cost: int = 1) -> int:
        """Whole seconds until `key` may again; 0: now, and `cost` is taken. `now_s`: of a clock that only goes on.

        `cost` is at most the burst.
        """
        bucket = self._buckets.pop(key, None)
        left = float(self._rate.burst) if bucket is None else self._filled(bucket, now_s)
        wait_s = self._wait_s(left, cost)
        while len(self._buckets) >= self._entries_max:
            del self._buckets[next(iter(self._buckets))]
        # Put in again, it is the one that was used last.
        self._buckets[key] = _Bucket(left=left if wait_s else left - cost, at_s=now_s)
        return wait_s

    def give_back(self, key: str) -> None:
        """One that was taken was not used up."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.left = min(float(self._rate.burst), bucket.left + 1)

    def _filled(self, bucket: _Bucket, now_s: float) -> float:
        gained = max(0.0, now_s - bucket.at_s) * self._rate.per_s
        return min(float(self._rate.burst), bucket.left + gained)

    def _wait_s(self, left: float, cost: int) -> int:
        missing = cost - left
        return 0 if missing <= ROUNDING else max(1, ceil(missing / self._rate.per_s - ROUNDING))

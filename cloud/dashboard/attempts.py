"""How long somebody who gave a wrong token must wait before the next one is looked at: doubling, by address.

The token cannot be guessed; this keeps a guesser from costing us anything, and shows in the log. By address, so that
one person's mistakes lock nobody else out; a network of IPv6 counts as one address. Bounded in number.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.clock import Clock

WAIT_FIRST_S: Final = 1
WAIT_MAX_S: Final = 60
FORGET_AFTER: Final = timedelta(minutes=15)
ADDRESSES_MAX: Final = 1_000
IPV6_NETWORK_BITS: Final = 64
"""What one customer is given at least (RFC 6177)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failures:
    count: int
    last_at: datetime

    @property
    def wait(self) -> timedelta:
        doublings = min(self.count - 1, WAIT_MAX_S.bit_length())
        return timedelta(seconds=min(WAIT_FIRST_S << doublings, WAIT_MAX_S))


class Attempts:
    """Failed sign-ins by address, those that failed longest ago first."""

    def __init__(self, *, clock: Clock, addresses_max: int = ADDRESSES_MAX) -> None:
        self._clock = clock
        self._addresses_max = addresses_max
        self._failures: dict[str, _Failures] = {}

    def wait_s(self, address: str) -> int:
        """Whole seconds until the next attempt from there is looked at; 0: now."""
        failures = self._failures.get(_place(address))
        if failures is None:
            return 0
        left = failures.last_at + failures.wait - self._clock.now()
        return max(0, -(-left // timedelta(seconds=1)))

    def failed(self, address: str) -> int:
        """A wrong token came from there; how many in a row."""
        now = self._clock.now()
        place = _place(address)
        before = self._failures.pop(place, None)
        is_new = before is None or now - before.last_at > FORGET_AFTER
        count = 1 if is_new or before is None else before.count + 1
        while len(self._failures) >= self._addresses_max:
            del self._failures[next(iter(self._failures))]
        self._failures[place] = _Failures(count=count, last_at=now)
        return count

    def succeeded(self, address: str) -> None:
        self._failures.pop(_place(address), None)


def _place(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))

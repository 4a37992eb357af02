"""How long to wait before connecting again: exponential back-off with full jitter, pure.

    backoff = Backoff()
    backoff, wait_s = backoff.failed(random())      # nothing was reached
    backoff = backoff.linked(lasted_s=75.0)         # a link ended; only a stable one forgives what was before

Full jitter (a delay drawn evenly from zero to the bound) spreads a whole fleet that lost its broker at once. A link
that is accepted and then cut at once must not reset the bound, or such a broker would be hammered for ever.
"""

from dataclasses import dataclass, replace
from typing import Final

BASE_S: Final = 1.0
CAP_S: Final = 300.0
"""For a device among thousands. Somebody with few peers may come back sooner."""
STABLE_AFTER_S: Final = 60.0
"""How long a link must have lasted before the bound starts again from `BASE_S`."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`failures`: attempts since the last stable link. `cap_s`: the longest wait."""

    failures: int = 0
    cap_s: float = CAP_S

    def failed(self, random: float) -> tuple["Backoff", float]:
        """After one more failed attempt or lost link: the next state, and the seconds to wait.

        `random` is drawn evenly from [0, 1) by the caller.
        """
        # The exponent is bounded before the power is taken: years of failures must not overflow a float.
        bound_s = min(self.cap_s, BASE_S * 2.0 ** min(self.failures, 32))
        return replace(self, failures=self.failures + 1), random * bound_s

    def linked(self, lasted_s: float) -> "Backoff":
        """After a link that lasted `lasted_s` seconds and then ended."""
        return replace(self, failures=0) if lasted_s >= STABLE_AFTER_S else self

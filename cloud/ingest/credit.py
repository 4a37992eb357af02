"""How many records the hub will take next from one lane (rule P14): pure.

A queue of bulk up to half full grants a whole batch. Beyond that the grant shrinks to nothing at a full queue, so
that a fleet coming back slows down by itself instead of having its messages dropped. A device that is not behind is
not made to pay for those that are: its few records travel in small batches, which wait in a queue of their own, and
it keeps a grant for them as long as that queue has room.
"""

from typing import Final

from shared.messages import BATCH_MAX_RECORDS

FULL_CREDIT_UP_TO: Final = 0.5
LIVE_MAX_RECORDS: Final = 64
"""Behind by no more than this, a device is live and not catching up; such a batch is a small one."""


def credit_for(fill: float, live_fill: float = 0.0, *, behind: int = 0) -> int:
    """The grant for a lane of which the device has `behind` records more, at queues that are so full, from 0 to 1."""
    grant = _share(fill, BATCH_MAX_RECORDS)
    if behind > LIVE_MAX_RECORDS:
        return grant
    return max(grant, _share(live_fill, LIVE_MAX_RECORDS))


def _share(fill: float, whole: int) -> int:
    if fill <= FULL_CREDIT_UP_TO:
        return whole
    room = max(0.0, 1.0 - fill) / (1.0 - FULL_CREDIT_UP_TO)
    return int(whole * room)

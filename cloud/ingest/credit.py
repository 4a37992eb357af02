"""How many records the hub will take next from one lane (rule P14): pure.

A queue up to half full grants a whole batch. Beyond that the grant shrinks to nothing at a full queue, so that a
fleet coming back slows down by itself instead of having its messages dropped.
"""

from typing import Final

from shared.messages import BATCH_MAX_RECORDS

FULL_CREDIT_UP_TO: Final = 0.5


def credit_for(fill: float) -> int:
    """The credit at a queue that is `fill` full, from 0 to 1."""
    if fill <= FULL_CREDIT_UP_TO:
        return BATCH_MAX_RECORDS
    room = max(0.0, 1.0 - fill) / (1.0 - FULL_CREDIT_UP_TO)
    return int(BATCH_MAX_RECORDS * room)

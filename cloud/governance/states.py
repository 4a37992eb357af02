"""What releases and approvals can be."""

from enum import StrEnum
from typing import Final

NOT_OF_RULES: Final = frozenset({"stopped", "approval_refused", "approval_late"})
"""Rules of recorded denials that no package could have changed: people said so."""


class ReleaseState(StrEnum):
    """`rolling`: in waves; `active`: for all; `stopped`: goes no further; `superseded`: a newer one has begun."""

    ROLLING = "rolling"
    ACTIVE = "active"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"


class ApprovalState(StrEnum):
    """`open` until people have spoken; then what the device made of it."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"
    LATE = "late"
    DROPPED = "dropped"

"""What releases and approvals can be."""

from enum import StrEnum


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

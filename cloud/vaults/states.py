"""How far a secret is on its way to a device; also for the commands, which know no database."""

from enum import StrEnum


class SecretState(StrEnum):
    """How far a secret is."""

    ORDERED = "ordered"
    """Sealed and on its way; the device has not answered."""
    STORED = "stored"
    REFUSED = "refused"
    """The device could not take it; what it held under the name before, it still holds."""
    REMOVING = "removing"
    REMOVED = "removed"
    LOST = "lost"
    """The device's store was made anew, and with it went what it held."""

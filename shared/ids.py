"""Names and identifiers: small validated types that are safe in topics, certificates and file names."""

import base64
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import ProtocolError

HUB: Final = "hub"
"""The hub's name as issuer and audience. It has no dot, so no device principal can equal it."""

EVERYONE: Final = "*"
"""Audience of messages that every device may read."""

PRINCIPAL_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,23}\.[a-z0-9][a-z0-9-]{0,38}$"
"""64 characters at most: the upper bound of a certificate's common name (RFC 5280, ub-common-name)."""

ID_PATTERN: Final = r"^[a-z2-7]{16}$"
ID_RANDOM_BYTES: Final = 10
COLLECTION_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,47}$"
"""Of a collection of knowledge, unique within its tenant."""
EPOCH_BYTES: Final = 16

_PRINCIPAL = re.compile(PRINCIPAL_PATTERN)


class Lane(StrEnum):
    """One direction of one kind of record between a device and the hub (rule P1)."""

    JOURNAL = "journal"
    METRICS = "metrics"
    ORDERS = "orders"


UPWARD: Final = (Lane.JOURNAL, Lane.METRICS)
"""The lanes that a device writes."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a device is: `{tenant}.{device}`, the common name of its certificate."""

    tenant: str
    device: str

    @classmethod
    def parse(cls, text: str) -> "Principal":
        """Raises `ProtocolError` if `text` is not `{tenant}.{device}` in lower-case letters, digits and dashes."""
        if not _PRINCIPAL.fullmatch(text):
            raise ProtocolError(
                f"{text[:80]!r} is not a device name of the form tenant.device"
                " (lower-case letters, digits and dashes, at most 24 and 39 characters)."
            )
        tenant, _, device = text.partition(".")
        return cls(tenant, device)

    def __str__(self) -> str:
        return f"{self.tenant}.{self.device}"


@dataclass(frozen=True, slots=True)
class LaneId:
    """One log: whose it is, which lane, and the epoch of the store that writes it (rule P1)."""

    principal: str
    lane: Lane
    epoch: bytes


def id_from_random(random: bytes) -> str:
    """A 16-character identifier (80 bits, base32) from `ID_RANDOM_BYTES` random bytes."""
    if len(random) != ID_RANDOM_BYTES:
        raise ValueError(f"an id is made from {ID_RANDOM_BYTES} random bytes")
    return base64.b32encode(random).decode().lower()

"""Collections of knowledge that hold what devices share: their names, and the scope that each of them is of. Pure."""

import hashlib
import re
from typing import Final, Literal

from shared.ids import COLLECTION_PATTERN

FLEET_MEMORY: Final = "fleet-memory"
SITE_PREFIX: Final = "site-memory-"
COLLECTION_MAX_CHARS: Final = 48
SITE_DIGEST_CHARS: Final = 8
SHARED: Final[tuple[Literal["fleet", "site"], ...]] = ("fleet", "site")
"""Scopes of memory beside the device's own."""
_UNFIT: Final = re.compile(r"[^a-z0-9]+")


def collection_of(scope: str, site: str | None) -> str:
    """Where what is approved stands. Sites have names that collections cannot have: those get a digest."""
    if scope == "fleet":
        return FLEET_MEMORY
    assert site is not None, "an item of a site has one"
    name = f"{SITE_PREFIX}{site}"
    if len(name) <= COLLECTION_MAX_CHARS and re.match(COLLECTION_PATTERN, name):
        return name
    digest = hashlib.sha256(site.encode()).hexdigest()[:SITE_DIGEST_CHARS]
    room = COLLECTION_MAX_CHARS - len(SITE_PREFIX) - SITE_DIGEST_CHARS - 1
    return f"{SITE_PREFIX}{_UNFIT.sub('-', site.lower())[:room]}-{digest}"


def scope_of(collection: str) -> Literal["device", "site", "fleet"]:
    """As which scope of memory a device reads a collection: documents that it was given are its own."""
    if collection == FLEET_MEMORY:
        return "fleet"
    return "site" if collection.startswith(SITE_PREFIX) else "device"

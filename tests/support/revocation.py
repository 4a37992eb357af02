"""A revocation list as the hub leaves it when it has revoked nobody: without one its broker does not start."""

from datetime import UTC, datetime
from pathlib import Path

from cloud.identity import Identity
from cloud.revocation import make_lists


def empty_list(identity: Identity, path: Path) -> Path:
    """Write it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_lists(identity.issuers, [], before=None, now=datetime.now(tz=UTC)))
    return path

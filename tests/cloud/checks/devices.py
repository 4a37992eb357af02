"""Rows of devices for the doctor to find."""

from typing import Any

from cloud.db import Database
from cloud.devices.tables import Device
from tests.support.clock import START


def add_device(database: Database, principal: str, **fields: Any) -> None:
    """An active device, enrolled at `START` with a certificate of 90 days, unless `fields` say otherwise."""
    tenant, _, name = principal.partition(".")
    kid = principal.encode().ljust(8, b"-")[-8:]
    known = {
        "tenant": tenant,
        "name": name,
        "signing_kid": kid,
        "signing_public": kid * 4,
        "certificate_sha256": "00" * 32,
        "certificate_not_after": START.replace(month=4),
        "enrolled_at": START,
    }
    with database.write() as session:
        session.add(Device(principal=principal, **{**known, **fields}))

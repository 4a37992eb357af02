"""Enrolment tokens: making them, and what the hub keeps of them (never the secret). Decides; never commits."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlmodel import Session

from cloud.devices.tables import Device, EnrolmentToken
from shared.enrolment import Token
from shared.errors import RefusedError
from shared.ids import Principal


def create(
    session: Session,
    token: Token,
    *,
    tenant: str,
    device: str | None,
    labels: Mapping[str, str],
    ttl_s: int,
    now: datetime,
) -> EnrolmentToken:
    """Keep what is needed to recognise `token`. Raises `RefusedError` if the device's name is taken already."""
    if device is not None and session.get(Device, str(Principal(tenant, device))) is not None:
        raise name_taken(Principal(tenant, device))
    row = EnrolmentToken(
        id=token.id,
        secret_sha256=secret_hash(token.secret),
        tenant=tenant,
        device=device,
        labels=dict(labels),
        created_at=now,
        expires_at=now + timedelta(seconds=ttl_s),
    )
    session.add(row)
    return row


def secret_hash(secret: bytes) -> str:
    """What is stored: 256 random bits need no slow hash."""
    return hashlib.sha256(secret).hexdigest()


def name_taken(principal: Principal) -> RefusedError:
    return RefusedError(f"There is a device {principal} already; choose another name.", code="device_exists")

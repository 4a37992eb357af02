"""Enrolment tokens: making them, and what the hub keeps of them (never the secret). Decides; never commits."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from cloud.devices.tables import Device, EnrolmentToken
from shared.enrolment import Token
from shared.errors import CapacityError, RefusedError
from shared.ids import Principal

OPEN_TOKENS_MAX: Final = 50_000
"""Enrolment tokens of one tenant that are good at one time."""


def create(
    session: Session,
    token: Token,
    *,
    tenant: str,
    device: str | None,
    labels: Mapping[str, str],
    ttl_s: int,
    now: datetime,
    needs_approval: bool = False,
    created_by: str = "",
    replaces: bool = False,
) -> EnrolmentToken:
    """Keep what is needed to recognise `token`. Raises `RefusedError` if the device's name is taken already, and it
    is not to be replaced."""
    if (
        device is not None
        and not replaces
        and session.get(Device, str(Principal(tenant, device))) is not None
    ):
        raise name_taken(Principal(tenant, device))
    row = EnrolmentToken(
        id=token.id,
        secret_sha256=secret_hash(token.secret),
        tenant=tenant,
        device=device,
        labels=dict(labels),
        created_at=now,
        expires_at=now + timedelta(seconds=ttl_s),
        needs_approval=needs_approval,
        created_by=created_by,
        replaces=replaces,
    )
    session.add(row)
    return row


def check_room(session: Session, tenant: str, count: int, *, now: datetime) -> None:
    """Raises `CapacityError` if `count` tokens more would be beyond `OPEN_TOKENS_MAX`."""
    good = select(func.count()).where(
        col(EnrolmentToken.tenant) == tenant,
        col(EnrolmentToken.used_at).is_(None),
        col(EnrolmentToken.revoked_at).is_(None),
        col(EnrolmentToken.expires_at) > now,
    )
    if session.exec(good).one() + count > OPEN_TOKENS_MAX:
        raise CapacityError(
            f"The tenant {tenant} may have {OPEN_TOKENS_MAX} enrolment tokens that nobody has used; revoke some with"
            " `covey-hub token revoke`, or wait until they end.",
            bound="OPEN_TOKENS_MAX",
            limit=OPEN_TOKENS_MAX,
        )


def revoke(
    session: Session, token_id: str, *, among: str | None, now: datetime
) -> tuple[EnrolmentToken, bool]:
    """Make a token good for nothing; the token, and whether that changed anything. `among`: None: of any tenant.

    Raises `RefusedError` (codes `token_missing`, `token_spent`): a device that came in with it is revoked itself.
    """
    row = session.get(EnrolmentToken, token_id, with_for_update=True, populate_existing=True)
    if row is None or (among is not None and row.tenant != among):
        raise RefusedError(
            f"There is no token {token_id}; `covey-hub token list` shows all.", code="token_missing"
        )
    if row.used_at is not None:
        raise RefusedError(
            f"Token {token_id} has been used; revoke the device with `covey-hub device revoke {row.used_by}`.",
            code="token_spent",
        )
    is_changed = row.revoked_at is None
    if is_changed:
        row.revoked_at = now
    return row, is_changed


def void_replacements(session: Session, device: Device, *, now: datetime) -> None:
    """Make every token good for nothing with which a board could take over the name, and which nobody has used."""
    session.execute(
        update(EnrolmentToken)
        .where(
            col(EnrolmentToken.tenant) == device.tenant,
            col(EnrolmentToken.device) == device.name,
            col(EnrolmentToken.replaces),
            col(EnrolmentToken.used_at).is_(None),
            col(EnrolmentToken.revoked_at).is_(None),
        )
        .values(revoked_at=now)
    )


def void(session: Session, now: datetime, *, tenant: str | None = None, makers: Sequence[str] = ()) -> None:
    """Make every token good for nothing that nobody has used: a tenant's, or those that `makers` (callers) made."""
    query = update(EnrolmentToken).where(
        col(EnrolmentToken.used_at).is_(None), col(EnrolmentToken.revoked_at).is_(None)
    )
    whose = (
        col(EnrolmentToken.created_by).in_(makers) if tenant is None else col(EnrolmentToken.tenant) == tenant
    )
    session.execute(query.where(whose).values(revoked_at=now))


def secret_hash(secret: bytes) -> str:
    """What is stored: 256 random bits need no slow hash."""
    return hashlib.sha256(secret).hexdigest()


def name_taken(principal: Principal) -> RefusedError:
    return RefusedError(f"There is a device {principal} already; choose another name.", code="device_exists")

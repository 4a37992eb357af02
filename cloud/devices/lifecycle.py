"""What an operator decides about a device: approve, quarantine, release, revoke. Works inside the caller's
transaction and never commits.

    pending ──approve──► active ◄──release── quarantined ──revoke──► revoked
       └──────────────────revoke───────────────────────────────────────┘

The device's row is locked first, so of two decisions at once, or of a decision and a message that is being taken, one
waits for the other. To decide what is decided already changes nothing. The gate reads the row with every message, so
from the commit on every process of the hub refuses the device; the broker follows (`cloud.devices.revocation`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.devices import repository
from cloud.devices.certificates import RevocationReason, release_certificates, revoke_certificates
from cloud.devices.presence import PresenceLimits
from cloud.devices.tables import (
    OPERATOR_REASON,
    REPLACED_REASON,
    Device,
    DeviceKey,
    DeviceSession,
    DeviceStatus,
)
from cloud.devices.tokens import void_replacements
from cloud.ingest.turn import CLONE_REASON, FORK_REASON, RESTORED_REASON
from cloud.journal.service import close_orders
from cloud.journal.tables import CloseReason
from cloud.recovery.repository import forked
from cloud.tasks.departure import leave
from cloud.tasks.orders import Changes
from shared.errors import RefusedError

RESOLVABLE: Final = (FORK_REASON, RESTORED_REASON, CLONE_REASON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """`before`: its status until now. `cuts`: whether its session at the broker is to end."""

    device: Device
    before: str
    is_changed: bool
    cuts: bool = False


def approve(session: Session, principal: str) -> Decided:
    """Let a device in that waits for it. Raises `RefusedError` (codes `device_unknown`, `device_not_pending`)."""
    device = repository.lock_device(session, principal)
    before = device.status
    if before == DeviceStatus.ACTIVE:
        return Decided(device=device, before=before, is_changed=False)
    if before != DeviceStatus.PENDING:
        raise RefusedError(
            f"Device {principal} is {before} and does not wait for approval.", code="device_not_pending"
        )
    device.status, device.status_reason = DeviceStatus.ACTIVE.value, None
    return Decided(device=device, before=before, is_changed=True)


def quarantine(session: Session, principal: str, *, now: datetime) -> Decided:
    """Refuse the device until it is released; its certificates are on hold, so the broker refuses it too.

    Work that it holds moves on like that of a device that is away. Raises `RefusedError` (codes `device_unknown`,
    `device_pending`, `device_revoked`).
    """
    device = repository.lock_device(session, principal)
    before = device.status
    if before == DeviceStatus.QUARANTINED and device.status_reason == OPERATOR_REASON:
        return Decided(device=device, before=before, is_changed=False)
    if before == DeviceStatus.PENDING:
        raise RefusedError(
            f"Device {principal} waits for approval and is refused anyway; revoke it if it shall never be let in.",
            code="device_pending",
        )
    if before == DeviceStatus.REVOKED:
        raise _revoked(principal)
    device.status, device.status_reason = DeviceStatus.QUARANTINED.value, OPERATOR_REASON
    revoke_certificates(session, principal, RevocationReason.HOLD, now=now)
    _disconnected(device, now)
    return Decided(device=device, before=before, is_changed=True, cuts=True)


def release(session: Session, principal: str) -> Decided:
    """Let a quarantined device in again.

    Raises `RefusedError` (codes `device_unknown`, `device_forked`, `device_pending`, `device_revoked`): what a fork
    began, only resolving it ends.
    """
    device = repository.lock_device(session, principal)
    before = device.status
    if before == DeviceStatus.ACTIVE:
        return Decided(device=device, before=before, is_changed=False)
    if before == DeviceStatus.PENDING:
        raise RefusedError(
            f"Device {principal} waits for approval; say `covey-hub device approve {principal}`.",
            code="device_pending",
        )
    if before == DeviceStatus.REVOKED:
        raise _revoked(principal)
    is_forked = bool(forked(session, principal=principal, limit=1))
    if device.status_reason == OPERATOR_REASON and is_forked:
        # The operator's part is over; what the fork began, resolving it ends.
        device.status_reason = FORK_REASON
        release_certificates(session, principal)
        return Decided(device=device, before=before, is_changed=True)
    if device.status_reason in RESOLVABLE or is_forked:
        raise RefusedError(
            f"A log of {principal} parts from the hub's ({device.status_reason}); see `covey-hub device forks"
            f" {principal}`, then say `covey-hub device resolve {principal}`.",
            code="device_forked",
        )
    device.status, device.status_reason = DeviceStatus.ACTIVE.value, None
    release_certificates(session, principal)
    return Decided(device=device, before=before, is_changed=True)


def revoke(
    session: Session,
    principal: str,
    *,
    presence: PresenceLimits,
    max_attempts: int,
    now: datetime,
    changes: Changes,
) -> Decided:
    """Refuse the device for good: its key, its certificates, its sessions; its work moves on, its orders log closes.

    Its name stays taken, but for a replacement. Raises `RefusedError` (code `device_unknown`).
    """
    device = repository.lock_device(session, principal)
    before = device.status
    void_replacements(session, device, now=now)
    if before == DeviceStatus.REVOKED and device.status_reason != REPLACED_REASON:
        return Decided(device=device, before=before, is_changed=False)
    device.status, device.status_reason = DeviceStatus.REVOKED.value, OPERATOR_REASON
    revoke_certificates(session, principal, RevocationReason.UNSPECIFIED, now=now)
    cut_off(session, device, now)
    session.flush()  # before the fleet is asked who may take over its work
    leave(
        session,
        principal,
        device.tenant,
        presence=presence,
        max_attempts=max_attempts,
        now=now,
        changes=changes,
    )
    close_orders(session, principal, CloseReason.REVOKED, now)
    return Decided(device=device, before=before, is_changed=True, cuts=True)


def cut_off(session: Session, device: Device, now: datetime) -> None:
    """Its key admits nothing more, its sessions end, and it is not there any more."""
    for key in session.exec(
        select(DeviceKey).where(DeviceKey.principal == device.principal, col(DeviceKey.until).is_(None))
    ):
        key.until = now
    for each in session.exec(select(DeviceSession).where(DeviceSession.principal == device.principal)):
        session.delete(each)
    _disconnected(device, now)


def _disconnected(device: Device, now: datetime) -> None:
    """Its session at the broker is ended by us: there is nothing to doubt."""
    device.broker_online, device.broker_at, device.died_at = False, now, None


def _revoked(principal: str) -> RefusedError:
    return RefusedError(
        f"Device {principal} is revoked for good; a new board may take its name over.", code="device_revoked"
    )

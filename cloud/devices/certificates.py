"""What the hub keeps of the certificates and signing keys that devices have and had. Decides nothing; never commits.

Enrolment, renewal and replacement all write through here, so that whatever was ever made for a device can be revoked.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import update
from sqlmodel import Session, col, select

from cloud.devices.tables import Device, DeviceCertificateRow, DeviceKey
from cloud.identity import DeviceCertificate
from cloud.journal.repository import IN_CHUNK
from cloud.revocation import EXPIRED_KEEP
from shared.keys import key_id


class RevocationReason(StrEnum):
    """Why a certificate is on the revocation list: a subset of RFC 5280, section 5.3.1, by its names there."""

    UNSPECIFIED = "unspecified"
    SUPERSEDED = "superseded"
    """Another one took its place: the device's renewed one, or that of the board which replaces it."""
    HOLD = "certificateHold"
    """For as long as its device is quarantined by an operator."""


def keep_certificate(
    session: Session, device: Device, made: DeviceCertificate, *, now: datetime
) -> DeviceCertificateRow:
    """Note a certificate that was just made for `device`, and that it is the device's present one."""
    row = DeviceCertificateRow(
        serial=made.serial,
        principal=device.principal,
        issuer_sha256=made.issuer_sha256,
        sha256=made.sha256,
        not_after=made.not_after,
        made_at=now,
    )
    session.add(row)
    device.certificate_sha256 = made.sha256
    device.certificate_not_after = made.not_after
    return row


def keep_key(session: Session, device: Device, public: bytes, *, now: datetime) -> DeviceKey:
    """Note the device's signing key; the one before it, if any, ends now and goes on verifying what it sealed."""
    session.execute(
        update(DeviceKey)
        .where(col(DeviceKey.principal) == device.principal, col(DeviceKey.until).is_(None))
        .values(until=now)
    )
    row = DeviceKey(kid=key_id(public), principal=device.principal, public=public, since=now)
    session.add(row)
    device.signing_kid, device.signing_public = row.kid, public
    return row


def revoke_certificates(
    session: Session, principal: str, reason: RevocationReason, *, now: datetime, spared: str | None = None
) -> int:
    """Put all certificates of a device on the revocation list; returns how many are new there.

    `spared`: the serial of one that stays good. What was on hold is then revoked for good, unless this is a hold.
    """
    is_listed = col(DeviceCertificateRow.revoked_at).is_not(None)
    ours = [col(DeviceCertificateRow.principal) == principal]
    if spared is not None:
        ours.append(col(DeviceCertificateRow.serial) != spared)
    if reason is not RevocationReason.HOLD:
        # The date stays: the list names since when.
        held = col(DeviceCertificateRow.reason) == RevocationReason.HOLD.value
        session.execute(update(DeviceCertificateRow).where(*ours, held).values(reason=reason.value))
    fresh = session.exec(select(DeviceCertificateRow).where(*ours, ~is_listed)).all()
    for row in fresh:
        row.revoked_at, row.reason = now, reason.value
    session.flush()
    return len(fresh)


def release_certificates(session: Session, principal: str) -> int:
    """Take the certificates of a device that were on hold off the list; returns how many."""
    held = session.exec(
        select(DeviceCertificateRow).where(
            DeviceCertificateRow.principal == principal,
            DeviceCertificateRow.reason == RevocationReason.HOLD.value,
        )
    ).all()
    for row in held:
        row.revoked_at, row.reason = None, None
    session.flush()
    return len(held)


def revoked(session: Session, *, now: datetime) -> Sequence[DeviceCertificateRow]:
    """Certificates that a revocation list must name, by serial; those that ended long ago need none."""
    return session.exec(
        select(DeviceCertificateRow)
        .where(
            col(DeviceCertificateRow.revoked_at).is_not(None),
            col(DeviceCertificateRow.not_after) > now - EXPIRED_KEEP,
        )
        .order_by(col(DeviceCertificateRow.serial))
    ).all()


def unrevoked(session: Session, serials: Sequence[str], *, now: datetime) -> list[str]:
    """The devices whose certificates of these serials (hexadecimal) are known, live and not revoked, by name."""
    found: set[str] = set()
    for first in range(0, len(serials), IN_CHUNK):
        found.update(
            session.exec(
                select(DeviceCertificateRow.principal).where(
                    col(DeviceCertificateRow.serial).in_(serials[first : first + IN_CHUNK]),
                    col(DeviceCertificateRow.revoked_at).is_(None),
                    col(DeviceCertificateRow.not_after) > now,
                )
            )
        )
    return sorted(found)

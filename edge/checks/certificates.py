"""Is the device's certificate its own, of its hub's authority, and valid for a while yet?"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from edge.checks.subject import Subject
from edge.identity import Identity, load_identity
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "certificates"
LIFE_LEFT_MIN: Final = 1 / 3
"""Of a certificate's life: with less it is time for a new one (DESIGN.md, section 6)."""


def check(subject: Subject) -> Iterator[Finding]:
    try:
        identity = load_identity(subject.settings.identity_dir)
        if identity is None:
            yield ok(
                NAME,
                "This device is not enrolled and works by itself; a token of a hub joins it:"
                f" `{subject.command('enroll --token TOKEN')}`.",
            )
            return
        own, authority = read_certificate(identity.certificate_path), read_certificate(identity.ca_path)
        fault = _fault(identity, own, authority)
    except ConfigError as error:
        yield fail(NAME, str(error), subject.enrol_again)
        return
    if fault is not None:
        yield fail(NAME, fault, subject.enrol_again)
        return
    yield judge(subject, own, authority, now=subject.clock.now())


def judge(subject: Subject, own: x509.Certificate, authority: x509.Certificate, *, now: datetime) -> Finding:
    """By the dates alone."""
    for what, certificate in (("The hub's authority", authority), ("The device's certificate", own)):
        if now >= certificate.not_valid_after_utc:
            return fail(
                NAME,
                f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: ask at the hub for a new token.",
                subject.enrol_again,
            )
        if now < certificate.not_valid_before_utc:
            return fail(
                NAME,
                f"{what} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and the clock"
                f" says {now:%Y-%m-%d %H:%M}: set the clock.",
                "sudo timedatectl set-ntp true",
            )
    life, left = own.not_valid_after_utc - own.not_valid_before_utc, own.not_valid_after_utc - now
    if left < life * LIFE_LEFT_MIN:
        return warn(
            NAME,
            f"The device's certificate expires on {own.not_valid_after_utc:%Y-%m-%d}, in {_days(left)}: ask at the hub"
            " for a new token before.",
            subject.enrol_again,
        )
    return ok(NAME, f"The device's certificate is valid until {own.not_valid_after_utc:%Y-%m-%d}.")


def read_certificate(path: Path) -> x509.Certificate:
    """Raises `ConfigError` if the file is not there or holds none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate.") from error


def _fault(identity: Identity, own: x509.Certificate, authority: x509.Certificate) -> str | None:
    """What does not belong together, if anything."""
    try:
        key = load_pem_private_key(identity.key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return f"{identity.key_path} holds no readable key."
    if key.public_key() != own.public_key():
        return f"{identity.key_path} is not the key of {identity.certificate_path}."
    names = [str(each.value) for each in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [str(identity.principal)]:
        return (
            f"The certificate is for {', '.join(names) or 'nobody'}, and the device is {identity.principal}."
        )
    try:
        own.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return f"{identity.certificate_path} is not from the authority in {identity.ca_path}."
    return None


def _days(left: timedelta) -> str:
    return "1 day" if left.days == 1 else f"{left.days} days"

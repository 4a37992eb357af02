"""Is the device's certificate its own, of its hub's authority, and valid for a while yet?"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from edge.checks.subject import Subject
from edge.core.renewal import LATE_AT, blame_clock
from edge.core.validity import Validity
from edge.identity import Identity, load_identity
from edge.key_files import PASSPHRASE, TLS_KEY
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "certificates"
MEND_CLOCK: Final = "sudo timedatectl set-ntp true"


def check(subject: Subject) -> Iterator[Finding]:
    try:
        identity = load_identity(subject.settings.identity_dir, subject.settings.identity_passphrase_file)
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
        yield fail(NAME, str(error), None if error.code == PASSPHRASE else subject.enrol_again)
        return
    if fault is not None:
        yield fail(NAME, fault, subject.enrol_again)
        return
    yield judge(subject, own, authority, now=subject.clock.now())


def judge(subject: Subject, own: x509.Certificate, authority: x509.Certificate, *, now: datetime) -> Finding:
    """By the dates alone. The device renews by itself (rule P25), so what is told here has failed for a while."""
    dates = _dates(own)
    problem = blame_clock(now, own=dates, authority=_dates(authority))
    if problem is not None:
        return fail(NAME, problem, MEND_CLOCK if now < dates.not_after else None)
    renew = subject.command("identity renew")
    until = f"{dates.not_after:%Y-%m-%d}"
    if now >= dates.not_after:
        return fail(
            NAME,
            f"The device's certificate ended on {until}, and the device could not renew it; if the hub refuses that,"
            " ask there for a token for a replacement.",
            renew,
        )
    if now >= dates.not_before + dates.life * LATE_AT:
        return warn(
            NAME,
            f"The device's certificate ends on {until}, in {_days(dates.not_after - now)}, and the device could not"
            " renew it yet.",
            renew,
        )
    return ok(NAME, f"The device's certificate is valid until {until}, and renewed before.")


def read_certificate(path: Path) -> x509.Certificate:
    """Raises `ConfigError` if the file is not there or holds none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate.") from error


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The device's own, and the authorities between it and the root. Raises `ConfigError` as `read_certificate`."""
    read_certificate(path)
    return x509.load_pem_x509_certificates(path.read_bytes())


def _fault(identity: Identity, own: x509.Certificate, authority: x509.Certificate) -> str | None:
    """What does not belong together, if anything."""
    try:
        key = identity.files.load_key(TLS_KEY)
    except ConfigError as error:
        if error.code == PASSPHRASE:
            raise
        return f"{identity.key_path} holds no readable key."
    if key.public_key() != own.public_key():
        return f"{identity.key_path} is not the key of {identity.certificate_path}."
    names = [str(each.value) for each in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [str(identity.principal)]:
        return (
            f"The certificate is for {', '.join(names) or 'nobody'}, and the device is {identity.principal}."
        )
    try:
        chain = [*read_certificates(identity.certificate_path), authority]
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return f"{identity.certificate_path} is not from the authority in {identity.ca_path}."
    return None


def _dates(certificate: x509.Certificate) -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _days(left: timedelta) -> str:
    return "1 day" if left.days == 1 else f"{left.days} days"

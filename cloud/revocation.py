"""Certificate revocation lists (RFC 5280, section 5): which certificates the broker must refuse. Pure.

One list for each authority under which certificates live, all in one PEM file, as OpenSSL and so every broker reads
it. Two properties of OpenSSL shape the lists:

* of two lists of one authority the one with the later `thisUpdate` counts, by whole seconds, and a broker that reads
  its file again keeps the old lists too: so each list is dated later than the one before it, also within a second;
* a list whose `nextUpdate` has passed, or whose `thisUpdate` lies ahead, makes it refuse everybody: so lists are good
  for years, and dated back.

What a list named once stays on it until its certificate must have ended, whatever the database says since: a database
that was put back to an older state must let nobody in again. A certificate on hold alone may leave it.

`PROBE_SERIAL` is on every list: whoever asks whether a broker obeys the list shows it a certificate of that number.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.keys.authorities import Issuer
from cloud.keys.certificates import LEAF_LIFE

LIST_LIFE: Final = timedelta(days=3_650)
RENEW_AFTER: Final = timedelta(days=1)
BACKDATED: Final = timedelta(days=60)
"""For clocks of brokers that are behind ours, and room for several lists within a second: a list that is not valid yet
makes a broker refuse everybody."""
STEP: Final = timedelta(seconds=1)
HOLD: Final = x509.ReasonFlags.certificate_hold.value
EXPIRED_KEEP: Final = timedelta(days=2)
"""A revoked certificate stays on the list for so long after it ended: a broker's clock may be behind ours."""
LISTED_KEEP: Final = LEAF_LIFE + EXPIRED_KEEP
"""Since it was revoked: no certificate lives on for longer."""
PROBE_SERIAL: Final = int.from_bytes(hashlib.sha256(b"covey/1/revoked-probe").digest()[:19])
"""152 bits, as a device's random one of 159 never is by chance."""
FILE_MAX_BYTES: Final = 67_108_864

_BLOCK: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """One certificate to be refused. `reason`: a name of RFC 5280, section 5.3.1."""

    serial: int
    issuer_sha256: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationLists:
    """What a file says: each authority's list, by the SHA-256 of its certificate, and in it each serial.

    `dated`: the latest date among them.
    """

    entries: Mapping[str, Mapping[int, Revoked]]
    dated: datetime

    @property
    def serials(self) -> frozenset[int]:
        """All that are named, whoever signed them."""
        return frozenset(serial for entries in self.entries.values() for serial in entries)

    def lasting(self, due: Iterable[Revoked], *, now: datetime) -> list[Revoked]:
        """What is named for good and is not `due` any more, though its certificate may live on."""
        known = {each.serial for each in due} | {PROBE_SERIAL}
        found = {
            serial: each
            for entries in self.entries.values()
            for serial, each in entries.items()
            if serial not in known and each.reason != HOLD and each.at > now - LISTED_KEEP
        }
        return [found[serial] for serial in sorted(found)]


def wanted(issuers: Sequence[Issuer], revoked: Iterable[Revoked]) -> dict[str, dict[int, Revoked | None]]:
    """What each authority's list is to name; None stands for the probe.

    A certificate whose authority is not among `issuers` goes on every list: a number too many hurts nobody.
    """
    lists: dict[str, dict[int, Revoked | None]] = {_name(issuer): {PROBE_SERIAL: None} for issuer in issuers}
    for each in revoked:
        for name in [each.issuer_sha256] if each.issuer_sha256 in lists else list(lists):
            lists[name][each.serial] = each
    return lists


def is_current(
    found: RevocationLists, issuers: Sequence[Issuer], revoked: Iterable[Revoked], *, now: datetime
) -> bool:
    """Whether a file still says what it should, and not since too long ago."""
    said = {
        name: {serial: each.reason for serial, each in entries.items()}
        for name, entries in found.entries.items()
    }
    due = {
        name: {serial: _reason(each) for serial, each in entries.items()}
        for name, entries in wanted(issuers, revoked).items()
    }
    return said == due and timedelta(0) <= now - found.dated < BACKDATED + RENEW_AFTER


def make_lists(
    issuers: Sequence[Issuer], revoked: Iterable[Revoked], *, before: datetime | None, now: datetime
) -> bytes:
    """The PEM file. `before`: the date of the lists whose place these take."""
    dated = (now - BACKDATED).replace(microsecond=0)
    if before is not None and before + STEP <= now:
        dated = max(dated, before + STEP)
    entries = wanted(issuers, revoked)
    return b"".join(_signed(issuer, entries[_name(issuer)], dated) for issuer in issuers)


def read_lists(pem: bytes, issuers: Sequence[Issuer]) -> RevocationLists | None:
    """What a file says, None if it is damaged: cut off, or changed. Lists of other authorities do not count."""
    blocks = _BLOCK.findall(pem)
    if not blocks or len(pem) > FILE_MAX_BYTES or b"".join(blocks) != pem:
        return None
    entries: dict[str, dict[int, Revoked]] = {}
    dates: list[datetime] = []
    for block in blocks:
        try:
            found = x509.load_pem_x509_crl(block)
            issuer = next((each for each in issuers if found.is_signature_valid(each.key.public_key())), None)
            if issuer is not None:
                name = _name(issuer)
                entries[name] = {each.serial_number: _entry(each, name) for each in found}
            dates.append(found.last_update_utc)
        except (ValueError, TypeError):
            return None
    return RevocationLists(entries=entries, dated=max(dates))


def _signed(issuer: Issuer, entries: Mapping[int, Revoked | None], dated: datetime) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(dated)
        .next_update(dated + LIST_LIFE)
        .add_extension(x509.CRLNumber(int(dated.timestamp())), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    for serial, each in sorted(entries.items()):
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(dated if each is None else each.at)
        )
        if (reason := _reason(each)) != x509.ReasonFlags.unspecified.value:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _name(issuer: Issuer) -> str:
    return issuer.certificate.fingerprint(hashes.SHA256()).hex()


def _reason(each: Revoked | None) -> str:
    return x509.ReasonFlags.unspecified.value if each is None else each.reason


def _entry(entry: x509.RevokedCertificate, issuer_sha256: str) -> Revoked:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        reason = x509.ReasonFlags.unspecified.value
    return Revoked(
        serial=entry.serial_number, issuer_sha256=issuer_sha256, at=entry.revocation_date_utc, reason=reason
    )

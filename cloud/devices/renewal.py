"""Renewing a device's certificate (rule P25): from a request that is surely the device's to a new certificate.

Decides; never commits. Whose the request is was settled before: over the link by the session, over HTTPS by
`renew_by_https` here. The certificate is for the request's own key, so repeating somebody's request brings nothing; how
often there is a new one is bounded, so it costs nothing either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete
from sqlmodel import Session, col, select

from cloud.audit.log import note
from cloud.caller import Caller, Means
from cloud.devices import certificates, repository, sealing
from cloud.devices.renewal_rules import RenewalRules
from cloud.devices.tables import Device, DeviceCertificateRow, DeviceStatus
from cloud.devices.trust import DeviceTrust, KeyCache
from cloud.identity import DeviceCertificate, leaf_key, parse_csr
from cloud.revocation import EXPIRED_KEEP
from shared.clock import to_ms
from shared.errors import CapacityError, ConfigError, CoveyError, ProtocolError, RefusedError
from shared.gate import Expected, Rejected, admit
from shared.ids import HUB, Principal
from shared.renewal import (
    RenewByHttps,
    RenewedCertificate,
    RenewRequest,
    RenewResponse,
    renewal_proof_input,
)

ACTION: Final = "device.renew"


class Certifier(Protocol):
    """The authority, as far as it is needed here. Called with a CSR that has come from `parse_csr`."""

    def certify_device(
        self, csr: x509.CertificateSigningRequest, principal: Principal, *, now: datetime, life: timedelta
    ) -> DeviceCertificate: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewals:
    """Who certifies, and by which rules."""

    certifier: Certifier
    rules: RenewalRules

    def renew(
        self, session: Session, device: Device, request: RenewRequest, *, now: datetime
    ) -> DeviceCertificate:
        """Certify the request's key for `device`, whose request it surely is.

        Raises `RefusedError` (code `device_not_active`, `key_exists`), `CapacityError` (code `renewed_lately`) and
        `ProtocolError` for a bad CSR.
        """
        self._check_may(session, device, now)
        csr = parse_csr_der(request.csr)
        _check_key_is_new(csr, device)
        made = self.certifier.certify_device(
            csr, Principal.parse(device.principal), now=now, life=self.rules.life
        )
        self._forget_ended(session, device, now)
        certificates.keep_certificate(session, device, made, now=now)
        if request.sealing_public is not None:
            sealing.set_key(session, device, request.sealing_public)
        return made

    def answer(
        self, session: Session, device: Device, request: RenewRequest, *, now: datetime
    ) -> tuple[RenewResponse, DeviceCertificate | None]:
        """The answer over the link: a refusal is one too."""
        try:
            made = self.renew(session, device, request, now=now)
        except CapacityError as error:
            refused = RenewResponse(nonce=request.nonce, refused=error.code, retry_after_s=error.limit)
            return refused, None
        except (RefusedError, ProtocolError, ConfigError) as error:
            return RenewResponse(nonce=request.nonce, refused=error.code), None
        response = RenewResponse(
            nonce=request.nonce, chain=_der_chain(made.pem), not_after_ms=to_ms(made.not_after)
        )
        return response, made

    def _check_may(self, session: Session, device: Device, now: datetime) -> None:
        if device.status != DeviceStatus.ACTIVE:
            raise RefusedError(
                f"The device is {device.status}; `covey-hub device show {device.principal}` says why.",
                code="device_not_active",
            )
        newest = session.exec(
            select(DeviceCertificateRow.made_at)
            .where(DeviceCertificateRow.principal == device.principal)
            .order_by(col(DeviceCertificateRow.made_at).desc())
            .limit(1)
        ).first()
        # A certificate from the future was made by a clock that was wrong; it must not lock the device out.
        if newest is not None and timedelta(0) <= now - newest < self.rules.interval:
            wait_s = max(1, int((self.rules.interval - (now - newest)).total_seconds()))
            raise CapacityError(
                f"The device got a certificate lately; ask again in {wait_s} s.",
                bound="device_renewal_interval_s",
                limit=wait_s,
                code="renewed_lately",
            )

    def _forget_ended(self, session: Session, device: Device, now: datetime) -> None:
        """Certificates that ended so long ago that they are good for nothing, not even for a renewal."""
        session.execute(
            delete(DeviceCertificateRow).where(
                col(DeviceCertificateRow.principal) == device.principal,
                col(DeviceCertificateRow.not_after) < now - self.rules.grace - EXPIRED_KEEP,
            )
        )


def renew_by_https(
    session: Session, body: RenewByHttps, renewals: Renewals, *, now: datetime, address: str
) -> RenewedCertificate:
    """As `Renewals.renew`, for who cannot connect to the broker.

    The request must be signed by the device's signing key, and proven by the key of a certificate that the hub made
    for this device, that was not revoked, and that did not end longer ago than the grace.

    Raises also what `check_request` does.
    """
    if session.get(Device, body.device) is not None:
        # What another transaction made of the device meanwhile, its revocation for one, is what counts.
        session.refresh(repository.lock_device(session, body.device))
    device, request = check_request(session, body, renewals.rules, now=now)
    made = renewals.renew(session, device, request, now=now)
    note_renewal(session, device, made, now=now, address=address)
    return RenewedCertificate(certificate_pem=made.pem, certificate_not_after=made.not_after)


def check_request(
    session: Session, body: RenewByHttps, rules: RenewalRules, *, now: datetime
) -> tuple[Device, RenewRequest]:
    """Whose request it is, and what it says.

    The route asks this before it opens a transaction that writes: strangers shall not queue for the write lock. Raises
    `RefusedError` with code `renewal_refused`, which tells nothing to who is not known yet, or `grace_over`, and
    `ProtocolError` for a request that is not for a new key.
    """
    device = session.get(Device, body.device)
    if device is None:
        raise _refused()
    request = _admitted(session, device, body)
    old = _certificate_of(body.certificate_pem)
    row = _row_of(session, device, old)
    if not _is_proven(old, body):
        raise _refused()
    if now >= row.not_after + rules.grace:
        raise RefusedError(
            f"The certificate ended on {row.not_after:%Y-%m-%d}, longer ago than the hub allows; enrol the device again"
            " with a token for its replacement.",
            code="grace_over",
        )
    if parse_csr_der(request.csr).public_key() == old.public_key():
        raise ProtocolError("A renewal is for a new key; make one.", code="csr_invalid")
    return device, request


def note_renewal(
    session: Session, device: Device, made: DeviceCertificate, *, now: datetime, address: str = ""
) -> None:
    """The entry in the audit log. Last in its transaction, as every entry."""
    caller = Caller(
        name=device.principal,
        tenant=device.tenant,
        permissions=frozenset(),
        means=Means.DEVICE,
        address=address,
    )
    note(
        session,
        caller,
        ACTION,
        device.principal,
        tenant=device.tenant,
        now=now,
        content=bytes.fromhex(made.sha256),
        detail={"serial": made.serial, "not_after_ms": to_ms(made.not_after)},
    )


def parse_csr_der(der: bytes) -> x509.CertificateSigningRequest:
    """As `cloud.identity.parse_csr`. Raises `ProtocolError` (code `csr_invalid`)."""
    try:
        pem = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()
    except ValueError as error:
        raise ProtocolError("The certificate request cannot be read.", code="csr_invalid") from error
    return parse_csr(pem)


def _check_key_is_new(csr: x509.CertificateSigningRequest, device: Device) -> None:
    key = leaf_key(csr)
    if isinstance(key, ed25519.Ed25519PublicKey) and key.public_bytes_raw() == device.signing_public:
        raise RefusedError("The signing key is not for TLS; make a key of its own.", code="key_exists")


def _admitted(session: Session, device: Device, body: RenewByHttps) -> RenewRequest:
    """What the envelope says, if it passes the gate (rule P8) as this device's word to the hub."""
    trust = DeviceTrust(session, {device.principal: device}, KeyCache())
    expected = Expected(message=RenewRequest, issuer=device.principal, audience=HUB, needs_session=False)
    verdict = admit(body.request, expected, trust)
    if isinstance(verdict, Rejected):
        raise _refused()
    return verdict.message


def _certificate_of(pem: str) -> x509.Certificate:
    """The first one, which is the device's own."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise _refused() from error


def _row_of(session: Session, device: Device, certificate: x509.Certificate) -> DeviceCertificateRow:
    sha256 = certificate.fingerprint(hashes.SHA256()).hex()
    row = session.exec(
        select(DeviceCertificateRow).where(
            DeviceCertificateRow.principal == device.principal, DeviceCertificateRow.sha256 == sha256
        )
    ).first()
    if row is None and sha256 == device.certificate_sha256:
        # Made by a hub that did not keep rows yet.
        return DeviceCertificateRow(
            serial=f"{certificate.serial_number:x}",
            principal=device.principal,
            issuer_sha256="",
            sha256=sha256,
            not_after=device.certificate_not_after,
            made_at=device.enrolled_at,
        )
    if row is None or row.revoked_at is not None:
        raise _refused()
    return row


def _is_proven(old: x509.Certificate, body: RenewByHttps) -> bool:
    data = renewal_proof_input(old.fingerprint(hashes.SHA256()), body.request)
    try:
        match old.public_key():
            case ec.EllipticCurvePublicKey() as key:
                key.verify(body.proof, data, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey() as key:
                key.verify(body.proof, data)
            case _:
                return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _der_chain(pem: str) -> tuple[bytes, ...]:
    found: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(pem.encode())
    return tuple(each.public_bytes(Encoding.DER) for each in found)


def _refused() -> CoveyError:
    return RefusedError(
        "The hub does not renew this certificate; if the device was not revoked, enrol it again with a token for its"
        " replacement.",
        code="renewal_refused",
    )

"""The device's certificate from the inside: asking for one, and judging the one that came.

Nothing here is trusted because it came from the hub: a certificate is stored only if it is this device's in every
respect. The library that reads certificates is imported in these functions alone; the daemon must stay small.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.core.validity import Validity
from shared.errors import ConfigError, ProtocolError
from shared.ids import Principal
from shared.renewal import CHAIN_MAX_CERTIFICATES

if TYPE_CHECKING:  # it brings every kind of key along
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

SCHEME: Final = "spiffe://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A certificate for people. `sha256` and `serial` are hexadecimal."""

    subject: str
    name: str
    issuer: str
    serial: str
    sha256: str
    validity: Validity


def make_tls_key() -> "PrivateKeyTypes":
    """P-256, of which every broker's TLS is capable."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def make_csr(key: "PrivateKeyTypes", principal: Principal) -> bytes:
    """DER. Raises `ConfigError` for a key that TLS has no use for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("The key for TLS is not an elliptic curve's.")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, str(principal))])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return csr.public_bytes(Encoding.DER)


def sign_with(key: "PrivateKeyTypes", data: bytes) -> bytes:
    """By the key of a certificate: ECDSA with SHA-256, or Ed25519. Raises `ConfigError` for another kind."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(hashes.SHA256()))
        case Ed25519PrivateKey():
            return key.sign(data)
        case _:
            raise ConfigError("The key of the device's certificate is of a kind that is not used here.")


def read_chain(path: Path) -> bytes:
    """The PEM in a file of the identity. Raises `ConfigError` if it cannot be read or holds no certificate."""
    try:
        pem = path.read_bytes()
        _load(pem)
        pem.decode("ascii")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, ConfigError) as error:
        raise ConfigError(
            f"{path} holds no readable certificate; restore it from a backup, or enrol this device again."
        ) from error
    return pem


def fingerprint(pem: bytes) -> bytes:
    """SHA-256 of the first certificate. Raises `ConfigError` if there is none."""
    return hashlib.sha256(_load(pem)[0].public_bytes(Encoding.DER)).digest()


def describe(pem: bytes) -> Described:
    """Of the first certificate. Raises `ConfigError` if there is none."""
    certificate = _load(pem)[0]
    return Described(
        subject=certificate.subject.rfc4514_string(),
        name=", ".join(_uris(certificate)),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        validity=_validity(certificate),
    )


def pem_of(chain: Sequence[bytes]) -> bytes:
    """DER to PEM. Raises `ProtocolError` for what are no certificates."""
    from cryptography import x509

    try:
        return b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in chain)
    except ValueError as error:
        raise ProtocolError("The hub's answer holds no certificate.") from error


def check_renewed(
    pem: bytes, *, key: "PrivateKeyTypes", old: bytes, authority: bytes, principal: Principal, now: datetime
) -> Validity:
    """Judge a certificate that came, with the chain behind it, against the `authority` that this device trusts.

    Raises `ProtocolError` unless it is over `key`, for this very device and nobody else, under the name that the
    certificate `old` has, no authority itself, for clients, from the authority or an issuer of it, and valid now.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    try:
        chain = _load(pem)
        own = chain[0]
        common_names = [each.value for each in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if own.public_key().public_bytes(*_SPKI) != key.public_key().public_bytes(*_SPKI):
            raise ProtocolError("The certificate that came is for another key.")
        if common_names != [str(principal)]:
            raise ProtocolError("The certificate that came is for another device.")
        if not _is_ours(_uris(own), _uris(_load(old)[0]), principal):
            raise ProtocolError("The certificate that came has another SPIFFE name than this device.")
        if own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ProtocolError("The certificate that came is an authority's.")
        uses = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
            raise ProtocolError("The certificate that came is not for clients.")
        _check_chain(chain, _load(authority), now)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, ConfigError) as error:
        raise ProtocolError("The certificate that came is not one of this protocol.") from error
    return _validity(own)


_SPKI: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_chain(chain: Sequence["Certificate"], anchors: Sequence["Certificate"], now: datetime) -> None:
    from cryptography import x509

    if len(chain) > CHAIN_MAX_CERTIFICATES:
        raise ProtocolError("The certificate that came has too long a chain.")
    for position, certificate in enumerate(chain):
        _check_dates(certificate, now)
        if position and not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ProtocolError("The chain of the certificate that came holds what is no authority.")
        for anchor in anchors:
            if _is_from(certificate, anchor):
                _check_dates(anchor, now)
                return
        if position + 1 < len(chain) and not _is_from(certificate, chain[position + 1]):
            break
    raise ProtocolError("The certificate that came is not from the hub's authority.")


def _check_dates(certificate: "Certificate", now: datetime) -> None:
    validity = _validity(certificate)
    if not validity.not_before <= now < validity.not_after:
        raise ProtocolError(
            f"The hub's certificate begins {validity.not_before:%Y-%m-%d %H:%M} and ends"
            f" {validity.not_after:%Y-%m-%d %H:%M}, and the clock says {now:%Y-%m-%d %H:%M} UTC: set the clock that is"
            " wrong, here or at the hub (sudo timedatectl set-ntp true).",
            code="clock",
        )


def _is_from(certificate: "Certificate", issuer: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_ours(names: Sequence[str], before: Sequence[str], principal: Principal) -> bool:
    if len(names) != 1 or (before and names != before):
        return False
    domain, _, path = names[0].removeprefix(SCHEME).partition("/")
    return names[0].startswith(SCHEME) and domain != "" and path == f"{principal.tenant}/{principal.device}"


def _uris(certificate: "Certificate") -> list[str]:
    """Every alternative name: one that is no URI counts as a name that none of ours is."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        str(name.value) if isinstance(name, x509.UniformResourceIdentifier) else repr(name) for name in names
    ]


def _validity(certificate: "Certificate") -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _load(pem: bytes) -> list["Certificate"]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError("This is no certificate.") from error

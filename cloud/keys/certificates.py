"""What the hub's X.509 certificates look like (RFC 5280): root, issuing authority, leaf. Pure: keys and times in.

A leaf is made from a public key and nothing else that its owner says: name, use and life are the hub's decision.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.errors import ConfigError, ProtocolError

ROOT_LIFE: Final = timedelta(days=7_305)
ISSUING_LIFE: Final = timedelta(days=1_096)
LEAF_LIFE: Final = timedelta(days=90)
BACKDATED: Final = timedelta(hours=24)
"""Certificates are valid from a day before they were made, for clocks that are a little behind. Not more: a device
renews at two thirds of the life that its certificate states."""
AUTHORITY_BACKDATED: Final = timedelta(days=366)
"""So much behind may the hub's clock be before it certifies nothing more."""
ROOT_NAME: Final = "Covey hub root"
ISSUING_NAME: Final = "Covey hub CA"
NAME_HEX_CHARS: Final = 8
HUB_CLOCK: Final = "hub_clock"

_KEY_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

LeafPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """ECDSA over P-256, as every key of an authority or of TLS here."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(
    key: ec.EllipticCurvePrivateKey, *, now: datetime, name: x509.Name | None = None
) -> x509.Certificate:
    """A self-signed root. `name`: of the one that is made anew over the same key."""
    subject = name or _name(f"{ROOT_NAME} {_short(key)}")
    return _authority(subject, subject, key.public_key(), key, path_length=1, now=now, until=now + ROOT_LIFE)


def make_issuing(
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
) -> x509.Certificate:
    """An authority below the root which signs leaves and nothing that signs. Its name is its own: by it it is found."""
    until = min(now + ISSUING_LIFE, root.not_valid_after_utc)
    subject = _name(f"{ISSUING_NAME} {_short(key)}")
    return _authority(subject, root.subject, key.public_key(), root_key, path_length=0, now=now, until=until)


def make_leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    public_key: LeafPublicKey,
    common_name: str,
    names: Sequence[x509.GeneralName],
    uses: Sequence[x509.ObjectIdentifier],
    now: datetime,
    life: timedelta = LEAF_LIFE,
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate that signs nothing, within its authority's life. `serial` None: a random one.

    Raises `ConfigError` (code `hub_clock`) at a time when the authority is not valid.
    """
    check_clock(ca, now)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(max(now - min(BACKDATED, life), ca.not_valid_before_utc))
        .not_valid_after(min(now + life, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def parse_csr(pem: str) -> x509.CertificateSigningRequest:
    """Raises `ProtocolError` (code `csr_invalid`) unless it is a CSR over a key we certify, signed by that key."""
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        leaf_key(csr)
        if not csr.is_signature_valid:
            raise ProtocolError("The certificate request is not signed by its own key.", code="csr_invalid")
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ProtocolError("The certificate request cannot be read.", code="csr_invalid") from error
    return csr


def leaf_key(csr: x509.CertificateSigningRequest) -> LeafPublicKey:
    """The key that a device wants certified. Raises `ProtocolError` for kinds that we do not certify."""
    match csr.public_key():
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()) as key:
            return key
        case ed25519.Ed25519PublicKey() as key:
            return key
        case _:
            raise ProtocolError(
                "The certificate request must be over a P-256, P-384 or Ed25519 key.", code="csr_invalid"
            )


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether `ca`'s key signed `certificate` under its name."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it is a root."""
    return certificate.issuer == certificate.subject and is_issued_by(certificate, certificate)


def may_have_authorities_below(certificate: x509.Certificate) -> bool:
    """Whether an issuing authority may stand below it. A root of the first layout may not: it signed leaves itself."""
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    return constraints.ca and (constraints.path_length is None or constraints.path_length > 0)


def check_clock(ca: x509.Certificate, now: datetime) -> None:
    """Nothing is certified at a time when the authority is not valid: either the clock is wrong or the authority.

    Raises `ConfigError` (code `hub_clock`).
    """
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        raise ConfigError(
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, and the hub's authority is valid from"
            f" {ca.not_valid_before_utc:%Y-%m-%d} to {ca.not_valid_after_utc:%Y-%m-%d}: set the clock"
            " (sudo timedatectl set-ntp true), or, if it is right, a new authority must be rolled out"
            " (`covey-hub keys rotate issuing`).",
            code=HUB_CLOCK,
        )


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of its DER, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def server_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """For what a server certificate is: the hosts, and this machine."""
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys([*hosts, "localhost", "127.0.0.1"]):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """Its subject alternative names."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def names_missing(certificate: x509.Certificate, hosts: Sequence[str]) -> list[str]:
    """Of the names under which the hub is called those that its server certificate is not for."""
    present = names_of(certificate)
    return [str(name.value) for name in server_names(hosts) if name not in present]


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    path_length: int,
    now: datetime,
    until: datetime,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - AUTHORITY_BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in allowed for use in _KEY_USAGES})


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _short(key: ec.EllipticCurvePrivateKey) -> str:
    """Tells authorities of one hub apart."""
    point = key.public_key().public_numbers()
    return hashlib.sha256(f"{point.x:x}.{point.y:x}".encode()).hexdigest()[:NAME_HEX_CHARS]

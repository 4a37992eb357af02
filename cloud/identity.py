"""Who the hub is: certificate authority, its own certificates, and its Ed25519 signing key. Files; blocking.

    ca.pem ca.key            ECDSA P-256, 10 years; signs everything below and nothing that may sign itself
    server.pem server.key    HTTPS and the broker's listener; made anew near its end or when the name changes
    client.pem client.key    the hub's own connection to the broker; common name `hub`
    signing.key              Ed25519 (rule P6): envelopes, acknowledgements and seals of the orders lanes
    derived.key              32 random bytes, from which keys are derived that are used inside the hub only

Keys never leave their files (0600). A device's certificate is made from the public key of its CSR and from nothing
else in it: name, use and life are the hub's decision.
"""

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.private_files import make_private_directory, read_private, write_private
from shared.errors import ConfigError, ProtocolError
from shared.ids import HUB, Principal
from shared.keys import Signer

CA_LIFE: Final = timedelta(days=3_652)
LEAF_LIFE: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
"""A hub certificate with less than this left is made anew."""
DERIVED_BYTES: Final = 32
BACKDATED: Final = timedelta(hours=24)
"""Certificates are valid from a day before: boards without a battery clock start in the past."""

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


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the identity's files are."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.directory / "ca.key"

    @property
    def server(self) -> Path:
        return self.directory / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.directory / "server.key"

    @property
    def client(self) -> Path:
        return self.directory / "client.pem"

    @property
    def client_key(self) -> Path:
        return self.directory / "client.key"

    @property
    def signing_key(self) -> Path:
        return self.directory / "signing.key"

    @property
    def derived_key(self) -> Path:
        return self.directory / "derived.key"


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A certificate made for a device."""

    pem: str
    sha256: str
    not_after: datetime


class Identity:
    """An opened identity. `open_identity` makes one."""

    def __init__(
        self,
        paths: Paths,
        *,
        ca: x509.Certificate,
        ca_key: ec.EllipticCurvePrivateKey,
        signer: Signer,
        master: bytes,
        trust_domain: str,
    ) -> None:
        self.paths = paths
        self.signer = signer
        self._master = master
        self.ca_pem = ca.public_bytes(Encoding.PEM).decode()
        self.ca_sha256 = hashlib.sha256(ca.public_bytes(Encoding.DER)).digest()
        self._ca = ca
        self._ca_key = ca_key
        self._trust_domain = trust_domain

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose within the hub; the same as long as `derived.key` is (RFC 5869)."""
        return HKDF(hashes.SHA256(), DERIVED_BYTES, salt=None, info=f"covey/1/{purpose}".encode()).derive(
            self._master
        )

    def renew(self, hosts: Sequence[str], *, now: datetime) -> bool:
        """Make the hub's own certificates anew, with new keys, where they are missing, unfit or near their end.

        `hosts`: names and addresses under which the hub is called; localhost and 127.0.0.1 always are. Whether any was
        made; who holds the old ones must load them again.
        """
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        paths, names = self.paths, _server_names(hosts)
        is_server_new = self._renew(paths.server, paths.server_key, names=names, use=server, now=now)
        is_client_new = self._renew(paths.client, paths.client_key, names=[], use=client, now=now)
        return is_server_new or is_client_new

    def certify_device(
        self,
        csr: x509.CertificateSigningRequest,
        principal: Principal,
        *,
        now: datetime,
        life: timedelta = LEAF_LIFE,
    ) -> DeviceCertificate:
        """A client certificate for `principal` over the CSR's key. The CSR must have come from `parse_csr`.

        It lets into the broker, and nothing more: who is a device is what enrolment writes into the database.
        """
        spiffe = f"spiffe://{self._trust_domain}/{principal.tenant}/{principal.device}"
        certificate = _sign(
            self._ca,
            self._ca_key,
            public_key=leaf_key(csr),
            common_name=str(principal),
            names=[x509.UniformResourceIdentifier(spiffe)],
            uses=[ExtendedKeyUsageOID.CLIENT_AUTH],
            now=now,
            life=life,
        )
        return DeviceCertificate(
            pem=certificate.public_bytes(Encoding.PEM).decode(),
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=certificate.not_valid_after_utc,
        )

    def _renew(
        self,
        path: Path,
        key_path: Path,
        *,
        names: Sequence[x509.GeneralName],
        use: x509.ObjectIdentifier,
        now: datetime,
    ) -> bool:
        pem, key_pem = read_private(path), read_private(key_path)
        if pem is not None and key_pem is not None:
            certificate, key = _load_certificate(path, pem), _load_key(key_path, key_pem)
            if (
                certificate.public_key() == key.public_key()
                and _is_from(certificate, self._ca)
                and certificate.not_valid_after_utc - now > RENEW_BEFORE
                and certificate.not_valid_before_utc <= now
                and _names(certificate) == list(names)
            ):
                return False
        fresh = ec.generate_private_key(ec.SECP256R1())
        made = _sign(
            self._ca,
            self._ca_key,
            public_key=fresh.public_key(),
            common_name=HUB,
            names=names,
            uses=[use],
            now=now,
        )
        # A crash in between leaves a pair that does not match, which the next call sees and makes anew.
        write_private(key_path, _private_pem(fresh))
        write_private(path, made.public_bytes(Encoding.PEM))
        return True


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


def open_identity(directory: Path, *, hosts: Sequence[str], trust_domain: str, now: datetime) -> Identity:
    """Load the identity; make what is missing and what is near its end. Raises `ConfigError` on damage.

    A CA or signing key that is half there is never replaced: every enrolled device hangs on it.
    """
    make_private_directory(directory)
    paths = Paths(directory)
    ca, ca_key = _open_ca(paths, now)
    signer = _open_signer(paths)
    master = _open_master(paths)
    identity = Identity(paths, ca=ca, ca_key=ca_key, signer=signer, master=master, trust_domain=trust_domain)
    identity.renew(hosts, now=now)
    return identity


def load_identity(directory: Path, *, trust_domain: str) -> Identity:
    """The identity as it lies there: nothing is made, renewed or judged by its dates.

    Raises `ConfigError` if a file is missing or damaged.
    """
    paths = Paths(directory)
    ca, ca_key = read_certificate(paths.ca), read_key(paths.ca_key)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or ca.public_key() != ca_key.public_key():
        raise ConfigError(
            f"{paths.ca} and {paths.ca_key} do not belong together; restore both from the backup."
        )
    signing_key = read_key(paths.signing_key)
    if not isinstance(signing_key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{paths.signing_key} is not an Ed25519 key; restore it from the backup.")
    return Identity(
        paths,
        ca=ca,
        ca_key=ca_key,
        signer=Signer(signing_key),
        master=_master_in(paths, _read(paths.derived_key)),
        trust_domain=trust_domain,
    )


def read_certificate(path: Path) -> x509.Certificate:
    """Raises `ConfigError` if the file is missing or holds none."""
    return _load_certificate(path, _read(path))


def read_key(path: Path) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    """Raises `ConfigError` if the file is missing or holds none of our kinds."""
    return _load_key(path, _read(path))


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether `ca`'s key signed `certificate` under its name."""
    return _is_from(certificate, ca)


def names_missing(certificate: x509.Certificate, hosts: Sequence[str]) -> list[str]:
    """Of the names under which the hub is called those that its server certificate is not for."""
    present = _names(certificate)
    return [str(name.value) for name in _server_names(hosts) if name not in present]


def _open_ca(paths: Paths, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    pem, key_pem = read_private(paths.ca), read_private(paths.ca_key)
    if key_pem is None and pem is None:
        key = ec.generate_private_key(ec.SECP256R1())
        # Key first: a certificate without its key would stop the next start, a key without certificate only this one.
        write_private(paths.ca_key, _private_pem(key))
        certificate = _self_signed(key, now)
        write_private(paths.ca, certificate.public_bytes(Encoding.PEM))
        return certificate, key
    if key_pem is None:
        raise ConfigError(f"{paths.ca_key} is missing; restore it from the backup of {paths.directory}.")
    loaded = _load_key(paths.ca_key, key_pem)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{paths.ca_key} is not an EC key; restore it from the backup.")
    if pem is None:
        certificate = _self_signed(loaded, now)
        write_private(paths.ca, certificate.public_bytes(Encoding.PEM))
        return certificate, loaded
    certificate = _load_certificate(paths.ca, pem)
    if certificate.public_key() != loaded.public_key():
        raise ConfigError(
            f"{paths.ca} and {paths.ca_key} do not belong together; restore both from the backup."
        )
    if certificate.not_valid_after_utc <= now:
        raise ConfigError(
            f"The certificate authority in {paths.ca} has expired; a new one must be rolled out."
        )
    return certificate, loaded


def _open_signer(paths: Paths) -> Signer:
    pem = read_private(paths.signing_key)
    if pem is None:
        key = ed25519.Ed25519PrivateKey.generate()
        write_private(paths.signing_key, _private_pem(key))
        return Signer(key)
    loaded = _load_key(paths.signing_key, pem)
    if not isinstance(loaded, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{paths.signing_key} is not an Ed25519 key; restore it from the backup.")
    return Signer(loaded)


def _open_master(paths: Paths) -> bytes:
    found = read_private(paths.derived_key)
    if found is None:
        write_private(paths.derived_key, secrets.token_bytes(DERIVED_BYTES))
        found = read_private(paths.derived_key) or b""
    return _master_in(paths, found)


def _master_in(paths: Paths, found: bytes) -> bytes:
    if len(found) != DERIVED_BYTES:
        raise ConfigError(f"{paths.derived_key} is damaged; restore it from the backup.")
    return found


def _server_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys([*hosts, "localhost", "127.0.0.1"]):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _sign(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    public_key: LeafPublicKey,
    common_name: str,
    names: Sequence[x509.GeneralName],
    uses: Sequence[x509.ObjectIdentifier],
    now: datetime,
    life: timedelta = LEAF_LIFE,
) -> x509.Certificate:
    not_after = min(now + life, ca.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATED, ca.not_valid_before_utc))
        .not_valid_after(not_after)
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


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Covey hub CA")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in allowed for use in _KEY_USAGES})


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _is_from(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path, pem: bytes) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a readable key; restore it from the backup.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path} is not a key of the hub; restore it from the backup.")
    return key


def _read(path: Path) -> bytes:
    pem = read_private(path)
    if pem is None:
        raise ConfigError(f"{path} is missing; restore it from the backup of {path.parent}.")
    return pem


def _load_certificate(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError(f"{path} is not a readable certificate; restore it from the backup.") from error

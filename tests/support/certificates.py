"""Throw-away certificate authorities for tests of mutual TLS; real hubs make theirs in `cloud.identity`."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.broker import BrokerCertificates


@dataclass(frozen=True, slots=True)
class Leaf:
    """Paths of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """One CA with its files in `directory`."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = generate_private_key(SECP256R1())
        certificate = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.path = directory / "ca.crt"
        self.path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, common_name: str, *, span: tuple[dt.datetime, dt.datetime] | None = None) -> Leaf:
        """A certificate for a client of that name, or for a server on 127.0.0.1; valid now, or in that `span`."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = _builder(subject, self._name, key, span).add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        leaf = Leaf(self._directory / f"{common_name}.crt", self._directory / f"{common_name}.key")
        leaf.certificate.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        leaf.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return leaf

    def for_broker(self, *, span: tuple[dt.datetime, dt.datetime] | None = None) -> BrokerCertificates:
        leaf = self.issue("broker", span=span)
        return BrokerCertificates(authority=self.path, certificate=leaf.certificate, key=leaf.key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    span: tuple[dt.datetime, dt.datetime] | None = None,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    begin, end = span or (now - dt.timedelta(minutes=5), now + dt.timedelta(hours=1))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )

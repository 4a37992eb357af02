"""A renewed certificate is stored only if it is this device's in every respect (rule P25)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.certificates import check_renewed, read_chain
from edge.core.validity import Validity
from shared.errors import ConfigError, ProtocolError
from shared.ids import Principal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PRINCIPAL = Principal("main", "fridge")
SPIFFE = "spiffe://covey.internal/main/fridge"
Key = ec.EllipticCurvePrivateKey


def make_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


ROOT_KEY, ISSUING_KEY, DEVICE_KEY, OTHER_KEY = (make_key() for _ in range(4))


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    key: Key,
    signer: Key,
    *,
    subject: str = str(PRINCIPAL),
    issuer: str = "root",
    names: list[x509.GeneralName] | None = None,
    is_ca: bool = False,
    use: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    begin: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if use is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    for_whom = [x509.UniformResourceIdentifier(SPIFFE)] if names is None else names
    if for_whom:
        builder = builder.add_extension(x509.SubjectAlternativeName(for_whom), critical=False)
    return builder.sign(signer, hashes.SHA256())


def authority(key: Key, signer: Key, subject: str, **more: Any) -> x509.Certificate:
    return certificate(key, signer, subject=subject, names=[], use=None, **{"is_ca": True, **more})


def pem(*chain: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in chain)


ROOT = authority(ROOT_KEY, ROOT_KEY, "root", end=NOW + timedelta(days=3_000))
ISSUING = authority(ISSUING_KEY, ROOT_KEY, "issuing")
OLD = certificate(OTHER_KEY, ROOT_KEY)


def checked(*chain: x509.Certificate, now: datetime = NOW) -> Validity:
    return check_renewed(
        pem(*chain), key=DEVICE_KEY, old=pem(OLD), authority=pem(ROOT), principal=PRINCIPAL, now=now
    )


def test_a_certificate_of_the_authority_is_taken() -> None:
    """P25"""
    validity = checked(certificate(DEVICE_KEY, ROOT_KEY))
    assert validity.not_after == NOW + timedelta(days=30)


def test_a_certificate_of_an_issuer_of_the_authority_is_taken_with_its_chain() -> None:
    """P25"""
    own = certificate(DEVICE_KEY, ISSUING_KEY, issuer="issuing")
    checked(own, ISSUING)
    with pytest.raises(ProtocolError, match="not from the hub's authority"):
        checked(own)


Wrong = Callable[[], list[x509.Certificate]]

WRONG: dict[str, tuple[Wrong, str]] = {
    "another key": (lambda: [certificate(OTHER_KEY, ROOT_KEY)], "another key"),
    "another device": (lambda: [certificate(DEVICE_KEY, ROOT_KEY, subject="main.oven")], "another device"),
    "a wildcard": (lambda: [certificate(DEVICE_KEY, ROOT_KEY, subject="main.*")], "another device"),
    "another SPIFFE name": (
        lambda: [
            certificate(
                DEVICE_KEY,
                ROOT_KEY,
                names=[x509.UniformResourceIdentifier("spiffe://covey.internal/main/oven")],
            )
        ],
        "SPIFFE",
    ),
    "another trust domain": (
        lambda: [
            certificate(
                DEVICE_KEY,
                ROOT_KEY,
                names=[x509.UniformResourceIdentifier("spiffe://evil.example/main/fridge")],
            )
        ],
        "SPIFFE",
    ),
    "two names": (
        lambda: [
            certificate(
                DEVICE_KEY,
                ROOT_KEY,
                names=[x509.UniformResourceIdentifier(SPIFFE), x509.DNSName("localhost")],
            )
        ],
        "SPIFFE",
    ),
    "no SPIFFE name": (lambda: [certificate(DEVICE_KEY, ROOT_KEY, names=[])], "SPIFFE"),
    "an authority": (lambda: [certificate(DEVICE_KEY, ROOT_KEY, is_ca=True)], "authority's"),
    "for servers": (
        lambda: [certificate(DEVICE_KEY, ROOT_KEY, use=ExtendedKeyUsageOID.SERVER_AUTH)],
        "not for clients",
    ),
    "for no use": (lambda: [certificate(DEVICE_KEY, ROOT_KEY, use=None)], "not one of this protocol"),
    "of another authority": (lambda: [certificate(DEVICE_KEY, OTHER_KEY)], "not from the hub's authority"),
    "signed by itself": (
        lambda: [certificate(DEVICE_KEY, DEVICE_KEY, issuer=str(PRINCIPAL))],
        "not from the hub's authority",
    ),
    "of an issuer that is no authority": (
        lambda: [
            certificate(DEVICE_KEY, ISSUING_KEY, issuer="issuing"),
            authority(ISSUING_KEY, ROOT_KEY, "issuing", is_ca=False),
        ],
        "no authority",
    ),
    "of an issuer that ended": (
        lambda: [
            certificate(DEVICE_KEY, ISSUING_KEY, issuer="issuing"),
            authority(ISSUING_KEY, ROOT_KEY, "issuing", end=NOW),
        ],
        "set the clock",
    ),
    "not valid yet": (
        lambda: [certificate(DEVICE_KEY, ROOT_KEY, begin=NOW + timedelta(days=1))],
        "set the clock",
    ),
    "ended": (
        lambda: [certificate(DEVICE_KEY, ROOT_KEY, begin=NOW - timedelta(days=2), end=NOW)],
        "set the clock",
    ),
    "a chain that is too long": (
        lambda: [certificate(DEVICE_KEY, ISSUING_KEY, issuer="issuing"), *[ISSUING] * 4],
        "too long",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_certificate_that_is_not_ours_in_every_respect_is_refused(how: str) -> None:
    """P25"""
    make, words = WRONG[how]
    with pytest.raises(ProtocolError, match=words):
        checked(*make())


@pytest.mark.parametrize("year", [1970, 2010, 2090])
def test_no_certificate_is_taken_because_a_clock_is_wrong(year: int) -> None:
    with pytest.raises(ProtocolError, match=f"the clock says {year}-01-01") as refused:
        checked(certificate(DEVICE_KEY, ROOT_KEY), now=datetime(year, 1, 1, tzinfo=UTC))
    assert refused.value.code == "clock"


@pytest.mark.parametrize("junk", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        check_renewed(junk, key=DEVICE_KEY, old=pem(OLD), authority=pem(ROOT), principal=PRINCIPAL, now=NOW)


@pytest.mark.parametrize("data", [None, b"", pem(ROOT)[:120], b"\xff\xfe"])
def test_a_file_that_holds_no_certificate_is_named_with_what_to_do(
    data: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "device.crt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        read_chain(path)
    assert str(path) in str(refused.value)
    assert data is None or "enrol this device again" in str(refused.value)


def test_a_sound_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "device.crt").write_bytes(pem(ISSUING, ROOT))
    assert read_chain(tmp_path / "device.crt") == pem(ISSUING, ROOT)

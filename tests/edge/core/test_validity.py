"""The dates of a certificate as `edge.core.validity` reads them are those that a real library wrote."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.validity import Validity, validity_of
from shared.errors import ProtocolError

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "main.fridge")])


def certificate(begin: datetime, end: datetime, *, serial: int = 1) -> bytes:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(KEY.public_key())
    made = builder.serial_number(serial).not_valid_before(begin).not_valid_after(end)
    return made.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


@settings(max_examples=40)
@given(
    offset_s=st.integers(-2_000_000_000, 20_000_000_000),
    life=st.timedeltas(timedelta(seconds=1), timedelta(days=40_000)),
    serial=st.integers(1, 2**158),
)
def test_dates_of_any_century_are_read(offset_s: int, life: timedelta, serial: int) -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=offset_s)
    end = begin + timedelta(seconds=int(life.total_seconds()))
    assert validity_of(certificate(begin, end, serial=serial)) == Validity(begin, end)


def test_of_several_certificates_the_first_counts_and_what_is_around_them_does_not(tmp_path: Path) -> None:
    one = certificate(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    two = certificate(datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
    assert validity_of(b"said a person\n" + one + two) == validity_of(one)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        certificate(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))[:120],
    ],
)
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(ProtocolError):
        validity_of(pem)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    import base64

    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(body) + b"\n-----END CERTIFICATE-----"
    with pytest.raises(ProtocolError):
        validity_of(pem)

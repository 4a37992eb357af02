"""From when until when a certificate is valid, read off its bytes. Pure, and without `cryptography.x509`.

The daemon looks at its own certificate's dates all its life, and at nothing else of it: the library that reads whole
certificates would cost it memory for that. Only for files that were verified when they were stored; whether a
certificate is to be trusted is not decided here.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.errors import ProtocolError

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_VERSION: Final = 0xA0
_YEAR_DIGITS: Final = {0x17: 2, 0x18: 4}
"""UTCTime and GeneralizedTime (RFC 5280, section 4.1.2.5)."""
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Validity:
    """Aware, in UTC. The last second is `not_after`."""

    not_before: datetime
    not_after: datetime

    @property
    def life(self) -> timedelta:
        return self.not_after - self.not_before


def validity_of(pem: bytes) -> Validity:
    """Of the first certificate in a PEM file. Raises `ProtocolError` if there is none."""
    _, begin, rest = pem.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    try:
        if not begin or not end:
            raise ValueError("no certificate")
        certificate, _ = _open(base64.b64decode(b"".join(body.split()), validate=True), _SEQUENCE)
        fields, _ = _open(certificate, _SEQUENCE)
        if fields[:1] == bytes([_VERSION]):
            _, fields = _open(fields, _VERSION)
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, algorithm, issuer
            _, fields = _open(fields, tag)
        dates, _ = _open(fields, _SEQUENCE)
        not_before, dates = _time(dates)
        not_after, _ = _time(dates)
    except (ValueError, IndexError, binascii.Error) as error:
        raise ProtocolError("This is no certificate.") from error
    return Validity(not_before, not_after)


def _time(data: bytes) -> tuple[datetime, bytes]:
    tag = data[0]
    if tag not in _YEAR_DIGITS:
        raise ValueError("no time")
    content, rest = _open(data, tag)
    year_digits = _YEAR_DIGITS[tag]
    year, digits = int(content[:year_digits]), content[year_digits:-1]
    if len(digits) != 10 or content[-1:] != b"Z":
        raise ValueError("another form of time")
    if year_digits == 2:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 10, 2))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC), rest


def _open(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Content of the element that `data` begins with, and what follows it (DER, X.690)."""
    if data[0] != tag:
        raise ValueError("another element")
    length, start = data[1], 2
    if length >= 0x80:
        start += length - 0x80
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("cut short")
    return data[start : start + length], data[start + length :]

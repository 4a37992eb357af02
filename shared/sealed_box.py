"""Secrets for one device: encrypted to its X25519 key, so that nobody between the person and the device reads them
(rule P26). Pure.

The scheme is HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; a box is the
ephemeral public key (32 bytes), the ciphertext and its tag (16 bytes). The context (device, name, version) is HPKE's
`info`: a box that was made for one device, name or version opens as no other.

    sealing = Sealing(device="main.till", name="POS_TOKEN", version=3)
    box = seal_secret(device.sealing_public, "hunter2-hunter2", sealing)
    assert open_secret(private, box, sealing) == "hunter2-hunter2"
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.cbor import encode
from shared.errors import CapacityError, ProtocolError, RefusedError

if TYPE_CHECKING:  # who opens no box does without these libraries
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

SEALING_PUBLIC_BYTES: Final = 32
BOX_OVERHEAD_BYTES: Final = 48
BOX_MAX_BYTES: Final = 4_096
SECRET_MAX_BYTES: Final = BOX_MAX_BYTES - BOX_OVERHEAD_BYTES
"""Of a value in UTF-8; enough for a private key in PEM."""
SECRET_MIN_CHARS: Final = 8
"""A shorter value cannot be scrubbed from results without scrubbing words along with it."""
SECRET_MIN_DIFFERENT: Final = 4
"""Different characters: a value like `00000000` would be found everywhere."""
SECRET_NAME_PATTERN: Final = r"^[A-Z][A-Z0-9_]{0,63}$"

_CONTEXT: Final = "covey/1/secret"
_NAME: Final = re.compile(SECRET_NAME_PATTERN)
# U+0000 ends a text in many a tool; half of a surrogate pair is no character.
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What a box is bound to. `device`: the principal. `version`: the hub's count for this device and name."""

    device: str
    name: str
    version: int

    def info(self) -> bytes:
        return encode([_CONTEXT, self.device, self.name, self.version])


def check_name(name: str) -> str:
    """Raises `RefusedError` (code `secret_name_invalid`) unless it is a name for a secret."""
    if not _NAME.fullmatch(name):
        raise RefusedError(
            "A secret's name has capital letters, digits and _, begins with a letter and has at most 64"
            " characters, like POS_TOKEN.",
            code="secret_name_invalid",
        )
    return name


def check_value(value: str) -> str:
    """Raises `RefusedError` (code `secret_value_invalid`) or `CapacityError` for a value that could not be kept.

    The message never shows it.
    """
    if _UNUSABLE.search(value):
        raise RefusedError("A secret is text without NUL characters.", code="secret_value_invalid")
    if len(value) < SECRET_MIN_CHARS or len(set(value)) < SECRET_MIN_DIFFERENT:
        raise RefusedError(
            f"A secret has at least {SECRET_MIN_CHARS} characters, {SECRET_MIN_DIFFERENT} of them different: a shorter"
            " one could not be told from other text when results are scrubbed.",
            code="secret_value_invalid",
        )
    if len(value.encode()) > SECRET_MAX_BYTES:
        raise CapacityError(
            f"A secret has at most {SECRET_MAX_BYTES} bytes.",
            bound="SECRET_MAX_BYTES",
            limit=SECRET_MAX_BYTES,
            code="secret_too_large",
        )
    return value


def seal_secret(public: bytes, value: str, sealing: Sealing) -> bytes:
    """A box that only the holder of the private half of `public` (32 raw bytes) opens.

    Raises `ProtocolError` for a key that is none, and what `check_value` raises.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    check_value(value)
    try:
        return _suite().encrypt(
            value.encode(), X25519PublicKey.from_public_bytes(public), info=sealing.info()
        )
    except ValueError as error:  # of a wrong length, or a point of small order (RFC 7748, section 6.1)
        raise ProtocolError(
            "The device's sealing key is no X25519 key.", code="sealing_key_invalid"
        ) from error


def open_secret(private: "X25519PrivateKey", box: bytes, sealing: Sealing) -> str:
    """The value. Raises `ProtocolError` (code `box_unreadable`) if it is not for this key and this context."""
    from cryptography.exceptions import InvalidTag

    if not BOX_OVERHEAD_BYTES < len(box) <= BOX_MAX_BYTES:
        raise ProtocolError("The sealed secret has no possible length.", code="box_unreadable")
    try:
        return _suite().decrypt(box, private, info=sealing.info()).decode()
    except (InvalidTag, ValueError) as error:
        raise ProtocolError(
            "The sealed secret is not for this device's key, or not under this name.", code="box_unreadable"
        ) from error


def _suite() -> "Suite":
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)

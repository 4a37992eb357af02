"""Signing keys and who is trusted with which (rule P6). One scheme: Ed25519 (RFC 8032), keys of 32 raw bytes.

A key id is the first 8 bytes of the SHA-256 of the raw public key. It only finds the key; trust comes from the
`TrustView`, never from a message. A key of the hub's is trusted for one purpose; how one follows another is
`shared.keychain`'s business (rule P23).
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import ProtocolError

KEY_ID_BYTES: Final = 8
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class Purpose(StrEnum):
    """What a key of the hub's may sign. A signature for one never counts for another (rule P23)."""

    ORDERS = "orders"
    """Replication: orders, acknowledgements, answers to hellos, the word on whether the hub is there."""
    POLICY = "policy"
    AUDIT = "audit"


def key_id(public: bytes) -> bytes:
    """The short name of a raw public key."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


class Signer:
    """A private key that signs for one owner."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes_raw()
        self._kid = key_id(self._public)

    @property
    def public(self) -> bytes:
        """The raw public key."""
        return self._public

    @property
    def kid(self) -> bytes:
        """The id of the public key."""
        return self._kid

    @property
    def current(self) -> "Signer":
        """This key; of a signer that stands for a succession of keys, the one that signs now.

        Whoever names the key in what it then signs takes this first, so that both are the same key.
        """
        return self

    def sign(self, data: bytes) -> bytes:
        """A 64-byte Ed25519 signature over `data`."""
        return self._private.sign(data)


class TrustedKey:
    """A public key, its owner, and whether it has been revoked. Construct once and keep: parsing a key is not free."""

    __slots__ = ("_public", "is_revoked", "kid", "owner", "public", "purpose")

    def __init__(
        self, *, owner: str, public: bytes, is_revoked: bool = False, purpose: Purpose = Purpose.ORDERS
    ) -> None:
        """`purpose`: what it may sign; a device has one key, with which it takes part in replication.

        Raises `ProtocolError` if `public` is not a raw Ed25519 public key of 32 bytes."""
        try:
            self._public = Ed25519PublicKey.from_public_bytes(public)
        except ValueError as error:
            raise ProtocolError("The public key is not a raw Ed25519 key of 32 bytes.") from error
        self.owner = owner
        self.public = public
        self.kid = key_id(public)
        self.is_revoked = is_revoked
        self.purpose = purpose

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's over exactly `data`."""
        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class TrustView(Protocol):
    """Which keys the reader trusts right now."""

    def key(self, kid: bytes) -> TrustedKey | None:
        """The key of that id, also if revoked, or None if it was never trusted."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRing:
    """A fixed `TrustView` over some keys."""

    keys: tuple[TrustedKey, ...]

    def key(self, kid: bytes) -> TrustedKey | None:
        return next((key for key in self.keys if key.kid == kid), None)

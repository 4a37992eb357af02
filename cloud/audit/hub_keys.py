"""The hub's keys as the audit trail needs them: with which it signs now, and how anybody verifies what it ever signed.

Everything follows from the root's public key: the chain of statements (rule P23, `shared.keychain`) leads from it to
each key that ever signed a head. So an export carries root and chain, and whoever knows the root's fingerprint needs
to believe nothing else in it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from cloud.identity import Identity
from shared.errors import ProtocolError
from shared.keychain import ChainRefusal, RootKey, ever, follow, revoked_by_root
from shared.keys import KeyRing, Purpose, Signer, TrustedKey

ROOT_MAX_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class AuditRing(KeyRing):
    """Every key that ever signed heads, oldest first; as a `TrustView` it trusts all of them. `replaced`: ids of those
    that the root has replaced, since they were lost or stolen: what they sign after their successor counts for nothing.
    """

    replaced: frozenset[bytes] = frozenset()

    def number(self, kid: bytes) -> int:
        """The place of a key in the succession, from 0. Raises `KeyError`."""
        for number, key in enumerate(self.keys):
            if key.kid == kid:
                return number
        raise KeyError(kid)

    def present(self) -> KeyRing:
        """As whoever knows the whole chain trusts them: those that the root has replaced are revoked."""
        return KeyRing(
            tuple(
                TrustedKey(
                    owner=key.owner,
                    public=key.public,
                    purpose=key.purpose,
                    is_revoked=key.kid in self.replaced,
                )
                for key in self.keys
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditKeys:
    """`signer`: the key for `Purpose.AUDIT` that signs now. `root`: the root's public key (DER, SubjectPublicKeyInfo).
    `statements`: the chain from it, oldest first."""

    signer: Signer
    root: bytes
    statements: tuple[bytes, ...]

    @property
    def root_fingerprint(self) -> bytes:
        return fingerprint(self.root)

    def ring(self) -> AuditRing:
        """Raises as `ring_of`."""
        return ring_of(self.root, self.statements)


def keys_of(identity: Identity) -> AuditKeys:
    """As the hub's identity has them now."""
    public = identity.root.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return AuditKeys(
        signer=identity.signer_for(Purpose.AUDIT),
        root=root_bytes(public),
        statements=tuple(link.raw for link in identity.chain.links),
    )


def fingerprint(root: bytes) -> bytes:
    """SHA-256 of the root's public key (DER): by this people compare and pin it."""
    return hashlib.sha256(root).digest()


def root_bytes(public: ec.EllipticCurvePublicKey) -> bytes:
    """The root's public key as exports carry it."""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ring_of(root: bytes, statements: Sequence[bytes]) -> AuditRing:
    """Every key that may ever have signed a head. Raises `ProtocolError` if the chain does not follow from the root."""
    try:
        if len(root) > ROOT_MAX_BYTES:
            raise ValueError(root[:0])
        public = load_der_public_key(root)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise TypeError(type(public).__name__)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProtocolError("The hub's root key cannot be read.", code="bad_root") from error
    chain = follow(statements, root=RootKey(public))
    if isinstance(chain, ChainRefusal):
        raise ProtocolError(f"The hub's keys do not follow from its root: {chain.sentence}", code="bad_keys")
    return AuditRing(tuple(ever(chain, Purpose.AUDIT)), frozenset(revoked_by_root(chain)))

"""How the hub's signing keys follow one another (rule P23). Pure: bytes and values in, values out.

A key is brought in by a statement: `{purpose, number, public, previous, at_ms}` in an envelope of its own content type.
Number 1 of each purpose is signed by the root; each later one by the key before it, or by the root when that key is
lost or stolen. Whoever has the root's public key can follow the chain from any point to the newest keys, so a device
that slept through any number of rotations needs nothing else.

    chain = follow(unpack(raw).statements, root=root, held=chain)     # KeyChain, or a ChainRefusal that says why
    trust = HubTrust(chain)

The chain travels whole in one retained message (`topics.HUB_KEYS`), which needs no signature: each statement has one.
What the root says outranks what a key says: a thief of a key can make a successor, and the root overrides it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.cbor import decode, encode
from shared.clock import MAX_MS
from shared.envelope import EDDSA, ES256, PROTOCOL_VERSION, Envelope, Header, is_signed_by, seal, unwrap
from shared.errors import ProtocolError
from shared.gate import MESSAGE_MAX_BYTES
from shared.ids import EVERYONE, HUB
from shared.keys import KEY_ID_BYTES, PUBLIC_KEY_BYTES, Purpose, Signer, TrustedKey, key_id
from shared.messages import Payload

if TYPE_CHECKING:  # a device that is idle does without this kind of key
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CURVE: Final = "secp256r1"

STATEMENTS_MAX: Final = 256
"""In one chain; they fit one message. With three purposes and a rotation each quarter that is twenty years."""
STATEMENT_MAX_BYTES: Final = 440
ROOT_MAX_BYTES: Final = 4_096
NUMBER_BYTES: Final = 8
COORDINATE_BYTES: Final = 32
"""Of a P-256 signature as COSE writes it: r and s, each of so many bytes (RFC 9053, section 2.1)."""


class KeyStatement(Payload):
    """Key `public` is number `number` of those for `purpose`; `previous` is the id of the one before, empty for 1."""

    content_type: ClassVar[str] = "application/vnd.covey.key-statement+cbor"

    purpose: Literal["orders", "policy", "audit"]
    number: Annotated[int, Field(ge=1, le=STATEMENTS_MAX)]
    public: Annotated[bytes, Field(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
    previous: Annotated[bytes, Field(max_length=KEY_ID_BYTES)]
    at_ms: Annotated[int, Field(ge=0, le=MAX_MS)]


class HubKeys(BaseModel):
    """What is retained on `topics.HUB_KEYS`. `root`: the root's present certificate (DER), if the hub has it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    statements: Annotated[
        tuple[Annotated[bytes, Field(max_length=STATEMENT_MAX_BYTES)], ...],
        Field(max_length=STATEMENTS_MAX, strict=False),
    ]
    root: Annotated[bytes, Field(max_length=ROOT_MAX_BYTES)] = b""


class RootKey:
    """The public key of the root: ECDSA over P-256. Its id is the first 8 bytes of the SHA-256 of its DER."""

    def __init__(self, public: "EllipticCurvePublicKey") -> None:
        """Raises `ProtocolError` for another curve."""
        if public.curve.name != CURVE:
            raise ProtocolError("The root's key is not on the curve P-256.")
        self._public = public
        self.kid = _root_id(public)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (r and s, 64 bytes) is the root's over exactly `data`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        r, s = signature[:COORDINATE_BYTES], signature[COORDINATE_BYTES:]
        try:
            der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            self._public.verify(der, data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


class RootSigner:
    """The private key of the root, for statements."""

    def __init__(self, private: "EllipticCurvePrivateKey") -> None:
        self._private = private
        self.kid = _root_id(private.public_key())

    def sign(self, data: bytes) -> bytes:
        """Both numbers of the signature, 64 bytes."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")


@dataclass(frozen=True, slots=True)
class Link:
    """A statement that was verified, and the bytes that were."""

    statement: KeyStatement
    raw: bytes
    is_by_root: bool

    @property
    def kid(self) -> bytes:
        return key_id(self.statement.public)

    @property
    def purpose(self) -> Purpose:
        return Purpose(self.statement.purpose)


@dataclass(frozen=True, slots=True)
class KeyChain:
    """A chain that was verified: in the order of its statements, for each purpose without a gap from number 1."""

    links: tuple[Link, ...] = ()

    def of(self, purpose: Purpose) -> tuple[Link, ...]:
        """The keys for one purpose, oldest first."""
        return tuple(link for link in self.links if link.purpose is purpose)

    def newest(self, purpose: Purpose) -> Link | None:
        """The key that counts now."""
        return next((link for link in reversed(self.links) if link.purpose is purpose), None)

    def pack(self, *, root: bytes = b"") -> bytes:
        """The message on `topics.HUB_KEYS`. `root`: DER of the root's certificate."""
        packed = HubKeys(statements=tuple(link.raw for link in self.links), root=root)
        return encode(packed.model_dump(exclude_defaults=True))


class ChainFault(StrEnum):
    """Why a chain is refused."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    GAP = "gap"
    LOOP = "loop"
    BREAK = "break"
    FORGED = "forged"
    FORK = "fork"


@dataclass(frozen=True, slots=True)
class ChainRefusal:
    """A chain that is not followed, and a sentence that says why."""

    fault: ChainFault
    sentence: str


class HubTrust:
    """A `shared.keys.TrustView` over a chain: the newest key of each purpose, and those that still count beside it."""

    def __init__(self, chain: KeyChain, *, beside: frozenset[bytes] = frozenset()) -> None:
        """`beside`: ids of former keys that count still, for messages in flight. All others are revoked."""
        newest = {link.kid for purpose in Purpose if (link := chain.newest(purpose)) is not None}
        self._keys: Mapping[bytes, TrustedKey] = {
            link.kid: _trusted(link, is_revoked=link.kid not in newest | beside) for link in chain.links
        }

    def key(self, kid: bytes) -> TrustedKey | None:
        return self._keys.get(kid)


def state_key(
    chain: KeyChain, *, purpose: Purpose, public: bytes, at_ms: int, signer: Signer | RootSigner
) -> Link:
    """A statement that `public` is the next key for `purpose`; the signer is the present one's, or the root's.

    Raises `ProtocolError` if the chain is full, or another than those signs.
    """
    before = chain.newest(purpose)
    if len(chain.links) >= STATEMENTS_MAX:
        raise ProtocolError(f"The chain of the hub's keys is full: it holds at most {STATEMENTS_MAX}.")
    statement = KeyStatement(
        purpose=purpose.value,
        number=1 if before is None else before.statement.number + 1,
        public=public,
        previous=b"" if before is None else before.kid,
        at_ms=at_ms,
    )
    is_by_root = isinstance(signer, RootSigner)
    if not is_by_root and (before is None or signer.kid != before.kid):
        raise ProtocolError("A key is stated by the one before it, or by the root.")
    header = Header(
        content_type=KeyStatement.content_type,
        kid=signer.kid,
        issuer=HUB,
        audience=EVERYONE,
        message_id=statement.number.to_bytes(NUMBER_BYTES, "big"),
        algorithm=ES256 if is_by_root else EDDSA,
    )
    raw = seal(header, encode(statement.model_dump()), signer)
    return Link(statement, raw, is_by_root)


def extended(chain: KeyChain, link: Link) -> KeyChain:
    """The chain with one statement more."""
    return KeyChain((*chain.links, link))


def unpack(raw: bytes) -> HubKeys:
    """Take the retained message apart; nothing in it is believed yet. Raises `ProtocolError`."""
    if len(raw) > MESSAGE_MAX_BYTES:
        raise ProtocolError("The hub's key chain is larger than a message may be.")
    try:
        return HubKeys.model_validate(decode(raw))
    except ValidationError as error:
        raise ProtocolError("The hub's key chain is not one of this protocol.") from error


def follow(
    statements: Sequence[bytes],
    *,
    root: RootKey | Callable[[], RootKey],
    held: KeyChain = KeyChain(),
    verified: frozenset[bytes] = frozenset(),
) -> KeyChain | ChainRefusal:
    """Verify a chain from its beginning and compare it with the one that is held.

    A `root` that has to be read first is called for only when a statement claims to be by it. `verified`: statements
    whose signatures were verified before, and are not again.

    What is offered and goes on from what is held, or overrides it by the root's word, is taken; what is only older is
    ignored; another successor of a key that already has one is refused as a fork. Costs one verification a statement.
    """
    if len(statements) > STATEMENTS_MAX:
        return ChainRefusal(ChainFault.TOO_LONG, f"A key chain has at most {STATEMENTS_MAX} statements.")
    links: list[Link] = []
    for raw in statements:
        link = _next(KeyChain(tuple(links)), raw, root, is_verified=raw in verified)
        if isinstance(link, ChainRefusal):
            return link
        links.append(link)
    offered = KeyChain(tuple(links))
    if offered.links[: len(held.links)] == held.links:
        return offered
    merged: list[Link] = []
    for purpose in Purpose:
        chosen = _chosen(held.of(purpose), offered.of(purpose))
        if isinstance(chosen, ChainRefusal):
            return chosen
        merged.extend(chosen)
    return held if set(merged) == set(held.links) else KeyChain(tuple(merged))


def ever(chain: KeyChain, purpose: Purpose) -> list[TrustedKey]:
    """Every key there ever was for a purpose, to verify what was signed long ago and kept since."""
    return [_trusted(link, is_revoked=False) for link in chain.of(purpose)]


def revoked_by_root(chain: KeyChain) -> set[bytes]:
    """Ids of the keys which the root has replaced: lost or stolen, so they count for nothing from then on."""
    return {link.statement.previous for link in chain.links if link.is_by_root and link.statement.previous}


def _next(
    chain: KeyChain, raw: bytes, root: RootKey | Callable[[], RootKey], *, is_verified: bool
) -> Link | ChainRefusal:
    """The statement as the next one of its purpose, if it is that and whoever may say so has signed it."""
    parsed = _parsed(raw)
    if parsed is None:
        return ChainRefusal(ChainFault.MALFORMED, "A statement of the key chain cannot be read.")
    envelope, statement = parsed
    what = f"The statement of {statement.purpose} key {statement.number}"
    before = chain.newest(Purpose(statement.purpose))
    number = 0 if before is None else before.statement.number
    if statement.number <= number:
        return ChainRefusal(ChainFault.FORK, f"{what} comes twice.")
    if statement.number > number + 1:
        return ChainRefusal(ChainFault.GAP, f"{what} does not follow number {number}.")
    if key_id(statement.public) in {link.kid for link in chain.links}:
        return ChainRefusal(ChainFault.LOOP, f"{what} brings in a key that was there before.")
    if statement.previous != (b"" if before is None else before.kid):
        return ChainRefusal(ChainFault.BREAK, f"{what} names another key as the one before.")
    is_by_root = envelope.header.algorithm == ES256
    if is_verified:
        is_signed = True
    elif is_by_root:
        key = root if isinstance(root, RootKey) else root()
        is_signed = envelope.header.kid == key.kid and is_signed_by(envelope, key)
    else:
        is_signed = (
            before is not None
            and envelope.header.kid == before.kid
            and is_signed_by(envelope, _trusted(before, is_revoked=False))
        )
    if not is_signed:
        return ChainRefusal(
            ChainFault.FORGED, f"{what} is signed neither by the key before it nor by the root."
        )
    return Link(statement, raw, is_by_root)


def _parsed(raw: bytes) -> tuple[Envelope, KeyStatement] | None:
    """The statement is read before its signature is verified: who had to sign it stands in it."""
    try:
        envelope = unwrap(raw, algorithms=(EDDSA, ES256))
        statement = KeyStatement.model_validate(decode(envelope.payload))
        TrustedKey(owner=HUB, public=statement.public)
    except (ProtocolError, ValidationError):
        return None
    expected = Header(
        content_type=KeyStatement.content_type,
        kid=envelope.header.kid,
        issuer=HUB,
        audience=EVERYONE,
        message_id=statement.number.to_bytes(NUMBER_BYTES, "big"),
        version=PROTOCOL_VERSION,
        algorithm=envelope.header.algorithm,
    )
    return (envelope, statement) if envelope.header == expected else None


def _chosen(held: Sequence[Link], offered: Sequence[Link]) -> Sequence[Link] | ChainRefusal:
    """Of two verified chains for one purpose the one that counts."""
    for mine, theirs in zip(held, offered, strict=False):
        if mine.statement.public == theirs.statement.public:
            continue
        if theirs.is_by_root and not mine.is_by_root:
            return offered
        return ChainRefusal(
            ChainFault.FORK,
            f"Two keys claim to be {mine.statement.purpose} key {mine.statement.number} of the hub"
            f" ({mine.kid.hex()} and {theirs.kid.hex()}).",
        )
    return offered if len(offered) > len(held) else held


def _trusted(link: Link, *, is_revoked: bool) -> TrustedKey:
    return TrustedKey(owner=HUB, public=link.statement.public, is_revoked=is_revoked, purpose=link.purpose)


def _root_id(public: "EllipticCurvePublicKey") -> bytes:
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()[:KEY_ID_BYTES]

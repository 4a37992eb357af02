"""COSE_Sign1 envelopes (RFC 9052, section 4.2) with Ed25519 (RFC 9053, section 2.2). Bytes in, bytes out (rule P5).

Another algorithm is read only by who asks for it: the root's, which signs key statements alone (rule P23).

The signature covers the exact payload bytes that travel; nothing is parsed out of the payload before it is verified
and nothing is re-serialised to verify it. Who, for whom and which message are CWT claims in the protected header
(RFC 9597). The payload type is the external data of the signature as well as the content type, so a signature made
for one purpose never verifies for another.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from shared.cbor import decode, encode
from shared.errors import ProtocolError
from shared.keys import KEY_ID_BYTES, SIGNATURE_BYTES

COSE_SIGN1_TAG: Final = 0xD2
"""Tag 18, which fits the initial byte: every envelope starts with it."""
PROTOCOL_VERSION: Final = 1
HEADER_MAX_BYTES: Final = 1_024
"""Several times what the longest names need."""

ALG, CONTENT_TYPE, KID, CWT_CLAIMS = 1, 3, 4, 15
EDDSA: Final = -8
ES256: Final = -7
"""ECDSA over P-256 with SHA-256 (RFC 9053, section 2.1)."""
ISS, AUD, CTI = 1, 3, 7
VERSION_LABEL: Final = "covey"
ENCODING_LABEL: Final = "enc"

Encoding = Literal["zstd"]


class Signs(Protocol):
    """A private key."""

    def sign(self, data: bytes) -> bytes: ...


class Verifies(Protocol):
    """A public key."""

    def verifies(self, signature: bytes, data: bytes) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The protected header. `message_id` is the CWT claim `cti`; its meaning is the gate's business (rule P8)."""

    content_type: str
    kid: bytes
    issuer: str
    audience: str
    message_id: bytes
    encoding: Encoding | None = None
    version: int = PROTOCOL_VERSION
    algorithm: int = EDDSA


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed but not yet verified envelope. `protected` and `payload` are the exact bytes received."""

    header: Header
    protected: bytes
    payload: bytes
    signature: bytes


def signing_input(*, protected: bytes, payload: bytes, external: bytes) -> bytes:
    """The Sig_structure of RFC 9052, section 4.4, with context "Signature1"."""
    return encode(["Signature1", protected, external, payload])


def seal(header: Header, payload: bytes, signer: Signs) -> bytes:
    """Sign `payload` under `header`; returns the tagged COSE_Sign1 bytes."""
    protected = encode(_header_map(header))
    signature = signer.sign(
        signing_input(protected=protected, payload=payload, external=header.content_type.encode())
    )
    return bytes([COSE_SIGN1_TAG]) + encode([protected, {}, payload, signature])


def unwrap(raw: bytes, *, algorithms: tuple[int, ...] = (EDDSA,)) -> Envelope:
    """Parse the outer structure and the header only. Raises `ProtocolError` if either is not exactly ours."""
    if not raw or raw[0] != COSE_SIGN1_TAG:
        raise ProtocolError("The message is not a tagged COSE_Sign1 structure.")
    match decode(raw[1:]):
        case [bytes() as protected, dict() as unprotected, bytes() as payload, bytes() as signature] if (
            not unprotected and len(signature) == SIGNATURE_BYTES
        ):
            return Envelope(_parse_header(protected, algorithms), protected, payload, signature)
        case _:
            raise ProtocolError("The message is not a COSE_Sign1 structure of four parts.")


def is_signed_by(envelope: Envelope, key: Verifies) -> bool:
    """Whether `key` signed exactly these bytes for this content type."""
    return key.verifies(
        envelope.signature,
        signing_input(
            protected=envelope.protected,
            payload=envelope.payload,
            external=envelope.header.content_type.encode(),
        ),
    )


def _header_map(header: Header) -> dict[object, object]:
    fields: dict[object, object] = {
        ALG: header.algorithm,
        CONTENT_TYPE: header.content_type,
        KID: header.kid,
        CWT_CLAIMS: {ISS: header.issuer, AUD: header.audience, CTI: header.message_id},
        VERSION_LABEL: header.version,
    }
    if header.encoding is not None:
        fields[ENCODING_LABEL] = header.encoding
    return fields


def _parse_header(protected: bytes, algorithms: tuple[int, ...]) -> Header:
    if len(protected) > HEADER_MAX_BYTES:
        raise ProtocolError(f"The protected header is larger than {HEADER_MAX_BYTES} bytes.")
    match decode(protected, has_integer_keys=True):
        case {
            1: int() as algorithm,
            3: str() as content_type,
            4: bytes() as kid,
            15: {1: str() as issuer, 3: str() as audience, 7: bytes() as message_id, **other_claims},
            "covey": int() as version,
            **rest,
        } if len(kid) == KEY_ID_BYTES and not other_claims and algorithm in algorithms:
            encoding = rest.pop(ENCODING_LABEL, None)
            # An unknown header parameter is refused: we would not know what its sender meant by it.
            if not rest and encoding in (None, "zstd"):
                return Header(
                    content_type=content_type,
                    kid=kid,
                    issuer=issuer,
                    audience=audience,
                    message_id=message_id,
                    encoding="zstd" if encoding == "zstd" else None,
                    version=version,
                    algorithm=algorithm,
                )
    raise ProtocolError("The protected header is not one of this protocol.")

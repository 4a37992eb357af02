"""Enrolment: the token a person carries to a device, and the one request it is good for. Pure; both sides use it.

The token names the hub's address and the SHA-256 of its CA certificate, so the first contact is already trusted:
the device fetches the CA (`GET /v1/ca`), compares, and only then speaks over a connection verified by it. The secret
is spent by the request. The proof shows that whoever spends it holds the signing key and made this very CSR.

    token = Token.parse("covey1.…")
    proof = signer.sign(proof_input(csr_der, token.secret, sealing_public))
    request = EnrolRequest(token_id=token.id, secret=token.secret, csr_pem=…, signing_public=…, signing_proof=proof)
"""

import base64
import binascii
import hashlib
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from shared.cbor import decode, encode
from shared.errors import ConfigError, ProtocolError
from shared.gate import MESSAGE_MAX_BYTES
from shared.ids import ID_PATTERN, PRINCIPAL_PATTERN
from shared.keys import KEY_ID_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, TrustedKey

TOKEN_PREFIX: Final = "covey1."
TOKEN_MAX_CHARS: Final = 2_048
SECRET_BYTES: Final = 32
CSR_MAX_CHARS: Final = 8_192
ENROL_PATH: Final = "/v1/enroll"
CA_PATH: Final = "/v1/ca"
HEALTH_PATH: Final = "/v1/health"

SEALING_KEY_BYTES: Final = 32
"""Of an X25519 public key (RFC 7748), to which secrets for the device are encrypted."""

_PROOF_CONTEXT: Final = b"covey/1/enroll"
_SEALING_PROOF_CONTEXT: Final = b"covey/1/enroll/sealing"
"""No request for a certificate begins like its end does (DER begins with 0x30), so the two inputs never coincide."""


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


_IN_JSON: Final = (
    BeforeValidator(_from_base64),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
)
Base64Bytes = Annotated[bytes, *_IN_JSON]
"""Bytes that are base64 in JSON; a field that takes them bounds their length."""
Secret = Annotated[bytes, Field(min_length=SECRET_BYTES, max_length=SECRET_BYTES), *_IN_JSON]
PublicKey = Annotated[bytes, Field(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES), *_IN_JSON]
Signature = Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES), *_IN_JSON]
SealingKey = Annotated[bytes, Field(min_length=SEALING_KEY_BYTES, max_length=SEALING_KEY_BYTES), *_IN_JSON]
Kid = Annotated[bytes, Field(min_length=KEY_ID_BYTES, max_length=KEY_ID_BYTES), *_IN_JSON]
DeviceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}$")]
TenantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,23}$")]


class Token(BaseModel):
    """What `covey-hub token create` prints: one line, spent once. `ca` is the SHA-256 of the CA certificate's DER.

    `replaces`: it is for a new board in an old one's place, which then fetches that one's logs (rule P27).
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    v: Literal[1] = 1
    url: Annotated[str, Field(pattern=r"^https://[^\s/?#@]+$", max_length=300)]
    ca: Annotated[bytes, Field(min_length=32, max_length=32)]
    id: Annotated[str, Field(pattern=ID_PATTERN)]
    secret: Annotated[bytes, Field(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    replaces: bool = False

    _hint: ClassVar[str] = "copy the whole line that `covey-hub token create` printed"

    def text(self) -> str:
        """The line that a person copies."""
        return TOKEN_PREFIX + base64.urlsafe_b64encode(encode(self._fields())).decode().rstrip("=")

    def _fields(self) -> dict[str, object]:
        # Devices of before know no such field, and need not as long as it says nothing.
        return self.model_dump(exclude=None if self.replaces else {"replaces"})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ConfigError` (code `token_malformed`) if `text` is not a token, for instance one cut in copying."""
        text = text.strip()
        body = text.removeprefix(TOKEN_PREFIX)
        try:
            if body == text or len(text) > TOKEN_MAX_CHARS:
                raise ProtocolError("The text does not begin like a token.")
            padded = body.translate({ord("-"): "+", ord("_"): "/"}) + "=" * (-len(body) % 4)
            return cls.model_validate(decode(base64.b64decode(padded, validate=True)))
        except (ProtocolError, ValidationError, ValueError) as error:
            raise ConfigError(
                f"This is not a whole enrolment token: {cls._hint}.", code="token_malformed"
            ) from error


class EnrolRequest(BaseModel):
    """Body of `POST /v1/enroll`. `device` is needed only when the token leaves the name open.

    `sealing_public`: the device's X25519 key. Devices that do not have one yet tell it when they renew (rule P25).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    token_id: Annotated[str, Field(pattern=ID_PATTERN)]
    secret: Secret
    device: DeviceName | None = None
    csr_pem: Annotated[str, Field(max_length=CSR_MAX_CHARS)]
    signing_public: PublicKey
    signing_proof: Signature
    sealing_public: SealingKey | None = None


class BrokerAddress(BaseModel):
    """Where the device's MQTT connection goes; the broker shows a certificate of the hub's CA."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)]


class EnrolResponse(BaseModel):
    """What makes the device a member: its name and certificate, and whom it shall trust from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    principal: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    certificate_pem: Annotated[str, Field(max_length=16_384)]
    ca_pem: Annotated[str, Field(max_length=16_384)]
    hub_signing_public: PublicKey
    hub_kid: Kid
    broker: BrokerAddress
    certificate_not_after: AwareDatetime
    needs_approval: bool = False
    """Nothing of the device is taken until an operator lets it in."""
    hub_keys: Annotated[bytes, Field(max_length=MESSAGE_MAX_BYTES), *_IN_JSON] = b""
    """The chain of the hub's keys as the broker keeps it (rule P23), so that the daemon need not verify it."""


def proof_input(csr_der: bytes, secret: bytes, sealing_public: bytes | None = None) -> bytes:
    """What the device signs with its new Ed25519 key: that key, this CSR, this token and the key for secrets, if it
    has one, belong together.

    What follows the CSR has a fixed length, so the parts cannot be shifted against one another.
    """
    if sealing_public is None:
        return hashlib.sha256(_PROOF_CONTEXT + csr_der + secret).digest()
    return hashlib.sha256(_SEALING_PROOF_CONTEXT + csr_der + sealing_public + secret).digest()


def is_proven(request: EnrolRequest, csr_der: bytes) -> bool:
    """Whether whoever made the request holds the private half of `signing_public`."""
    try:
        key = TrustedKey(owner=request.token_id, public=request.signing_public)
    except ProtocolError:
        return False
    return key.verifies(request.signing_proof, proof_input(csr_der, request.secret, request.sealing_public))

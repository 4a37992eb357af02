"""Enrolment: the token a person carries to a device, and the one request it is good for. Pure; both sides use it.

The token names the hub's address and the SHA-256 of its CA certificate, so the first contact is already trusted:
the device fetches the CA (`GET /v1/ca`), compares, and only then speaks over a connection verified by it. The secret
is spent by the request. The proof shows that whoever spends it holds the signing key and made this very CSR.

    token = Token.parse("covey1.…")
    proof = signer.sign(proof_input(csr_der, token.secret))
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
from shared.ids import ID_PATTERN, PRINCIPAL_PATTERN
from shared.keys import KEY_ID_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, TrustedKey

TOKEN_PREFIX: Final = "covey1."
TOKEN_MAX_CHARS: Final = 2_048
SECRET_BYTES: Final = 32
CSR_MAX_CHARS: Final = 8_192
ENROL_PATH: Final = "/v1/enroll"
CA_PATH: Final = "/v1/ca"
HEALTH_PATH: Final = "/v1/health"

_PROOF_CONTEXT: Final = b"covey/1/enroll"


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
Secret = Annotated[bytes, Field(min_length=SECRET_BYTES, max_length=SECRET_BYTES), *_IN_JSON]
PublicKey = Annotated[bytes, Field(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES), *_IN_JSON]
Signature = Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES), *_IN_JSON]
Kid = Annotated[bytes, Field(min_length=KEY_ID_BYTES, max_length=KEY_ID_BYTES), *_IN_JSON]
DeviceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}$")]
TenantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,23}$")]


class Token(BaseModel):
    """What `covey-hub token create` prints: one line, spent once. `ca` is the SHA-256 of the CA certificate's DER."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    v: Literal[1] = 1
    url: Annotated[str, Field(pattern=r"^https://[^\s/?#@]+$", max_length=300)]
    ca: Annotated[bytes, Field(min_length=32, max_length=32)]
    id: Annotated[str, Field(pattern=ID_PATTERN)]
    secret: Annotated[bytes, Field(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]

    _hint: ClassVar[str] = "copy the whole line that `covey-hub token create` printed"

    def text(self) -> str:
        """The line that a person copies."""
        return TOKEN_PREFIX + base64.urlsafe_b64encode(encode(self.model_dump())).decode().rstrip("=")

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
    """Body of `POST /v1/enroll`. `device` is needed only when the token leaves the name open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_id: Annotated[str, Field(pattern=ID_PATTERN)]
    secret: Secret
    device: DeviceName | None = None
    csr_pem: Annotated[str, Field(max_length=CSR_MAX_CHARS)]
    signing_public: PublicKey
    signing_proof: Signature


class BrokerAddress(BaseModel):
    """Where the device's MQTT connection goes; the broker shows a certificate of the hub's CA."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)]


class EnrolResponse(BaseModel):
    """What makes the device a member: its name and certificate, and whom it shall trust from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    principal: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    certificate_pem: Annotated[str, Field(max_length=16_384)]
    ca_pem: Annotated[str, Field(max_length=16_384)]
    hub_signing_public: PublicKey
    hub_kid: Kid
    broker: BrokerAddress
    certificate_not_after: AwareDatetime


def proof_input(csr_der: bytes, secret: bytes) -> bytes:
    """What the device signs with its new Ed25519 key: that key, this CSR and this token belong together.

    The secret has a fixed length and comes last, so the parts cannot be shifted against one another.
    """
    return hashlib.sha256(_PROOF_CONTEXT + csr_der + secret).digest()


def is_proven(request: EnrolRequest, csr_der: bytes) -> bool:
    """Whether whoever made the request holds the private half of `signing_public`."""
    try:
        key = TrustedKey(owner=request.token_id, public=request.signing_public)
    except ProtocolError:
        return False
    return key.verifies(request.signing_proof, proof_input(csr_der, request.secret))

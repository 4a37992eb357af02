"""Renewing a device's certificate (rule P25): what the device asks and the hub answers, over the link or over HTTPS.

Over the link both are messages of a session. When the certificate has ended the broker lets the device in no more; then
the same request goes to `RENEW_PATH`, with the old certificate and a proof by its key. Either way the request is for a
new key, which signs it: a certificate is of no use to who repeats somebody's request. Pure; both sides use it.
"""

from typing import Annotated, ClassVar, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.clock import MAX_MS
from shared.enrolment import SEALING_KEY_BYTES, Base64Bytes
from shared.ids import PRINCIPAL_PATTERN
from shared.messages import Nonce, Payload

RENEW_PATH: Final = "/v1/renew"
CSR_MAX_BYTES: Final = 4_096
CHAIN_MAX_CERTIFICATES: Final = 4
CERTIFICATE_MAX_BYTES: Final = 8_192
CERTIFICATE_PEM_MAX_CHARS: Final = 32_768
REQUEST_MAX_BYTES: Final = 16_384
"""Of a sealed request; a proof is far smaller."""
PROOF_MAX_BYTES: Final = 1_024
RETRY_MAX_S: Final = 2_592_000

_PROOF_CONTEXT: Final = b"covey/1/renew"


class RenewRequest(Payload):
    """`csr`: DER, over a new TLS key. `sealing_public`: the X25519 key to which secrets are encrypted from now on."""

    content_type: ClassVar[str] = "application/vnd.covey.renew+cbor"

    nonce: Nonce
    csr: Annotated[bytes, Field(min_length=1, max_length=CSR_MAX_BYTES)]
    sealing_public: (
        Annotated[bytes, Field(min_length=SEALING_KEY_BYTES, max_length=SEALING_KEY_BYTES)] | None
    ) = None


class RenewResponse(Payload):
    """`chain`: DER, the device's certificate and those up to the hub's authority; or why there is none.

    `refused` is a stable code; `retry_after_s`, if not 0: until then it would be refused again.
    """

    content_type: ClassVar[str] = "application/vnd.covey.renew-ack+cbor"

    nonce: Nonce
    chain: Annotated[
        tuple[Annotated[bytes, Field(max_length=CERTIFICATE_MAX_BYTES)], ...],
        Field(max_length=CHAIN_MAX_CERTIFICATES, strict=False),
    ] = ()
    not_after_ms: Annotated[int, Field(ge=0, le=MAX_MS)] = 0
    refused: Annotated[str, Field(pattern=r"^[a-z_]{0,32}$")] = ""
    retry_after_s: Annotated[int, Field(ge=0, le=RETRY_MAX_S)] = 0


class RenewByHttps(BaseModel):
    """Body of `POST /v1/renew`. `request` is a sealed `RenewRequest`; `proof` is by the key of `certificate_pem`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    device: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    request: Annotated[Base64Bytes, Field(min_length=1, max_length=REQUEST_MAX_BYTES)]
    certificate_pem: Annotated[str, Field(max_length=CERTIFICATE_PEM_MAX_CHARS)]
    proof: Annotated[Base64Bytes, Field(min_length=1, max_length=PROOF_MAX_BYTES)]


class RenewedCertificate(BaseModel):
    """Answer to `RenewByHttps`: the device's certificate, followed by those up to the hub's authority."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    certificate_pem: Annotated[str, Field(max_length=CERTIFICATE_PEM_MAX_CHARS)]
    certificate_not_after: AwareDatetime


def renewal_proof_input(certificate_sha256: bytes, request: bytes) -> bytes:
    """What the key of the old certificate signs: that certificate, by its 32 bytes of SHA-256, and the sealed request.

    ECDSA with SHA-256, or Ed25519.
    """
    return _PROOF_CONTEXT + certificate_sha256 + request

"""Who this device is: keys and certificates in `<home>/identity`, made on the device and never leaving it.

Enrolment trusts the first contact through the token's CA fingerprint (rule P6). Files are 0600 and written atomically;
the device is enrolled when `enrolment.json`, written last, is there.
"""

import hashlib
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.enrolment import (
    CA_PATH,
    ENROL_PATH,
    BrokerAddress,
    EnrolRequest,
    EnrolResponse,
    Kid,
    PublicKey,
    Token,
    proof_input,
)
from shared.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from shared.ids import HUB, Principal
from shared.keys import KeyRing, Signer, TrustedKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

HTTP_TIMEOUT_S: Final = 20.0
CA_MAX_BYTES: Final = 65_536

_TLS_KEY = "device.key"
_CERTIFICATE = "device.crt"
_CA = "ca.crt"
_SIGNING_KEY = "signing.key"
_ENROLMENT = "enrolment.json"


class _Enrolment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    principal: str
    hub_url: str
    hub_signing_public: PublicKey
    hub_kid: Kid
    broker: BrokerAddress


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled device: its name, its signer, whom it trusts, and where its TLS files are."""

    principal: Principal
    hub_url: str
    signer: Signer
    trust: KeyRing
    broker: BrokerAddress
    ca_path: Path
    certificate_path: Path
    key_path: Path


def load_identity(folder: Path) -> Identity | None:
    """The identity in `folder`, None if the device is not enrolled. Raises `ConfigError` if it is damaged."""
    path = folder / _ENROLMENT
    if not path.exists():
        return None
    try:
        enrolment = _Enrolment.model_validate_json(path.read_bytes())
        private = load_pem_private_key((folder / _SIGNING_KEY).read_bytes(), password=None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{folder / _SIGNING_KEY} is not an Ed25519 key; enrol this device again.")
        hub = TrustedKey(owner=HUB, public=enrolment.hub_signing_public)
        principal = Principal.parse(enrolment.principal)
    except (OSError, ValueError, ValidationError, ProtocolError) as error:
        raise ConfigError(
            f"The identity in {folder} is damaged; restore it, or enrol this device again."
        ) from error
    return Identity(
        principal=principal,
        hub_url=enrolment.hub_url,
        signer=Signer(private),
        trust=KeyRing((hub,)),
        broker=enrolment.broker,
        ca_path=folder / _CA,
        certificate_path=folder / _CERTIFICATE,
        key_path=folder / _TLS_KEY,
    )


def enrol(folder: Path, *, token_text: str, device: str | None, hub_url: str | None) -> Identity:
    """Spend a token at the hub and store what it gives. Blocks.

    Raises `RefusedError` if the device is enrolled already or the hub refuses the token, `ProtocolError` if what
    answers is not the hub of the token, `UnavailableError` if nothing answers, `ConfigError` for a malformed token.
    """
    if (folder / _ENROLMENT).exists():
        raise RefusedError(
            f"This device is already enrolled; remove {folder} first if it shall join another hub."
        )
    # Here, because only enrolment needs certificates from the inside and the daemon must stay small.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    token = Token.parse(token_text)
    url = (hub_url or token.url).rstrip("/")
    if not url.startswith("https://"):
        raise ConfigError(f"{url} is no address of a hub; it begins with https://.")
    ca_pem = _fetch_ca(url, token)
    tls_key = ec.generate_private_key(ec.SECP256R1())
    signing_key = Ed25519PrivateKey.generate()
    signer = Signer(signing_key)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device or "device")]))
        .sign(tls_key, hashes.SHA256())
    )
    request = EnrolRequest(
        token_id=token.id,
        secret=token.secret,
        device=device,
        csr_pem=csr.public_bytes(Encoding.PEM).decode(),
        signing_public=signer.public,
        signing_proof=signer.sign(proof_input(csr.public_bytes(Encoding.DER), token.secret)),
    )
    context = ssl.create_default_context(cadata=ca_pem)
    answer = _call("POST", url + ENROL_PATH, context, content=request.model_dump_json())
    try:
        response = EnrolResponse.model_validate_json(answer)
    except ValidationError as error:
        raise ProtocolError("The hub's answer to the enrolment is not one of this protocol.") from error
    enrolment = _Enrolment(
        principal=response.principal,
        hub_url=url,
        hub_signing_public=response.hub_signing_public,
        hub_kid=response.hub_kid,
        broker=response.broker,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / _TLS_KEY, _pem(tls_key))
        _write(folder / _SIGNING_KEY, _pem(signing_key))
        _write(folder / _CERTIFICATE, response.certificate_pem.encode())
        _write(folder / _CA, ca_pem.encode())
        _write(folder / _ENROLMENT, enrolment.model_dump_json(indent=2).encode())
    except OSError as error:
        raise ConfigError(
            f"The identity could not be stored in {folder} ({error.strerror}), and the token is spent; check the disk,"
            " then enrol again with a new token."
        ) from error
    identity = load_identity(folder)
    if identity is None:
        raise ConfigError(f"The identity could not be stored in {folder}; check the disk.")
    return identity


def _fetch_ca(url: str, token: Token) -> str:
    """The hub's CA certificate, if it is the one that the token names. Nothing secret is sent here."""
    from cryptography import x509

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pem = _call("GET", url + CA_PATH, context)[:CA_MAX_BYTES]
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ProtocolError(f"What answers at {url} is not a Covey hub.") from error
    if hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest() != token.ca:
        raise ProtocolError(
            f"What answers at {url} is not the hub that made this token: its CA has another fingerprint."
        )
    return certificate.public_bytes(Encoding.PEM).decode()


def _call(method: str, url: str, context: ssl.SSLContext, *, content: str | None = None) -> bytes:
    import httpx  # here, because only enrolment needs it and the daemon must stay small

    try:
        response = httpx.request(
            method,
            url,
            content=content,
            headers={"content-type": "application/json"},
            verify=context,
            timeout=HTTP_TIMEOUT_S,
            trust_env=False,
        )
    except (httpx.InvalidURL, ValueError) as error:  # a UnicodeError of a host name is a ValueError too
        raise ConfigError(
            f"{url} is no address of a hub; it looks like https://hub.example.org:8443."
        ) from error
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"The hub at {url} does not answer ({str(error) or type(error).__name__});"
            " check the address and the network."
        ) from error
    if response.status_code >= 500:
        raise UnavailableError("The hub has a problem of its own; see its log, then try again.")
    if response.status_code >= 400:
        code, message = _refusal(response.content)
        raise RefusedError(message, code=code)
    return response.content


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        problem: Any = json.loads(body)
        return str(problem["code"]), str(problem["message"])
    except (ValueError, KeyError, TypeError):
        return "refused", "The hub refused the enrolment."


def _pem(key: "EllipticCurvePrivateKey | Ed25519PrivateKey") -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by the owner only, and on the disk on return."""
    partial = path.with_suffix(path.suffix + ".part")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)

"""Who this device is: keys and certificates in `<home>/identity`, made on the device and never leaving it.

Enrolment trusts the first contact through the token's CA fingerprint (rule P6). Its files (`edge.key_files`) are
stored all or none.
"""

import hashlib
import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, ConfigDict, ValidationError

from edge.key_files import (
    CA,
    CERTIFICATE,
    ENROLMENT,
    NEXT_CERTIFICATE,
    NEXT_TLS_KEY,
    SEALING_KEY,
    SIGNING_KEY,
    TICKET,
    TLS_KEY,
    KeyFiles,
)
from edge.keychain import KEYCHAIN, KEYCHAIN_DIGEST, HubKeys, first_copy
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
from shared.ids import Principal
from shared.keys import Signer, TrustView

OF_ONE_ENROLMENT: Final = (NEXT_TLS_KEY, NEXT_CERTIFICATE, TICKET, KEYCHAIN, KEYCHAIN_DIGEST)
"""What an enrolment need not bring, and must not leave there of the one before."""
HTTP_TIMEOUT_S: Final = 20.0
CA_MAX_BYTES: Final = 65_536


class _Enrolment(BaseModel):
    # It is read once; Pydantic's cache of strings takes a quarter of a megabyte for the life of the process.
    model_config = ConfigDict(frozen=True, extra="forbid", cache_strings="none")

    principal: str
    hub_url: str
    hub_signing_public: PublicKey
    hub_kid: Kid
    broker: BrokerAddress
    needs_approval: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled device: its name, its signer, whom it trusts, and where its TLS files are.

    `sealing`: with it the device opens what the hub encrypted for it; None until a device that was enrolled without
    such a key has renewed its certificate. `hub_keys`: what follows the hub's rotations. `passphrase_file`: with what
    is in it the keys are encrypted, if they are.
    `needs_approval`: at enrolment the hub said that an operator has to let the device in.
    """

    principal: Principal
    hub_url: str
    signer: Signer
    trust: TrustView
    broker: BrokerAddress
    ca_path: Path
    certificate_path: Path
    key_path: Path
    sealing: X25519PrivateKey | None = None
    passphrase_file: Path | None = None
    needs_approval: bool = False
    hub_keys: HubKeys | None = None

    @property
    def files(self) -> KeyFiles:
        """All its files."""
        return KeyFiles(self.key_path.parent, self.passphrase_file)


def load_identity(folder: Path, passphrase_file: Path | None = None) -> Identity | None:
    """The identity in `folder`, None if the device is not enrolled.

    Raises `ConfigError` if it is damaged, or its passphrase is missing or wrong.
    """
    files = KeyFiles(folder, passphrase_file)
    files.recover()
    path = folder / ENROLMENT
    if not path.exists():
        return None
    private = files.load_key(SIGNING_KEY)
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{folder / SIGNING_KEY} is not an Ed25519 key; enrol this device again.")
    sealing = files.load_key(SEALING_KEY) if files.has(SEALING_KEY) else None
    if sealing is not None and not isinstance(sealing, X25519PrivateKey):
        raise ConfigError(f"{folder / SEALING_KEY} is not an X25519 key; remove it, and a new one is made.")
    try:
        enrolment = _Enrolment.model_validate_json(path.read_bytes())
        hub_keys = HubKeys(folder, enrolled=enrolment.hub_signing_public)
        principal = Principal.parse(enrolment.principal)
    except (OSError, ValueError, ValidationError, ProtocolError) as error:
        raise ConfigError(
            f"The identity in {folder} is damaged; restore it, or enrol this device again."
        ) from error
    return Identity(
        principal=principal,
        hub_url=enrolment.hub_url,
        signer=Signer(private),
        trust=hub_keys,
        hub_keys=hub_keys,
        broker=enrolment.broker,
        ca_path=folder / CA,
        certificate_path=folder / CERTIFICATE,
        key_path=folder / TLS_KEY,
        sealing=sealing,
        passphrase_file=passphrase_file,
        needs_approval=enrolment.needs_approval,
    )


def enrol(
    folder: Path,
    *,
    token_text: str,
    device: str | None,
    hub_url: str | None,
    passphrase_file: Path | None = None,
    anew: bool = False,
) -> Identity:
    """Spend a token at the hub and store what it gives, encrypted if there is a passphrase. Blocks.

    `anew`: also where the device is enrolled. It gets other keys and keeps `secrets.key`, under which it remembers.

    Raises `RefusedError` if the device is enrolled already or the hub refuses the token, `ProtocolError` if what
    answers is not the hub of the token, `UnavailableError` if nothing answers, `ConfigError` for a malformed token, a
    passphrase file that is none or a clock by which the hub's certificate is not valid (code `clock`).
    """
    files = KeyFiles(folder, passphrase_file)
    files.recover()
    if (folder / ENROLMENT).exists() and not anew:
        raise RefusedError(
            "This device is already enrolled; with --anew it joins again, or another hub, and keeps its memory."
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
    signing_key, sealing_key = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    signer, sealing_public = Signer(signing_key), sealing_key.public_key().public_bytes_raw()
    # Before the token is spent: here it shows whether there is a passphrase to encrypt with.
    keys = {
        TLS_KEY: files.encode_key(tls_key),
        SIGNING_KEY: files.encode_key(signing_key),
        SEALING_KEY: files.encode_key(sealing_key),
    }
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
        signing_proof=signer.sign(proof_input(csr.public_bytes(Encoding.DER), token.secret, sealing_public)),
        sealing_public=sealing_public,
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
        needs_approval=response.needs_approval,
    )
    stored = {
        **keys,
        CERTIFICATE: response.certificate_pem.encode(),
        CA: ca_pem.encode(),
        ENROLMENT: enrolment.model_dump_json(indent=2).encode(),
        **(first_copy(response.hub_keys, ca=ca_pem.encode()) if response.hub_keys else {}),
        **({TICKET: token_text.strip().encode()} if token.replaces else {}),
    }
    try:
        files.store(stored, remove=[name for name in OF_ONE_ENROLMENT if name not in stored])
    except ConfigError as error:
        raise ConfigError(
            f"The identity could not be stored in {folder}, and the token is spent; check the disk, then enrol again"
            " with a new token."
        ) from error
    identity = load_identity(folder, passphrase_file)
    if identity is None:
        raise ConfigError(f"The identity could not be stored in {folder}; check the disk.")
    return identity


def post_to_hub(identity: Identity, path: str, content: str) -> bytes:
    """A JSON body to the hub of an enrolled device; its answer. Blocks.

    Raises `RefusedError` with the hub's code, `UnavailableError` if nothing answers, `ConfigError` (code `clock`) if by
    our clock the hub's certificate is not valid.
    """
    context = ssl.create_default_context(cafile=str(identity.ca_path))
    return _call("POST", identity.hub_url + path, context, content=content)


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
        from edge.adapters.renew_http import CLOCK, DATES_WRONG

        if _verify_code(error) in DATES_WRONG:
            from edge.core.renewal import blame_a_clock

            raise ConfigError(blame_a_clock(datetime.now(UTC), None), code=CLOCK) from error
        raise UnavailableError(
            f"The hub at {url} does not answer ({str(error) or type(error).__name__});"
            " check the address and the network."
        ) from error
    if response.status_code >= 500:
        raise UnavailableError("The hub has a problem of its own; see its log, then try again.")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise UnavailableError("The hub has too much to do just now; try again in a minute.")
    if response.status_code >= 400:
        code, message = _refusal(response.content)
        raise RefusedError(message, code=code)
    return response.content


def _verify_code(error: BaseException | None) -> int | None:
    """OpenSSL's, if what is behind `error` is a certificate that was refused."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_code
        error = error.__cause__ or error.__context__
    return None


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        problem: Any = json.loads(body)
        return str(problem["code"]), str(problem["message"])
    except (ValueError, KeyError, TypeError):
        return "refused", "The hub refused the enrolment."

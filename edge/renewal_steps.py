"""The steps of a renewal (rule P25): make a key and ask for its certificate, judge what comes, store both. Blocking.

    prepared = prepare(identity)                            # a new TLS key, and a request for it
    accept(identity, prepared, pem, now=now)                # what the hub gave for it, judged and stored

The daemon (`edge.renewal`) and `covey-edge identity renew` take the same steps.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import ValidationError

from edge.certificates import check_renewed, fingerprint, make_csr, make_tls_key, read_chain, sign_with
from edge.core.validity import Validity
from edge.credentials import Credentials, Pair
from edge.identity import Identity
from edge.key_files import CA, NEXT_CERTIFICATE, NEXT_TLS_KEY, SEALING_KEY, open_key
from shared.errors import ConfigError, ProtocolError
from shared.gate import close
from shared.ids import HUB
from shared.messages import NONCE_BYTES
from shared.renewal import RenewByHttps, RenewedCertificate, RenewRequest, renewal_proof_input

if TYPE_CHECKING:  # it brings every kind of key along
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Post = Callable[[bytes], bytes]
"""The body of `POST /v1/renew` to that of its answer; raises as `edge.adapters.renew_http` does."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A key that is in memory only, until there is a certificate for it; and the request for that."""

    key: "PrivateKeyTypes"
    request: RenewRequest


def prepare(identity: Identity) -> Prepared:
    """Raises `ConfigError` if the keys cannot be read or written."""
    files = identity.files
    files.recover()
    if not files.has(SEALING_KEY):
        # Stored before the hub is told: it must never encrypt to a key that a power cut took.
        files.store({SEALING_KEY: files.encode_key(X25519PrivateKey.generate())})
    sealing = files.load_key(SEALING_KEY)
    if not isinstance(sealing, X25519PrivateKey):
        raise ConfigError(
            f"{files.path(SEALING_KEY)} is not an X25519 key; remove it, and a new one is made."
        )
    key = make_tls_key()
    request = RenewRequest(
        nonce=os.urandom(NONCE_BYTES),
        csr=make_csr(key, identity.principal),
        sealing_public=sealing.public_key().public_bytes_raw(),
    )
    return Prepared(key, request)


def accept(identity: Identity, prepared: Prepared, pem: bytes, *, now: datetime) -> Validity:
    """Judge the certificate and store it with its key, as the renewed pair.

    Raises `ProtocolError` (code `clock` if it is a matter of dates) for one that is not this device's, and
    `ConfigError` for a disk that cannot be written; nothing changes then.
    """
    files = identity.files
    validity = check_renewed(
        pem,
        key=prepared.key,
        old=read_chain(newest_pair(identity).certificate),
        authority=files.read(CA),
        principal=identity.principal,
        now=now,
    )
    files.store({NEXT_TLS_KEY: files.encode_key(prepared.key), NEXT_CERTIFICATE: pem})
    return validity


def renew_over_https(identity: Identity, post: Post, *, now: Callable[[], datetime]) -> Validity:
    """All of it, without a link. Raises what `prepare`, `post` and `accept` raise."""
    prepared = prepare(identity)
    old = newest_pair(identity)
    sealed = close(
        prepared.request,
        issuer=str(identity.principal),
        audience=HUB,
        message_id=os.urandom(NONCE_BYTES),
        signer=identity.signer,
    )
    certificate = read_chain(old.certificate)
    key = open_key(old.key, old.key.read_bytes(), identity.passphrase_file)
    body = RenewByHttps(
        device=str(identity.principal),
        request=sealed,
        certificate_pem=certificate.decode("ascii"),
        proof=sign_with(key, renewal_proof_input(fingerprint(certificate), sealed)),
    )
    answer = post(body.model_dump_json().encode())
    try:
        renewed = RenewedCertificate.model_validate_json(answer)
    except ValidationError as error:
        raise ProtocolError("The hub's answer to the renewal is not one of this protocol.") from error
    return accept(identity, prepared, renewed.certificate_pem.encode(), now=now())


def newest_pair(identity: Identity) -> Pair:
    """The latest certificate that the hub made and that this device holds."""
    return Credentials(identity.files).newest

"""A device that a hub of the test's own has enrolled, without that hub running: the files of its identity, for real.

The authority is that of `cloud.identity`, so certificates are what devices get; the enrolment is what `edge.identity`
would have stored.
"""

import base64
import json
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.identity import Identity as HubIdentity
from edge.identity import Identity, load_identity
from shared.ids import Principal


def enrol_at(
    hub: HubIdentity,
    folder: Path,
    *,
    now: datetime,
    principal: str = "main.fridge",
    broker_port: int = 8883,
    hub_url: str = "https://localhost:1",
) -> Identity:
    """Write `folder`, which is a device's `identity`, and load it."""
    folder.mkdir(parents=True, mode=0o700)
    key, signing = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    certificate = hub.certify_device(csr, Principal.parse(principal), now=now)
    enrolment = {
        "principal": principal,
        "hub_url": hub_url,
        "hub_signing_public": base64.b64encode(hub.signer.public).decode(),
        "hub_kid": base64.b64encode(hub.signer.kid).decode(),
        "broker": {"host": "localhost", "port": broker_port},
    }
    for name, data in (
        ("device.key", _pem(key)),
        ("signing.key", _pem(signing)),
        ("device.crt", certificate.pem.encode()),
        ("ca.crt", hub.ca_pem.encode()),
        ("enrolment.json", json.dumps(enrolment).encode()),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
    identity = load_identity(folder)
    assert identity is not None
    return identity


def _pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

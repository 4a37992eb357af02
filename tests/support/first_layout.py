"""A hub's identity as the first version made it: one self-signed authority that signs leaves, one signing key."""

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.keys.key_files import private_pem
from cloud.private_files import make_private_directory, write_private


def make_first_layout(directory: Path, *, now: datetime) -> tuple[bytes, Ed25519PrivateKey]:
    """Write ca.pem, ca.key and signing.key; returns what devices hold as their authority, and the signing key."""
    make_private_directory(directory)
    key, signing = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Covey hub CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3_652))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    write_private(directory / "ca.key", private_pem(key))
    write_private(directory / "ca.pem", pem)
    write_private(directory / "signing.key", private_pem(signing))
    return pem, signing

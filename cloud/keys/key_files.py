"""Private keys and certificates as files. Blocking. Foreign errors end here, as `ConfigError`s that name the file."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.keys.vault import Vault
from cloud.private_files import read_private
from shared.errors import ConfigError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def private_pem(key: PrivateKey) -> bytes:
    """PKCS #8, in the clear: encryption is the vault's."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_key(pem: bytes, path: Path) -> PrivateKey:
    """Raises `ConfigError`, which names `path`."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a readable key; restore it from the backup.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path} is not a key of the hub; restore it from the backup.")
    return key


def ec_key_in(path: Path, vault: Vault) -> ec.EllipticCurvePrivateKey | None:
    """None if there is no such file. Raises `ConfigError` if it holds something else."""
    pem = vault.read(path)
    if pem is None:
        return None
    key = parse_key(pem, path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is not an EC key; restore it from the backup.")
    return key


def ed25519_key_in(path: Path, vault: Vault) -> ed25519.Ed25519PrivateKey | None:
    """None if there is no such file. Raises `ConfigError` if it holds something else."""
    pem = vault.read(path)
    if pem is None:
        return None
    key = parse_key(pem, path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key; restore it from the backup.")
    return key


def certificates_in(path: Path) -> list[x509.Certificate]:
    """All of the file; empty if there is none. Raises `ConfigError` if it holds something else."""
    pem = read_private(path)
    if pem is None:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(f"{path} is not a readable certificate; restore it from the backup.") from error


def read_certificate(path: Path) -> x509.Certificate:
    """The first of the file. Raises `ConfigError` if the file is missing or holds none."""
    found = certificates_in(path)
    if not found:
        raise ConfigError(f"{path} is missing; restore it from the backup of {path.parent}.")
    return found[0]


def read_key(path: Path, vault: Vault | None = None) -> PrivateKey:
    """Raises `ConfigError` if the file is missing or holds none of our kinds."""
    pem = (vault or Vault()).read(path)
    if pem is None:
        raise ConfigError(f"{path} is missing; restore it from the backup of {path.parent}.")
    return parse_key(pem, path)


def destroy(path: Path) -> None:
    """Overwrite a secret and remove it. On flash and on file systems that copy, older blocks may outlive that.

    Raises `ConfigError` if the file stays.
    """
    try:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed ({error.strerror}); remove it yourself.") from error

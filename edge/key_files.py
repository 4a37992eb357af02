"""The device's private keys and certificates as files in `<home>/identity`: names, passphrase, and changes as a whole.

    device.key device.crt    the pair shown to the broker; the certificate with the chain up to the hub's authority
    next.key next.crt        a renewed pair that has not connected yet; takes the place of the other once it has
    signing.key              Ed25519, for envelopes
    sealing.key              X25519, to which the hub encrypts secrets
    secrets.key              from which the key is derived under which secrets lie in the store (`edge.vault_key`)
    ca.crt enrolment.json    whom to trust, and who this device is
    restore.token            there as long as the logs of the board are not fetched whose place this one takes

Keys are PKCS #8; with a passphrase file they are encrypted (RFC 8018). The passphrase is read when it is needed and not
kept. The folder is 0700, its files 0600.
"""

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edge.file_set import COMMIT, change, recover
from shared.errors import ConfigError

if TYPE_CHECKING:  # it brings every kind of key along
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

TLS_KEY: Final = "device.key"
CERTIFICATE: Final = "device.crt"
NEXT_TLS_KEY: Final = "next.key"
NEXT_CERTIFICATE: Final = "next.crt"
SIGNING_KEY: Final = "signing.key"
SEALING_KEY: Final = "sealing.key"
SECRETS_KEY: Final = "secrets.key"
CA: Final = "ca.crt"
ENROLMENT: Final = "enrolment.json"
TICKET: Final = "restore.token"
PRIVATE: Final = (TLS_KEY, NEXT_TLS_KEY, SIGNING_KEY, SEALING_KEY, SECRETS_KEY)

PASSPHRASE_MAX_BYTES: Final = 1_023
"""What OpenSSL takes (PEM_BUFSIZE)."""
KEY_FILE_MAX_BYTES: Final = 65_536
ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
PASSPHRASE: Final = "passphrase"
"""Code of the errors that are a matter of the passphrase, not of the keys."""
NO_PASSPHRASE: Final = b""
"""Given to OpenSSL where there is none: it would ask a person at the terminal for it."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files of one identity. Everything blocks."""

    folder: Path
    passphrase_file: Path | None = None

    def path(self, name: str) -> Path:
        return self.folder / name

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def recover(self) -> None:
        """Finish a change that a power cut interrupted. Raises `ConfigError`."""
        try:
            recover(self.folder)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(_unfinished(self.folder, error)) from error

    def read(self, name: str) -> bytes:
        """Raises `ConfigError` if it cannot be read."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                return file.read(KEY_FILE_MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error

    def load_key(self, name: str) -> "PrivateKeyTypes":
        """Raises `ConfigError` if it is missing or damaged, or the passphrase is missing or wrong."""
        return open_key(self.path(name), self.read(name), self.passphrase_file)

    def encode_key(self, key: "PrivateKeyTypes") -> bytes:
        """As it is to be stored: encrypted if there is a passphrase. Raises `ConfigError` if that cannot be read."""
        encryption: KeySerializationEncryption = NoEncryption()
        if self.passphrase_file is not None:
            encryption = BestAvailableEncryption(read_passphrase(self.passphrase_file))
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def store(self, write: Mapping[str, bytes], *, remove: Collection[str] = ()) -> None:
        """Change these files, all or none, on the disk on return. Raises `ConfigError` for a disk that cannot."""
        try:
            change(self.folder, write, remove=remove)
        except (ValueError, RecursionError) as error:
            raise ConfigError(_unfinished(self.folder, error)) from error
        except OSError as error:
            raise ConfigError(
                f"{self.folder} could not be written ({error.strerror}); check the disk and who owns it."
            ) from error

    def is_encrypted(self) -> dict[str, bool]:
        """Each private key that is there, and whether it is encrypted."""
        names = [name for name in PRIVATE if self.has(name)]
        return {name: self.read(name).lstrip().startswith(ENCRYPTED) for name in names}

    def rewrite(self, passphrase_file: Path | None) -> int:
        """Encrypt every key with another passphrase, or with none; all or none of them. How many there are.

        Raises `ConfigError`, with everything as it was.
        """
        self.recover()
        target = KeyFiles(self.folder, passphrase_file)
        keys = {name: target.encode_key(self.load_key(name)) for name in PRIVATE if self.has(name)}
        self.store(keys)
        return len(keys)


def _unfinished(folder: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else error
    return (
        f"A change of {folder} was cut off and cannot be finished ({why}); check the disk, and if {folder / COMMIT} is"
        " damaged, remove it."
    )


def open_key(path: Path, pem: bytes, passphrase_file: Path | None) -> "PrivateKeyTypes":
    """A private key, whether it is encrypted or not. Raises `ConfigError`."""
    is_encrypted = pem.lstrip().startswith(ENCRYPTED)
    if is_encrypted and passphrase_file is None:
        raise ConfigError(
            f"{path} is encrypted, and there is no passphrase: let identity_passphrase_file in edge.toml name the"
            " file that holds it, or give the service the credential covey-identity.",
            code=PASSPHRASE,
        )
    passphrase = read_passphrase(passphrase_file) if is_encrypted and passphrase_file is not None else None
    try:
        return load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError) as error:
        if is_encrypted:
            raise ConfigError(
                f"The passphrase in {passphrase_file} does not open {path}; put the right one there.",
                code=PASSPHRASE,
            ) from error
        raise ConfigError(f"{path} holds no readable key; restore it, or enrol this device again.") from error


def read_passphrase(path: Path) -> bytes:
    """What is in the file, without the end of its line. Raises `ConfigError` if that is nothing, or too much."""
    try:
        with path.open("rb") as file:
            passphrase = file.read(PASSPHRASE_MAX_BYTES + 3).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(
            f"The passphrase file {path} cannot be read ({error.strerror}); check identity_passphrase_file.",
            code=PASSPHRASE,
        ) from error
    if not 0 < len(passphrase) <= PASSPHRASE_MAX_BYTES:
        raise ConfigError(
            f"The passphrase file {path} must hold 1 to {PASSPHRASE_MAX_BYTES} bytes; write the passphrase into it.",
            code=PASSPHRASE,
        )
    return passphrase


def load_pair(context: ssl.SSLContext, *, certificate: Path, key: Path, passphrase_file: Path | None) -> None:
    """Have `context` show this certificate. Raises `ConfigError` for a passphrase file, else as `ssl` does."""
    passphrase = NO_PASSPHRASE if passphrase_file is None else read_passphrase(passphrase_file)
    context.load_cert_chain(certificate, key, password=passphrase)

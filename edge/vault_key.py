"""The key under which the device's secrets lie in its store: derived from a file beside its other keys.

`identity/secrets.key` is a private key like the others there (PKCS #8, 0600, encrypted with the same passphrase if
there is one), of which only the bytes are used: the cipher's key is derived from them (HKDF-SHA256). Whoever has the
store alone has no secret. Values are encrypted with AES-256-GCM under a random nonce, bound to name and version: a row
put under another name does not open.
"""

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.key_files import SECRETS_KEY, KeyFiles
from shared.cbor import encode
from shared.errors import ConfigError

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
_PURPOSE: Final = b"covey/1/vault"
_LIBRARY_PURPOSE: Final = b"covey/1/library"
_MEMORY_PURPOSE: Final = b"covey/1/memory"
_CONTEXT: Final = "covey/1/secret at rest"


class VaultKey:
    """Encrypts and decrypts what is in the vault."""

    def __init__(self, key: bytes) -> None:
        # Here, because a device without secrets does without the cipher.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def seal(self, name: str, version: int, value: str) -> bytes:
        """The value as it is to be stored."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.encode(), _bound_to(name, version))

    def open(self, name: str, version: int, sealed: bytes) -> str:
        """Raises `ConfigError` if it was not sealed by this key for this name and version."""
        from cryptography.exceptions import InvalidTag

        try:
            nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, body, _bound_to(name, version)).decode()
        except (InvalidTag, ValueError) as error:
            raise ConfigError(
                f"The secret {name} cannot be decrypted; set it again with `covey-edge secret set {name}`."
            ) from error


def open_vault_key(files: KeyFiles, *, makes: bool) -> VaultKey | None:
    """The key of the device with these files; None if it has none and `makes` is false. Blocks.

    Raises `ConfigError` for a file that is no key, or a passphrase that is missing or wrong.
    """
    material = _material(files, makes=makes)
    return None if material is None else VaultKey(_derived(material, _PURPOSE))


def library_key(files: KeyFiles) -> bytes:
    """Under which the device authenticates what it holds of knowledge; of the same file as the secrets' key, which is
    made if there is none. Blocks. Raises as `open_vault_key`."""
    material = _material(files, makes=True)
    assert material is not None, "it is made where it is missing"
    return _derived(material, _LIBRARY_PURPOSE)


def memory_key(files: KeyFiles) -> bytes:
    """Under which the device seals what it remembers; of the same file. Blocks. Raises as `open_vault_key`."""
    material = _material(files, makes=True)
    assert material is not None, "it is made where it is missing"
    return _derived(material, _MEMORY_PURPOSE)


def _material(files: KeyFiles, *, makes: bool) -> bytes | None:
    files.recover()
    if not files.has(SECRETS_KEY):
        if not makes:
            return None
        files.store({SECRETS_KEY: files.encode_key(X25519PrivateKey.generate())})
    key = files.load_key(SECRETS_KEY)
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(
            f"{files.path(SECRETS_KEY)} is not the key of the secrets; restore it, or remove it and set them again."
        )
    return key.private_bytes_raw()


def _derived(material: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(material)


def _bound_to(name: str, version: int) -> bytes:
    return encode([_CONTEXT, name, version])

"""Secret files, encrypted with a passphrase or not. Blocking; opening a sealed file costs a tenth of a second or more.

A sealed file is text between two lines like PEM's: CBOR of `[1, log2 n, salt, nonce, box]`. The key is made from the
passphrase by scrypt (RFC 7914; r = 8, p = 1), the box by ChaCha20-Poly1305 (RFC 8439). PKCS #8's own encryption is not
used: the library at hand derives its key with so few rounds that a passphrase of a person would not last.
"""

import base64
import binascii
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cloud.private_files import read_private, write_private
from shared.cbor import decode, encode
from shared.errors import ConfigError, ProtocolError

BEGIN: Final = b"-----BEGIN COVEY SEALED FILE-----\n"
END: Final = b"-----END COVEY SEALED FILE-----\n"
VERSION: Final = 1
AT_REST_LOG2_N: Final = 15
"""32 MiB: a passphrase file on the same machine holds random bytes, and each start of a process waits for this."""
EXPORT_LOG2_N: Final = 17
"""128 MiB: a passphrase that a person remembers, on a medium that may be stolen."""
LOG2_N_MAX: Final = 20
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
SCRYPT_R: Final = 8
SEALED_MAX_BYTES: Final = 65_536
PASSPHRASE_MIN_CHARS: Final = 12
PASSPHRASE_MAX_BYTES: Final = 4_096
LINE_CHARS: Final = 64

_CONTEXT: Final = b"covey sealed file 1"


class Vault:
    """Reads and writes the files of one hub. Without a passphrase it writes plainly, and opens nothing sealed."""

    def __init__(self, passphrase: bytes | None = None) -> None:
        self._passphrase = passphrase
        self._salt = secrets.token_bytes(SALT_BYTES)
        self._keys: dict[tuple[bytes, int], bytes] = {}

    @property
    def has_passphrase(self) -> bool:
        return self._passphrase is not None

    def read(self, path: Path) -> bytes | None:
        """What is in the file, None if there is none.

        Raises `ConfigError` if it cannot be read, or is sealed with another passphrase or with one that we lack.
        """
        data = read_private(path)
        if data is None or not is_sealed(data):
            return data
        if self._passphrase is None:
            raise ConfigError(
                f"{path} is encrypted; name the file with its passphrase in key_passphrase_file, or give systemd's"
                " credential covey-hub-keys."
            )
        return self._open(data, f"{path}")

    def write(self, path: Path, data: bytes) -> None:
        """Replace the file, sealed if there is a passphrase. Raises `ConfigError`."""
        if self._passphrase is not None:
            data = _box(self._key(self._salt, AT_REST_LOG2_N), data, self._salt, AT_REST_LOG2_N)
        write_private(path, data)

    def _open(self, data: bytes, what: str) -> bytes:
        salt, log2_n, nonce, box = _parse(data, what)
        try:
            return ChaCha20Poly1305(self._key(salt, log2_n)).decrypt(nonce, box, _CONTEXT)
        except InvalidTag as error:
            raise ConfigError(
                f"{what} does not open with this passphrase; give the right one, or restore the file."
            ) from error

    def _key(self, salt: bytes, log2_n: int) -> bytes:
        """Files that were written in one go share a salt, so several cost one derivation."""
        assert self._passphrase is not None
        place = (salt, log2_n)
        if place not in self._keys:
            self._keys[place] = _derived(self._passphrase, salt, log2_n)
        return self._keys[place]


def is_sealed(data: bytes) -> bool:
    """Whether these are the bytes of a sealed file."""
    return data.startswith(BEGIN)


def sealed(data: bytes, passphrase: bytes, *, log2_n: int = EXPORT_LOG2_N) -> bytes:
    """A sealed file for `data`, for somewhere else."""
    salt = secrets.token_bytes(SALT_BYTES)
    return _box(_derived(passphrase, salt, log2_n), data, salt, log2_n)


def unsealed(data: bytes, passphrase: bytes, *, what: str) -> bytes:
    """Raises `ConfigError` if it is no sealed file, or the passphrase is another."""
    return Vault(passphrase)._open(data, what)


def passphrase_in(path: Path) -> bytes:
    """The first line of the file. Raises `ConfigError` if there is none, or it is too short to protect anything."""
    data = read_private(path)
    if data is None:
        raise ConfigError(
            f"There is no passphrase file at {path}; make it, closed to other accounts (chmod 600)."
        )
    lines = data[:PASSPHRASE_MAX_BYTES].splitlines()
    return checked(lines[0] if lines else b"", f"the first line of {path}")


def checked(passphrase: bytes, what: str) -> bytes:
    """The passphrase, if it is long enough. Raises `ConfigError`."""
    if len(passphrase) < PASSPHRASE_MIN_CHARS:
        raise ConfigError(f"The passphrase must have at least {PASSPHRASE_MIN_CHARS} characters: {what}.")
    return passphrase


def _derived(passphrase: bytes, salt: bytes, log2_n: int) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << log2_n, r=SCRYPT_R, p=1).derive(passphrase)


def _box(key: bytes, data: bytes, salt: bytes, log2_n: int) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    box = ChaCha20Poly1305(key).encrypt(nonce, data, _CONTEXT)
    text = base64.b64encode(encode([VERSION, log2_n, salt, nonce, box]))
    lines = [text[begin : begin + LINE_CHARS] for begin in range(0, len(text), LINE_CHARS)]
    return BEGIN + b"\n".join(lines) + b"\n" + END


def _parse(data: bytes, what: str) -> tuple[bytes, int, bytes, bytes]:
    damaged = ConfigError(
        f"{what} is no sealed file of this program, or is damaged; restore it from the backup."
    )
    if len(data) > SEALED_MAX_BYTES or not (data.startswith(BEGIN) and data.rstrip().endswith(END.rstrip())):
        raise damaged
    try:
        body = base64.b64decode(b"".join(data.split(b"\n")[1:-2]), validate=True)
        parts = decode(body)
    except (binascii.Error, ProtocolError) as error:
        raise damaged from error
    match parts:
        case [1, int() as log2_n, bytes() as salt, bytes() as nonce, bytes() as box] if (
            0 < log2_n <= LOG2_N_MAX and len(nonce) == NONCE_BYTES
        ):
            return salt, log2_n, nonce, box
        case _:
            raise damaged

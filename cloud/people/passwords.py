"""Passwords: what is accepted as one, and their argon2id hashes (RFC 9106). Blocking: a hash takes a tenth of a second.

A hash costs 64 MiB while it is made, so few are made at once and few callers may wait for that; whoever comes then is
told to come again. A name that nobody has costs a hash as well, so the time tells nothing about names.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from cloud.people.schemas import PASSWORD_MAX_BYTES
from shared.errors import CapacityError, RefusedError

PASSWORD_MIN_CHARS: Final = 12
HASHES_AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 16
"""Callers that may wait for their hash; each holds one of the server's threads."""
WAIT_MAX_S: Final = 10.0

OBVIOUS: Final = (
    "password",
    "passwort",
    "passw0rd",
    "motdepasse",
    "contraseña",
    "letmein",
    "welcome",
    "qwerty",
    "qwertz",
    "azerty",
    "iloveyou",
    "changeme",
    "administrator",
    "admin",
    "covey",
    "coveyhub",
    "secret",
    "dragon",
    "monkey",
    "football",
    "1234567890",
    "0987654321",
    "abcdefghijkl",
    "1q2w3e4r5t6y",
    "qwertyuiop",
    "asdfghjkl",
)
"""What a password may not be made of alone, once or several times, with digits and marks around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Parameters of argon2id. The default is the second recommended choice of RFC 9106, section 4."""

    time_cost: int = 3
    memory_kib: int = 65_536
    lanes: int = 4
    hash_bytes: int = 32
    salt_bytes: int = 16


class Passwords:
    """Makes and checks hashes. Thread-safe."""

    def __init__(self, cost: Cost, *, at_once_max: int = HASHES_AT_ONCE_MAX) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.time_cost,
            memory_cost=cost.memory_kib,
            parallelism=cost.lanes,
            hash_len=cost.hash_bytes,
            salt_len=cost.salt_bytes,
            type=Type.ID,
        )
        self._turns = threading.BoundedSemaphore(at_once_max)
        self._waiting = 0
        self._lock = threading.Lock()
        self._nobody: str | None = None

    def hash(self, password: str) -> str:
        """A new salted hash. Raises `CapacityError` when too many are being made."""
        with self._turn():
            return self._hasher.hash(password)

    def fits(self, password: str, hashed: str | None) -> bool:
        """Whether `hashed` was made of `password`. None costs as much and never fits.

        Raises `CapacityError` when too many are being checked.
        """
        if len(password.encode(errors="replace")) > PASSWORD_MAX_BYTES:
            password, hashed = "", None
        with self._turn():
            if self._nobody is None:
                self._nobody = self._hasher.hash(secrets.token_hex())
            try:  # JSON may hold half a surrogate, which no password is
                self._hasher.verify(hashed or self._nobody, password)
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False
        return bool(hashed)

    def is_outdated(self, hashed: str) -> bool:
        """Whether `hashed` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._waiting >= WAITING_MAX:
                raise _too_many()
            self._waiting += 1
        try:
            if not self._turns.acquire(timeout=WAIT_MAX_S):
                raise _too_many()
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


def check_new(name: str, password: str) -> None:
    """Raises `RefusedError` (code `password_weak`) for what is no password for `name` (NIST SP 800-63B, 5.1.1.2)."""
    if len(password) < PASSWORD_MIN_CHARS:
        raise _weak(f"A password has at least {PASSWORD_MIN_CHARS} characters; choose a longer one.")
    if len(password.encode(errors="replace")) > PASSWORD_MAX_BYTES:
        raise _weak(f"A password has at most {PASSWORD_MAX_BYTES} bytes; choose a shorter one.")
    if not password.isprintable():
        raise _weak("A password has no control characters; choose another.")
    folded = password.casefold()
    core = folded.strip("0123456789 .,;:!?-_#*+$%&/()=@")
    if folded == name.casefold() or _repeats(core, name.casefold()) or len(set(folded)) < 4:
        raise _weak("The password is the name, or a few characters again and again; choose another.")
    if any(_repeats(candidate, word) for word in OBVIOUS for candidate in (folded, core)):
        raise _weak("The password is among those that are guessed first; choose another.")


def _repeats(text: str, word: str) -> bool:
    """Whether `text` is nothing but `word`, once or several times, the last time perhaps cut short."""
    return bool(text) and (word * (len(text) // len(word) + 1)).startswith(text) and len(text) >= len(word)


def _weak(message: str) -> RefusedError:
    return RefusedError(message, code="password_weak")


def _too_many() -> CapacityError:
    return CapacityError(
        "Too many people sign in at this moment; try again in a few seconds.",
        bound="HASHES_AT_ONCE_MAX",
        limit=HASHES_AT_ONCE_MAX,
        code="too_many_sign_ins",
    )

"""One-time codes by time (TOTP, RFC 6238: SHA-1, six digits, 30 s), which every authenticator app makes. Pure.

The secret is kept encrypted (AES-256-GCM) under a key of the hub, bound to its user's name. While somebody enrols,
the hub keeps nothing: a ticket, encrypted in the same way, travels to the person and comes back with the first code.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.cbor import decode, encode
from shared.clock import from_ms, to_ms
from shared.errors import ProtocolError, RefusedError

STEP_S: Final = 30
DRIFT_STEPS: Final = 1
"""Steps before and after now whose codes are accepted: clocks differ, and typing takes a while."""
SECRET_CHARS: Final = 32
"""In base32: 160 bits, as RFC 4226 recommends."""
TICKET_LIFE: Final = timedelta(minutes=10)
NONCE_BYTES: Final = 12
ISSUER: Final = "Covey"

_STORED: Final = "stored"
_ENROLLING: Final = "enrolling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What the person is shown once. `uri` is what the QR code holds."""

    secret: str
    uri: str
    ticket: str


class TotpSecrets:
    """Makes, hides and finds secrets."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes that only the hub has (`Identity.derive("totp")`)."""
        self._cipher = AESGCM(key)

    def begin(self, name: str, *, now: datetime) -> Enrolment:
        """A new secret for `name`, which counts for nothing until `finish`."""
        secret = pyotp.random_base32(SECRET_CHARS)
        ends_at = to_ms(now + TICKET_LIFE)
        return Enrolment(
            secret=secret,
            uri=pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER),
            ticket=self._hidden(_ENROLLING, name, encode([secret, ends_at])).hex(),
        )

    def finish(self, name: str, ticket: str, code: str, *, now: datetime) -> tuple[bytes, int]:
        """What to keep, and the step of the code, which is used up.

        Raises `RefusedError` (codes `ticket_invalid`, `code_wrong`).
        """
        try:
            opened = decode(self._opened(_ENROLLING, name, bytes.fromhex(ticket)))
        except (ValueError, ProtocolError, InvalidTag) as error:
            raise _ticket_invalid() from error
        match opened:
            case [str() as secret, int() as ends_at] if now < from_ms(ends_at):
                pass
            case _:
                raise _ticket_invalid()
        step = step_of(secret, code, after=0, now=now)
        if step is None:
            raise RefusedError(
                "That is not the code of now; check the clock of the device that makes it, then try again.",
                code="code_wrong",
            )
        return self._hidden(_STORED, name, secret.encode()), step

    def opened(self, name: str, hidden: bytes) -> str | None:
        """The secret of `name` that is kept as `hidden`; None if it was not hidden by us for that name."""
        try:
            return self._opened(_STORED, name, hidden).decode()
        except (ValueError, InvalidTag):
            return None

    def _hidden(self, purpose: str, name: str, content: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, encode([purpose, name]))

    def _opened(self, purpose: str, name: str, hidden: bytes) -> bytes:
        return self._cipher.decrypt(hidden[:NONCE_BYTES], hidden[NONCE_BYTES:], encode([purpose, name]))


def step_of(secret: str, code: str, *, after: int, now: datetime) -> int | None:
    """The time step whose code this is, of those near `now` and later than `after`; None if it is none of theirs."""
    digits = code.replace(" ", "")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    generator = pyotp.TOTP(secret, interval=STEP_S)
    current = int(now.timestamp()) // STEP_S
    found: int | None = None
    for step in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1):
        expected = generator.at(datetime.fromtimestamp(step * STEP_S, tz=UTC))
        # Every step is compared, whichever fits: the time tells nothing.
        if hmac.compare_digest(expected, digits) and step > after:
            found = step
    return found


def _ticket_invalid() -> RefusedError:
    return RefusedError("This enrolment is over or not of this user; begin again.", code="ticket_invalid")

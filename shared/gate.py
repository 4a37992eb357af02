"""The admission gate: raw bytes to `Accepted` or `Rejected`, on both sides; nothing else parses raw bytes (rule P8).

A refusal is a value: it is counted, and never answered with detail. The rungs, in order, each with its reason:

    size            too_large
    envelope shape  malformed
    version         version
    known key       unknown_key, revoked_key
    signature       bad_signature
    sender          wrong_sender      the key's owner, the issuer and the topic must be one
    purpose         wrong_purpose     what the key may sign (rule P23)
    recipient       wrong_recipient
    type            wrong_type        what may come on this topic
    freshness       stale             the session that the last hello opened
    replay          replayed          a sliding window over the session's counter (RFC 4303, section 3.4.3)
    payload         bad_payload
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

import zstandard
from pydantic import ValidationError

from shared.cbor import decode, encode
from shared.envelope import PROTOCOL_VERSION, Header, is_signed_by, seal, unwrap
from shared.errors import ProtocolError
from shared.folded import unfold
from shared.keys import Signer, TrustView
from shared.messages import SESSION_BYTES, Payload

MESSAGE_MAX_BYTES: Final = 122_880
"""120 KiB: below the smallest message limit among the large brokers (rule P7)."""
PAYLOAD_MAX_BYTES: Final = 2_097_152
"""What a compressed payload may unfold to."""
COMPRESS_FROM_BYTES: Final = 512
ZSTD_LEVEL: Final = 1
COUNTER_BYTES: Final = 8
MAX_COUNTER: Final = 2**63 - 1
"""What a signed 64-bit column can hold."""
REPLAY_WINDOW: Final = 64

M = TypeVar("M", bound=Payload)


class Reason(StrEnum):
    """Why a message was refused."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    VERSION = "version"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_SENDER = "wrong_sender"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_RECIPIENT = "wrong_recipient"
    WRONG_TYPE = "wrong_type"
    STALE = "stale"
    REPLAYED = "replayed"
    BAD_PAYLOAD = "bad_payload"


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """Which counters of a session were seen: the highest, and a bit for each of the `REPLAY_WINDOW` below it."""

    highest: int = 0
    seen: int = 0

    def admit(self, counter: int) -> "ReplayWindow | None":
        """The window after `counter` (1 to `MAX_COUNTER`), or None if it was seen before or is too old to tell."""
        if counter > MAX_COUNTER:
            return None
        if counter > self.highest:
            shifted = (self.seen << (counter - self.highest)) if counter - self.highest < REPLAY_WINDOW else 0
            return ReplayWindow(counter, (shifted | 1) & ((1 << REPLAY_WINDOW) - 1))
        behind = self.highest - counter
        if counter < 1 or behind >= REPLAY_WINDOW or self.seen >> behind & 1:
            return None
        return ReplayWindow(self.highest, self.seen | 1 << behind)


@dataclass(frozen=True, slots=True)
class Session:
    """An open session as its reader sees it: the id that the hello settled, and what was seen in it."""

    id: bytes
    window: ReplayWindow = ReplayWindow()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected(Generic[M]):
    """What the reader is ready to accept on a topic. Without `needs_session` the message stands for itself."""

    message: type[M]
    issuer: str
    audience: str
    needs_session: bool = True


@dataclass(frozen=True, slots=True)
class Accepted(Generic[M]):
    """A message that passed every rung. `session` is the session after it; the host stores it with the effect."""

    message: M
    session: Session | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that did not, and the rung that stopped it."""

    reason: Reason


def admit(
    raw: bytes,
    expected: Expected[M],
    trust: TrustView,
    sessions: tuple[Session, ...] = (),
) -> Accepted[M] | Rejected:
    """Climb the ladder. `sessions`: those the reader honours now (the hub honours an old and a new one at once)."""
    if len(raw) > MESSAGE_MAX_BYTES:
        return Rejected(Reason.TOO_LARGE)
    try:
        envelope = unwrap(raw)
    except ProtocolError:
        return Rejected(Reason.MALFORMED)
    header = envelope.header
    if header.version != PROTOCOL_VERSION:
        return Rejected(Reason.VERSION)
    key = trust.key(header.kid)
    if key is None:
        return Rejected(Reason.UNKNOWN_KEY)
    if key.is_revoked:
        return Rejected(Reason.REVOKED_KEY)
    if not is_signed_by(envelope, key):
        return Rejected(Reason.BAD_SIGNATURE)
    if not key.owner == header.issuer == expected.issuer:
        return Rejected(Reason.WRONG_SENDER)
    if key.purpose is not expected.message.key_purpose:
        return Rejected(Reason.WRONG_PURPOSE)
    if header.audience != expected.audience:
        return Rejected(Reason.WRONG_RECIPIENT)
    if header.content_type != expected.message.content_type:
        return Rejected(Reason.WRONG_TYPE)
    session: Session | None = None
    if expected.needs_session:
        if len(header.message_id) != SESSION_BYTES + COUNTER_BYTES:
            return Rejected(Reason.STALE)
        session = next((s for s in sessions if s.id == header.message_id[:SESSION_BYTES]), None)
        if session is None:
            return Rejected(Reason.STALE)
        window = session.window.admit(int.from_bytes(header.message_id[SESSION_BYTES:], "big"))
        if window is None:
            return Rejected(Reason.REPLAYED)
        session = Session(session.id, window)
    try:
        payload = (
            envelope.payload
            if header.encoding is None
            else unfold(envelope.payload, max_bytes=PAYLOAD_MAX_BYTES)
        )
        message = expected.message.model_validate(decode(payload))
    except (ProtocolError, ValidationError):
        return Rejected(Reason.BAD_PAYLOAD)
    return Accepted(message, session)


def message_id(session: bytes, counter: int) -> bytes:
    """The id of message number `counter` (from 1) that one side sends in `session`."""
    return session + counter.to_bytes(COUNTER_BYTES, "big")


def close(message: Payload, *, issuer: str, audience: str, message_id: bytes, signer: Signer) -> bytes:
    """Seal a message for the other side's gate; compresses when it pays (rule P7)."""
    signer = signer.current
    payload = encode(message.model_dump(exclude_defaults=True))
    folded = zstandard.compress(payload, ZSTD_LEVEL) if len(payload) >= COMPRESS_FROM_BYTES else payload
    pays = len(folded) < len(payload)
    header = Header(
        content_type=message.content_type,
        kid=signer.kid,
        issuer=issuer,
        audience=audience,
        message_id=message_id,
        encoding="zstd" if pays else None,
    )
    return seal(header, folded if pays else payload, signer)

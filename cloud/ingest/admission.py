"""From topic and bytes to a message that may be acted on: the hub's side of the gate (rules P8, P15, P17).

Refusals are counted and never answered. The first message in a session that a hello offered makes it the current
one and ends the one before.
"""

import logging
from dataclasses import dataclass
from typing import Final

from cloud.devices.tables import Device, DeviceSession, DeviceStatus
from cloud.ingest.strangers import UNKNOWN_DEVICE
from cloud.ingest.turn import Turn
from shared.errors import ProtocolError
from shared.gate import Expected, Reason, Rejected, ReplayWindow, Session, admit
from shared.ids import HUB
from shared.messages import Ack, Batch, DeviceState, Hello, Payload
from shared.renewal import RenewRequest
from shared.topics import Channel, DeviceTopic, parse

logger = logging.getLogger(__name__)

MESSAGES: Final[dict[Channel, type[Payload]]] = {
    Channel.STATE: DeviceState,
    Channel.HELLO: Hello,
    Channel.UP_JOURNAL: Batch,
    Channel.UP_METRICS: Batch,
    Channel.DOWN_ORDERS_ACK: Ack,
    Channel.RENEW: RenewRequest,
}
"""What a device may say on which channel."""

NOT_APPROVED: Final = "not_approved"
"""The reason under which messages of a device are counted that waits for an operator."""
SESSIONLESS: Final = frozenset({Channel.STATE, Channel.HELLO})
WINDOW_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message of an active device. `via` is its session, None where none is needed."""

    device: Device
    channel: Channel
    message: Payload
    via: DeviceSession | None


def topic_of(topic: str) -> DeviceTopic | None:
    """The device and channel that a topic names, or None if a device may not speak there."""
    try:
        parsed = parse(topic)
    except ProtocolError:
        return None
    return parsed if parsed.channel in MESSAGES else None


def admit_on(turn: Turn, topic: DeviceTopic, raw: bytes) -> Admitted | None:
    """The message, or None: refused and counted."""
    principal, channel = str(topic.principal), topic.channel
    device = turn.devices.get(principal)
    if device is None:
        if channel is not Channel.STATE:  # which is retained, and may be of long ago
            turn.strangers[principal] += 1
        _refuse(turn, principal, UNKNOWN_DEVICE)
        return None
    if (shut_out := _shut_out(device, channel)) is not None:
        if shut_out == Reason.REVOKED_KEY and channel is not Channel.STATE:  # which its will speaks on
            turn.still_there.add(principal)
        _refuse(turn, principal, shut_out)
        return None
    expected = Expected(
        message=MESSAGES[channel], issuer=principal, audience=HUB, needs_session=channel not in SESSIONLESS
    )
    rows = turn.sessions[principal]
    verdict = admit(raw, expected, turn.trust, tuple(_as_session(row) for row in rows))
    if isinstance(verdict, Rejected):
        _refuse(turn, principal, verdict.reason.value)
        return None
    if verdict.session is None:
        return Admitted(device, channel, verdict.message, None)
    return Admitted(device, channel, verdict.message, _use(turn, principal, verdict.session))


def _shut_out(device: Device, channel: Channel) -> str | None:
    """Why nothing of the device is looked at, None if it is let in as far as its status goes."""
    match device.status:
        case DeviceStatus.ACTIVE.value:
            return None
        case DeviceStatus.QUARANTINED.value:
            # It may still be seen to come and go.
            return None if channel is Channel.STATE else DeviceStatus.QUARANTINED.value
        case DeviceStatus.PENDING.value:
            return NOT_APPROVED
        case _:
            return Reason.REVOKED_KEY.value


def _refuse(turn: Turn, principal: str, reason: str) -> None:
    logger.debug("refused a message of %s: %s", principal, reason)
    turn.refuse(principal, reason)


def _as_session(row: DeviceSession) -> Session:
    return Session(row.id, ReplayWindow(row.window_highest, int.from_bytes(row.window_seen, "big")))


def _use(turn: Turn, principal: str, session: Session) -> DeviceSession:
    rows = turn.sessions[principal]
    used = next(row for row in rows if row.id == session.id)
    used.window_highest = session.window.highest
    used.window_seen = session.window.seen.to_bytes(WINDOW_BYTES, "big")
    if not used.is_current:
        used.is_current = True
        for other in rows:
            if other is not used:
                turn.session.delete(other)
        turn.sessions[principal] = [used]
    return used

"""From topic and bytes to a message that may be acted on: the hub's side of the gate (rules P8, P15, P17).

Refusals are counted and never answered. The first message in a session that a hello offered makes it the current
one and ends the one before.
"""

import logging
from dataclasses import dataclass
from typing import Final

from cloud.devices.tables import Device, DeviceSession, DeviceStatus
from cloud.ingest.turn import Turn
from shared.errors import ProtocolError
from shared.gate import Expected, Rejected, ReplayWindow, Session, admit
from shared.ids import HUB
from shared.messages import Ack, Batch, DeviceState, Hello, Payload
from shared.topics import Channel, DeviceTopic, parse

logger = logging.getLogger(__name__)

MESSAGES: Final[dict[Channel, type[Payload]]] = {
    Channel.STATE: DeviceState,
    Channel.HELLO: Hello,
    Channel.UP_JOURNAL: Batch,
    Channel.UP_METRICS: Batch,
    Channel.DOWN_ORDERS_ACK: Ack,
}
"""What a device may say on which channel."""

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
        _refuse(turn, principal, "unknown_device")
        return None
    # A quarantined device may still be seen to come and go; nothing else of it is looked at.
    if device.status == DeviceStatus.QUARANTINED and channel is not Channel.STATE:
        _refuse(turn, principal, DeviceStatus.QUARANTINED.value)
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

"""Every MQTT topic of the protocol. No other module contains a topic string (rule P15)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import ProtocolError
from shared.ids import UPWARD, Lane, Principal

ROOT: Final = "covey/1"
HUB_STATUS: Final = f"{ROOT}/hub"
HUB_KEYS: Final = f"{HUB_STATUS}/keys"
"""Retained: the hub's key chain, whole (`shared.keychain`, rule P23)."""
DEVICES: Final = f"{ROOT}/d"
HUB_PROBE: Final = f"{HUB_STATUS}/probe"
"""Like `probe_topic`, under the hub's name."""

PROBE_PREFIX: Final = "probe-"
"""What the name of a doctor's throw-away device begins with."""


class Channel(StrEnum):
    """What follows `covey/1/d/{principal}/`."""

    STATE = "state"
    HELLO = "hello"
    HELLO_ACK = "hello/ack"
    UP_JOURNAL = "up/journal"
    UP_JOURNAL_ACK = "up/journal/ack"
    UP_METRICS = "up/metrics"
    UP_METRICS_ACK = "up/metrics/ack"
    DOWN_ORDERS = "down/orders"
    DOWN_ORDERS_ACK = "down/orders/ack"
    RENEW = "renew"
    RENEW_ACK = "renew/ack"


FROM_DEVICE: Final = (
    Channel.STATE,
    Channel.HELLO,
    Channel.UP_JOURNAL,
    Channel.UP_METRICS,
    Channel.DOWN_ORDERS_ACK,
    Channel.RENEW,
)
"""What a device publishes and the hub reads."""

FROM_HUB: Final = (
    Channel.HELLO_ACK,
    Channel.UP_JOURNAL_ACK,
    Channel.UP_METRICS_ACK,
    Channel.DOWN_ORDERS,
    Channel.RENEW_ACK,
)
"""What the hub publishes and a device reads."""

_CHANNELS: Final = {channel.value: channel for channel in Channel}
_BATCH: Final = {
    Lane.JOURNAL: Channel.UP_JOURNAL,
    Lane.METRICS: Channel.UP_METRICS,
    Lane.ORDERS: Channel.DOWN_ORDERS,
}
_ACK: Final = {
    Lane.JOURNAL: Channel.UP_JOURNAL_ACK,
    Lane.METRICS: Channel.UP_METRICS_ACK,
    Lane.ORDERS: Channel.DOWN_ORDERS_ACK,
}


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """A parsed device topic."""

    principal: Principal
    channel: Channel


def device_topic(principal: str, channel: Channel) -> str:
    """The topic of one channel of one device."""
    return f"{DEVICES}/{principal}/{channel.value}"


def probe_topic(principal: str) -> str:
    """Where nobody speaks or listens: a doctor finds out there what the broker allows, and nothing comes of it."""
    return f"{DEVICES}/{principal}/probe"


def is_probe(principal: str, message: bytes) -> bool:
    """Whether it only asks the broker whether a device may speak there: it is empty, and no device has such a name."""
    return not message and principal.partition(".")[2].startswith(PROBE_PREFIX)


def every_device(channel: Channel, *, share: str | None = None) -> str:
    """A filter that matches `channel` of every device; with `share`, one subscriber of that group gets each message."""
    filter_ = f"{DEVICES}/+/{channel.value}"
    return filter_ if share is None else f"$share/{share}/{filter_}"


def batch_channel(lane: Lane) -> Channel:
    """Where batches of `lane` travel."""
    return _BATCH[lane]


def ack_channel(lane: Lane) -> Channel:
    """Where acknowledgements of `lane` travel."""
    return _ACK[lane]


def upward_lane(channel: Channel) -> Lane | None:
    """The lane whose batches arrive at the hub on `channel`, if any."""
    return next((lane for lane in UPWARD if _BATCH[lane] is channel), None)


def parse(topic: str) -> DeviceTopic:
    """Raises `ProtocolError` if `topic` is not a device topic of this protocol version."""
    prefix, _, rest = topic.partition(f"{DEVICES}/")
    name, _, channel = rest.partition("/")
    if prefix or channel not in _CHANNELS:
        raise ProtocolError("The topic is not one of this protocol.")
    return DeviceTopic(Principal.parse(name), _CHANNELS[channel])

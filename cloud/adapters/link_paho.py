"""The hub's `Link` over paho-mqtt: MQTT 5, mutual TLS, TCP_NODELAY, and a back-off with full jitter.

Each connection is a new client without a session at the broker: what was not delivered is sent again by its sender
(rule P14). paho's thread does exactly one thing: hand immutable values to the loop. Must not know what messages mean.
"""

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud.ports import Deliver
from shared.backoff import Backoff
from shared.errors import ConfigError
from shared.gate import MESSAGE_MAX_BYTES

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
KEEPALIVE_S: Final = 30
IN_FLIGHT_MAX: Final = 200
"""Messages that were published and not yet acknowledged by the broker."""
PUBLISH_TIMEOUT_S: Final = 10.0
"""How long a message waits for room among those in flight before it is dropped."""
GOODBYE_TIMEOUT_S: Final = 2.0
SESSION_TAKEN_OVER: Final = 0x8E
"""Reason code of MQTT 5, section 3.14.2.1."""
NAMESAKE: Final = (
    "another process of the hub took our connection over, as the broker makes the certificate's name the client id:"
    " give the hub a listener of its own there, and set mqtt_hub_url"
)
RECONNECT_MAX_S: Final = 30.0
"""Shorter than a device's: there are few workers, and a whole fleet waits for them."""
PACKET_MAX_BYTES: Final = 2 * MESSAGE_MAX_BYTES
"""What the broker may send us: larger than any message of the protocol, so that the gate sees and counts the excess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAccess:
    """Where the broker is, the authority of its certificate, and the hub's own certificate and key (PEM files)."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The retained birth and will of this worker, asked for at each connection, from any thread.

    `beside`: what else is retained and said before each birth, by topic.
    """

    topic: str
    online: Callable[[], bytes]
    offline: Callable[[], bytes]
    beside: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Connection:
    """One client from connect to disconnect. Only the loop's thread touches it."""

    client: mqtt.Client
    in_flight: set[int] = field(default_factory=set)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT_MAX))
    up: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "the connection ended"
    says_goodbye: bool = True

    def acknowledged(self, mid: int) -> None:
        """Births are not counted: they are few, and nobody waits for them."""
        if mid in self.in_flight:
            self.in_flight.remove(mid)
            self.room.release()

    def end(self, reason: str) -> None:
        if not self.ended.is_set():
            self.reason = reason
            self.ended.set()


class PahoLink:
    """See `cloud.ports.Link`. `client_id` must be another one for each worker."""

    def __init__(
        self,
        *,
        broker: BrokerAccess,
        client_id: str,
        filters: Sequence[str],
        presence: Presence,
        reconnect_max_s: float = RECONNECT_MAX_S,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._filters = tuple(filters)
        self._presence = presence
        self._reconnect_max_s = reconnect_max_s
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()

    @property
    def connected(self) -> asyncio.Event:
        return self._connected

    async def run(self, deliver: Deliver) -> None:
        backoff = Backoff(cap_s=self._reconnect_max_s)
        while True:
            started = monotonic()
            connection = self._make(deliver)
            try:
                await asyncio.to_thread(self._open, connection.client)
                connection.client.loop_start()
                await self._serve(connection)
                lasted_s = monotonic() - started
                backoff = backoff.linked(lasted_s)
                reason = connection.reason
            except (OSError, ValueError) as error:
                reason = f"the broker is not reachable: {error}"
            finally:
                connection.end("we closed it")
                self._connection = None
                # Also when cancelled: paho's thread must not outlive its loop.
                goodbye = self._presence if connection.says_goodbye else None
                await asyncio.shield(asyncio.to_thread(_close, connection.client, goodbye))
            backoff, wait_s = backoff.failed(random.random())
            logger.warning("%s; the next attempt is in %.1f s", reason, wait_s)
            await asyncio.sleep(wait_s)

    async def publish(self, topic: str, message: bytes) -> bool:
        connection = self._connection
        if connection is None:
            return False
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await connection.room.acquire()
        except TimeoutError:
            return False
        sent = connection.client.publish(topic, message, qos=1)
        if sent.rc == mqtt.MQTT_ERR_SUCCESS:
            connection.in_flight.add(sent.mid)  # before the loop can hear of its acknowledgement
            return True
        connection.room.release()
        return False

    async def announce(self) -> None:
        if self._connection is not None:
            _be_born(self._connection.client, self._presence)

    async def reconnect(self) -> None:
        if self._connection is not None:
            for topic, word in self._presence.beside.items():
                self._connection.client.publish(topic, word(), qos=1, retain=True)
            self._connection.says_goodbye = False
            self._connection.end("we connect anew, to leave another will")

    async def _serve(self, connection: _Connection) -> None:
        """Until the connection ends."""
        up = asyncio.ensure_future(connection.up.wait())
        ended = asyncio.ensure_future(connection.ended.wait())
        try:
            await asyncio.wait((up, ended), return_when=asyncio.FIRST_COMPLETED, timeout=CONNECT_TIMEOUT_S)
            if not up.done():
                connection.end("the broker did not answer in time")
                return
            logger.info("connected to the broker at %s:%d", self._broker.host, self._broker.port)
            await ended
        finally:
            self._connected.clear()
            up.cancel()
            ended.cancel()

    def _on_up(self, connection: _Connection) -> None:
        """At once, so that whoever gets the connection's first message may answer it."""
        if not connection.ended.is_set():
            self._connection = connection
            self._connected.set()
            connection.up.set()

    def _make(self, deliver: Deliver) -> _Connection:
        """A client whose callbacks hand everything to the loop."""
        loop = asyncio.get_running_loop()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(IN_FLIGHT_MAX)
        presence = self._presence
        client.will_set(presence.topic, presence.offline(), qos=1, retain=True)
        client.tls_set_context(self._context())
        connection = _Connection(client)

        def hand_over(call: Callable[..., None], *values: object) -> None:
            # The loop may be closing while paho's thread still runs.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(call, *values)

        def on_connect(
            client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
        ) -> None:
            if code.is_failure:
                hand_over(connection.end, f"the broker refused the connection: {code}")
                return
            sock = client.socket()
            if isinstance(sock, socket.socket):
                # Without it an acknowledgement waits for Nagle and a delayed TCP acknowledgement: 90 ms instead of 5.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.subscribe([(filter_, SubscribeOptions(qos=1)) for filter_ in self._filters])

        def on_subscribe(
            client: mqtt.Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Any
        ) -> None:
            if any(code.is_failure for code in codes):
                hand_over(connection.end, "the broker refused a subscription; check its ACL")
                return
            _be_born(client, presence)
            hand_over(self._on_up, connection)

        def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
            hand_over(deliver, message.topic, bytes(message.payload))

        def on_publish(_client: mqtt.Client, _data: Any, mid: int, _code: Any, _properties: Any) -> None:
            hand_over(connection.acknowledged, mid)

        def on_disconnect(
            _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
        ) -> None:
            why = (
                NAMESAKE
                if code.value == SESSION_TAKEN_OVER
                else f"the connection to the broker ended: {code}"
            )
            hand_over(connection.end, why)

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.on_publish = on_publish
        client.on_disconnect = on_disconnect
        return connection

    def _context(self) -> ssl.SSLContext:
        """Made anew for each connection, so that a renewed certificate is used."""
        try:
            context = ssl.create_default_context(cafile=str(self._broker.ca))
            context.load_cert_chain(self._broker.certificate, self._broker.key)
        except OSError as error:
            raise ConfigError(
                f"The hub's certificate for the broker cannot be used ({error}); check {self._broker.certificate},"
                f" {self._broker.key} and {self._broker.ca}."
            ) from error
        return context

    def _open(self, client: mqtt.Client) -> None:
        """Blocks for at most `CONNECT_TIMEOUT_S` a step."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MaximumPacketSize = PACKET_MAX_BYTES
        properties.SessionExpiryInterval = 0
        client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=KEEPALIVE_S,
            clean_start=True,
            properties=properties,
        )


def _be_born(client: mqtt.Client, presence: Presence) -> None:
    for topic, word in presence.beside.items():
        client.publish(topic, word(), qos=1, retain=True)
    client.publish(presence.topic, presence.online(), qos=1, retain=True)


def _close(client: mqtt.Client, presence: Presence | None) -> None:
    """Blocks: say goodbye if it is one and there is somebody to hear it, disconnect, wait for paho's thread to end."""
    if client.is_connected() and presence is not None:
        goodbye = client.publish(presence.topic, presence.offline(), qos=1, retain=True)
        with contextlib.suppress(ValueError, RuntimeError):
            goodbye.wait_for_publish(GOODBYE_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()

"""`Link` over paho-mqtt: MQTT 5, mutual TLS, TCP_NODELAY, and a back-off with full jitter between connections.

Each connection is a new client with its own will, because the will carries the connection's id. paho's thread does
exactly one thing: hand immutable events to the loop. Must not know what the messages mean.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.ports import Connected, Disconnected, LinkEvent, Received
from shared.backoff import CAP_S, Backoff
from shared.gate import MESSAGE_MAX_BYTES
from shared.messages import NONCE_BYTES

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 20.0
DISCONNECT_WITH_WILL: Final = 0x04
QUEUE_MAX: Final = 1_000
"""Messages from the broker waiting for the loop at most; beyond it they are dropped, and sent again by the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """Where the broker is and the TLS files for it."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


class PahoLink:
    """A device's connection. `will(connection)` gives topic and payload of the death notice of a connection."""

    def __init__(
        self,
        *,
        broker: BrokerFiles,
        client_id: str,
        subscriptions: tuple[str, ...],
        will: Callable[[bytes], tuple[str, bytes]],
        ping_interval_s: int,
        reconnect_max_s: float = CAP_S,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._subscriptions = subscriptions
        self._will = will
        self._ping_interval_s = ping_interval_s
        self._reconnect_max_s = reconnect_max_s
        self._client: mqtt.Client | None = None
        self._events: asyncio.Queue[LinkEvent] = asyncio.Queue()
        self.dropped = 0

    async def events(self) -> AsyncGenerator[LinkEvent, None]:
        backoff = Backoff(cap_s=self._reconnect_max_s)
        while True:
            started = monotonic()
            client: mqtt.Client | None = None
            was_up = False
            try:
                client = await self._connect()
                self._client = client
                while True:
                    event = await self._events.get()
                    was_up = was_up or isinstance(event, Connected)
                    yield event
                    if isinstance(event, Disconnected):
                        break
            except (OSError, ValueError) as error:
                yield Disconnected(_reason(error))
            finally:
                self._client = None
                if client is not None:
                    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, _close, client))
                self._events = asyncio.Queue()
            if was_up:
                backoff = backoff.linked(monotonic() - started)
            backoff, wait_s = backoff.failed(random.random())
            await asyncio.sleep(wait_s)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        client = self._client
        if client is None or not client.is_connected():
            return False
        return client.publish(topic, payload, qos=1, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def drop(self) -> None:
        client = self._client
        if client is not None:
            _announce_end(client)

    async def _connect(self) -> mqtt.Client:
        """A client whose first event will be `Connected` or `Disconnected`."""
        loop = asyncio.get_running_loop()
        events = self._events
        connection = os.urandom(NONCE_BYTES)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        topic, payload = self._will(connection)
        client.will_set(topic, payload, qos=1, retain=True)

        def put(event: LinkEvent) -> None:
            if isinstance(event, Received) and events.qsize() >= QUEUE_MAX:
                self.dropped += 1
                return
            events.put_nowait(event)

        def hand_over(event: LinkEvent) -> None:
            # The loop may be closing while paho's thread still runs.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(put, event)

        def on_connect(
            client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
        ) -> None:
            if code.is_failure:
                hand_over(Disconnected(f"the broker refused the connection: {code}"))
                return
            sock = client.socket()
            if isinstance(sock, socket.socket):
                # Without it a request and its answer wait for Nagle and delayed acknowledgements: 90 ms instead of 5.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._subscriptions])

        def on_subscribe(
            _client: mqtt.Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Any
        ) -> None:
            if any(code.is_failure for code in codes):
                hand_over(Disconnected("the broker refused a subscription; check its ACL"))
            else:
                hand_over(Connected(connection))

        def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
            hand_over(Received(message.topic, bytes(message.payload)))

        def on_disconnect(
            _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
        ) -> None:
            hand_over(Disconnected(f"the connection ended: {code}"))

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.on_disconnect = on_disconnect
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MaximumPacketSize = 2 * MESSAGE_MAX_BYTES
        properties.SessionExpiryInterval = 0
        await loop.run_in_executor(None, self._open, client, properties)
        client.loop_start()
        return client

    def _open(self, client: mqtt.Client, properties: Properties) -> None:
        """Blocks for at most `CONNECT_TIMEOUT_S`."""
        context = ssl.create_default_context(cafile=str(self._broker.ca))
        context.load_cert_chain(self._broker.certificate, self._broker.key)
        client.tls_set_context(context)
        client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=self._ping_interval_s,
            clean_start=True,
            properties=properties,
        )


def _close(client: mqtt.Client) -> None:
    """Blocks until paho's thread has ended."""
    _announce_end(client)
    client.loop_stop()


def _announce_end(client: mqtt.Client) -> None:
    """An orderly end is announced too: the broker publishes the will.

    MQTT 5, section 3.14.2.1: reason code 0x04, "Disconnect with Will Message".
    """
    client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL))


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"the broker's TLS handshake failed: {error.reason or error}"
    return f"the broker is not reachable: {error}"

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

from edge.key_files import load_pair
from edge.ports import Connected, Disconnected, LinkEvent, LinkFault, Received
from shared.backoff import CAP_S, Backoff
from shared.errors import ConfigError
from shared.gate import MESSAGE_MAX_BYTES
from shared.messages import NONCE_BYTES

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 20.0
DISCONNECT_WITH_WILL: Final = 0x04
SESSION_TAKEN_OVER: Final = 0x8E
"""Reason code of MQTT 5, section 3.14.2.1. Mosquitto says it from 2.0.15 on; before it just ends the connection."""
TAKEN_OVER: Final = "another connection with this device's identity took its place"
DATES_WRONG: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL's x509_vfy.h)."""
DIAGNOSIS_TIMEOUT_S: Final = 3.0
LOG_LINES_MAX: Final = 20
_ALERT: Final = "_ALERT_"
"""In what OpenSSL calls a verdict of the other side."""
QUEUE_MAX: Final = 1_000
"""Messages from the broker waiting for the loop at most; beyond it they are dropped, and sent again by the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """Where the broker is and the TLS files for it. `passphrase_file`: for a key that is encrypted."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    passphrase_file: Path | None = None


class PahoLink:
    """A device's connection. `will(connection)` gives topic and payload of the death notice of a connection.

    `broker` is asked before each connection, in a worker thread: a renewed certificate counts from the next one on.
    """

    def __init__(
        self,
        *,
        broker: Callable[[], BrokerFiles],
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
        self._shown: BrokerFiles | None = None
        self._hurry = asyncio.Event()
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
                    if isinstance(event, Disconnected) and event.fault is None and not was_up:
                        event = await asyncio.get_running_loop().run_in_executor(None, self._diagnose, event)
                    yield event
                    if isinstance(event, Disconnected):
                        break
            except (OSError, ValueError, ConfigError) as error:
                yield Disconnected(_reason(error), _fault(error))
            finally:
                self._client = None
                if client is not None:
                    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, _close, client))
                self._events = asyncio.Queue()
            if was_up:
                backoff = backoff.linked(monotonic() - started)
            backoff, wait_s = backoff.failed(random.random())
            await self._pause(wait_s)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        client = self._client
        if client is None or not client.is_connected():
            return False
        return client.publish(topic, payload, qos=1, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def drop(self) -> None:
        client = self._client
        if client is not None:
            _announce_end(client)

    def retry(self) -> None:
        self._hurry.set()

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
        self._hurry.clear()

    def _diagnose(self, ended: Disconnected) -> Disconnected:
        """Hear the broker's verdict on our certificate, if it ended the connection before it began. Blocks.

        With TLS 1.3 that comes after the handshake, and when paho has already written by then, all that it learns is
        that the connection has ended. So this one says nothing and listens.
        """
        broker = self._shown
        if broker is None:
            return ended
        try:
            with (
                socket.create_connection((broker.host, broker.port), timeout=DIAGNOSIS_TIMEOUT_S) as plain,
                _context(broker).wrap_socket(plain, server_hostname=broker.host) as secured,
            ):
                secured.recv(1)
        except ssl.SSLError as error:
            if (fault := _fault(error)) is not None:
                return Disconnected(_reason(error), fault)
        except (OSError, ValueError, ConfigError):
            pass  # it accepts us and waits for us to speak, or is not there any more
        return ended

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
        said: list[str] = []
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
            # With TLS 1.3 the broker judges our certificate after the handshake, and paho keeps its verdict to itself.
            alert = next((text for text in reversed(said) if _ALERT in text), None)
            if code.value == SESSION_TAKEN_OVER:
                hand_over(Disconnected(TAKEN_OVER, LinkFault.TAKEN_OVER))
            elif alert is None:
                hand_over(Disconnected(f"the connection ended: {code}"))
            else:
                hand_over(Disconnected(f"the broker ended the connection: {alert}", _fault_of_alert(alert)))

        def on_log(_client: mqtt.Client, _data: Any, level: int, text: str) -> None:
            if level == mqtt.MQTT_LOG_ERR and len(said) < LOG_LINES_MAX:
                said.append(text)

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.on_disconnect = on_disconnect
        client.on_log = on_log
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.MaximumPacketSize = 2 * MESSAGE_MAX_BYTES
        properties.SessionExpiryInterval = 0
        await loop.run_in_executor(None, self._open, client, properties)
        client.loop_start()
        return client

    def _open(self, client: mqtt.Client, properties: Properties) -> None:
        """Blocks for at most `CONNECT_TIMEOUT_S`."""
        broker = self._broker()
        self._shown = broker
        client.tls_set_context(_context(broker))
        client.connect(
            broker.host,
            broker.port,
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


def _context(broker: BrokerFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(broker.ca))
    load_pair(context, certificate=broker.certificate, key=broker.key, passphrase_file=broker.passphrase_file)
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's TLS handshake failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the broker's TLS handshake failed: {error.reason or error}"
    return f"the broker is not reachable: {error}"


def _fault(error: Exception) -> LinkFault | None:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code):
            return LinkFault.BROKER_CERTIFICATE_DATES if code in DATES_WRONG else None
        case ssl.SSLError():
            return _fault_of_alert(str(error.reason))
        case _:
            return None


def _fault_of_alert(text: str) -> LinkFault | None:
    """By OpenSSL's names of TLS alerts (RFC 8446, section 6.2)."""
    if "ALERT_CERTIFICATE_EXPIRED" in text:
        return LinkFault.OWN_CERTIFICATE_ENDED
    refusals = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")
    return LinkFault.OWN_CERTIFICATE_REFUSED if any(each in text for each in refusals) else None

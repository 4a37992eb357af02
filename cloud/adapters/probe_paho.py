"""A short connection to the broker which finds out what it allows, over paho-mqtt: for the doctor. Everything blocks.

It has a client id of its own (unless told otherwise), no session at the broker and no will, so it neither ends nor
changes a worker's connection, and nobody hears that it was there. Must not know what is allowed to whom.
"""

import contextlib
import queue
import secrets
import socket
import ssl
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from shared.errors import ConfigError, RefusedError, UnavailableError

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 10
"""Also how long paho waits for the TLS handshake."""
CLIENT_ID_RANDOM_BYTES: Final = 8
HEARD_MAX: Final = 1_000
"""Messages that are kept; a broker without fences might send the whole fleet's."""

UNREACHABLE: Final = "broker_unreachable"
NO_TLS: Final = "broker_tls"
NOT_LET_IN: Final = "broker_not_let_in"
NO_FILES: Final = "broker_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedBroker:
    """Where the broker is, the authority of its certificate, and what to show it: nothing, or a certificate."""

    host: str
    port: int
    ca: Path
    shown: "Shown | None"


@dataclass(frozen=True, slots=True)
class Shown:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker said to a request; an end of the connection is a refusal too."""

    is_refused: bool
    reason: str


class Probe:
    """A connection, open while used as a context manager."""

    def __init__(self, broker: ProbedBroker, *, client_id: str = "") -> None:
        """`client_id` empty: a random one."""
        self._broker = broker
        self._answers: dict[int, queue.SimpleQueue[Answer]] = defaultdict(queue.SimpleQueue)
        self._opened: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._heard: queue.Queue[tuple[str, bytes]] = queue.Queue(HEARD_MAX)
        self._ended: Answer | None = None
        self._has_ended = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"probe-{secrets.token_hex(CLIENT_ID_RANDOM_BYTES)}",
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect.

        Raises `ConfigError` if the files are no certificates, `UnavailableError` (code `broker_unreachable`) if nothing
        answers, `RefusedError` if it is not the broker of this authority (`broker_tls`) or does not let us in
        (`broker_not_let_in`).
        """
        at = f"{self._broker.host}:{self._broker.port}"
        self._client.tls_set_context(self._context())
        try:
            self._client.connect(
                self._broker.host, self._broker.port, keepalive=KEEPALIVE_S, clean_start=True
            )
        except ssl.SSLCertVerificationError as error:
            self._close()
            raise RefusedError(
                f"What answers at {at} shows no valid certificate of this hub's authority for that name"
                f" ({error.verify_message}).",
                code=NO_TLS,
            ) from error
        except ssl.SSLError as error:
            self._close()
            raise RefusedError(
                f"TLS with what answers at {at} failed ({error.reason or error}).", code=NO_TLS
            ) from error
        except (OSError, ValueError) as error:
            self._close()
            raise UnavailableError(f"Nothing answers at {at} ({_words(error)}).", code=UNREACHABLE) from error
        self._client.loop_start()
        try:
            opened = self._opened.get(timeout=CONNECT_TIMEOUT_S)
        except queue.Empty:
            self._close()
            raise UnavailableError(
                f"What answers at {at} does not speak MQTT in time.", code=UNREACHABLE
            ) from None
        if opened.is_refused:
            self._close()
            raise RefusedError(f"The broker at {at} does not let us in ({opened.reason}).", code=NOT_LET_IN)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def subscribe(self, filter_: str) -> Answer:
        """Raises `UnavailableError` if no answer comes."""
        _, mid = self._client.subscribe(filter_, options=SubscribeOptions(qos=1))
        return self._answer(mid)

    def publish(self, topic: str) -> Answer:
        """Publish an empty message, not retained, at QoS 1. Raises `UnavailableError` if no answer comes."""
        return self._answer(self._client.publish(topic, b"", qos=1).mid)

    def ends(self, *, timeout_s: float) -> bool:
        """Whether the broker ends the connection within `timeout_s`."""
        return self._has_ended.wait(timeout_s)

    def hear(self, *, timeout_s: float = 0.0) -> tuple[str, bytes] | None:
        """The next message that came: topic and payload. None if there is none within `timeout_s`."""
        try:
            return self._heard.get(block=timeout_s > 0, timeout=timeout_s or None)
        except queue.Empty:
            return None

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self._broker.ca))
            if self._broker.shown is not None:
                context.load_cert_chain(self._broker.shown.certificate, self._broker.shown.key)
            return context
        except OSError as error:  # also what OpenSSL says of a file
            raise ConfigError(
                f"The certificates for the broker cannot be used ({_words(error)}).", code=NO_FILES
            ) from error

    def _answer(self, mid: int | None) -> Answer:
        if mid is None or self._end():
            return self._end() or Answer(True, "the connection is closed")
        try:
            return self._answers[mid].get(timeout=ANSWER_TIMEOUT_S)
        except queue.Empty:
            if (end := self._end()) is not None:
                return end
            raise UnavailableError("The broker does not answer in time; try again.") from None

    def _end(self) -> Answer | None:
        return self._ended

    def _close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho leaves the socket open when it never got as far as CONNACK.
        if (sock := self._client.socket()) is not None:
            with contextlib.suppress(OSError):
                sock.close()

    # --- on paho's thread

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        sock = client.socket()
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opened.put(Answer(code.is_failure, str(code)))

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        self._ended = Answer(True, f"it ended the connection: {code}")
        self._has_ended.set()
        self._opened.put(self._ended)
        for waiting in list(self._answers.values()):
            waiting.put(self._ended)

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, code: ReasonCode, _properties: Any
    ) -> None:
        self._answers[mid].put(Answer(code.is_failure, str(code)))

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any
    ) -> None:
        refused = next((code for code in codes if code.is_failure), None)
        self._answers[mid].put(Answer(refused is not None, str(refused or codes[0])))

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with contextlib.suppress(queue.Full):
            self._heard.put_nowait((message.topic, bytes(message.payload)))


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)

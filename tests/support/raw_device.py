"""A device's real certificate and keys in the hands of a test: over the real broker it says whatever the test wants.

    with RawDevice(identity) as device:
        device.link()
        device.script.journal.append(record)
        assert device.send(device.script.journal).status == "ok"
        assert device.say(Channel.UP_JOURNAL, b"\\x00") == "Success"

What the broker thinks of a message is the reason of its PUBACK; what the hub thinks is on its API. Everything blocks,
within limits.
"""

import base64
import json
import queue
import ssl
import threading
from collections import defaultdict
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.identity import Identity
from shared.ids import HUB
from shared.keys import TrustedKey
from shared.messages import Ack, Batch, HelloAck
from shared.topics import FROM_HUB, Channel, ack_channel, batch_channel, device_topic
from tests.support.device import ScriptedDevice, ScriptedLog

WAIT_S: Final = 15.0
SUCCESS: Final = "Success"
NOT_AUTHORIZED: Final = "Not authorized"

_numbers = count(1)


class NotConnectedError(AssertionError):
    """The broker did not take the connection, or ended it."""


class RawConnection:
    """An MQTT 5 connection with mutual TLS. `certificate` None shows none."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        ca: Path,
        certificate: Path | None,
        key: Path | None,
        client_id: str = "",
        ciphers: str = "",
    ) -> None:
        """`ciphers`: for OpenSSL, to be less strict with what is shown."""
        self._address = (host, port)
        self._context = ssl.create_default_context(cafile=str(ca))
        if ciphers:
            self._context.set_ciphers(ciphers)
        if certificate is not None:
            self._context.load_cert_chain(certificate, key)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"raw-{next(_numbers)}",
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.tls_set_context(self._context)
        self._is_up = threading.Event()
        self.ended = threading.Event()
        self._answers: dict[int, queue.SimpleQueue[str]] = defaultdict(queue.SimpleQueue)
        self.heard: dict[str, queue.SimpleQueue[bytes]] = defaultdict(queue.SimpleQueue)

        def on_connect(_client: Any, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
            if not code.is_failure:
                self._is_up.set()

        def on_answer(_client: Any, _data: Any, mid: int, code: ReasonCode, _properties: Any) -> None:
            self._answers[mid].put(str(code))

        def on_subscribe(
            _client: Any, _data: Any, mid: int, codes: list[ReasonCode], _properties: Any
        ) -> None:
            self._answers[mid].put(str(codes[0]))

        def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
            self.heard[message.topic].put(bytes(message.payload))

        def on_disconnect(_client: Any, _data: Any, _flags: Any, _code: ReasonCode, _properties: Any) -> None:
            self.ended.set()

        self._client.on_connect = on_connect
        self._client.on_publish = on_answer
        self._client.on_subscribe = on_subscribe
        self._client.on_message = on_message
        self._client.on_disconnect = on_disconnect

    def connect(self) -> Self:
        """Raises `NotConnectedError` if the broker does not want it."""
        try:
            self._client.connect(*self._address, keepalive=30)
        except OSError as error:
            raise NotConnectedError(f"the broker did not take the connection: {error}") from error
        self._client.loop_start()
        waited_s = 0.0
        while not self._is_up.wait(0.05):
            waited_s += 0.05
            if self.ended.is_set() or waited_s > WAIT_S:
                self.close()
                raise NotConnectedError("the broker ended the connection")
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """The reason of the broker's PUBACK. Raises `NotConnectedError` if it ends the connection instead."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        return self._answer(sent.mid)

    def subscribe(self, filter_: str) -> str:
        """The reason of the broker's SUBACK."""
        _, mid = self._client.subscribe(filter_, options=SubscribeOptions(qos=1))
        assert mid is not None
        return self._answer(mid)

    def hears(self, topic: str) -> bytes:
        """The next message on exactly that topic."""
        try:
            return self.heard[topic].get(timeout=WAIT_S)
        except queue.Empty:
            raise AssertionError(f"nothing came on {topic} within {WAIT_S:g} s") from None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho leaves the socket open when it never got as far as CONNACK.
        if (sock := self._client.socket()) is not None:
            with suppress(OSError):
                sock.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, mid: int) -> str:
        waited_s = 0.0
        while waited_s < WAIT_S:
            try:
                return self._answers[mid].get(timeout=0.05)
            except queue.Empty:
                if self.ended.is_set():
                    raise NotConnectedError("the broker ended the connection") from None
                waited_s += 0.05
        raise AssertionError(f"the broker did not answer within {WAIT_S:g} s")


class RawDevice(RawConnection):
    """The connection of one enrolled device, and a script that speaks for it."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(
            host=identity.broker.host,
            port=identity.broker.port,
            ca=identity.ca_path,
            certificate=identity.certificate_path,
            key=identity.key_path,
        )
        self.principal = str(identity.principal)
        self.name = identity.principal.device
        enrolment = json.loads((identity.certificate_path.parent / "enrolment.json").read_bytes())
        hub = TrustedKey(owner=HUB, public=base64.b64decode(enrolment["hub_signing_public"]))
        self.script = ScriptedDevice(self.principal, hub=hub, key=identity.signer)

    def connect(self) -> Self:
        super().connect()
        for channel in FROM_HUB:
            assert self.subscribe(self.script.topic(channel)) == "Granted QoS 1"
        return self

    def say(self, channel: Channel, raw: bytes) -> str:
        """Publish on a topic of its own; the reason of the PUBACK."""
        return self.publish(device_topic(self.principal, channel), raw)

    def link(self) -> HelloAck:
        """Say hello, and open the session that the hub offers."""
        assert self.say(Channel.HELLO, self.script.hello()) == SUCCESS
        return self.script.open(self.hears(self.script.topic(Channel.HELLO_ACK)))

    def send(self, log: ScriptedLog, *, first: int = 1, last: int | None = None) -> Ack:
        """One batch of a log, and its acknowledgement."""
        return self.send_batch(log, self.script.batch_of(log, first=first, last=last))

    def send_batch(self, log: ScriptedLog, batch: Batch) -> Ack:
        return self.send_raw(log, self.script.close(batch))

    def send_raw(self, log: ScriptedLog, raw: bytes) -> Ack:
        assert self.say(batch_channel(log.lane.lane), raw) == SUCCESS
        return self.script.hear_ack(self.hears(self.script.topic(ack_channel(log.lane.lane))))

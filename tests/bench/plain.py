"""The plain way to move records: one JSON message each over MQTT QoS 1, one SQLModel insert and commit each.

What most programs of this kind do, and what `tests.bench.sync` compares with. It runs through the same broker with
mutual TLS, TCP_NODELAY on both sides, into SQLite at synchronous=FULL by the hub's own `cloud.db`. No signatures, no
chain, no validation. `publish` is the sending side; run as a program this module is the receiving one:

    python -m tests.bench.plain PORT IDENTITY_DIRECTORY DATABASE COUNT

It prints `ready`, then how many records it has committed each `REPORT_EACH`, and `end` with the time of the last.
"""

import json
import queue
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from cloud.db import Database
from cloud.identity import Paths
from shared.records import JournalRecord
from tests.bench.stack import ROOT
from tests.support.process import ChildProcess

TOPIC: Final = "covey/1/plain"
"""Readable and writable for the hub's own certificate only, and nothing that the hub listens to."""
REPORT_EACH: Final = 100
AHEAD_MAX: Final = 500
"""Messages ahead of the subscriber at most: Mosquitto silently drops those beyond its queue of 1,000."""
TIMEOUT_S: Final = 120.0


class _Beside(SQLModel, registry=registry()):
    """Tables that are none of the hub's, so that whoever looks at the hub's does not see them."""


class PlainRecord(_Beside, table=True):
    """One record as a row."""

    __tablename__ = "plain_record"

    id: int | None = Field(default=None, primary_key=True)
    seq: int
    kind: str
    at_ms: int
    body: str


def as_json(seq: int, record: JournalRecord) -> str:
    """The record as a message: plain JSON values, hashes in hexadecimal."""
    fields = record.model_dump(exclude_defaults=True)
    return json.dumps({"seq": seq, "kind": record.kind, **fields}, default=_hexadecimal)


def publish(messages: Sequence[str], *, port: int, identity: Paths, directory: Path) -> float:
    """Send `messages` to a subscriber process and wait until it has committed them; records a second."""
    directory.mkdir()
    database, log = directory / "plain.sqlite", directory / "plain.log"
    subscriber = ChildProcess(
        [
            sys.executable,
            "-m",
            "tests.bench.plain",
            str(port),
            identity.directory,
            database,
            str(len(messages)),
        ],
        log=log,
        directory=ROOT,
    )
    client = _client(port, identity)
    try:
        subscriber.start()
        subscriber.wait_for_line("^ready", timeout_s=TIMEOUT_S)
        client.loop_start()
        committed = 0
        started = time.time()
        for number, message in enumerate(messages):
            client.publish(TOPIC, message, qos=1)
            while number - committed >= AHEAD_MAX:
                committed = int(subscriber.wait_for_line(r"^committed (\d+)", timeout_s=TIMEOUT_S)[1])
        ended = float(subscriber.wait_for_line(r"^end (\S+)", timeout_s=TIMEOUT_S)[1])
        return len(messages) / (ended - started)
    finally:
        client.disconnect()
        client.loop_stop()
        subscriber.stop()


def subscribe(port: int, identity: Paths, database: Path, count: int) -> None:
    """Receive and commit `count` messages."""
    rows = Database(f"sqlite:///{database}")
    PlainRecord.metadata.create_all(rows.engine)
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    client = _client(port, identity, on_message=arrived.put)
    client.loop_start()
    for number in range(1, count + 1):
        fields = json.loads(arrived.get(timeout=TIMEOUT_S))
        with rows.write() as session:
            session.add(
                PlainRecord(
                    seq=fields["seq"], kind=fields["kind"], at_ms=fields["at_ms"], body=json.dumps(fields)
                )
            )
        if number % REPORT_EACH == 0:
            print(f"committed {number}", flush=True)
    print(f"end {time.time()}", flush=True)
    client.disconnect()
    client.loop_stop()


def _client(port: int, identity: Paths, *, on_message: Callable[[bytes], None] | None = None) -> mqtt.Client:
    """A connected client; with `on_message` a subscribed one, which says so."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    context = ssl.create_default_context(cafile=str(identity.ca))
    context.load_cert_chain(identity.client, identity.client_key)
    client.tls_set_context(context)

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        sock = client.socket()
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if on_message is not None:
            client.subscribe(TOPIC, options=SubscribeOptions(qos=1))

    client.on_connect = on_connect
    if on_message is not None:
        client.on_subscribe = lambda *_: print("ready", flush=True)
        client.on_message = lambda _client, _data, message: on_message(bytes(message.payload))
    client.connect("localhost", port)
    return client


def _hexadecimal(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a record")


if __name__ == "__main__":
    subscribe(int(sys.argv[1]), Paths(Path(sys.argv[2])), Path(sys.argv[3]), int(sys.argv[4]))

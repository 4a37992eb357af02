"""A hub of several real processes on this machine, over one home, one Mosquitto and one database. Everything blocks.

    with SplitHub(tmp_path, database_url=url) as hub:
        api = hub.api()
        worker = hub.ingest()
        with api, worker: ...

The identity is made here, since the broker needs it before any process runs; `with_identity=False` leaves it to them.
"""

import json
import queue
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cloud.adapters.broker_mosquitto import BrokerFiles, write_configuration
from cloud.identity import open_identity
from shared.topics import HUB_STATUS
from tests.support.broker import Mosquitto
from tests.support.ports import free_ports
from tests.support.process import ChildProcess
from tests.support.real_hub import PROGRAM, READY_TIMEOUT_S, ROOT, SETTINGS, RealHub
from tests.support.revocation import empty_list

READY: Final = '"event": "ready"'


class SplitHub:
    """Where the processes of one hub live. `api` and `ingest` make processes that the caller starts."""

    def __init__(
        self, directory: Path, *, database_url: str = "", settings: Mapping[str, object] = SETTINGS
    ) -> None:
        self.home = directory / "hub"
        self._directory = directory
        self._count = 0
        port, hub_port = free_ports(2)
        self._settings = {
            **settings,
            "mqtt_url": f"mqtts://localhost:{port}",
            "mqtt_hub_url": f"mqtts://localhost:{hub_port}",
        }
        if database_url:
            self._settings["database_url"] = database_url
        self.identity = open_identity(
            self.home / "identity",
            hosts=["localhost", "127.0.0.1"],
            trust_domain="covey.internal",
            now=datetime.now(tz=UTC),
        )
        configuration = write_configuration(
            BrokerFiles(
                directory=self.home / "broker",
                address="127.0.0.1",
                port=port,
                hub_port=hub_port,
                crl=empty_list(self.identity, self.home / "broker" / "revoked.pem"),
                ca=self.identity.paths.ca,
                certificate=self.identity.paths.server,
                key=self.identity.paths.server_key,
            )
        )
        self.broker = Mosquitto(configuration, port=port)
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in self._settings.items()]
        (self.home / "hub.toml").write_text("".join(lines))

    def __enter__(self) -> Self:
        self.broker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.broker.__exit__(kind, error, trace)

    def api(self) -> RealHub:
        """A process with HTTPS on a port of its own."""
        self._count += 1
        made = RealHub(self.home, settings=self._settings, command=("serve", "--role", "api"))
        made.process.log = self._directory / f"api-{self._count}.log"
        return made

    def ingest(self, *arguments: str) -> ChildProcess:
        self._count += 1
        return ChildProcess(
            [
                *PROGRAM,
                "--home",
                self.home,
                "--log-level",
                "info",
                "serve",
                "--role",
                "ingest",
                "--json",
                *arguments,
            ],
            log=self._directory / f"ingest-{self._count}.log",
            directory=ROOT,
        )

    @contextmanager
    def hub_status(self) -> Iterator["queue.Queue[bytes]"]:
        """What is said on the hub's own topic from now on, the retained word first."""
        heard: queue.Queue[bytes] = queue.Queue()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(self.identity.paths.ca))
        context.load_cert_chain(self.identity.paths.client, self.identity.paths.client_key)
        client.tls_set_context(context)
        client.on_connect = lambda client, *_: client.subscribe(HUB_STATUS, qos=1)
        client.on_message = lambda _client, _data, message: heard.put(bytes(message.payload))
        client.connect("localhost", self.broker.port)
        client.loop_start()
        try:
            yield heard
        finally:
            client.disconnect()
            client.loop_stop()


def wait_ready(process: ChildProcess) -> None:
    process.wait_for_line(READY, timeout_s=READY_TIMEOUT_S)


def wait_for(process: ChildProcess, condition: Callable[[], Any], what: str) -> Any:
    return process.wait_until(condition, what, timeout_s=READY_TIMEOUT_S)

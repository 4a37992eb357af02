"""The broker that the hub starts: its files, its fences, and that it comes back. Against a real Mosquitto."""

import asyncio
import os
import queue
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from cloud.adapters.broker_mosquitto import (
    CONNECTIONS_MAX,
    FILES_BESIDE,
    BrokerFiles,
    Mosquitto,
    allow_connections,
    find_program,
    free_hub_port,
    render,
    write_configuration,
)
from cloud.adapters.clock_system import SystemClock
from cloud.identity import Identity, open_identity
from shared.errors import ConfigError, UnavailableError
from shared.gate import MESSAGE_MAX_BYTES
from shared.ids import Principal
from shared.topics import FROM_DEVICE, FROM_HUB, HUB_KEYS, HUB_STATUS, Channel, device_topic, every_device
from tests.support.ports import free_port
from tests.support.revocation import empty_list

WAIT_S = 60.0
NOT_AUTHORIZED = 135
QUIET_S = 0.5
"""How long silence is listened to; a message that was already on its way arrives in milliseconds."""


@dataclass
class Client:
    """A connected paho client. `inbox` holds topic and payload of what arrived."""

    paho: mqtt.Client
    inbox: "queue.Queue[tuple[str, bytes]]" = field(default_factory=queue.Queue)
    acknowledged: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        """The broker's reason code."""
        self.paho.publish(topic, payload, qos=1)
        return self.acknowledged.get(timeout=WAIT_S)

    def subscribe(self, topic: str) -> None:
        subscribed: queue.Queue[object] = queue.Queue()
        self.paho.on_subscribe = lambda *_: subscribed.put(None)
        self.paho.subscribe(topic, qos=1)
        subscribed.get(timeout=WAIT_S)

    def hears(self) -> tuple[str, bytes]:
        return self.inbox.get(timeout=WAIT_S)

    def hears_nothing(self) -> bool:
        try:
            self.inbox.get(timeout=QUIET_S)
        except queue.Empty:
            return True
        return False


@dataclass
class Site:
    """A running broker, and the authority that its clients' certificates come from."""

    identity: Identity
    files: BrokerFiles
    broker: Mosquitto
    directory: Path

    def certificate(self, principal: str, identity: Identity | None = None) -> tuple[Path, Path]:
        """Certificate and key of a device, from our authority or another."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        made = (identity or self.identity).certify_device(
            csr, Principal.parse(principal), now=SystemClock().now()
        )
        certificate, key_path = self.directory / f"{principal}.pem", self.directory / f"{principal}.key"
        certificate.write_text(made.pem)
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_path

    @contextmanager
    def client(self, pair: tuple[Path, Path] | None, *, client_id: str = "") -> Iterator[Client]:
        """Raises `OSError` or `TimeoutError` if the broker does not let it in."""
        paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(self.identity.paths.ca))
        if pair is not None:
            context.load_cert_chain(*pair)
        paho.tls_set_context(context)
        client = Client(paho)
        connected: queue.Queue[Any] = queue.Queue()
        paho.on_connect = lambda _c, _u, _f, code, _p: connected.put(code)
        paho.on_message = lambda _c, _u, message: client.inbox.put((message.topic, bytes(message.payload)))
        paho.on_publish = lambda _c, _u, _mid, code, _p: client.acknowledged.put(code.value)
        paho.on_connect_fail = lambda *_: connected.put(None)
        paho.on_disconnect = lambda *_: connected.put(None)
        paho.connect("127.0.0.1", self.files.port)
        paho.loop_start()
        try:
            code = connected.get(timeout=WAIT_S)
            if code is None or code.is_failure:
                raise TimeoutError("the broker did not let the client in")
            yield client
        finally:
            paho.disconnect()
            paho.loop_stop()

    def hub(self) -> tuple[Path, Path]:
        return self.identity.paths.client, self.identity.paths.client_key


def identity_in(directory: Path) -> Identity:
    return open_identity(directory, hosts=("localhost",), trust_domain="test", now=SystemClock().now())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    identity = identity_in(tmp_path / "identity")
    files = BrokerFiles(
        directory=tmp_path / "the broker",
        address="127.0.0.1",
        port=free_port(),
        hub_port=free_hub_port(Random()),
        crl=empty_list(identity, tmp_path / "the broker" / "revoked.pem"),
        ca=identity.paths.ca,
        certificate=identity.paths.server,
        key=identity.paths.server_key,
    )
    broker = Mosquitto(
        find_program("mosquitto"),
        write_configuration(files),
        address=files.address,
        port=files.port,
        random=Random(1),
    )
    await broker.start()
    yield Site(identity, files, broker, tmp_path)
    await broker.stop()


def test_the_templates_render_whole(tmp_path: Path) -> None:
    files = BrokerFiles(
        directory=tmp_path,
        address="0.0.0.0",
        port=8883,
        hub_port=8884,
        crl=tmp_path / "revoked.pem",
        ca=tmp_path / "ca.pem",
        certificate=tmp_path / "server.pem",
        key=tmp_path / "server.key",
    )
    configuration, acl = render(files, account="covey")
    settings = dict(
        line.split(" ", 1) for line in configuration.splitlines() if line and not line.startswith("#")
    )
    assert "listener 8884 127.0.0.1\n" in configuration
    assert settings["listener"] == "8883 0.0.0.0"
    assert (settings["crlfile"], configuration.count("crlfile")) == (str(tmp_path / "revoked.pem"), 2)
    # Only on the devices' listener, which comes last: the hub's processes share a name.
    assert (settings["use_username_as_clientid"], configuration.count("\nuse_username")) == ("true", 1)
    assert (settings["require_certificate"], settings["allow_anonymous"]) == ("true", "false")
    assert settings["use_identity_as_username"] == "true"
    assert settings["set_tcp_nodelay"] == "true"
    assert settings["keyfile"] == str(tmp_path / "server.key")
    assert settings["user"] == "covey"
    # For ten thousand devices: no bound on a count of messages, beyond which they are dropped without a word.
    assert int(settings["max_connections"]) == CONNECTIONS_MAX > 10_000
    assert int(settings["max_queued_messages"]) >= 10 * 2 * 10_000
    assert int(settings["max_queued_bytes"]) >= 10_000 * 2 * MESSAGE_MAX_BYTES // 10
    assert MESSAGE_MAX_BYTES < int(settings["max_packet_size"]) < MESSAGE_MAX_BYTES + 4_096
    assert not any(line.startswith("log_type") and "all" in line for line in configuration.splitlines())
    patterns = {line for line in acl.splitlines() if line.startswith("pattern")}
    expected = {f"pattern write {device_topic('%u', channel)}" for channel in FROM_DEVICE}
    expected |= {f"pattern read {device_topic('%u', channel)}" for channel in FROM_HUB}
    assert patterns == expected | {f"pattern read {HUB_STATUS}", f"pattern read {HUB_KEYS}"}


def test_a_path_that_would_change_the_configuration_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "a\nallow_anonymous true"
    files = BrokerFiles(
        directory=evil,
        address="127.0.0.1",
        port=1,
        hub_port=2,
        crl=evil,
        ca=evil,
        certificate=evil,
        key=evil,
    )
    with pytest.raises(ConfigError, match="cannot stand in Mosquitto's configuration"):
        render(files, account="covey")


def test_a_program_that_is_not_installed_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="no-such-broker is not installed; install it"):
        find_program("no-such-broker")


@pytest.mark.broker
async def test_the_files_are_for_this_account_alone(site: Site) -> None:
    for name in ("acl", "mosquitto.conf"):
        assert (site.files.directory / name).stat().st_mode & 0o777 == 0o600
    assert site.files.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.broker
async def test_a_device_says_and_hears_what_is_its_own(site: Site) -> None:
    """Rule P15."""

    def scenario() -> None:
        pair = site.certificate("main.one")
        with site.client(pair) as device, site.client(site.hub()) as hub:
            hub.subscribe("covey/1/#")
            for channel in FROM_DEVICE:
                topic = device_topic("main.one", channel)
                assert device.publish(topic, channel.value.encode()) in (0, 16)
                assert hub.hears() == (topic, channel.value.encode())
            for channel in FROM_HUB:
                device.subscribe(device_topic("main.one", channel))
            device.subscribe(HUB_STATUS)
            for topic in (*(device_topic("main.one", channel) for channel in FROM_HUB), HUB_STATUS):
                hub.publish(topic)
                assert device.hears() == (topic, b"x")

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_a_device_cannot_publish_under_anothers_topics_or_as_the_hub(site: Site) -> None:
    """Rule P15."""
    forbidden = [
        *(device_topic("main.two", channel) for channel in FROM_DEVICE),
        *(device_topic("main.one", channel) for channel in FROM_HUB),
        HUB_STATUS,
        "covey/1/d/main.one",
        "anything/else",
    ]

    def scenario() -> None:
        with site.client(site.certificate("main.one")) as device, site.client(site.hub()) as hub:
            hub.subscribe("covey/1/#")
            for topic in forbidden:
                assert device.publish(topic) == NOT_AUTHORIZED, topic
            assert hub.hears_nothing()

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_a_device_that_subscribes_to_everything_hears_only_its_own(site: Site) -> None:
    """Rule P15. Mosquitto 2.0 grants the subscription and applies the list when it delivers."""

    def scenario() -> None:
        with site.client(site.certificate("main.one")) as device, site.client(site.hub()) as hub:
            device.subscribe("#")
            for channel in (*FROM_HUB, *FROM_DEVICE):
                hub.publish(device_topic("main.two", channel))
            device.subscribe("$share/hub/covey/1/d/+/up/journal")
            hub.publish(device_topic("main.two", FROM_DEVICE[2]))
            assert device.hears_nothing()
            own = device_topic("main.one", FROM_HUB[0])
            hub.publish(own)
            assert device.hears() == (own, b"x")

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_a_shared_subscription_of_the_hub_hears_every_device(site: Site) -> None:
    def scenario() -> None:
        with site.client(site.certificate("main.one")) as device, site.client(site.hub()) as hub:
            hub.subscribe("$share/hub/covey/1/d/+/up/journal")
            device.publish("covey/1/d/main.one/up/journal", b"batch")
            assert hub.hears() == ("covey/1/d/main.one/up/journal", b"batch")

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_without_a_certificate_of_this_authority_nobody_is_let_in(site: Site, tmp_path: Path) -> None:
    def scenario() -> None:
        foreign = site.certificate("main.one", identity_in(tmp_path / "foreign"))
        for pair in (None, foreign):
            with pytest.raises((OSError, TimeoutError)):  # noqa: SIM117 - only the connection may raise
                with site.client(pair):
                    pytest.fail("a stranger was let in")

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_a_message_of_the_greatest_size_passes_whole(site: Site) -> None:
    """Rule P7."""

    def scenario() -> None:
        with site.client(site.certificate("main.one")) as device, site.client(site.hub()) as hub:
            hub.subscribe("covey/1/d/+/up/journal")
            device.publish("covey/1/d/main.one/up/journal", bytes(MESSAGE_MAX_BYTES))
            assert len(hub.hears()[1]) == MESSAGE_MAX_BYTES

    await asyncio.to_thread(scenario)


@pytest.mark.broker
@pytest.mark.slow
async def test_a_hub_that_starts_hears_the_births_of_a_large_fleet(site: Site) -> None:
    """Rule P18: they are retained, and come all at once."""
    topics = {device_topic(f"main.device-{number}", Channel.STATE) for number in range(3_000)}

    def scenario() -> None:
        with site.client(site.hub()) as devices:
            for topic in topics:
                devices.paho.publish(topic, b"birth", qos=1, retain=True)
            for _ in topics:
                devices.acknowledged.get(timeout=WAIT_S)
        with site.client(site.hub()) as hub:
            hub.subscribe(every_device(Channel.STATE))
            assert {hub.hears()[0] for _ in topics} == topics

    await asyncio.to_thread(scenario)


@pytest.mark.broker
async def test_the_broker_may_open_a_file_for_each_connection(site: Site) -> None:
    """More than the 1,024 that a process has by default."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2_000 if before[1] == resource.RLIM_INFINITY else min(2_000, before[1] - FILES_BESIDE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
        assert allow_connections(wanted) == wanted
        await site.broker.stop()
        await site.broker.start()
        limits = Path(f"/proc/{site.broker.pid}/limits").read_text()
        (files,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert int(files.split()[3]) == wanted + FILES_BESIDE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_limit_that_the_system_sets_is_said_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] == resource.RLIM_INFINITY:
        assert allow_connections(10_000) == 10_000
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        return
    try:
        assert allow_connections(before[1]) == before[1] - FILES_BESIDE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "raise the hard limit" in caplog.text


@pytest.mark.broker
async def test_a_broker_that_dies_is_started_again(site: Site) -> None:
    watching = asyncio.create_task(site.broker.watch())
    try:
        assert site.broker.pid is not None
        os.kill(site.broker.pid, signal.SIGKILL)
        async with asyncio.timeout(WAIT_S):
            while site.broker.restarts == 0:  # noqa: ASYNC110 - bounded by the timeout
                await asyncio.sleep(0.02)

        def connect() -> None:
            with site.client(site.hub()):
                pass

        await asyncio.to_thread(connect)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.broker
async def test_a_port_that_is_taken_is_said_in_one_sentence(site: Site, tmp_path: Path) -> None:
    other = Mosquitto(
        find_program("mosquitto"),
        tmp_path / "the broker" / "mosquitto.conf",
        address="127.0.0.1",
        port=site.files.port,
        random=Random(1),
    )
    with pytest.raises(UnavailableError, match=f"Something listens on 127.0.0.1:{site.files.port} already"):
        await other.start()


@pytest.mark.broker
async def test_a_broker_that_does_not_start_is_said_with_its_last_words(tmp_path: Path) -> None:
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text("no_such_setting true\n")
    broker = Mosquitto(
        find_program("mosquitto"), configuration, address="127.0.0.1", port=free_port(), random=Random(1)
    )
    with pytest.raises(UnavailableError, match=r"did not start.*no_such_setting"):
        await broker.start()


@pytest.mark.broker
async def test_a_certificate_that_is_made_anew_is_shown_without_a_restart(site: Site) -> None:
    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", site.files.port))

    before = await asyncio.to_thread(shown)
    assert site.identity.renew(["another-name.example"], now=SystemClock().now())
    site.broker.reload()
    async with asyncio.timeout(WAIT_S):
        while (await asyncio.to_thread(shown)) == before:  # noqa: ASYNC110 - bounded by the timeout
            await asyncio.sleep(0.02)
    assert site.identity.paths.server.read_text().startswith(await asyncio.to_thread(shown))

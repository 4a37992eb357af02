"""The device's MQTT connection against a real Mosquitto with mutual TLS, and the contract that its fake keeps too."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from edge.adapters.link_paho import BrokerFiles, PahoLink
from edge.ports import Connected, Disconnected, Link, LinkEvent, LinkFault, Received
from shared.gate import MESSAGE_MAX_BYTES
from shared.topics import HUB_STATUS, Channel, device_topic
from tests.support.broker import Mosquitto
from tests.support.certificates import Authority, Leaf
from tests.support.memory_broker import MemoryBroker
from tests.support.memory_link import MemoryLink
from tests.support.ports import free_port

NAME = "acme.fridge-1"
STATE = device_topic(NAME, Channel.STATE)
HELLO = device_topic(NAME, Channel.HELLO)
HELLO_ACK = device_topic(NAME, Channel.HELLO_ACK)
WAIT_S = 20.0
ACL = "pattern readwrite covey/1/d/%u/#\npattern read covey/1/hub\nuser watcher\ntopic readwrite #\n"


def will(connection: bytes) -> tuple[str, bytes]:
    return STATE, b"died " + connection


class Events:
    """What a link tells, one after the other, with a limit."""

    def __init__(self, events: AsyncGenerator[LinkEvent, None]) -> None:
        self._events = events

    async def next(self) -> LinkEvent:
        async with asyncio.timeout(WAIT_S):
            return await anext(self._events)

    async def connected(self) -> bytes:
        """Over failed attempts, if there are any."""
        while True:
            event = await self.next()
            if isinstance(event, Connected):
                return event.connection
            assert isinstance(event, Disconnected), event

    async def disconnected(self) -> str:
        return (await self.ended()).reason

    async def ended(self) -> Disconnected:
        while True:
            event = await self.next()
            if isinstance(event, Disconnected):
                return event

    async def received(self) -> Received:
        event = await self.next()
        assert isinstance(event, Received), event
        return event


@asynccontextmanager
async def listening(link: Link) -> AsyncIterator[Events]:
    async with contextlib.aclosing(link.events()) as events:
        yield Events(events)


# --- a real broker, and a cable that can be cut --------------------------------------------------------------------


class Cable:
    """Forwards a port to another; `cut` resets every connection, as a pulled plug followed by a time-out does."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Cable":
        self._server = await asyncio.start_server(self._plug, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    async def _plug(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(_forward(source, sink), name="cable")
            self._tasks.add(task)


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()


@dataclass
class Site:
    """A broker, its CA, and links to it."""

    broker: Mosquitto
    authority: Authority
    leaves: dict[str, Leaf] = field(default_factory=dict)

    def link(
        self,
        name: str = NAME,
        *,
        port: int | None = None,
        authority: Authority | None = None,
        subscriptions: tuple[str, ...] = (HELLO_ACK, HUB_STATUS),
    ) -> PahoLink:
        leaf = self.leaves.get(name) or self.authority.issue(name)
        self.leaves[name] = leaf
        return PahoLink(
            broker=lambda: BrokerFiles(
                host="127.0.0.1",
                port=port or self.broker.port,
                ca=(authority or self.authority).path,
                certificate=leaf.certificate,
                key=leaf.key,
            ),
            client_id=name,
            subscriptions=subscriptions,
            will=will if name == NAME else lambda connection: (f"covey/1/d/{name}/state", connection),
            ping_interval_s=5,
            reconnect_max_s=0.05,
        )

    @asynccontextmanager
    async def watcher(self, *topics: str) -> AsyncIterator[tuple[PahoLink, Events]]:
        """The hub's end: reads the given topics, may write everywhere."""
        link = self.link("watcher", subscriptions=topics or (STATE, HELLO))
        async with listening(link) as events:
            await events.connected()
            yield link, events


@pytest.fixture
def site(tmp_path: Path) -> Any:
    authority = Authority(tmp_path / "ca")
    with Mosquitto.mutual_tls(tmp_path / "broker", authority.for_broker(), acl=ACL) as broker:
        yield Site(broker, authority)


pytestmark = pytest.mark.broker


async def test_link_connects_with_its_certificate_and_messages_go_both_ways(site: Site) -> None:
    link = site.link()
    async with site.watcher() as (hub, hub_events), listening(link) as events:
        await events.connected()
        assert await link.publish(HELLO, b"hello", retain=False)
        assert await hub_events.received() == Received(HELLO, b"hello")
        assert await hub.publish(HELLO_ACK, b"answer")
        assert await events.received() == Received(HELLO_ACK, b"answer")


async def test_each_message_leaves_at_once(site: Site) -> None:
    link = site.link()
    async with listening(link) as events:
        await events.connected()
        assert link._client is not None
        sock = link._client.socket()
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_message_of_the_largest_size_passes(site: Site) -> None:
    """P7"""
    link = site.link()
    async with site.watcher() as (hub, hub_events), listening(link) as events:
        await events.connected()
        await link.publish(HELLO, b"x" * MESSAGE_MAX_BYTES)
        assert len((await hub_events.received()).payload) == MESSAGE_MAX_BYTES
        await hub.publish(HELLO_ACK, b"y" * MESSAGE_MAX_BYTES)
        assert len((await events.received()).payload) == MESSAGE_MAX_BYTES


async def test_a_cut_cable_lets_the_broker_publish_the_will_and_the_link_comes_back(site: Site) -> None:
    """P18"""
    async with Cable(site.broker.port) as cable, site.watcher(STATE) as (_, hub_events):
        link = site.link(port=cable.port)
        async with listening(link) as events:
            first = await events.connected()
            cable.cut()
            assert await events.disconnected()
            assert (await hub_events.received()).payload == b"died " + first
            assert await events.connected() != first


async def test_an_orderly_end_is_announced_too(site: Site) -> None:
    """P18"""
    link = site.link()
    async with site.watcher(STATE) as (_, hub_events):
        async with listening(link) as events:
            connection = await events.connected()
            await link.publish(STATE, b"born", retain=True)
            assert (await hub_events.received()).payload == b"born"
        assert (await hub_events.received()).payload == b"died " + connection
        assert not await link.publish(HELLO, b"too late")
    async with site.watcher(STATE) as (_, later):
        assert (await later.received()).payload == b"died " + connection, "the notice is retained"


async def test_an_end_while_the_consumer_waits_is_announced_too(site: Site) -> None:
    """P18"""
    link = site.link()
    connection: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def consume() -> None:
        async with contextlib.aclosing(link.events()) as events:
            async for event in events:
                if isinstance(event, Connected):
                    connection.set_result(event.connection)

    async with site.watcher(STATE) as (_, hub_events):
        consuming = asyncio.create_task(consume(), name="consumer")
        async with asyncio.timeout(WAIT_S):
            await connection
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        assert (await hub_events.received()).payload == b"died " + await connection


async def test_the_link_comes_back_after_the_broker_was_killed_and_restarted(site: Site) -> None:
    link = site.link()
    async with listening(link) as events:
        first = await events.connected()
        await asyncio.to_thread(site.broker.kill)
        await events.disconnected()
        assert not await link.publish(HELLO, b"nobody hears")
        await asyncio.to_thread(site.broker.start)
        assert await events.connected() != first
        async with site.watcher() as (_, hub_events):
            assert await link.publish(HELLO, b"again")
            assert (await hub_events.received()).payload == b"again"


async def test_a_broker_that_is_not_there_is_told_and_tried_again(site: Site) -> None:
    link = site.link(port=free_port())
    async with listening(link) as events:
        for _ in range(3):
            assert "not reachable" in await events.disconnected()
        assert not await link.publish(HELLO, b"x")


async def test_a_broker_with_a_certificate_of_another_ca_is_refused(site: Site, tmp_path: Path) -> None:
    """P6"""
    stranger = Authority(tmp_path / "other", "another CA")
    link = site.link(authority=stranger)
    async with listening(link) as events:
        assert "TLS" in await events.disconnected()
        assert "TLS" in await events.disconnected()


async def test_a_broker_under_another_name_is_refused(site: Site) -> None:
    link = site.link()
    files = replace(link._broker(), host="localhost")
    link._broker = lambda: files
    async with listening(link) as events:
        assert "TLS" in await events.disconnected()


async def test_a_device_with_a_certificate_of_another_ca_is_not_let_in(site: Site, tmp_path: Path) -> None:
    site.leaves[NAME] = Authority(tmp_path / "other", "another CA").issue(NAME)
    link = site.link()
    async with listening(link) as events:
        assert await events.disconnected()
        assert await events.disconnected()


def year(number: int) -> tuple[datetime, datetime]:
    return datetime(number, 1, 1, tzinfo=UTC), datetime(number + 1, 1, 1, tzinfo=UTC)


async def test_a_certificate_that_has_ended_is_told_as_that(site: Site) -> None:
    """P25"""
    site.leaves[NAME] = site.authority.issue(NAME, span=year(2010))
    async with listening(site.link()) as events:
        assert (await events.ended()).fault is LinkFault.OWN_CERTIFICATE_ENDED


async def test_a_certificate_of_another_ca_is_told_as_refused(site: Site, tmp_path: Path) -> None:
    site.leaves[NAME] = Authority(tmp_path / "other", "another CA").issue(NAME)
    async with listening(site.link()) as events:
        assert (await events.ended()).fault is LinkFault.OWN_CERTIFICATE_REFUSED


@pytest.fixture(params=[2010, 2090])
def site_of_another_year(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    authority = Authority(tmp_path / "ca")
    certificates = authority.for_broker(span=year(request.param))
    with Mosquitto.mutual_tls(tmp_path / "broker", certificates, acl=ACL) as broker:
        yield Site(broker, authority)


async def test_a_broker_whose_certificate_does_not_fit_our_clock_is_refused_and_told_as_that(
    site_of_another_year: Site,
) -> None:
    async with listening(site_of_another_year.link()) as events:
        assert (await events.ended()).fault is LinkFault.BROKER_CERTIFICATE_DATES


async def test_an_encrypted_key_connects_with_its_passphrase_and_never_asks_for_it(
    site: Site, tmp_path: Path
) -> None:
    leaf, passphrase = site.authority.issue(NAME), tmp_path / "passphrase"
    passphrase.write_text("word\n")
    key = load_pem_private_key(leaf.key.read_bytes(), password=None)
    leaf.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )
    site.leaves[NAME] = leaf
    link = site.link()
    files = link._broker()
    async with listening(link) as events:
        assert "TLS" in await events.disconnected()
        link._broker = lambda: replace(files, passphrase_file=passphrase)
        await events.connected()


async def test_a_pause_between_attempts_ends_when_there_is_reason_to_try_again(site: Site) -> None:
    link = site.link(port=1)
    link._reconnect_max_s = 3_600.0
    async with listening(link) as events:
        for _ in range(8):  # the pauses grow beyond any patience
            assert "not reachable" in await events.disconnected()
            link.retry()


async def test_a_certificate_that_is_missing_is_told(site: Site) -> None:
    link = site.link()
    site.leaves[NAME].key.unlink()
    async with listening(link) as events:
        assert await events.disconnected()


async def test_a_device_hears_and_writes_nothing_of_another(site: Site) -> None:
    """P15"""
    other = "acme.fridge-2"
    link = site.link(subscriptions=(HELLO_ACK, device_topic(other, Channel.HELLO_ACK)))
    async with site.watcher("covey/1/d/#") as (hub, hub_events), listening(link) as events:
        await events.connected()
        await link.publish(device_topic(other, Channel.HELLO), b"forged")
        await link.publish(HELLO, b"own")
        assert await hub_events.received() == Received(HELLO, b"own")
        await hub.publish(device_topic(other, Channel.HELLO_ACK), b"for the other")
        await hub.publish(HELLO_ACK, b"for us")
        assert await events.received() == Received(HELLO_ACK, b"for us")


async def test_a_second_connection_of_the_same_name_takes_over_and_the_first_is_told(site: Site) -> None:
    async with listening(site.link()) as one:
        await one.connected()
        async with listening(site.link()) as two:
            await two.connected()
            assert await one.disconnected()


# --- the contract --------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A link, and the other end of its topics."""

    link: Link
    publish: Callable[[str, bytes, bool], Any]
    heard: Callable[[], Any]


@asynccontextmanager
async def in_memory(_site: Site) -> AsyncIterator[Bench]:
    broker = MemoryBroker()
    inbox = broker.subscribe("covey/1/d/#")

    async def publish(topic: str, payload: bytes, retain: bool) -> None:
        broker.publish(topic, payload, retain=retain)

    async def heard() -> tuple[str, bytes]:
        message = await inbox.next(timeout_s=WAIT_S)
        return message.topic, message.payload

    link = MemoryLink(broker, subscriptions=(HELLO_ACK, HUB_STATUS), will=will)
    yield Bench(link, publish, heard)


@asynccontextmanager
async def over_mosquitto(site: Site) -> AsyncIterator[Bench]:
    async with site.watcher("covey/1/d/#") as (hub, events):

        async def publish(topic: str, payload: bytes, retain: bool) -> None:
            assert await hub.publish(topic, payload, retain=retain)

        async def heard() -> tuple[str, bytes]:
            message = await events.received()
            return message.topic, message.payload

        yield Bench(site.link(), publish, heard)


both = pytest.mark.parametrize("bench_over", [in_memory, over_mosquitto])


@both
async def test_contract_connected_comes_first_and_names_the_connection_of_the_will(
    site: Site, bench_over: Any
) -> None:
    """P18"""
    async with bench_over(site) as bench:
        # Also before what is retained.
        await bench.publish(HUB_STATUS, b"the hub is there", True)
        async with listening(bench.link) as events:
            event = await events.next()
            assert isinstance(event, Connected)
            assert await events.received() == Received(HUB_STATUS, b"the hub is there")
        assert await bench.heard() == (STATE, b"died " + event.connection)


@both
async def test_contract_publishing_without_a_connection_is_false(site: Site, bench_over: Any) -> None:
    async with bench_over(site) as bench:
        assert not await bench.link.publish(HELLO, b"early")
        async with listening(bench.link) as events:
            await events.connected()
            assert await bench.link.publish(HELLO, b"in time")
            assert await bench.heard() == (HELLO, b"in time")
        assert not await bench.link.publish(HELLO, b"late")


@both
async def test_contract_messages_arrive_in_order(site: Site, bench_over: Any) -> None:
    async with bench_over(site) as bench, listening(bench.link) as events:
        await events.connected()
        for number in range(50):
            await bench.publish(HELLO_ACK, f"{number}".encode(), False)
            await bench.link.publish(HELLO, f"{number}".encode())
        assert [(await events.received()).payload for _ in range(50)] == [f"{n}".encode() for n in range(50)]
        assert [(await bench.heard())[1] for _ in range(100)][-1] == b"49"


@both
async def test_contract_a_dropped_connection_is_announced_and_made_anew_with_another_id(
    site: Site, bench_over: Any
) -> None:
    """P18"""
    async with bench_over(site) as bench, listening(bench.link) as events:
        first = await events.connected()
        bench.link.drop()
        await events.disconnected()
        second = await events.connected()
        assert second != first
        assert await bench.heard() == (STATE, b"died " + first)
        await bench.link.publish(HELLO, b"on the new one")
        assert await bench.heard() == (HELLO, b"on the new one")


@both
async def test_contract_dropping_nothing_does_nothing(site: Site, bench_over: Any) -> None:
    async with bench_over(site) as bench:
        bench.link.drop()
        async with listening(bench.link) as events:
            await events.connected()

"""The hub's link over a real Mosquitto with mutual TLS."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud.adapters.link_paho import BrokerAccess, PahoLink, Presence
from cloud.db import Database
from cloud.identity import Paths, open_identity
from cloud.ingest.status import HubWord
from cloud.ingest.worker import IngestLimits, IngestWorker, filters
from cloud.journal.service import append_order, verify
from cloud.schema import migrate
from shared.errors import ConfigError
from shared.records import TaskCancelled
from shared.topics import FROM_HUB, HUB_STATUS, Channel
from tests.support.broker import BrokerCertificates, Mosquitto
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, bytes_from, task_id_from
from tests.support.ingest import HUB_SIGNER, HUB_TRUST, SALT_OF, SHARE_KEY, device_row, started

pytestmark = pytest.mark.broker

NAME = "acme.fridge-1"
WAIT_S = 60.0
"""Reconnecting takes a few seconds: the back-off is the real one."""


def identity(directory: Path) -> Paths:
    now = datetime.now(UTC)
    return open_identity(directory, hosts=["127.0.0.1"], trust_domain="covey.test", now=now).paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return identity(tmp_path / "identity")


@pytest.fixture
def broker(tmp_path: Path, paths: Paths) -> Iterator[Mosquitto]:
    certificates = BrokerCertificates(paths.ca, paths.server, paths.server_key)
    acl = "user hub\ntopic readwrite covey/1/#\n"
    with Mosquitto.mutual_tls(tmp_path / "broker", certificates, acl=acl).start() as running:
        yield running


class Heard:
    """What a link delivered."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    def __call__(self, topic: str, message: bytes) -> None:
        self._queue.put_nowait((topic, message))

    async def next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(WAIT_S):
            return await self._queue.get()

    async def until(self, topic: str) -> bytes:
        """The next message on that topic; others are passed over."""
        while True:
            found, message = await self.next()
            if found == topic:
                return message


def link_to(broker: Mosquitto, paths: Paths, *, client_id: str, filters: list[str], topic: str) -> PahoLink:
    access = BrokerAccess(
        host="127.0.0.1", port=broker.port, ca=paths.ca, certificate=paths.client, key=paths.client_key
    )
    presence = Presence(topic=topic, online=lambda: b"online", offline=lambda: b"offline")
    return PahoLink(broker=access, client_id=client_id, filters=filters, presence=presence)


@asynccontextmanager
async def running(link: PahoLink, heard: Heard) -> AsyncIterator[None]:
    task = asyncio.create_task(link.run(heard))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_link_tells_its_birth_and_its_orderly_death_and_carries_messages(
    broker: Mosquitto, paths: Paths
) -> None:
    """P18; over a shared subscription and a plain one."""
    watcher = link_to(broker, paths, client_id="watcher", filters=["covey/1/#"], topic="covey/1/watcher")
    worker = link_to(
        broker, paths, client_id="hub-1", filters=["$share/hub/covey/1/d/+/hello"], topic=HUB_STATUS
    )
    seen, got = Heard(), Heard()
    async with running(watcher, seen):
        assert await seen.until("covey/1/watcher") == b"online"
        async with running(worker, got):
            assert await seen.until(HUB_STATUS) == b"online"
            assert await watcher.publish("covey/1/d/acme.x/hello", b"1")
            assert await got.next() == ("covey/1/d/acme.x/hello", b"1")
            await worker.announce()
            assert await seen.until(HUB_STATUS) == b"online"
        assert await seen.until(HUB_STATUS) == b"offline"
    assert not await worker.publish("covey/1/d/acme.x/hello", b"2")


async def test_link_comes_back_and_subscribes_again_when_the_broker_was_killed(
    broker: Mosquitto, paths: Paths
) -> None:
    link = link_to(broker, paths, client_id="hub-1", filters=["$share/hub/t/#", HUB_STATUS], topic=HUB_STATUS)
    heard = Heard()
    async with running(link, heard):
        assert await heard.until(HUB_STATUS) == b"online"
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        # Its birth comes over its own, new subscription.
        assert await heard.until(HUB_STATUS) == b"online"
        assert await link.publish("covey/1/d/acme.x/hello", b"1")


async def test_link_disables_nagle(broker: Mosquitto, paths: Paths) -> None:
    """Without it each acknowledgement takes 90 ms. There is no other door to see it by than the socket."""
    link = link_to(broker, paths, client_id="hub-1", filters=[HUB_STATUS], topic=HUB_STATUS)
    heard = Heard()
    async with running(link, heard):
        await heard.until(HUB_STATUS)
        assert link._connection is not None
        sock = link._connection.client.socket()
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_more_messages_than_may_be_in_flight_all_arrive(broker: Mosquitto, paths: Paths) -> None:
    link = link_to(broker, paths, client_id="hub-1", filters=["covey/1/t", HUB_STATUS], topic=HUB_STATUS)
    heard = Heard()
    async with running(link, heard):
        await heard.until(HUB_STATUS)
        for number in range(450):
            assert await link.publish("covey/1/t", str(number).encode())
        assert [await heard.until("covey/1/t") for _ in range(450)] == [
            str(number).encode() for number in range(450)
        ]


async def test_hub_of_another_authority_is_not_let_in_and_keeps_trying(
    broker: Mosquitto, paths: Paths, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = identity(tmp_path / "foreign")
    access = BrokerAccess(
        host="127.0.0.1", port=broker.port, ca=paths.ca, certificate=foreign.client, key=foreign.client_key
    )
    presence = Presence(topic=HUB_STATUS, online=lambda: b"online", offline=lambda: b"offline")
    link = PahoLink(broker=access, client_id="hub-1", filters=["#"], presence=presence)
    heard = Heard()
    async with running(link, heard):
        async with asyncio.timeout(WAIT_S):
            while caplog.text.count("the next attempt is in") < 2:  # noqa: ASYNC110  # only the log tells
                await asyncio.sleep(0.05)
        assert not await link.publish("covey/1/hub", b"online")
    assert "Traceback" not in caplog.text


async def test_certificate_that_cannot_be_read_is_the_operators_business(
    broker: Mosquitto, paths: Paths
) -> None:
    paths.client.unlink()
    link = link_to(broker, paths, client_id="hub-1", filters=["#"], topic=HUB_STATUS)
    with pytest.raises(ConfigError, match="cannot be used"):
        await link.run(Heard())


async def test_worker_serves_a_device_over_the_broker_and_again_after_the_broker_was_killed(
    broker: Mosquitto, paths: Paths, tmp_path: Path, clock: ManualClock
) -> None:
    """P14: the broker forgets everything; the logs do not."""
    database = Database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    migrate(database)
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    with database.write() as session:
        session.add(device_row(script))
    word = HubWord(epoch=bytes_from("epoch"), signer=HUB_SIGNER)
    access = BrokerAccess(
        host="127.0.0.1", port=broker.port, ca=paths.ca, certificate=paths.client, key=paths.client_key
    )
    presence = Presence(topic=HUB_STATUS, online=word.online, offline=lambda: word.offline)
    worker = IngestWorker(
        database=database,
        link=PahoLink(broker=access, client_id="hub-1", filters=filters(SHARE_KEY), presence=presence),
        word=word,
        signer=HUB_SIGNER,
        trust=HUB_TRUST,
        salt_of=SALT_OF,
        clock=clock,
        on_tasks_changed=lambda _: None,
        limits=IngestLimits(),
    )
    device = link_to(
        broker,
        paths,
        client_id=NAME,
        filters=[HUB_STATUS, *(script.topic(channel) for channel in FROM_HUB)],
        topic=script.topic(Channel.STATE),
    )
    heard = Heard()
    hub = asyncio.create_task(worker.run())
    async with running(device, heard):
        for begin in (0, 5):
            while await heard.until(HUB_STATUS) != word.online():
                pass
            assert await device.publish(script.topic(Channel.HELLO), script.hello())
            answer = script.open(await heard.until(script.topic(Channel.HELLO_ACK)))
            assert [cursor.upto for cursor in answer.cursors] == ([begin] if begin else [])
            for at in range(begin, begin + 5):
                script.journal.append(started(at))
            raw = script.batch(script.journal, first=begin + 1)
            assert await device.publish(script.topic(Channel.UP_JOURNAL), raw)
            ack = script.hear_ack(await heard.until(script.topic(Channel.UP_JOURNAL_ACK)))
            assert (ack.status, ack.upto) == ("ok", begin + 5)
            order = TaskCancelled(at_ms=1, task=task_id_from("a"), node=begin, reason="operator")
            await asyncio.to_thread(_append, database, clock, order)
            worker.wake(NAME)
            batch = script.hear_orders(await heard.until(script.topic(Channel.DOWN_ORDERS)))
            assert len(batch.records) == 1
            assert await device.publish(script.topic(Channel.DOWN_ORDERS_ACK), script.ack())
            if not begin:
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
    hub.cancel()
    with suppress(asyncio.CancelledError):
        await hub
    assert {report.lane: (report.records, report.problem) for report in verify(database, NAME)} == {
        "journal": (10, None),
        "orders": (2, None),
    }
    database.close()


def _append(database: Database, clock: ManualClock, order: TaskCancelled) -> None:
    with database.write() as session:
        append_order(session, principal=NAME, records=[(order, ())], now=clock.now())

"""A worker under failure: restarts in mid-transfer, losses on the way, bad messages, two workers at once."""

import asyncio
import gc
import logging
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.ingest.inbox import Arrival
from cloud.ingest.pipeline import Pipeline
from cloud.ingest.worker import IngestLimits
from cloud.journal.service import verify
from cloud.journal.tables import LaneRow, RecordRow
from shared.errors import UnavailableError
from shared.messages import BATCH_MAX_RECORDS
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice
from tests.support.hub_database import migrated_sqlite
from tests.support.ingest import HUB_SIGNER, HUB_TRUST, SALT_OF, IngestHub, RemoteDevice, device_row, started
from tests.support.memory_broker import BrokerMessage

NAME = "acme.fridge-1"


def stored(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.exec(select(RecordRow.seq).order_by(col(RecordRow.seq))).all())


async def test_hub_restarted_in_mid_transfer_loses_and_doubles_nothing(
    database: Database, clock: ManualClock
) -> None:
    """P14, P17: each part is sent to another worker; the acknowledgement of every second one is lost."""
    hub = IngestHub(database, clock)
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    for at in range(100):
        script.journal.append(started(at))
    upto = 0
    for part in range(5):
        async with IngestHub(database, clock, broker=hub.broker) as worker:
            device = worker.enrol(NAME, script=script)
            answer = await device.link()
            if answer.cursors:
                assert answer.cursors[0].upto == 20 * part
            ack = await device.send(script.journal, first=upto + 1, last=20 * (part + 1))
            if part % 2:
                upto = ack.upto
    assert stored(database) == list(range(1, 101))
    assert [report.problem for report in verify(database, NAME)] == [None]


async def test_worker_killed_between_commit_and_acknowledgement_is_harmless(
    database: Database, clock: ManualClock
) -> None:
    """P14: the pipeline commits, the acknowledgement never leaves, and the device sends the batch again."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for at in range(3):
            device.script.journal.append(started(at))
        pipeline = Pipeline(
            database=database, signer=HUB_SIGNER, trust=HUB_TRUST, salt_of=SALT_OF, clock=clock
        )
        raw = device.script.batch(device.script.journal)
        lost = await asyncio.to_thread(
            pipeline.handle, [Arrival(device.script.topic(Channel.UP_JOURNAL), raw)], fill=0.0
        )
        assert len(lost.outgoing) == 1
        assert stored(database) == [1, 2, 3]
        ack = await device.send(device.script.journal)
        assert (ack.status, ack.upto) == ("ok", 3)
    assert stored(database) == [1, 2, 3]


async def test_messages_lost_on_the_way_cost_only_time(database: Database, clock: ManualClock) -> None:
    """P14: every third message to the hub and every third from it is dropped; the device repeats."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        passed = iter(range(10_000))

        def lose(message: BrokerMessage) -> bool:
            return NAME in message.topic and next(passed) % 3 == 2

        hub.broker.lose = lose
        log = device.script.journal
        acked = 0
        async with asyncio.timeout(30):
            while acked < 60:
                while log.head.seq < min(60, acked + 10):
                    log.append(started(log.head.seq))
                device.say(Channel.UP_JOURNAL, device.script.batch(log, first=acked + 1))
                await hub.settle()
                while not device.heard_nothing(Channel.UP_JOURNAL_ACK):
                    acked = device.script.hear_ack(await device.hears(Channel.UP_JOURNAL_ACK)).upto
    assert stored(database) == list(range(1, 61))


@pytest.mark.slow
async def test_two_workers_share_the_devices_and_keep_every_log_whole(
    database: Database, clock: ManualClock
) -> None:
    """P15: by `$share`, so the messages of one device come to either."""
    async with (
        IngestHub(database, clock) as hub,
        IngestHub(database, clock, broker=hub.broker) as other,
    ):
        devices = [hub.enrol(f"acme.device-{number}") for number in range(6)]

        async def work(device: RemoteDevice) -> None:
            await device.link()
            for at in range(10):
                assert (await device.append(started(at))).upto == at + 1

        async with asyncio.TaskGroup() as group:
            for device in devices:
                group.create_task(work(device))
        assert hub.worker.counts["records"] + other.worker.counts["records"] == 60
        assert min(hub.worker.counts["records"], other.worker.counts["records"]) > 0
    for device in devices:
        assert [(r.records, r.problem) for r in verify(database, device.script.principal)] == [(10, None)]


async def test_exception_in_one_message_costs_only_that_message(
    database: Database, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that somebody spoiled makes the code fail; its group's other messages are handled all the same."""
    async with IngestHub(database, clock) as hub:
        good, bad = hub.enrol(NAME), hub.enrol("acme.spoilt")
        with database.write() as session:
            session.execute(
                text("UPDATE device SET signing_public = :nonsense WHERE principal = 'acme.spoilt'"),
                {"nonsense": b"short"},
            )
        # In one go, so that they come in one group.
        bad.say(Channel.HELLO, bad.script.hello())
        good.say(Channel.HELLO, good.script.hello())
        bad.say(Channel.STATE, bad.script.state(online=True))
        good.script.open(await good.hears(Channel.HELLO_ACK))
        assert (await good.append(started(1))).status == "ok"
        assert hub.worker.counts["failed"] == 2
    assert "could not be handled" in caplog.text


async def test_group_of_messages_of_many_devices_is_answered_to_each(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        devices = [hub.enrol(f"acme.device-{number}") for number in range(40)]
        for device in devices:
            device.say(Channel.HELLO, device.script.hello())
        for device in devices:
            device.script.open(await device.hears(Channel.HELLO_ACK))
        assert hub.worker.counts["messages"] == 40 + 1  # and the retained word of the hub itself


async def test_queue_beyond_its_bound_drops_and_counts_and_the_device_repeats(
    database: Database, clock: ManualClock
) -> None:
    """P14."""
    async with IngestHub(database, clock, limits=IngestLimits(poll_s=0.01, queue_max_messages=3)) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for at in range(8):
            device.script.journal.append(started(at))
            device.say(Channel.UP_JOURNAL, device.script.batch(device.script.journal))
        await device.hears(Channel.UP_JOURNAL_ACK)
        assert hub.worker.counts["dropped"] > 0
        await hub.settle()
        while not device.heard_nothing(Channel.UP_JOURNAL_ACK):
            await device.hears(Channel.UP_JOURNAL_ACK)
        assert (await device.send(device.script.journal)).upto == 8
    assert stored(database) == list(range(1, 9))


class Heard(logging.Handler):
    """Set when the worker says that the database is away. It says so on the loop's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "the database is away" in record.getMessage():
            self.event.set()


async def test_database_that_comes_back_finds_the_message_waiting(tmp_path: Path, clock: ManualClock) -> None:
    """Its directory is missing for a while, as a disk that is mounted late."""
    here, away = tmp_path / "here", tmp_path / "away"
    away.mkdir()
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    with closing(Database(migrated_sqlite(away / "hub.sqlite"))) as prepared, prepared.write() as session:
        session.add(device_row(script))
    heard = Heard()
    logger = logging.getLogger("cloud.ingest.worker")
    logger.addHandler(heard)
    limits = IngestLimits(poll_s=0.01, database_retry_s=0.01, database_tries=1_000)
    try:
        with closing(Database(f"sqlite:///{here / 'hub.sqlite'}")) as database:
            async with IngestHub(database, clock, limits=limits) as hub:
                device = RemoteDevice(script, hub.broker)
                device.say(Channel.HELLO, script.hello())
                async with asyncio.timeout(10):
                    await heard.event.wait()
                away.rename(here)
                script.open(await device.hears(Channel.HELLO_ACK))
                assert (await device.append(started(1))).status == "ok"
    finally:
        logger.removeHandler(heard)


def test_database_that_is_away_is_unavailable(tmp_path: Path, clock: ManualClock) -> None:
    missing = Database(f"sqlite:///{tmp_path / 'no such directory' / 'hub.sqlite'}")
    pipeline = Pipeline(database=missing, signer=HUB_SIGNER, trust=HUB_TRUST, salt_of=SALT_OF, clock=clock)
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    with pytest.raises(UnavailableError):
        pipeline.handle([Arrival(script.topic(Channel.HELLO), script.hello())], fill=0.0)


def test_ingest_leaves_the_cycle_collector_as_it_was(database: Database, clock: ManualClock) -> None:
    pipeline = Pipeline(database=database, signer=HUB_SIGNER, trust=HUB_TRUST, salt_of=SALT_OF, clock=clock)
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    with database.write() as session:
        session.add(device_row(script))
    assert gc.isenabled()
    outcome = pipeline.handle([Arrival(script.topic(Channel.HELLO), script.hello())], fill=0.6)
    assert gc.isenabled()
    # 60 % full: the credit has begun to shrink.
    assert 0 < script.open(outcome.outgoing[0].message).credit < BATCH_MAX_RECORDS
    with database.read() as session:
        assert session.exec(select(Device.principal)).all() == [NAME]
        assert session.exec(select(LaneRow)).all() == []

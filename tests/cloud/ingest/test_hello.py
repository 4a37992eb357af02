"""Sessions at the hub: offered by a hello, taken by their first use (rule P17)."""

from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.tables import DeviceSession
from cloud.ingest.hello import PENDING_MAX
from shared.clock import to_ms
from shared.messages import BATCH_MAX_RECORDS
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.ingest import IngestHub, started

NAME = "acme.fridge-1"


def sessions_of(database: Database) -> list[tuple[bytes, bool]]:
    with database.read() as session:
        query = select(DeviceSession).where(DeviceSession.principal == NAME)
        return [
            (row.id, row.is_current) for row in session.exec(query.order_by(col(DeviceSession.opened_at)))
        ]


async def test_hello_is_answered_with_a_session_credit_the_time_and_what_the_hub_has(
    database: Database, clock: ManualClock
) -> None:
    """P17."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        first = await device.link()
        assert (first.cursors, first.heads) == ((), ())
        assert (first.credit, first.at_ms) == (BATCH_MAX_RECORDS, to_ms(clock.now()))
        await device.append(started(1), started(2))
        clock.advance(seconds=60)
        device.script.metrics.append(started(1))
        await device.send(device.script.metrics)
        second = await device.link()
    log = device.script.journal
    assert second.session != first.session
    assert [(cursor.lane, cursor.epoch, cursor.upto) for cursor in second.cursors] == [
        ("journal", log.lane.epoch, 2),
        ("metrics", device.script.metrics.lane.epoch, 1),
    ]
    assert second.cursors[0].hash == log.head.hash
    assert hub.device(NAME).last_hello_at == clock.now()


async def test_first_use_of_a_session_ends_the_one_before(database: Database, clock: ManualClock) -> None:
    """P17: a message of the old session is stale from then on."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
        device.script.journal.append(started(2))
        old = device.script.batch(device.script.journal, first=2)
        clock.advance(seconds=1)
        answer = await device.link()
        await device.append(started(3))
        device.say(Channel.UP_JOURNAL, old)
        await hub.settle()
        assert hub.refusals() == {"stale": 1}
    assert sessions_of(database) == [(answer.session, True)]


async def test_replayed_hello_cuts_nobody_off(database: Database, clock: ManualClock) -> None:
    """P17: the session in use is honoured until the new one is used, however many are offered."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        hello = device.script.hello()
        device.say(Channel.HELLO, hello)
        device.script.open(await device.hears(Channel.HELLO_ACK))
        await device.append(started(1))
        for _ in range(5):
            clock.advance(seconds=1)
            device.say(Channel.HELLO, hello)
        await hub.settle()
        assert (await device.append(started(2))).upto == 2
        assert hub.refusals() == {}


async def test_sessions_that_are_offered_and_not_used_are_bounded(
    database: Database, clock: ManualClock
) -> None:
    """P17."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
        for _ in range(10):
            clock.advance(seconds=1)
            device.say(Channel.HELLO, device.script.hello())
            await device.hears(Channel.HELLO_ACK)  # and does not take it up
    assert [is_current for _, is_current in sessions_of(database)] == [True, *[False] * PENDING_MAX]


async def test_either_of_two_pending_hellos_may_be_taken_up(database: Database, clock: ManualClock) -> None:
    """P17: the answer to the first is on its way while the device asks again; taking it up ends the other."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        device.say(Channel.HELLO, device.script.hello())
        first = device.script.open(await device.hears(Channel.HELLO_ACK))
        clock.advance(seconds=1)
        device.say(Channel.HELLO, device.script.hello())
        await device.hears(Channel.HELLO_ACK)
        assert (await device.append(started(1))).status == "ok"
    assert sessions_of(database) == [(first.session, True)]


async def test_session_outlives_the_worker_that_opened_it(database: Database, clock: ManualClock) -> None:
    """P17: sessions and replay windows are in the database, so another worker goes on with them."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.journal.append(started(1))
        raw = device.script.batch(device.script.journal)
        await device.send_raw(device.script.journal, raw)
    async with IngestHub(database, clock, broker=hub.broker) as other:
        device.say(Channel.UP_JOURNAL, raw)
        assert (await device.append(started(2))).upto == 2
        assert other.refusals() == {"replayed": 1}

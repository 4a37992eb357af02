"""Who is connected, as births, deaths and signs of life tell; and the hub's own word (rule P18)."""

import asyncio

import pytest
from sqlmodel import select

from cloud.db import Database
from cloud.devices.presence import DEAF_AFTER, PresenceState, presence
from cloud.devices.presence_sql import read_horizons
from cloud.devices.tables import HubHearing
from cloud.ingest.inbox import Arrival
from cloud.ingest.pipeline import Pipeline
from cloud.ingest.presence import note_listening
from cloud.ingest.status import spread_for
from shared.gate import Accepted, Expected, admit, close
from shared.ids import EVERYONE, HUB
from shared.keys import KeyRing, TrustedKey
from shared.messages import SPREAD_MAX_MS, HubStatus
from shared.topics import HUB_STATUS, Channel
from tests.cloud.ingest.test_orders import lane_of, linked
from tests.support.clock import START, ManualClock
from tests.support.device import bytes_from, signer_from
from tests.support.ingest import HUB_SIGNER, HUB_TRUST, LIMITS, SALT_OF, IngestHub, RemoteDevice, started
from tests.support.memory_broker import MemoryBroker
from tests.support.waiting import eventually

NAME = "acme.fridge-1"


def state_of(hub: IngestHub) -> PresenceState:
    with hub.database.read() as session:
        compared = read_horizons(session, LIMITS, hub.clock.now())
    return presence(hub.device(NAME), compared)


async def dies(hub: IngestHub, device: RemoteDevice, connection: bytes | None = None) -> None:
    """The broker publishes its will."""
    device.say(Channel.STATE, device.script.state(online=False, connection=connection), retain=True)
    await hub.settle()


# ---------------------------------------------------------------- births and deaths


async def test_birth_is_noted(database: Database, clock: ManualClock) -> None:
    """P18."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        device.say(Channel.STATE, device.script.state(online=True), retain=True)
        await hub.settle()
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_connection) == (True, device.script.connection)
        assert state_of(hub) is PresenceState.STALE  # connected, and yet to say something


async def test_death_is_doubted_and_then_believed_as_of_when_it_was_told(
    database: Database, clock: ManualClock
) -> None:
    """P18."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        assert state_of(hub) is PresenceState.ONLINE
        clock.advance(seconds=10)
        died_at = clock.now()
        await dies(hub, device)
        row = hub.device(NAME)
        assert (row.broker_online, row.died_at) == (True, died_at)
        assert state_of(hub) is PresenceState.ONLINE
        clock.advance(LIMITS.will_grace)
        # Whoever looks sees it at once, also before the leader's job has written it down.
        assert state_of(hub) is PresenceState.OFFLINE
        assert await asyncio.to_thread(hub.end_doubted) == 1
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_at, row.died_at) == (False, died_at, None)
        assert state_of(hub) is PresenceState.OFFLINE
        assert await asyncio.to_thread(hub.end_doubted) == 0


async def test_death_of_an_earlier_connection_is_ignored(database: Database, clock: ManualClock) -> None:
    """P18: the will of a connection that was replaced comes late."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        old = device.script.connection
        device.say(Channel.STATE, device.script.state(online=True))
        device.script.connection = bytes_from("second connection")
        device.say(Channel.STATE, device.script.state(online=True))
        await dies(hub, device, connection=old)
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_connection, row.died_at) == (
            True,
            bytes_from("second connection"),
            None,
        )


async def test_device_that_comes_back_within_the_grace_was_never_away(
    database: Database, clock: ManualClock
) -> None:
    """Its orders go on being sent, and it was never shown as offline."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await dies(hub, device)
        clock.advance(seconds=1)
        device.script.connection = bytes_from("second connection")
        device.say(Channel.STATE, device.script.state(online=True), retain=True)
        await device.link()
        assert await hub.believe_deaths() == 0
        assert state_of(hub) is PresenceState.ONLINE


async def test_hello_tells_the_connection_too(database: Database, clock: ManualClock) -> None:
    """P18: for when the birth was lost, a death is then known to be that of the latest connection."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        assert hub.device(NAME).broker_online
        await dies(hub, device)
        assert await hub.believe_deaths() == 1
        assert not hub.device(NAME).broker_online


async def test_birth_of_a_connection_that_has_ended_does_not_begin_it_again(
    database: Database, clock: ManualClock
) -> None:
    """P18: a broker that was killed may come back with an older retained word."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await dies(hub, device)
        await hub.believe_deaths()
        device.say(Channel.STATE, device.script.state(online=True), retain=True)
        await hub.settle()
        assert not hub.device(NAME).broker_online


async def test_forged_death_is_refused(database: Database, clock: ManualClock) -> None:
    """P8."""
    async with IngestHub(database, clock) as hub:
        device, thief = hub.enrol(NAME), hub.enrol("acme.thief")
        device.say(Channel.STATE, device.script.state(online=True))
        device.say(Channel.STATE, thief.script.state(online=False, connection=device.script.connection))
        await hub.settle()
        assert hub.device(NAME).died_at is None
        assert hub.refusals() == {"wrong_sender": 1}


async def test_what_happened_while_the_hub_was_away_is_heard_when_it_is_back(
    database: Database, clock: ManualClock
) -> None:
    """P18: state is retained. It does not come over a shared subscription, so the hub asks for it without."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        device.say(Channel.STATE, device.script.state(online=True), retain=True)
        await hub.settle()
    device.say(Channel.STATE, device.script.state(online=False), retain=True)
    async with IngestHub(database, clock, broker=hub.broker) as again:
        await again.settle()
        assert await again.believe_deaths() == 1
        assert not again.device(NAME).broker_online


# ---------------------------------------------------------------- doubt


async def test_sign_of_life_after_a_death_contradicts_it(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await dies(hub, device)
        clock.advance(seconds=1)
        await device.append(started(1))
        assert hub.device(NAME).died_at is None
        assert await hub.believe_deaths() == 0
        assert state_of(hub) is PresenceState.ONLINE
        assert hub.worker.counts["deaths.contradicted"] == 1


async def test_message_that_arrived_before_the_death_does_not_contradict_it(
    database: Database, clock: ManualClock
) -> None:
    """It waited in a queue of ours while its device died."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.journal.append(started(1))
        last_words = device.script.batch(device.script.journal)
        waiting = Arrival(device.script.topic(Channel.UP_JOURNAL), last_words, at=clock.now())
        clock.advance(seconds=1)
        await dies(hub, device)
        clock.advance(seconds=2)
        pipeline = Pipeline(
            database=database, signer=HUB_SIGNER, trust=HUB_TRUST, salt_of=SALT_OF, clock=clock
        )
        outcome = await asyncio.to_thread(pipeline.handle, [waiting], fill=0.0)
        assert outcome.counts["records"] == 1
        assert hub.device(NAME).died_at is not None
        assert await hub.believe_deaths() == 1


@pytest.mark.slow
async def test_end_that_was_believed_and_is_not_true_is_taken_back(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await dies(hub, device)
        assert await hub.believe_deaths() == 1
        clock.advance(seconds=1)
        await device.append(started(1))
        assert state_of(hub) is PresenceState.ONLINE
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_at) == (True, clock.now())


async def test_device_that_is_said_to_be_dead_is_asked_and_its_answer_contradicts(
    database: Database, clock: ManualClock
) -> None:
    """P12: it gets its last order once more, which it has already, and acknowledges that."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        await dies(hub, device)
        probe = await device.hears_orders()
        assert (probe.first_seq, len(probe.records)) == (1, 1)
        clock.advance(seconds=1)
        device.say(Channel.DOWN_ORDERS_ACK, device.script.ack())
        await hub.settle()
        assert hub.device(NAME).died_at is None
        assert (lane_of(database).phase, lane_of(database).acked) == ("idle", 1)
        # It is asked once a death, not each time that somebody repeats the word.
        assert hub.worker.counts["orders.probes"] == 1


async def test_device_without_orders_is_not_asked(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await dies(hub, device)
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        assert hub.worker.counts.get("orders.probes", 0) == 0


async def test_will_that_several_workers_hear_is_one_death(database: Database, clock: ManualClock) -> None:
    """And a device that goes on is believed by all of them."""
    async with (
        IngestHub(database, clock) as hub,
        IngestHub(database, clock, broker=hub.broker) as other,
    ):
        device = hub.enrol(NAME)
        await device.link()
        device.say(Channel.STATE, device.script.state(online=False), retain=True)

        def handled() -> int:
            return sum(worker.counts.get("messages", 0) for worker in (hub.worker, other.worker))

        # Each hears both words of the hub, and the will; the hello went to one of them.
        await eventually(lambda: handled() == 7)
        counts = [worker.counts.get("deaths.doubted", 0) for worker in (hub.worker, other.worker)]
        assert sorted(counts) == [0, 1]
        clock.advance(seconds=1)
        await device.append(started(1))
        assert hub.device(NAME).died_at is None


# ---------------------------------------------------------------- whether the hub listens


async def test_worker_notes_that_it_listens(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:

        def heard() -> HubHearing | None:
            with database.read() as session:
                return session.exec(select(HubHearing)).first()

        await eventually(lambda: heard() is not None)
        row = heard()
        assert row is not None
        assert (row.since, row.gone_at, row.heard_at) == (START, None, START)
        await hub.settle()


def test_hub_that_was_away_remembers_until_when_it_listened(database: Database, clock: ManualClock) -> None:
    def listen() -> tuple[object, object, object]:
        with database.write() as session:
            note_listening(session, clock.now(), LIMITS)
        with database.read() as session:
            row = session.exec(select(HubHearing)).one()
            return row.since, row.gone_at, row.heard_at

    assert listen() == (START, None, START)
    clock.advance(DEAF_AFTER)
    gone_at = clock.now()
    assert listen() == (START, None, gone_at)
    clock.advance(seconds=3_600)
    assert listen() == (clock.now(), gone_at, clock.now())


# ---------------------------------------------------------------- the hub's own word


async def test_hub_says_that_it_is_there_and_that_it_leaves(database: Database, clock: ManualClock) -> None:
    """P18."""
    broker = MemoryBroker()
    async with IngestHub(database, clock, broker=broker) as hub:
        assert broker.retained(HUB_STATUS) == hub.word.online()
    assert broker.retained(HUB_STATUS) == hub.word.offline


async def test_worker_contradicts_the_will_of_another(database: Database, clock: ManualClock) -> None:
    """P18: the hub is there as long as one worker is."""
    async with IngestHub(database, clock) as hub:
        async with IngestHub(database, clock, broker=hub.broker):
            pass
        await eventually(lambda: hub.broker.retained(HUB_STATUS) == hub.word.online())


async def test_forged_word_about_the_hub_is_not_contradicted(database: Database, clock: ManualClock) -> None:
    """P8: who can publish there can also do so again and again; it must not make the hub shout."""
    async with IngestHub(database, clock) as hub:
        forged = close(
            HubStatus(online=False, epoch=bytes(16)),
            issuer=HUB,
            audience=EVERYONE,
            message_id=bytes(16),
            signer=signer_from("mallory"),
        )
        hub.broker.publish(HUB_STATUS, forged, retain=True)
        await hub.settle()
        assert hub.broker.retained(HUB_STATUS) == forged
        assert hub.word.online() != forged
        assert HUB_SIGNER.kid != signer_from("mallory").kid


async def test_worker_asks_devices_to_spread_their_hellos_by_how_many_they_are(
    database: Database, clock: ManualClock
) -> None:
    """P17."""
    async with IngestHub(database, clock) as hub:
        for number in range(6):
            await hub.enrol(f"acme.device-{number}").link()
    async with IngestHub(database, clock, broker=hub.broker) as again:
        expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
        trust = KeyRing((TrustedKey(owner=HUB, public=HUB_SIGNER.public),))
        verdict = admit(again.word.online(), expected, trust)
        assert isinstance(verdict, Accepted)
        assert verdict.message.spread_ms == spread_for(6, rate_max_per_s=300) == 20


def test_spread_keeps_the_rate_of_hellos_and_the_devices_bound() -> None:
    assert spread_for(0, rate_max_per_s=300) == 0
    assert spread_for(10_000, rate_max_per_s=300) == 33_334
    assert spread_for(10_000_000, rate_max_per_s=300) == SPREAD_MAX_MS

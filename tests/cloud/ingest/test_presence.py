"""Who is connected, as births and deaths tell; and the hub's own word (rule P18)."""

from cloud.db import Database
from shared.gate import close
from shared.ids import EVERYONE, HUB
from shared.messages import HubStatus
from shared.topics import HUB_STATUS, Channel
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from
from tests.support.ingest import HUB_SIGNER, IngestHub
from tests.support.memory_broker import MemoryBroker

NAME = "acme.fridge-1"


async def test_birth_and_death_are_noted(database: Database, clock: ManualClock) -> None:
    """P18."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        device.say(Channel.STATE, device.script.state(online=True), retain=True)
        await hub.settle()
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_connection) == (True, device.script.connection)
        clock.advance(seconds=30)
        device.say(Channel.STATE, device.script.state(online=False), retain=True)
        await hub.settle()
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_at) == (False, clock.now())


async def test_death_of_an_earlier_connection_is_ignored(database: Database, clock: ManualClock) -> None:
    """P18: the will of a connection that was replaced comes late."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        old = device.script.connection
        device.say(Channel.STATE, device.script.state(online=True))
        device.script.connection = bytes_from("second connection")
        device.say(Channel.STATE, device.script.state(online=True))
        device.say(Channel.STATE, device.script.state(online=False, connection=old))
        await hub.settle()
        row = hub.device(NAME)
        assert (row.broker_online, row.broker_connection) == (True, bytes_from("second connection"))


async def test_hello_tells_the_connection_too(database: Database, clock: ManualClock) -> None:
    """P18: for when the birth was lost, a death is then known to be that of the latest connection."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        assert hub.device(NAME).broker_online
        device.say(Channel.STATE, device.script.state(online=False))
        await hub.settle()
        assert not hub.device(NAME).broker_online


async def test_forged_death_is_refused(database: Database, clock: ManualClock) -> None:
    """P8."""
    async with IngestHub(database, clock) as hub:
        device, thief = hub.enrol(NAME), hub.enrol("acme.thief")
        device.say(Channel.STATE, device.script.state(online=True))
        device.say(Channel.STATE, thief.script.state(online=False, connection=device.script.connection))
        await hub.settle()
        assert hub.device(NAME).broker_online
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
        assert not again.device(NAME).broker_online


async def test_hub_says_that_it_is_there_and_that_it_leaves(database: Database, clock: ManualClock) -> None:
    """P18."""
    broker = MemoryBroker()
    async with IngestHub(database, clock, broker=broker) as hub:
        assert broker.retained(HUB_STATUS) == hub.status.online
    assert broker.retained(HUB_STATUS) == hub.status.offline


async def test_worker_contradicts_the_will_of_another(database: Database, clock: ManualClock) -> None:
    """P18: the hub is there as long as one worker is."""
    async with IngestHub(database, clock) as hub:
        async with IngestHub(database, clock, broker=hub.broker):
            pass
        await hub.settle()
        assert hub.broker.retained(HUB_STATUS) == hub.status.online


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
        assert hub.status.online != forged
        assert HUB_SIGNER.kid != signer_from("mallory").kid

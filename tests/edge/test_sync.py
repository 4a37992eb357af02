"""Replication on the device, over a link in memory and against a hub that does as it is told, also wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.blobs import make_blob
from edge.keychain import HubKeys
from edge.ports import Draft, LaneState
from edge.sync import HUB_GONE_AFTER, MAX_HELLOS, LinkState, Sync, subscriptions, will
from shared.blobs import Blob
from shared.errors import CapacityError
from shared.gate import message_id
from shared.ids import Lane
from shared.keys import Signer
from shared.log import Head
from shared.messages import Batch, Cursor, Hello, HelloAck, HubStatus
from shared.records import DeviceStarted, TaskCancelled, TaskCreated, TaskOffered
from shared.replication import MAX_RESENDS, RESEND_AFTER, Parcel
from shared.tasks.limits import Limits
from shared.topics import HUB_STATUS, Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedLog, bytes_from, signer_from, task_id_from
from tests.support.hub import ScriptedHub, batch_of
from tests.support.memory_broker import MemoryBroker, Subscription
from tests.support.memory_link import MemoryLink
from tests.support.store import PRINCIPAL, opened_journal
from tests.support.waiting import LOOK_AGAIN_S, eventually

WAIT_S = 30.0
TICK_S = 0.002
SHARE = 0.25
HELLO_TIMEOUT_S = 10.0
HELLO_INTERVAL_S = 120.0
STRANGER = signer_from("stranger")


@dataclass
class World:
    """A device's sync, its broker, and the other end of each of its topics."""

    journal: SqliteJournal
    outbox: Any
    clock: ManualClock
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    hub: ScriptedHub = field(
        default_factory=lambda: ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
    )
    hub_keys: HubKeys | None = None
    orders_heard: int = 0
    links_heard: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        signer = signer_from(PRINCIPAL)
        self.ends: dict[Channel, Subscription] = {
            channel: self.broker.subscribe(self.hub.topic(channel))
            for channel in (Channel.STATE, Channel.HELLO, Channel.UP_JOURNAL, Channel.DOWN_ORDERS_ACK)
        }
        self.link = MemoryLink(
            self.broker,
            subscriptions=subscriptions(PRINCIPAL),
            will=lambda connection: will(PRINCIPAL, signer, connection),
        )
        self.sync = Sync(
            principal=PRINCIPAL,
            signer=signer,
            trust=self.hub.trusted if self.hub_keys is None else self.hub_keys,
            hub_keys=self.hub_keys,
            link=self.link,
            outbox=self.outbox,
            clock=self.clock,
            version="0.1.0",
            hello_timeout_s=HELLO_TIMEOUT_S,
            hello_interval_s=HELLO_INTERVAL_S,
            on_orders=self._on_orders,
            on_linked=self.links_heard.append,
            tick_s=TICK_S,
            share=lambda: SHARE,
        )
        self.journal.on_change(self.sync.appended)

    def _on_orders(self) -> None:
        self.orders_heard += 1

    @property
    def state(self) -> LinkState:
        return self.sync.status().state

    @property
    def refused(self) -> dict[str, int]:
        return self.sync.status().refused

    # --- the hub's end

    async def heard(self, channel: Channel) -> bytes:
        return (await self.ends[channel].next(timeout_s=WAIT_S)).payload

    def nothing_on(self, channel: Channel) -> bool:
        return self.ends[channel].queue.empty()

    def say(self, channel: Channel, raw: bytes) -> None:
        self.broker.publish(self.hub.topic(channel), raw)

    async def hello(self) -> Hello:
        return self.hub.hear_hello(await self.heard(Channel.HELLO))

    async def linked(self) -> None:
        """Answer the next hello, and wait until the device is linked."""
        self.say(Channel.HELLO_ACK, self.hub.hello_ack(await self.hello()))
        await self.until(lambda: self.sync.is_linked and self.links_heard[-1:] == [True])

    async def hub_goes(self) -> None:
        """The hub's will, which nobody contradicts."""
        self.broker.publish(HUB_STATUS, self.hub.status(online=False), retain=True)
        await self.ticks()
        self.clock.advance(HUB_GONE_AFTER)
        await self.until(lambda: self.sync.status().detail == "the hub is away")

    async def batch(self) -> Batch:
        return self.hub.hear_batch(await self.heard(Channel.UP_JOURNAL))

    def ack(self, **changes: Any) -> None:
        self.say(Channel.UP_JOURNAL_ACK, self.hub.ack(**changes))

    async def drained(self) -> list[Batch]:
        """Acknowledge until the hub holds everything that the journal holds."""
        batches: list[Batch] = []
        while True:
            lane = await self.journal.lane(Lane.JOURNAL)
            assert lane is not None
            log = self.hub.read.get("journal")
            if log is not None and log.head.seq == lane.head.seq:
                await self.until(lambda: self.sync.status().waiting == 0)
                # The store hears of the acknowledgement a moment after the state does.
                async with asyncio.timeout(WAIT_S):
                    while lane.acked < lane.head.seq:
                        await asyncio.sleep(LOOK_AGAIN_S)
                        lane = await self.journal.lane(Lane.JOURNAL)
                        assert lane is not None
                return batches
            batches.append(await self.batch())
            self.ack()

    # --- time

    async def until(self, condition: Callable[[], Any]) -> None:
        await eventually(condition, timeout_s=WAIT_S)

    async def ticks(self, count: int = 3) -> None:
        """Let the device look at its clock; also lets what was said to it arrive."""
        await asyncio.sleep(count * 2 * TICK_S)

    async def write(self, count: int = 1) -> None:
        for _ in range(count):
            await self.journal.append(
                Draft(DeviceStarted(at_ms=1, version="1", was_clean=True)), durable=False
            )


@asynccontextmanager
async def syncing(
    path: Path, *, outbox: Callable[[SqliteJournal], Any] = lambda journal: journal, records: int = 0
) -> AsyncIterator[World]:
    async with opened_journal(path) as journal:
        world = World(journal=journal, outbox=outbox(journal), clock=ManualClock())
        await world.write(records)
        async with world_running(world):
            yield world


@asynccontextmanager
async def world_running(world: World) -> AsyncIterator[World]:
    running = asyncio.create_task(world.sync.run(), name="sync")
    try:
        yield world
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
async def world(path: Path) -> AsyncIterator[World]:
    async with syncing(path) as world:
        yield world


def offer(hub: ScriptedHub, name: str = "task") -> str:
    goal = Blob(salt=bytes_from(name), content=name.encode())
    record = TaskOffered(
        at_ms=1,
        task=task_id_from(name),
        node=0,
        attempt=1,
        goal=goal.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=10**12,
    )
    hub.order(record, goal)
    return record.task


# --- hello ---------------------------------------------------------------------------------------------------------


async def test_a_connection_begins_with_the_birth_and_a_hello_and_is_not_yet_a_link(world: World) -> None:
    """P17 P18"""
    state = world.hub.hear_state(await world.heard(Channel.STATE))
    hello = await world.hello()
    assert state.online
    assert state.connection == hello.connection == world.link.connections[0]
    assert (world.state, world.sync.is_linked) == (LinkState.CONNECTED, False)
    assert world.sync.status().last_hello_at is None
    assert world.broker.retained(world.hub.topic(Channel.STATE)) is not None


async def test_an_answered_hello_is_a_link(world: World) -> None:
    """P17"""
    await world.linked()
    assert world.state is LinkState.LINKED
    assert world.sync.status().last_hello_at == world.clock.now()
    assert world.links_heard == [True]


async def test_a_hello_says_what_there_is_and_what_was_read(path: Path) -> None:
    """P17"""
    async with syncing(path, records=3) as world:
        hello = await world.hello()
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        head, metrics = hello.heads
        assert (metrics.lane, metrics.tail, metrics.head, metrics.waiting_bytes) == ("metrics", 1, 0, 0)
        assert (head.lane, head.epoch, head.tail, head.head, head.hash) == (
            "journal", lane.id.epoch, 1, 3, lane.head.hash,
        )  # fmt: skip
        assert hello.cursors == ()
        offer(world.hub)
        await world.journal.receive(world.hub.batch_of_orders())
        world.clock.advance(seconds=HELLO_TIMEOUT_S)
        (cursor,) = (await world.hello()).cursors
        assert (cursor.lane, cursor.upto, cursor.hash) == ("orders", 1, world.hub.orders.head.hash)


async def test_an_answer_to_another_hello_is_refused_and_counted(world: World) -> None:
    """P17"""
    hello = await world.hello()
    world.say(Channel.HELLO_ACK, world.hub.hello_ack(hello, nonce=bytes_from("another nonce")))
    await world.until(lambda: world.refused)
    assert world.refused == {"stale": 1}
    assert not world.sync.is_linked


async def test_a_replayed_answer_is_refused_and_does_not_begin_a_session_anew(world: World) -> None:
    """P17"""
    answer = world.hub.hello_ack(await world.hello())
    world.say(Channel.HELLO_ACK, answer)
    await world.until(lambda: world.sync.is_linked)
    world.say(Channel.HELLO_ACK, answer)
    await world.until(lambda: world.refused)
    assert world.refused == {"stale": 1}
    assert world.sync.is_linked


async def test_an_unanswered_hello_is_said_again_with_another_nonce_then_the_connection_is_made_anew(
    world: World,
) -> None:
    """P17"""
    nonces = {(await world.hello()).nonce}
    for said in range(1, MAX_HELLOS):
        world.clock.advance(seconds=HELLO_TIMEOUT_S * 2 ** (said - 1))
        nonces.add((await world.hello()).nonce)
    assert len(nonces) == MAX_HELLOS
    assert world.link.drops == 0
    world.clock.advance(seconds=HELLO_TIMEOUT_S * 2 ** (MAX_HELLOS - 1))
    await world.until(lambda: len(world.link.connections) == 2)
    assert world.link.drops == 1
    nonces.add((await world.hello()).nonce)
    assert len(nonces) == MAX_HELLOS + 1


async def test_a_late_answer_links_and_the_one_after_it_counts_no_more(world: World) -> None:
    """P17: a hub in a storm answers each hello, only later than we wait."""
    first = await world.hello()
    world.clock.advance(seconds=HELLO_TIMEOUT_S)
    second = await world.hello()
    world.say(Channel.HELLO_ACK, world.hub.hello_ack(first))
    await world.until(lambda: world.sync.is_linked)
    world.say(Channel.HELLO_ACK, world.hub.hello_ack(second))
    await world.until(lambda: world.refused)


async def test_an_answer_of_before_the_hub_announced_itself_is_not_a_link(world: World) -> None:
    """P17: it may come from a hub that has been restored since."""
    first = await world.hello()
    world.clock.advance(seconds=2)
    world.broker.publish(HUB_STATUS, world.hub.status(online=True), retain=True)
    second = await world.hello()
    world.say(Channel.HELLO_ACK, world.hub.hello_ack(first))
    await world.until(lambda: world.refused)
    assert not world.sync.is_linked
    world.say(Channel.HELLO_ACK, world.hub.hello_ack(second))
    await world.until(lambda: world.sync.is_linked)


async def test_a_linked_device_says_hello_again_each_interval(world: World) -> None:
    await world.linked()
    world.clock.advance(seconds=HELLO_INTERVAL_S - 1)
    await world.ticks()
    assert world.nothing_on(Channel.HELLO)
    world.clock.advance(seconds=1)
    await world.hello()
    assert world.sync.is_linked, "the old session stands until the answer"


async def test_a_clock_set_back_does_not_silence_the_hello(world: World) -> None:
    await world.hello()
    world.clock.set(world.clock.now() - timedelta(days=3_650))
    await world.hello()


# --- what is refused -----------------------------------------------------------------------------------------------


def flip(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


FORGERIES: dict[str, tuple[Callable[[ScriptedHub, Hello], bytes], str]] = {
    "one bit flipped": (lambda hub, hello: flip(hub.hello_ack(hello)), "bad_signature"),
    "cut short": (lambda hub, hello: hub.hello_ack(hello)[:-7], "malformed"),
    "empty": (lambda _hub, _hello: b"", "malformed"),
    "too large": (lambda _hub, _hello: b"\xd2" * 122_881, "too_large"),
    "an unknown key": (lambda hub, hello: _as(hub, STRANGER).hello_ack(hello), "unknown_key"),
    "for another device": (
        lambda hub, hello: _for(hub, hello, audience="acme.fridge-2"),
        "wrong_recipient",
    ),
    "from another sender": (lambda hub, hello: _for(hub, hello, issuer="acme.fridge-2"), "wrong_sender"),
    "of another type": (lambda hub, _hello: _status_for(hub), "wrong_type"),
}


def _as(hub: ScriptedHub, signer: Signer) -> ScriptedHub:
    return ScriptedHub(hub.principal, device=signer_from(PRINCIPAL).public, key=signer)


def _for(hub: ScriptedHub, hello: Hello, **changes: str) -> bytes:
    ack = HelloAck(nonce=hello.nonce, session=bytes(16), at_ms=0, credit=1, heads=(), cursors=())
    return hub.close(ack, id_=bytes(24), **changes)


def _status_for(hub: ScriptedHub) -> bytes:
    return hub.close(HubStatus(online=True, epoch=hub.epoch), id_=bytes(16))


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_answer_is_refused_and_counted_and_never_answered(world: World, name: str) -> None:
    """P6 P7 P8"""
    forge, reason = FORGERIES[name]
    await world.heard(Channel.STATE)
    world.say(Channel.HELLO_ACK, forge(world.hub, await world.hello()))
    await world.until(lambda: world.refused)
    assert world.refused == {reason: 1}
    assert not world.sync.is_linked
    assert all(world.nothing_on(channel) for channel in world.ends)


async def test_messages_of_another_or_no_session_and_replayed_ones_are_refused_and_counted(
    world: World,
) -> None:
    """P8 P17"""
    offer(world.hub)
    await world.linked()
    # A session that was never agreed on.
    session = world.hub.session
    world.hub.session = bytes_from("another session")
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
    await world.until(lambda: world.refused == {"stale": 1})
    # Replayed: the very same bytes again.
    world.hub.session = session
    raw = world.hub.orders_batch()
    world.say(Channel.DOWN_ORDERS, raw)
    world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK))
    world.say(Channel.DOWN_ORDERS, raw)
    await world.until(lambda: world.refused == {"stale": 1, "replayed": 1})
    assert world.nothing_on(Channel.DOWN_ORDERS_ACK)
    assert world.orders_heard == 1


async def test_a_message_of_the_session_before_is_stale_after_a_new_hello(world: World) -> None:
    """P17"""
    offer(world.hub)
    await world.linked()
    old = world.hub.orders_batch()
    world.clock.advance(seconds=HELLO_INTERVAL_S)
    await world.linked()
    await world.until(lambda: world.sync.status().last_hello_at == world.clock.now())
    world.say(Channel.DOWN_ORDERS, old)
    await world.until(lambda: world.refused == {"stale": 1})
    assert await world.journal.open_nodes() == ()


async def test_a_device_that_is_not_linked_takes_no_orders(world: World) -> None:
    """P8"""
    await world.hello()
    offer(world.hub)
    world.hub.session = bytes_from("no session yet")
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
    await world.until(lambda: world.refused == {"stale": 1})
    assert await world.journal.open_nodes() == ()


async def test_an_acknowledgement_on_the_wrong_topic_or_of_another_lane_moves_nothing(world: World) -> None:
    await world.linked()
    await world.write()
    await world.batch()
    world.say(Channel.DOWN_ORDERS, world.hub.ack())
    await world.until(lambda: world.refused == {"wrong_type": 1})
    world.ack(lane="journal", epoch=bytes(16))
    await world.ticks()
    assert world.sync.status().waiting == 1
    world.ack()
    await world.until(lambda: world.sync.status().waiting == 0)


# --- sending -------------------------------------------------------------------------------------------------------


async def test_what_is_written_arrives_whole_and_in_order_and_is_remembered_as_acknowledged(
    world: World,
) -> None:
    """P9 P14"""
    await world.linked()
    blob = make_blob(b"what time is it")
    created = TaskCreated(at_ms=1, task=task_id_from("t"), goal=blob.ref(), limits=Limits())
    await world.journal.append(Draft(created, (blob,)), durable=False)
    await world.write(5)
    batches = await world.drained()
    lane = await world.journal.lane(Lane.JOURNAL)
    assert lane is not None
    assert world.hub.read["journal"].head == lane.head
    assert (lane.acked, [blob for batch in batches for blob in batch.blobs]) == (6, [blob])
    assert world.sync.status().last_ack_at == world.clock.now()


async def test_what_was_written_before_the_link_arrives_after_it(path: Path) -> None:
    async with syncing(path, records=10) as world:
        await world.ticks()
        assert world.nothing_on(Channel.UP_JOURNAL)
        await world.linked()
        assert [len(batch.records) for batch in await world.drained()] == [10]


async def test_one_batch_is_in_flight_at_a_time(world: World) -> None:
    """P14"""
    await world.linked()
    await world.write()
    await world.batch()
    await world.write(3)
    await world.ticks()
    assert world.nothing_on(Channel.UP_JOURNAL)
    world.ack()
    assert len((await world.batch()).records) == 3


async def test_only_as_much_is_sent_as_there_is_credit_for(path: Path) -> None:
    async with syncing(path, records=10) as world:
        world.hub.credit = 4
        await world.linked()
        assert [len(batch.records) for batch in await world.drained()] == [4, 4, 2]


async def test_what_was_packed_ahead_for_more_credit_than_there_is_now_is_not_sent(path: Path) -> None:
    async with syncing(path, records=12) as world:
        world.hub.credit = 4
        await world.linked()
        assert len((await world.batch()).records) == 4
        await world.ticks()
        world.ack(credit=1)
        assert len((await world.batch()).records) == 1
        await world.ticks()
        world.ack(credit=100)
        assert sum(len(batch.records) for batch in await world.drained()) == 7


async def test_what_was_packed_ahead_for_a_session_is_not_sent_in_the_next(path: Path) -> None:
    """P17"""
    async with syncing(path, records=10) as world:
        world.hub.credit = 3
        await world.linked()
        await world.batch()
        await world.ticks()
        # The acknowledgement is lost with the connection; the hub's cursor in the next session says it all the same.
        world.link.cut()
        await world.until(lambda: world.state is LinkState.OFFLINE)
        world.link.mend()
        await world.linked()
        assert [batch.first_seq for batch in await world.drained()] == [4, 7, 10]


async def test_records_written_while_a_batch_is_packed_ahead_are_not_left_behind(path: Path) -> None:
    async with syncing(path, records=6) as world:
        world.hub.credit = 3
        await world.linked()
        for _ in range(5):
            await world.batch()
            await world.write(2)
            world.ack()
        await world.drained()
        assert world.hub.read["journal"].head.seq == 16


async def sends_in_vain(world: World) -> None:
    """One batch, as often as it is sent in a session."""
    first = await world.batch()
    for _ in range(MAX_RESENDS):
        world.clock.advance(RESEND_AFTER)
        again = await world.batch()
        assert again.records == first.records
    world.clock.advance(RESEND_AFTER)


async def test_an_unanswered_batch_is_sent_again_and_then_the_hello_is_said_anew(world: World) -> None:
    """P14"""
    await world.linked()
    await world.write()
    await sends_in_vain(world)
    await world.linked()
    assert world.links_heard == [True, False, True]
    # The hub had it all the time, and says so in its answer.
    await world.until(lambda: world.sync.status().waiting == 0)
    assert world.nothing_on(Channel.UP_JOURNAL)


async def test_a_hub_that_answers_and_takes_nothing_is_not_called_in_sync(world: World) -> None:
    """A broker's ACL that lost the topic of a log looks like that, and nothing else does so for long."""
    await world.linked()
    await world.write()
    await sends_in_vain(world)
    world.hub.read.clear()
    await world.linked()
    await world.batch()
    status = world.sync.status()
    assert (status.state, status.unheard) == (LinkState.LINKED, Lane.JOURNAL)
    assert status.detail == "the hub acknowledges nothing of the journal log"
    world.ack()
    await world.until(lambda: world.sync.status().unheard is None)
    assert world.sync.status().detail == "the hub answers"


async def test_a_hub_that_lost_its_database_gets_everything_again(world: World) -> None:
    await world.linked()
    await world.write(3)
    await world.drained()
    world.hub.read.clear()
    world.clock.advance(seconds=HELLO_INTERVAL_S)
    await world.linked()
    await world.drained()
    assert world.hub.read["journal"].head.seq == 3


async def test_a_hub_restored_from_a_backup_gets_the_rest_again(world: World) -> None:
    await world.linked()
    await world.write(5)
    await world.drained()
    del world.hub.read["journal"].entries[2:]
    world.clock.advance(seconds=HELLO_INTERVAL_S)
    await world.linked()
    batches = await world.drained()
    assert (batches[0].first_seq, world.hub.read["journal"].head.seq) == (3, 5)


async def test_a_gap_is_filled_from_where_the_hub_stands(world: World) -> None:
    """P12"""
    await world.linked()
    await world.write(3)
    await world.drained()
    await world.write()
    await world.batch()
    log = world.hub.read["journal"]
    del log.entries[1:]
    world.ack(status="gap")
    batch = await world.batch()
    assert (batch.first_seq, len(batch.records)) == (2, 3)


async def test_a_hub_with_another_history_stops_the_lane_and_the_status_says_so(world: World) -> None:
    """P13"""
    await world.linked()
    await world.write(2)
    await world.batch()
    world.ack(status="fork")
    await world.until(lambda: world.sync.status().is_forked)
    await world.write(2)
    world.clock.advance(RESEND_AFTER * 2)
    await world.ticks()
    assert world.nothing_on(Channel.UP_JOURNAL)


async def test_a_hub_whose_hash_is_not_ours_is_a_fork(path: Path) -> None:
    """P13"""
    async with syncing(path, records=2) as world:
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        other = ScriptedLog(lane.id)
        other.append(DeviceStarted(at_ms=9, version="other", was_clean=True))
        world.hub.read["journal"] = other
        await world.linked()
        # What it shows is what it has from the last record that both surely have, so that the hub sees the fork too.
        shown = await world.heard(Channel.UP_JOURNAL)
        with pytest.raises(AssertionError, match=r"Fork\(seq=0, is_behind=False\)"):
            world.hub.hear_batch(shown)
        world.ack(upto=0, status="fork")
        await world.until(lambda: world.sync.status().is_forked)
        world.clock.advance(RESEND_AFTER * 2)
        await world.ticks()
        assert world.nothing_on(Channel.UP_JOURNAL)


async def test_a_hub_that_claims_more_than_there_ever_was_is_a_fork_and_not_a_loss(world: World) -> None:
    """P13"""
    await world.linked()
    await world.write(2)
    await world.batch()
    world.ack(upto=3)
    await world.until(lambda: world.sync.status().is_forked)
    lane = await world.journal.lane(Lane.JOURNAL)
    assert lane is not None
    assert lane.acked == 0


# --- the hub's presence --------------------------------------------------------------------------------------------


async def test_when_the_hub_goes_the_link_is_gone_and_when_it_comes_the_hello_is_said_at_once(
    world: World,
) -> None:
    """P18"""
    await world.linked()
    await world.hub_goes()
    assert (world.state, world.sync.status().detail) == (LinkState.CONNECTED, "the hub is away")
    assert world.nothing_on(Channel.HELLO)
    world.broker.publish(HUB_STATUS, world.hub.status(online=True), retain=True)
    await world.linked()
    assert world.links_heard == [True, False, True]


async def test_a_will_that_another_worker_contradicts_interrupts_nothing(world: World) -> None:
    """P18: what is in flight is answered in the session that stands; the hello comes in its own time."""
    await world.linked()
    await world.write(1)
    await world.batch()
    world.broker.publish(HUB_STATUS, world.hub.status(online=False), retain=True)
    await world.ticks()
    world.clock.advance(HUB_GONE_AFTER - timedelta(seconds=1))
    world.broker.publish(HUB_STATUS, world.hub.status(online=True, spread_ms=60_000), retain=True)
    world.say(Channel.HELLO_ACK, b"what is counted comes after the announcement")
    await world.until(lambda: world.refused)
    world.clock.advance(HUB_GONE_AFTER)
    world.ack()
    await world.until(lambda: world.sync.status().waiting == 0)
    assert world.links_heard == [True]
    assert world.nothing_on(Channel.HELLO)


async def test_the_hello_after_an_announcement_waits_for_a_share_of_the_spread(world: World) -> None:
    """P17: a fleet that hears it at once must not answer at once."""
    await world.linked()
    for _ in range(2):  # each worker of the hub says it
        world.broker.publish(HUB_STATUS, world.hub.status(online=True, spread_ms=40_000))
    await world.ticks()
    world.clock.advance(seconds=40 * SHARE - 1)
    await world.ticks()
    assert world.nothing_on(Channel.HELLO)
    world.clock.advance(seconds=1)
    await world.linked()
    await world.ticks()
    assert world.nothing_on(Channel.HELLO)


async def test_the_first_hello_of_a_connection_is_not_put_off(world: World) -> None:
    """P17"""
    await world.hello()
    world.link.cut()
    await world.until(lambda: world.state is LinkState.OFFLINE)
    world.broker.publish(HUB_STATUS, world.hub.status(online=True, spread_ms=300_000), retain=True)
    world.link.mend()
    await world.linked()


async def test_a_clock_that_is_set_back_does_not_put_a_spread_hello_off(world: World) -> None:
    await world.linked()
    world.broker.publish(HUB_STATUS, world.hub.status(online=True, spread_ms=300_000))
    await world.ticks()
    world.clock.set(world.clock.now() - timedelta(days=1))
    await world.hello()


async def test_a_hub_status_that_is_not_the_hubs_changes_nothing(world: World) -> None:
    """P8 P18"""
    await world.linked()
    world.broker.publish(HUB_STATUS, _as(world.hub, STRANGER).status(online=False))
    await world.until(lambda: world.refused == {"unknown_key": 1})
    assert world.sync.is_linked


async def test_a_hub_that_is_away_is_asked_again_each_interval(world: World) -> None:
    await world.hello()
    await world.hub_goes()
    world.clock.advance(seconds=HELLO_INTERVAL_S)
    await world.linked()


# --- the connection ------------------------------------------------------------------------------------------------


async def test_a_broken_cable_ends_the_link_and_a_mended_one_brings_it_back(world: World) -> None:
    await world.linked()
    await world.heard(Channel.STATE)
    world.link.cut()
    await world.until(lambda: world.state is LinkState.OFFLINE)
    death = world.hub.hear_state(await world.heard(Channel.STATE))
    assert (death.online, death.connection) == (False, world.link.connections[0])
    assert world.sync.status().detail == "the cable was cut"
    await world.write(4)
    world.link.mend()
    await world.linked()
    await world.drained()
    birth = world.hub.hear_state(await world.heard(Channel.STATE))
    assert (birth.online, birth.connection) == (True, world.link.connections[1])


async def test_stopping_announces_the_death(path: Path) -> None:
    """P18"""
    async with syncing(path) as world:
        await world.linked()
        await world.heard(Channel.STATE)
    assert not world.sync.is_linked
    death = world.hub.hear_state(await world.heard(Channel.STATE))
    assert (death.online, death.connection) == (False, world.link.connections[0])
    assert world.links_heard == [True, False]


async def test_a_paused_link_is_down_until_it_is_resumed_and_nothing_is_lost(world: World) -> None:
    await world.linked()
    await world.write()
    await world.batch()
    world.sync.pause(True)
    await world.until(lambda: not world.link.is_connected)
    assert (world.state, world.sync.is_linked) == (LinkState.PAUSED, False)
    await world.write(3)
    await world.ticks()
    assert len(world.link.connections) == 1
    world.sync.pause(False)
    await world.linked()
    await world.drained()
    assert world.hub.read["journal"].head.seq == 4


async def test_pausing_twice_and_resuming_at_once_still_links(world: World) -> None:
    await world.linked()
    for paused in (True, False, True, True, False):
        world.sync.pause(paused)
        await asyncio.sleep(0)
    world.say(Channel.HELLO_ACK, b"noise")
    await world.until(lambda: world.link.is_connected)
    if not world.sync.is_linked:
        await world.linked()
    await world.write()
    await world.drained()


async def test_a_session_begins_at_the_first_counter(world: World) -> None:
    """P17"""
    await world.linked()
    await world.write()
    raw = await world.heard(Channel.UP_JOURNAL)
    assert world.hub.session is not None
    assert message_id(world.hub.session, 1) in raw


# --- a resolved fork -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "is_ours", [False, True], ids=["another's branch", "ours, its acknowledgement was lost"]
)
async def test_a_resolved_log_goes_on_under_a_new_epoch_behind_all_that_both_have(
    path: Path, is_ours: bool
) -> None:
    """P21"""
    async with syncing(path, records=6) as world:
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        entries = await world.journal.tail(Lane.JOURNAL, after=0, limit=10)
        at_hub = world.hub.read["journal"] = ScriptedLog(lane.id)
        for entry in entries[: 4 if is_ours else 2]:
            at_hub.append_bytes(entry.record)
        if not is_ours:
            at_hub.append(DeviceStarted(at_ms=1, version="clone", was_clean=True))
        common = Cursor(lane="journal", epoch=lane.id.epoch, upto=2, hash=entries[1].hash)

        world.say(Channel.HELLO_ACK, world.hub.hello_ack(await world.hello(), closed=(common,)))

        batch = world.hub.look_at_batch(await world.heard(Channel.UP_JOURNAL))
        after = 4 if is_ours else 2
        assert batch.epoch != lane.id.epoch
        assert (batch.first_seq, batch.missing_from) == (after + 1, 1)
        assert batch.prev_hash == entries[after - 1].hash
        assert batch.records == tuple(entry.record for entry in entries[after:])


async def test_what_was_acknowledged_is_not_common_if_the_hub_holds_another_history_there(path: Path) -> None:
    """P21: the hub was put back since, and another card wrote on in this one's place."""
    async with syncing(path, records=6) as world:
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        entries = await world.journal.tail(Lane.JOURNAL, after=0, limit=10)
        await world.journal.acknowledged(Lane.JOURNAL, 5)
        other = Cursor(lane="journal", epoch=lane.id.epoch, upto=4, hash=b"another history".ljust(32))

        world.say(Channel.HELLO_ACK, world.hub.hello_ack(await world.hello(), closed=(other,)))

        batch = world.hub.look_at_batch(await world.heard(Channel.UP_JOURNAL))
        assert batch.epoch != lane.id.epoch
        # Not from its beginning: that would be the log of a store made anew, whose work is given up.
        assert (batch.first_seq, batch.missing_from, batch.prev_hash) == (2, 1, entries[0].hash)
        assert batch.records == tuple(entry.record for entry in entries[1:])


# --- orders --------------------------------------------------------------------------------------------------------


async def test_orders_are_applied_and_acknowledged_after_the_commit(world: World) -> None:
    """P14"""
    task = offer(world.hub)
    await world.linked()
    committed: list[LaneState | None] = []
    publish = world.link.publish

    async def spy(topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if topic == world.hub.topic(Channel.DOWN_ORDERS_ACK):
            committed.append(await world.journal.lane(Lane.ORDERS))
        return await publish(topic, payload, retain=retain)

    world.link.publish = spy  # type: ignore[method-assign]  # looks at the store in the moment of the acknowledgement
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
    ack = world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK))
    assert (ack.status, ack.upto, ack.hash) == ("ok", 1, world.hub.orders.head.hash)
    assert committed[0] is not None
    assert committed[0].head == world.hub.orders.head
    assert [node.task for node in await world.journal.open_nodes()] == [task]
    assert world.orders_heard == 1


async def test_orders_that_come_again_are_acknowledged_again_and_applied_once(world: World) -> None:
    """P12"""
    offer(world.hub)
    await world.linked()
    for _ in range(2):
        world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
        assert world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK)).upto == 1
    assert world.orders_heard == 1


async def test_a_gap_in_the_orders_is_answered_with_what_is_there(world: World) -> None:
    """P12"""
    for name in ("1", "2", "3"):
        offer(world.hub, name)
    await world.linked()
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch(first=3))
    ack = world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK))
    assert (ack.status, ack.upto) == ("gap", 0)


async def test_orders_that_fork_halt_their_lane_and_the_status_says_so(world: World) -> None:
    """P13"""
    offer(world.hub)
    await world.linked()
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
    await world.heard(Channel.DOWN_ORDERS_ACK)
    other = ScriptedLog(world.hub.orders.lane)
    for _ in range(2):
        other.append(TaskCancelled(at_ms=1, task=task_id_from("other"), node=0, reason="other"))
    world.say(Channel.DOWN_ORDERS, world.hub.close(batch_of(other, world.hub.signer)))
    assert world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK)).status == "fork"
    assert world.sync.status().is_forked
    # Not even what would fit is taken.
    offer(world.hub, "later")
    world.say(Channel.DOWN_ORDERS, world.hub.orders_batch(first=2))
    assert world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK)).status == "fork"
    assert len(await world.journal.open_nodes()) == 1
    assert world.orders_heard == 1


async def test_a_batch_that_contradicts_itself_is_counted_and_not_answered(world: World) -> None:
    """P13"""
    offer(world.hub)
    await world.linked()
    world.say(
        Channel.DOWN_ORDERS,
        world.hub.close(world.hub.batch_of_orders().model_copy(update={"head": bytes(32)})),
    )
    await world.until(lambda: world.refused == {"bad_payload": 1})
    assert world.nothing_on(Channel.DOWN_ORDERS_ACK)


async def test_a_batch_of_a_lane_that_the_hub_does_not_write_is_refused(world: World) -> None:
    """P1"""
    offer(world.hub)
    await world.linked()
    world.say(
        Channel.DOWN_ORDERS,
        world.hub.close(world.hub.batch_of_orders().model_copy(update={"lane": "journal"})),
    )
    await world.until(lambda: world.refused == {"bad_payload": 1})
    lane = await world.journal.lane(Lane.JOURNAL)
    assert lane is not None
    assert lane.head.seq == 0


# --- a full disk ---------------------------------------------------------------------------------------------------


class FullOutbox:
    """An outbox whose disk is full while `is_full`."""

    def __init__(self, inner: SqliteJournal) -> None:
        self._inner = inner
        self.is_full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _check(self) -> None:
        if self.is_full:
            raise CapacityError("The disk is full.", bound="disk", limit=0)

    async def parcels(self, name: Lane, first_seq: int, max_records: int) -> tuple[Head, tuple[Parcel, ...]]:
        self._check()
        return await self._inner.parcels(name, first_seq, max_records)

    async def receive(self, batch: Batch) -> Any:
        self._check()
        return await self._inner.receive(batch)

    async def acknowledged(self, name: Lane, upto: int) -> None:
        self._check()
        await self._inner.acknowledged(name, upto)


async def test_with_a_full_disk_the_link_stands_nothing_is_acknowledged_and_later_all_arrives(
    path: Path,
) -> None:
    """P14"""
    async with syncing(path, outbox=FullOutbox) as world:
        await world.linked()
        world.outbox.is_full = True
        offer(world.hub)
        world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
        await world.until(lambda: world.sync.status().detail == "The disk is full.")
        await world.write(2)
        await world.ticks()
        assert world.sync.is_linked
        assert world.nothing_on(Channel.DOWN_ORDERS_ACK)
        assert world.nothing_on(Channel.UP_JOURNAL)
        world.clock.advance(RESEND_AFTER)
        await world.ticks()
        assert world.sync.is_linked
        world.outbox.is_full = False
        world.clock.advance(RESEND_AFTER)
        await world.drained()
        world.say(Channel.DOWN_ORDERS, world.hub.orders_batch())
        assert world.hub.hear_ack(await world.heard(Channel.DOWN_ORDERS_ACK)).upto == 1
        assert world.link.drops == 0
        assert len(world.link.connections) == 1


async def test_an_acknowledgement_that_the_store_could_not_note_is_noted_at_the_next_hello(
    path: Path,
) -> None:
    """P14 P17"""
    async with syncing(path, outbox=FullOutbox) as world:
        await world.linked()
        await world.write()
        world.hub.hear_batch(await world.heard(Channel.UP_JOURNAL))
        world.outbox.is_full = True
        world.ack()
        await world.until(lambda: world.sync.status().detail == "The disk is full.")
        world.outbox.is_full = False
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        assert lane.acked < lane.head.seq

        world.clock.advance(seconds=HELLO_INTERVAL_S)
        hello = world.hub.hear_hello(await world.heard(Channel.HELLO))
        world.say(Channel.HELLO_ACK, world.hub.hello_ack(hello))

        await world.drained()


# --- the whole story, with losses ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_with_every_third_message_lost_everything_arrives_once_and_in_order(path: Path) -> None:
    """P12 P14"""
    async with syncing(path, records=30) as world:
        seen = 0

        def lose(_: object) -> bool:
            nonlocal seen
            seen += 1
            return seen % 3 == 0

        world.broker.lose = lose
        world.hub.credit = 5

        async def answer(channel: Channel, respond: Callable[[bytes], Awaitable[None]]) -> None:
            while True:
                await respond((await world.ends[channel].queue.get()).payload)

        async def on_hello(raw: bytes) -> None:
            world.say(Channel.HELLO_ACK, world.hub.hello_ack(world.hub.hear_hello(raw)))

        async def on_batch(raw: bytes) -> None:
            try:
                world.hub.hear_batch(raw)
            except AssertionError:
                return  # of a session that is over
            world.ack()

        hub = [
            asyncio.create_task(answer(Channel.HELLO, on_hello), name="hello"),
            asyncio.create_task(answer(Channel.UP_JOURNAL, on_batch), name="batches"),
        ]
        try:
            async with asyncio.timeout(WAIT_S):
                while world.sync.status().waiting or not world.sync.is_linked:
                    await asyncio.sleep(TICK_S)
                    world.clock.advance(seconds=1)
        finally:
            for task in hub:
                task.cancel()
        lane = await world.journal.lane(Lane.JOURNAL)
        assert lane is not None
        assert world.hub.read["journal"].head == lane.head == Head(30, lane.head.hash)

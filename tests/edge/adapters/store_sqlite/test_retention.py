"""What retention leaves of a store: sound logs, open work with all it needs, and a file within its limit."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.database import WAL_KEEP_BYTES, Database, open_database
from edge.adapters.store_sqlite.journal import SqliteJournal, append_records
from edge.adapters.store_sqlite.retention import (
    SEGMENT_BYTES,
    SEGMENT_NODES,
    SEGMENT_RECORDS,
    SHED_RECORDS,
    SqliteRetention,
    read_step,
    take_step,
)
from edge.core.retention import RetentionLimits, next_step
from edge.ports import (
    JOURNAL_BOUND,
    ForgetEpisodes,
    LaneUsage,
    RetentionStep,
    SettleEnded,
    ShrinkFile,
    TrimLane,
)
from shared.blobs import Blob
from shared.clock import to_ms
from shared.errors import CapacityError
from shared.ids import Lane
from shared.records import MetricsShed, NodeMoved, QuestionReplied, TaskCancelled, TaskOffered, parse_record
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.clock import START
from tests.support.device import bytes_from, signer_from, task_id_from
from tests.support.hub import ScriptedHub
from tests.support.process import ChildProcess
from tests.support.store import PRINCIPAL, power_cut, query, records, verified
from tests.support.work import AT_MS, begun, done, moved, text, window

SECOND = timedelta(seconds=1)
NO_LIMIT = 2**40


@dataclass(frozen=True, slots=True)
class Store:
    """A journal and its retention over one file."""

    path: Path
    database: Database
    journal: SqliteJournal
    retention: SqliteRetention
    hub: ScriptedHub

    async def lane(self, name: Lane = Lane.JOURNAL) -> LaneUsage:
        usage = await self.retention.usage(START)
        return next(lane for lane in reversed(usage.lanes) if lane.name is name)

    async def acknowledge(self, name: Lane = Lane.JOURNAL, upto: int | None = None) -> None:
        head = (await self.lane(name)).head
        await self.journal.acknowledged(name, head if upto is None else upto)

    async def trim(
        self,
        name: Lane = Lane.JOURNAL,
        *,
        upto: int | None = None,
        before: datetime | None = None,
        is_pressed: bool = False,
    ) -> None:
        """Everything that may go."""
        lane = await self.lane(name)
        last = lane.head if name is not Lane.JOURNAL else lane.acked
        step = TrimLane(
            lane.key, name, upto=last if upto is None else upto, before=before, is_pressed=is_pressed
        )
        while await self.retention.perform(step, START):
            pass

    def content(self) -> dict[bytes, int]:
        """Sizes of the content that is held."""
        return dict(query(self.path, "SELECT hash, length(content) FROM blob"))

    async def check_bytes(self) -> None:
        """What the lanes say of their sizes is what they hold."""
        for row in query(
            self.path, "SELECT id, acked, tail_seq, stored_bytes, waiting_bytes, name FROM lane"
        ):
            lane, acked, tail, stored, waiting, name = row
            held = query(
                self.path,
                "SELECT (SELECT coalesce(sum(length(data)), 0) FROM record WHERE lane_id = ?1 AND seq > ?2) +"
                " (SELECT coalesce(sum(length(content)), 0) FROM blob WHERE lane_id = ?1 AND seq > ?2)",
                lane,
                0,
            )
            assert held == [(stored,)], name
            (first,) = query(self.path, "SELECT min(seq) FROM record WHERE lane_id = ?", lane)[0]
            assert first in (None, tail), name
            if name != "orders":
                unacked = query(
                    self.path,
                    "SELECT (SELECT coalesce(sum(length(data)), 0) FROM record WHERE lane_id = ?1 AND seq > ?2) +"
                    " (SELECT coalesce(sum(length(content)), 0) FROM blob WHERE lane_id = ?1 AND seq > ?2)",
                    lane,
                    acked,
                )
                assert unacked == [(waiting,)], name


@asynccontextmanager
async def opened(path: Path, *, hard_max_bytes: int = NO_LIMIT) -> AsyncIterator[Store]:
    database = open_database(path)
    try:
        journal = SqliteJournal(database, principal=PRINCIPAL)
        retention = SqliteRetention(database, journal.gauge, append_records, hard_max_bytes=hard_max_bytes)
        hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
        yield Store(path, database, journal, retention, hub)
    finally:
        database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with opened(path) as store:
        yield store


def task(name: str) -> str:
    return task_id_from(name)


def offer(
    hub: ScriptedHub, name: str, *, attempt: int = 1, deadline: timedelta = timedelta(days=1)
) -> TaskOffered:
    goal = Blob(salt=bytes_from(f"{name} {attempt}"), content=name.encode())
    record = TaskOffered(
        at_ms=AT_MS,
        task=task(name),
        node=0,
        attempt=attempt,
        goal=goal.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=to_ms(START + deadline),
    )
    hub.order(record, goal)
    return record


# --- trimming the journal ---


async def test_a_trimmed_log_is_sound_and_knows_where_it_begins(store: Store) -> None:
    for number in range(20):
        await store.journal.append(*done(task(f"{number}")), durable=False)
    before = await store.journal.lane(Lane.JOURNAL)
    at_60 = await store.journal.hash_at(Lane.JOURNAL, 60)
    await store.acknowledge(upto=60)
    await store.trim()
    after = await store.journal.lane(Lane.JOURNAL)
    assert before is not None
    assert after is not None
    assert (after.tail, after.head, after.acked) == (61, before.head, 60)
    assert [entry.seq for entry in await store.journal.tail(Lane.JOURNAL, after=0, limit=3)] == [61, 62, 63]
    assert await store.journal.hash_at(Lane.JOURNAL, 60) == at_60
    assert await store.journal.hash_at(Lane.JOURNAL, 59) is None
    position, parcels = await store.journal.parcels(Lane.JOURNAL, 61, 10)
    assert (position.seq, position.hash) == (60, at_60)
    assert len(parcels) == 10
    assert all(parcel.blobs for parcel in parcels if parcel.entry.seq % 6 != 2)
    assert verified(store.path) == {"journal": None}
    await store.check_bytes()


async def test_what_the_hub_lost_since_it_was_decided_on_stays(store: Store) -> None:
    await store.journal.append(*done(task("a")), *done(task("b")), durable=False)
    await store.acknowledge()
    lane = await store.lane()
    step = TrimLane(lane.key, Lane.JOURNAL, upto=lane.acked)
    await store.acknowledge(upto=6)  # restored from a backup
    before = await store.journal.tail(Lane.JOURNAL, after=0, limit=100)
    assert await store.retention.perform(step, START)
    assert await store.journal.tail(Lane.JOURNAL, after=0, limit=100) == before
    await store.trim()
    assert (await store.lane()).tail == 7


async def test_a_segment_that_is_no_longer_the_tail_is_left_alone(store: Store) -> None:
    await store.journal.append(*done(task("a")), *done(task("b")), durable=False)
    await store.acknowledge()
    lane = await store.lane()
    step = TrimLane(lane.key, Lane.JOURNAL, upto=6)
    segment = store.database.read_blocking(lambda db: read_step(db, step))
    await store.trim(upto=3)
    before = query(store.path, "SELECT * FROM lane")
    store.database.write_blocking(
        lambda db: take_step(db, step, segment, START, append_records), durable=False
    )
    assert query(store.path, "SELECT * FROM lane") == before
    await store.check_bytes()


async def test_everything_may_be_trimmed_and_the_log_goes_on(store: Store) -> None:
    await store.journal.append(*done(task("a")), durable=False)
    await store.acknowledge()
    head = await store.journal.hash_at(Lane.JOURNAL, 6)
    await store.trim()
    assert await store.journal.tail(Lane.JOURNAL, after=0, limit=10) == ()
    assert await store.journal.hash_at(Lane.JOURNAL, 6) == head
    assert await store.journal.append(*begun(task("b")), durable=True) == (7, 8, 9, 10, 11)
    assert verified(store.path) == {"journal": None}


async def test_no_step_goes_beyond_what_it_was_told(store: Store) -> None:
    early, late = AT_MS, AT_MS + 1_000
    await store.journal.append(*done(task("early"), at_ms=early), durable=False)
    await store.journal.append(*done(task("late"), at_ms=late), durable=False)
    await store.acknowledge()
    await store.trim(before=START + SECOND)
    assert (await store.lane()).tail == 7
    before = (await store.lane()).stored_bytes
    lane = await store.lane()
    step = TrimLane(lane.key, Lane.JOURNAL, upto=12, free_bytes=1)
    assert await store.retention.perform(step, START)
    assert (await store.lane()).tail == 8  # one record is more than a byte
    assert (await store.lane()).stored_bytes < before
    await store.trim(upto=9)
    assert (await store.lane()).tail == 10


async def test_a_segment_has_its_bounds(store: Store) -> None:
    for number in range(SEGMENT_RECORDS // 6 + 2):
        await store.journal.append(*done(task(f"{number}"), content_bytes=20), durable=False)
    await store.acknowledge()
    lane = await store.lane()
    assert await store.retention.perform(TrimLane(lane.key, Lane.JOURNAL, upto=lane.head), START)
    assert (await store.lane()).tail == SEGMENT_RECORDS + 1
    await store.trim()
    large = [moved(task("0"), NodeState.FAILED, result=text(60_000)) for _ in range(10)]
    await store.journal.append(*large, durable=False)
    await store.acknowledge()
    lane = await store.lane()
    assert await store.retention.perform(TrimLane(lane.key, Lane.JOURNAL, upto=lane.head), START)
    assert (await store.lane()).tail - lane.tail == -(-SEGMENT_BYTES // 60_000)


async def test_open_work_keeps_what_it_needs_however_much_is_trimmed(store: Store) -> None:
    await store.journal.append(*begun(task("open")), durable=True)
    before = await store.journal.effects(task("open"), 0)
    node = await store.journal.node(task("open"), 0)
    await store.acknowledge()
    await store.trim(is_pressed=True)
    assert await store.journal.node(task("open"), 0) == node
    after = await store.journal.effects(task("open"), 0)
    # The prompt may be built again; all else that the next turn reads is there.
    assert after == (replace(before[0], argument=None), before[1])
    assert node is not None
    for ref in (node.goal, after[0].result, after[1].argument, after[1].result):
        assert ref is not None
        assert await store.journal.blob(ref) is not None
    assert len(store.content()) == 4
    # Its end is trimmed later, and then nothing of it is left.
    await store.journal.append(moved(task("open"), NodeState.FAILED), durable=True)
    await store.acknowledge()
    await store.trim()
    assert await store.journal.node(task("open"), 0) is None
    assert store.content() == {}
    await store.check_bytes()


async def kept(store: Store) -> list[str]:
    """Tasks of which goal and result are there."""
    found = []
    for number in range(4):
        node = await store.journal.node(task(f"{number}"), 0)
        if node is not None and node.result is not None and await store.journal.blob(node.result) is not None:
            found.append(node.task)
    return found


async def test_what_succeeded_can_still_be_looked_at_until_it_is_one_too_many(store: Store) -> None:
    for number in range(4):
        await store.journal.append(*done(task(f"{number}")), durable=False)
    await store.acknowledge()
    await store.trim()
    assert await kept(store) == [task("0"), task("1"), task("2"), task("3")]
    assert await store.journal.effects(task("1"), 0) == ()
    assert len(store.content()) == 8  # four goals, four results
    usage = await store.retention.usage(START)
    assert (usage.ended, usage.deferred, usage.episodes) == (0, 0, 4)
    assert await store.retention.perform(ForgetEpisodes(1), START)
    assert await kept(store) == [task("1"), task("2"), task("3")]
    assert await store.retention.perform(ForgetEpisodes(10), START)
    assert not await store.retention.perform(ForgetEpisodes(10), START)
    assert store.content() == {}
    await store.check_bytes()


async def test_work_that_ended_without_success_is_gone_with_its_last_record(store: Store) -> None:
    end = moved(task("a"), NodeState.FAILED, result=text(50))
    await store.journal.append(*begun(task("a")), end, durable=False)
    await store.acknowledge(upto=5)
    await store.trim()
    assert await store.journal.node(task("a"), 0) is not None
    await store.acknowledge(upto=6)
    await store.trim()
    for table in ("node", "effect", "attempt"):
        assert query(store.path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert store.content() == {}


# --- orders, and what the hub may offer again ---


async def test_applied_orders_are_trimmed_and_known_ones_are_still_known(store: Store) -> None:
    offer(store.hub, "a")
    first = store.hub.batch_of_orders()
    await store.journal.receive(first)
    offer(store.hub, "b")
    await store.trim(Lane.ORDERS)
    assert (await store.lane(Lane.ORDERS)).tail == 2
    # The hub sends again from the start: what was trimmed is known by its position.
    reading = await store.journal.receive(store.hub.batch_of_orders())
    assert (reading.status, reading.head.seq, reading.new_records) == ("ok", 2, 1)
    assert len(await store.journal.open_nodes()) == 2
    assert verified(store.path) == {"journal": None, "orders": None}
    await store.check_bytes()


async def test_ended_work_of_the_hub_keeps_its_effects_until_its_deadline(store: Store) -> None:
    offer(store.hub, "a", deadline=timedelta(days=1))
    await store.journal.receive(store.hub.batch_of_orders())
    local = begun(task("a"))[1:]  # but for its beginning, which was the offer
    await store.journal.append(*local, moved(task("a"), NodeState.CANCELLED), durable=False)
    await store.acknowledge()
    await store.trim()
    await store.trim(Lane.ORDERS)
    usage = await store.retention.usage(START)
    assert (usage.ended, usage.deferred) == (0, 1)
    assert len(await store.journal.effects(task("a"), 0)) == 2
    # Offered again, it goes on from what was done.
    offer(store.hub, "a", attempt=2)
    await store.journal.receive(store.hub.batch_of_orders())
    node = await store.journal.node(task("a"), 0)
    assert node is not None
    assert (node.attempt, node.state) == (2, NodeState.OFFERED)
    assert len(await store.journal.effects(task("a"), 0)) == 2
    usage = await store.retention.usage(START)
    assert (usage.ended, usage.deferred) == (0, 0)
    await store.journal.append(moved(task("a"), NodeState.FAILED, attempt=2), durable=False)
    await store.acknowledge()
    await store.trim()
    usage = await store.retention.usage(START + timedelta(days=1))
    assert (usage.ended, usage.deferred) == (1, 0)
    assert not await store.retention.perform(SettleEnded(), START)
    assert await store.retention.perform(SettleEnded(), START + timedelta(days=1))
    assert await store.journal.node(task("a"), 0) is None


async def test_pressed_for_room_ended_work_does_not_wait_for_its_deadline(store: Store) -> None:
    for number in range(SEGMENT_NODES + 1):
        offer(store.hub, f"{number}")
    await store.journal.receive(store.hub.batch_of_orders())
    for number in range(SEGMENT_NODES + 1):
        await store.journal.append(moved(task(f"{number}"), NodeState.REJECTED), durable=False)
    await store.acknowledge()
    await store.trim()
    assert (await store.retention.usage(START)).deferred == SEGMENT_NODES + 1
    assert await store.retention.perform(SettleEnded(is_pressed=True), START)
    assert (await store.retention.usage(START)).deferred == 1
    assert await store.retention.perform(SettleEnded(is_pressed=True), START)
    assert store.content() == {}
    await store.check_bytes()


async def test_what_made_room_is_not_done_again_when_a_restored_hub_repeats_its_offer(store: Store) -> None:
    """P19: until its deadline; then no hub offers it any more."""
    offer(store.hub, "done")
    offer(store.hub, "refused")
    await store.journal.receive(store.hub.batch_of_orders())
    await store.journal.append(
        moved(task("done"), NodeState.RUNNING),
        moved(task("done"), NodeState.SUCCEEDED),
        moved(task("refused"), NodeState.REJECTED),
        durable=False,
    )
    await store.acknowledge()
    await store.trim(is_pressed=True)
    while await store.retention.perform(SettleEnded(is_pressed=True), START):
        pass
    assert await store.journal.node(task("done"), 0) is None
    offer(store.hub, "done")
    offer(store.hub, "refused")
    offer(store.hub, "done", attempt=2)
    lane = await store.journal.lane(Lane.JOURNAL)
    assert lane is not None
    known = lane.head.seq
    await store.journal.receive(store.hub.batch_of_orders())
    entries = await store.journal.tail(Lane.JOURNAL, after=known, limit=9)
    told = [record for entry in entries if isinstance(record := parse_record(entry.record), NodeMoved)]
    assert len(told) == len(entries)
    assert [(each.task, each.state, each.is_repeated) for each in told] == [
        (task("done"), NodeState.RUNNING, True),
        (task("done"), NodeState.SUCCEEDED, True),
        (task("refused"), NodeState.REJECTED, True),
    ]
    assert await store.journal.node(task("refused"), 0) is None
    again = await store.journal.node(task("done"), 0)
    assert again is not None  # a later attempt is another matter
    assert again.attempt == 2


async def test_words_about_work_that_is_not_known_go_with_their_order(store: Store) -> None:
    store.hub.order(TaskCancelled(at_ms=AT_MS, task=task("gone"), node=0, reason="operator"))
    store.hub.order(QuestionReplied(at_ms=AT_MS, task=task("gone"), node=0, call=1, happened=True))
    await store.journal.receive(store.hub.batch_of_orders())
    tables = "SELECT (SELECT count(*) FROM cancelled), (SELECT count(*) FROM reply)"
    assert query(store.path, tables) == [(1, 1)]
    await store.trim(Lane.ORDERS)
    assert query(store.path, tables) == [(0, 0)]


# --- shedding telemetry ---


async def shed(store: Store, count: int) -> None:
    """Make room by `count` windows."""
    lane = await store.lane(Lane.METRICS)
    assert await store.retention.perform(
        TrimLane(lane.key, Lane.METRICS, upto=lane.tail + count - 1), START + SECOND
    )


async def tombstones(store: Store) -> list[tuple[int, int, int]]:
    return [
        (record.first, record.last, record.count)
        for record in await records(store.journal, Lane.METRICS)
        if isinstance(record, MetricsShed)
    ]


async def test_shed_telemetry_leaves_one_record_that_counts_it(store: Store) -> None:
    await store.journal.append(*[window(n) for n in range(10)], durable=False, lane=Lane.METRICS)
    await shed(store, 4)
    lane = await store.lane(Lane.METRICS)
    assert (lane.tail, lane.head, lane.shed) == (5, 11, 4)
    assert await tombstones(store) == [(1, 4, 4)]
    assert verified(store.path)["metrics"] is None
    await store.check_bytes()


async def test_acknowledged_telemetry_goes_without_a_word(store: Store) -> None:
    await store.journal.append(*[window(n) for n in range(10)], durable=False, lane=Lane.METRICS)
    await store.acknowledge(Lane.METRICS, upto=3)
    await shed(store, 3)
    assert await tombstones(store) == []
    await shed(store, 2)
    assert await tombstones(store) == [(4, 5, 2)]
    await store.check_bytes()


async def test_a_tombstone_that_is_shed_itself_is_counted_in_the_next(store: Store) -> None:
    await store.journal.append(*[window(n) for n in range(4)], durable=False, lane=Lane.METRICS)
    await shed(store, 2)  # 5 tells of 1 and 2
    await store.journal.append(*[window(n) for n in range(4)], durable=False, lane=Lane.METRICS)
    await shed(store, 4)  # 3, 4, 5, 6
    assert await tombstones(store) == [(1, 6, 5)]
    assert (await store.lane(Lane.METRICS)).shed == 5
    await store.check_bytes()


async def test_nothing_but_tombstones_becomes_one(store: Store) -> None:
    await store.journal.append(*[window(n) for n in range(4)], durable=False, lane=Lane.METRICS)
    await shed(store, 2)
    await shed(store, 2)
    lane = await store.lane(Lane.METRICS)
    assert (lane.tail, lane.head) == (5, 6)
    step = TrimLane(lane.key, Lane.METRICS, upto=lane.head, free_bytes=1)
    assert await store.retention.perform(step, START + SECOND)
    assert await tombstones(store) == [(1, 6, 4)]
    await store.check_bytes()


async def test_a_segment_of_telemetry_has_its_bound(store: Store) -> None:
    await store.journal.append(
        *[window(n) for n in range(SHED_RECORDS + 1)], durable=False, lane=Lane.METRICS
    )
    await shed(store, SHED_RECORDS + 1)
    assert await tombstones(store) == [(1, SHED_RECORDS, SHED_RECORDS)]


# --- a crash ---


@pytest.mark.parametrize("name", [Lane.JOURNAL, Lane.METRICS, Lane.ORDERS])
async def test_a_crash_in_the_middle_of_trimming_leaves_the_log_as_it_was(
    store: Store, tmp_path: Path, name: Lane
) -> None:
    for number in range(10):
        offer(store.hub, f"hub {number}")
        await store.journal.append(*done(task(f"{number}")), durable=False)
    await store.journal.receive(store.hub.batch_of_orders())
    await store.journal.append(*[window(n) for n in range(20)], durable=False, lane=Lane.METRICS)
    await store.acknowledge(upto=30)
    before = query(store.path, "SELECT * FROM lane")
    lane = await store.lane(name)
    step = TrimLane(lane.key, name, upto=10, is_pressed=True)
    copies = []

    def crash(db: sqlite3.Connection) -> None:
        # So little memory that most of the change is written beside the file before it is committed.
        db.execute("PRAGMA cache_size=1")
        assert take_step(db, step, read_step(db, step), START, append_records)
        copies.append(power_cut(store.path, tmp_path / "crashed"))
        raise KeyError("crash")

    with pytest.raises(KeyError):
        await store.database.write(crash, durable=True)
    async with opened(copies[0]) as crashed:
        assert query(crashed.path, "SELECT * FROM lane") == before
        assert set(verified(crashed.path).values()) == {None}
        assert await crashed.retention.perform(step, START)
        assert set(verified(crashed.path).values()) == {None}
        await crashed.check_bytes()


TRIMMER = """
import asyncio, sys
from pathlib import Path
from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal, append_records
from edge.adapters.store_sqlite.retention import SqliteRetention
from edge.ports import TrimLane
from shared.ids import Lane
from tests.support.clock import START
from tests.support.device import task_id_from
from tests.support.work import done, window

async def main():
    database = open_database(Path(sys.argv[1]))
    journal = SqliteJournal(database)
    retention = SqliteRetention(database, journal.gauge, append_records, hard_max_bytes=2**40)
    number = 0
    while True:
        number += 1
        await journal.append(*done(task_id_from(f"{sys.argv[2]} {number}")), durable=False)
        await journal.append(*[window(n) for n in range(5)], durable=False, lane=Lane.METRICS)
        usage = await retention.usage(START)
        for lane in usage.lanes:
            if lane.name is Lane.JOURNAL:
                await journal.acknowledged(Lane.JOURNAL, lane.head - 3)
                await retention.perform(TrimLane(lane.key, lane.name, upto=lane.acked), START)
            elif lane.head - lane.tail > 20:
                await retention.perform(TrimLane(lane.key, lane.name, upto=lane.head - 10), START)
        if number == 20:
            print("trimming", flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_process_killed_while_it_trims_leaves_a_sound_log_each_time(
    path: Path, tmp_path: Path
) -> None:
    def kill_one(run: int) -> None:
        command: list[str | Path] = [sys.executable, "-c", TRIMMER, path, str(run)]
        with ChildProcess(command, log=tmp_path / f"{run}.log") as trimmer:
            trimmer.wait_for_line("trimming")
            trimmer.kill()

    for run in range(3):
        await asyncio.to_thread(kill_one, run)
        async with opened(path) as store:
            assert verified(path) == {"journal": None, "metrics": None}
            await store.check_bytes()
            metrics = await store.lane(Lane.METRICS)
            told = await records(store.journal, Lane.METRICS)
            counted = sum(record.count for record in told if isinstance(record, MetricsShed))
            assert metrics.shed == counted


# --- the limit of the file ---

DISK = RetentionLimits(
    journal_bytes=1_500_000,
    reserve_bytes=100_000,
    history_bytes=600_000,
    history_age=timedelta(days=30),
    episodes=10,
    metrics_bytes=100_000,
    metrics_age=timedelta(days=90),
)


async def within_limits(store: Store, limits: RetentionLimits = DISK) -> list[RetentionStep]:
    """Take all steps that there are; returns them."""
    taken: list[RetentionStep] = []
    while True:
        usage = await store.retention.usage(START)
        step = next_step(usage, limits, START, is_full=False, is_clock_steady=True)
        if step is None or not await store.retention.perform(step, START):
            return taken
        taken.append(step)


@pytest.mark.slow
async def test_many_times_its_limit_passes_through_a_store_that_never_outgrows_it(path: Path) -> None:
    """The file is within its limit to one segment at every step; what is beside it is bounded by itself."""
    hard = DISK.journal_bytes + DISK.reserve_bytes
    segment = SEGMENT_BYTES * 2  # with what the pages of its tables take
    most = DISK.journal_bytes + DISK.metrics_bytes + segment
    passed = 0
    async with opened(path, hard_max_bytes=hard) as store:
        for number in range(400):
            work = done(task(f"{number}"), content_bytes=1_000)
            await store.journal.append(*work, durable=False)
            windows = [window(n, series=8) for n in range(10)]
            await store.journal.append(*windows, durable=False, lane=Lane.METRICS)
            passed += sum(len(blob.content) for draft in work for blob in draft.blobs)
            await store.acknowledge()
            await within_limits(store)
            assert path.stat().st_size <= most
            assert path.with_name(f"{path.name}-wal").stat().st_size <= WAL_KEEP_BYTES
        lane, metrics = await store.lane(), await store.lane(Lane.METRICS)
        assert passed > 3 * DISK.journal_bytes
        assert lane.stored_bytes <= DISK.history_bytes
        assert metrics.shed > 1_000
        assert verified(path) == {"journal": None, "metrics": None}
        await store.check_bytes()
    assert path.stat().st_size <= most


@pytest.mark.slow
async def test_at_the_limit_and_its_reserve_nothing_is_stored_and_acknowledging_makes_room(
    path: Path,
) -> None:
    hard = DISK.journal_bytes + DISK.reserve_bytes
    async with opened(path, hard_max_bytes=hard) as store:
        stored, error = 0, None
        while error is None:
            try:
                await store.journal.append(*done(task(f"{stored}"), content_bytes=1_000), durable=False)
                stored += 1
            except CapacityError as full:
                error = full
        assert error.bound == JOURNAL_BOUND
        assert "journal_max_bytes" in str(error)
        assert (await store.lane()).head == stored * 6
        assert path.stat().st_size <= hard
        offer(store.hub, "x")
        with pytest.raises(CapacityError):
            await store.journal.receive(
                store.hub.batch_of_orders().model_copy(
                    update={"blobs": (Blob(salt=bytes(16), content=b"x" * 65_000),)}
                )
            )
        # Telemetry is not held back by a journal that is full.
        await store.journal.append(window(1), durable=False, lane=Lane.METRICS)
        assert await within_limits(store) == []
        await store.acknowledge()
        await within_limits(store)
        await store.journal.append(*done(task("after")), durable=True)
        assert verified(path) == {"journal": None, "metrics": None}


@pytest.mark.slow
async def test_a_file_that_was_larger_once_is_given_back(path: Path) -> None:
    async with opened(path) as store:
        for number in range(40):
            await store.journal.append(*done(task(f"{number}"), content_bytes=4_000), durable=False)
        large = (await store.retention.usage(START)).file_bytes
        await store.acknowledge()
        steps = await within_limits(store, replace(DISK, journal_bytes=300_000, history_bytes=0, episodes=0))
        assert any(isinstance(step, ShrinkFile) for step in steps)
        usage = await store.retention.usage(START)
        assert usage.file_bytes < large / 2
        assert verified(path) == {"journal": None}
    assert path.stat().st_size == usage.file_bytes


async def test_a_store_that_cannot_shrink_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:  # as an older version made it
        db.execute("CREATE TABLE x (y)")
        db.execute("DROP TABLE x")
    db.close()
    async with opened(path) as store:
        assert not await store.retention.perform(ShrinkFile(4_096), START)

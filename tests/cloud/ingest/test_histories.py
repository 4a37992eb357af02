"""Logs that are not simply longer than the hub's: gaps, older copies, clones, branches; and what an operator does."""

import asyncio
from datetime import timedelta

import pytest
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.tables import DeviceStatus
from cloud.journal.repository import read_entries
from cloud.journal.service import append_order, verify
from cloud.journal.tables import CloseReason, LaneGap, LaneRow
from cloud.recovery import service as recovery
from cloud.tasks import service as tasks
from cloud.tasks.orders import Changes
from cloud.tasks.tables import Node, Offer, Task
from shared.errors import RefusedError
from shared.ids import Lane, LaneId
from shared.records import (
    FORGOTTEN,
    ForeignCause,
    MetricsShed,
    NodeMoved,
    NodeQueried,
    Poison,
    QuestionAsked,
    TaskCancelled,
    TaskCreated,
    TaskOffered,
    parse_record,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedLog, bytes_from, task_id_from
from tests.support.ingest import IngestHub, RemoteDevice, blob_of, started

NAME = "acme.fridge-1"
GOAL = blob_of("Is the fridge cold?")
HERE = task_id_from("asked here")
THERE = task_id_from("asked by the hub")


def lanes_of(database: Database, lane: Lane = Lane.JOURNAL) -> list[LaneRow]:
    with database.read() as session:
        query = select(LaneRow).where(LaneRow.principal == NAME, LaneRow.lane == lane.value)
        return list(session.exec(query.order_by(col(LaneRow.id))).all())


def gaps_of(database: Database) -> list[LaneGap]:
    with database.read() as session:
        return list(
            session.exec(select(LaneGap).order_by(col(LaneGap.lane_id), col(LaneGap.first_seq))).all()
        )


def is_sound(database: Database) -> bool:
    return all(report.problem is None for report in verify(database, NAME))


def resolve(database: Database, clock: ManualClock, *, behind: timedelta = timedelta(0)) -> None:
    with database.write() as session:
        recovery.resolve(session, NAME, clock.now() - behind)


def copy_of(log: ScriptedLog, *, upto: int) -> ScriptedLog:
    """An older copy of a store."""
    return ScriptedLog(log.lane, log.entries[:upto])


def branch_of(log: ScriptedLog, epoch: str) -> ScriptedLog:
    """The same records, under a new epoch."""
    return ScriptedLog(LaneId(log.lane.principal, log.lane.lane, bytes_from(epoch)), list(log.entries))


async def sends_from(device: RemoteDevice, log: ScriptedLog, first: int, *, missing_from: int) -> str:
    batch = device.script.batch_of(log, first=first).model_copy(update={"missing_from": missing_from})
    return (await device.send_batch(log, batch)).status


async def shows(device: RemoteDevice, log: ScriptedLog, first: int) -> tuple[str, int]:
    """As a device does whose hello was answered with another history than its own."""
    ack = await device.send_batch(
        log, device.script.batch_of(log, first=first).model_copy(update={"is_fork": True})
    )
    return ack.status, ack.upto


# --- what never comes ----------------------------------------------------------------------------------------------


async def test_what_the_device_no_longer_holds_is_recorded_as_lost_and_the_log_goes_on(
    database: Database, clock: ManualClock
) -> None:
    """P19: a hub restored from a backup asks for what the device has trimmed since."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1), started(2))
        log = device.script.journal
        for at in range(3, 9):
            log.append(started(at))
        assert await sends_from(device, log, 6, missing_from=3) == "ok"
        (gap,) = gaps_of(database)
        assert (gap.first_seq, gap.last_seq, gap.reason, gap.after_hash) == (3, 5, "lost", log.hash_at(5))
        (lane,) = lanes_of(database)
        assert (lane.head_seq, lane.head_hash) == (8, log.head.hash)
        assert hub.worker.counts["missing.lost"] == 3
        assert (await device.append(started(9))).upto == 9
    assert is_sound(database)
    (report,) = verify(database, NAME)
    assert (report.records, report.missing, report.sealed_upto) == (6, 3, 9)


async def test_a_batch_without_records_says_that_everything_up_to_the_head_is_gone(
    database: Database, clock: ManualClock
) -> None:
    """P19."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        for at in range(1, 5):
            log.append(started(at))
        whole = device.script.batch_of(log)
        last = device.script.batch_of(log, first=4)
        empty = last.model_copy(
            update={"first_seq": 5, "prev_hash": whole.head, "records": (), "missing_from": 1}
        )
        ack = await device.send_batch(log, empty)
        assert (ack.status, ack.upto, ack.hash) == ("ok", 4, log.head.hash)
        assert (await device.append(started(5))).upto == 5
    assert [(gap.first_seq, gap.last_seq) for gap in gaps_of(database)] == [(1, 4)]
    assert is_sound(database)


async def test_shed_metrics_are_a_gap_with_that_reason(database: Database, clock: ManualClock) -> None:
    """P19."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.metrics
        for at in range(1, 6):
            log.append(MetricsShed(at_ms=at, first=1, last=3, count=3))
        assert await sends_from(device, log, 4, missing_from=1) == "ok"
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
    assert [(gap.first_seq, gap.last_seq, gap.reason) for gap in gaps_of(database)] == [(1, 3, "shed")]
    assert is_sound(database)


async def test_a_gap_that_somebody_hides_in_the_database_is_found(
    database: Database, clock: ManualClock
) -> None:
    """P19: never papered over."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        for at in range(1, 6):
            log.append(started(at))
        await sends_from(device, log, 4, missing_from=1)
    with database.write() as session:
        session.delete(session.exec(select(LaneGap)).one())
    assert not is_sound(database)


# --- how far the device is ahead -----------------------------------------------------------------------------------


async def test_the_hub_knows_what_still_waits_on_the_device(database: Database, clock: ManualClock) -> None:
    """P9."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        for at in range(1, 11):
            log.append(started(at))
        batch = device.script.batch_of(log, last=4).model_copy(update={"waiting_bytes": 1_000})
        await device.send_batch(log, batch)
        (lane,) = lanes_of(database)
        assert (lane.head_seq, lane.writer_head, lane.last_at_ms) == (4, 10, 4)
        assert lane.writer_bytes == 1_000 - sum(map(len, batch.records))
        assert lane.writer_at == clock.now()
        await device.send(log, first=5)
        (lane,) = lanes_of(database)
        assert (lane.head_seq, lane.writer_head, lane.writer_bytes) == (10, 10, 0)


# --- older copies and clones ---------------------------------------------------------------------------------------


async def test_a_device_that_runs_on_an_older_copy_is_seen_before_it_writes_anything_new(
    database: Database, clock: ManualClock
) -> None:
    """P13: a hello could be an old one, so only its signed batch counts."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(*(started(at) for at in range(1, 6)))
        older = device.script.journal = copy_of(device.script.journal, upto=3)
        ack = await device.link()
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
        assert ack.cursors[0].upto == 5
        assert await shows(device, older, 2) == ("fork", 3)
        row = hub.device(NAME)
        assert (row.status, row.status_reason) == (DeviceStatus.QUARANTINED, "restored")
    with database.read() as session:
        (fork,) = recovery.forks(session, principal=None, limit=10)
    assert (fork.kind, fork.after_seq, fork.head_seq, fork.lost_by_device) == ("restored", 3, 5, 2)
    assert fork.command == f"covey-hub device resolve {NAME}"


async def test_the_last_common_record_is_found_however_far_back_it_is(
    database: Database, clock: ManualClock
) -> None:
    """P13: batch by batch, each agreed to as far as it is the same."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(*(started(at) for at in range(1, 10)))
        older = copy_of(device.script.journal, upto=6)
        older.append(started(77))
        device.script.journal = older
        await device.link()
        first = device.script.batch_of(older, first=1, last=3).model_copy(update={"is_fork": True})
        ack = await device.send_batch(older, first)
        assert (ack.status, ack.upto, ack.hash) == ("ok", 3, older.hash_at(3))
        assert await shows(device, older, 4) == ("fork", 6)
    (lane,) = lanes_of(database)
    assert (lane.forked_at_seq, lane.head_seq) == (6, 9)


async def a_restored_device(hub: IngestHub) -> RemoteDevice:
    """It had sent nine records, was restored to six, and wrote a seventh of its own."""
    device = hub.enrol(NAME)
    await device.link()
    await device.append(*(started(at) for at in range(1, 10)))
    device.script.journal = copy_of(device.script.journal, upto=6)
    device.script.journal.append(started(77))
    await device.link()
    assert await shows(device, device.script.journal, 5) == ("fork", 6)
    return device


async def test_a_resolved_device_is_told_where_to_go_on_and_loses_nothing(
    database: Database, clock: ManualClock
) -> None:
    """P21: the old log stays as it is; the new one begins after the last common record, bit for bit."""
    async with IngestHub(database, clock) as hub:
        device = await a_restored_device(hub)
        old = device.script.journal
        resolve(database, clock)
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
        ack = await device.link()
        assert [(c.epoch, c.upto, c.hash) for c in ack.closed] == [(old.lane.epoch, 6, old.hash_at(6))]
        new = device.script.journal = branch_of(old, "branch")
        await device.link()
        assert await sends_from(device, new, 7, missing_from=1) == "ok"
        assert (await device.append(started(8))).upto == 8
    closed, lane = lanes_of(database)
    assert (closed.close_reason, closed.head_seq, closed.forked_at_seq) == (CloseReason.BRANCHED, 9, 6)
    assert (lane.head_seq, lane.head_hash, lane.closed_at) == (8, new.head.hash, None)
    (gap,) = gaps_of(database)
    assert (gap.first_seq, gap.last_seq, gap.reason, gap.branch_of) == (1, 6, "branch", closed.id)
    assert is_sound(database)


@pytest.mark.parametrize("begins_at", [3, 5])
async def test_a_branch_that_begins_too_early_is_taken_from_where_it_is_new(
    database: Database, clock: ManualClock, begins_at: int
) -> None:
    """P21: a device that cannot know how far the histories are the same sends all that it holds; nothing is twice."""
    async with IngestHub(database, clock) as hub:
        device = await a_restored_device(hub)
        old = device.script.journal
        resolve(database, clock)
        new = device.script.journal = branch_of(old, "branch")
        new.append(started(8))
        await device.link()
        assert await sends_from(device, new, begins_at, missing_from=1) == "ok"
        assert (await device.append(started(9))).upto == 9
    closed, lane = lanes_of(database)
    assert (closed.close_reason, closed.head_seq) == (CloseReason.BRANCHED, 9)
    assert (lane.head_seq, lane.head_hash) == (9, new.head.hash)
    (gap,) = gaps_of(database)
    assert (gap.first_seq, gap.last_seq, gap.reason, gap.branch_of) == (1, 6, "branch", closed.id)
    with database.read() as session:
        held = [entry.seq for entry in read_entries(session, lane, after=0, limit=20)]
    assert held == [7, 8, 9]
    assert is_sound(database)


async def test_only_one_log_goes_on_from_a_resolved_fork(database: Database, clock: ManualClock) -> None:
    """P21: the clone that caused it comes with a branch of its own."""
    async with IngestHub(database, clock) as hub:
        device = await a_restored_device(hub)
        old = device.script.journal
        resolve(database, clock)
        device.script.journal = branch_of(old, "branch")
        await device.link()
        assert await sends_from(device, device.script.journal, 7, missing_from=1) == "ok"
        device.script.journal = branch_of(old, "another branch")
        await device.link()
        assert await sends_from(device, device.script.journal, 7, missing_from=1) == "fork"
        assert hub.device(NAME).status_reason == "clone"
        # An operator stopped the other one and says so again, to a process of the hub whose clock is behind.
        resolve(database, clock, behind=timedelta(days=1))
        await device.link()
        assert await sends_from(device, device.script.journal, 7, missing_from=1) == "ok"
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
    assert is_sound(database)


async def test_a_log_in_whose_place_another_came_takes_nothing_more(
    database: Database, clock: ManualClock
) -> None:
    """P21: the old card was put into a second device."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
        old = device.script.journal
        device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from("new store")))
        await device.link()
        await device.append(started(2))
        assert lanes_of(database)[0].close_reason == CloseReason.STORE_LOST
        device.script.journal = old
        await device.link()
        assert (await device.append(started(3))).status == "fork"
        assert hub.device(NAME).status_reason == "clone"


async def test_metrics_that_part_go_on_in_a_new_log_without_an_operator(
    database: Database, clock: ManualClock
) -> None:
    """P21: whether there is something to decide, the journal tells."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        metrics = device.script.metrics
        for at in range(1, 6):
            metrics.append(MetricsShed(at_ms=at, first=1, last=1, count=1))
        await device.send(metrics)
        older = device.script.metrics = copy_of(metrics, upto=3)
        older.append(MetricsShed(at_ms=77, first=1, last=1, count=1))
        await device.link()
        assert await shows(device, older, 2) == ("fork", 3)
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
        ack = await device.link()
        assert [(cursor.lane, cursor.upto) for cursor in ack.closed] == [("metrics", 3)]
        device.script.metrics = branch_of(older, "branch")
        await device.link()
        assert await sends_from(device, device.script.metrics, 4, missing_from=1) == "ok"
    assert [(gap.first_seq, gap.last_seq, gap.reason) for gap in gaps_of(database)] == [(1, 3, "branch")]
    assert is_sound(database)


async def test_what_is_not_forked_cannot_be_resolved(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
    with database.write() as session, pytest.raises(RefusedError, match="device forks"):
        recovery.resolve(session, NAME, clock.now())


# --- orders and work -----------------------------------------------------------------------------------------------


def offered(task: str = THERE) -> TaskOffered:
    return TaskOffered(
        at_ms=1,
        task=task,
        node=0,
        attempt=1,
        goal=GOAL.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=10**13,
    )


def offers(database: Database, clock: ManualClock, *tasks: str) -> None:
    """As `POST /v1/tasks` leaves it."""
    with database.write() as session:
        for task in tasks:
            (seq,) = append_order(
                session, principal=NAME, records=[(offered(task), (GOAL,))], now=clock.now()
            )
            lane = session.exec(
                select(LaneRow).where(LaneRow.lane == "orders").order_by(col(LaneRow.id).desc())
            ).first()
            assert lane is not None
            assert lane.id is not None
            session.add(
                Task(id=task, tenant="acme", origin="hub", goal_hash=GOAL.ref().hash, created_at=clock.now())
            )
            session.flush()
            session.add(
                Node(
                    task_id=task, node=0, kind="agent", place="device:fridge-1", principal=NAME, state="queued",
                    limits=Limits().model_dump(), lease_s=0, updated_at=clock.now(),
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Offer(
                    task_id=task, node=0, attempt=1, principal=NAME, lane_id=lane.id, order_seq=seq,
                    offered_at=clock.now(),
                )
            )  # fmt: skip


def moved(task: str, state: NodeState) -> NodeMoved:
    return NodeMoved(at_ms=5, task=task, node=0, attempt=1, state=state)


def state_of(database: Database, task: str) -> str:
    with database.read() as session:
        node = session.get(Node, (task, 0))
        assert node is not None
        return node.state


async def take_orders(hub: IngestHub, device: RemoteDevice) -> list[str]:
    """The kinds of what is ordered next, acknowledged."""
    hub.worker.wake(NAME)
    await device.hears_orders()
    device.say(Channel.DOWN_ORDERS_ACK, device.script.ack())
    await hub.settle()
    assert device.script.orders is not None

    records = [parse_record(entry.record) for entry in device.script.orders.entries]
    return [record.kind for record in records if not isinstance(record, Poison)]


async def queried(hub: IngestHub, device: RemoteDevice) -> set[tuple[str, int]]:
    """Task and attempt of what the hub asks about; what it had to order before may come in a batch of its own."""
    async with asyncio.timeout(10):
        while True:
            await take_orders(hub, device)
            assert device.script.orders is not None
            told = [parse_record(entry.record) for entry in device.script.orders.entries]
            if found := {(order.task, order.attempt) for order in told if isinstance(order, NodeQueried)}:
                return found


async def test_a_device_with_fewer_orders_than_it_acknowledged_is_ordered_nothing_until_its_journal_goes_on(
    database: Database, clock: ManualClock
) -> None:
    """P20: it would do a second time what it has forgotten that it did."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        assert await take_orders(hub, device) == ["task.offered"]
        await device.append(started(1), moved(THERE, NodeState.RUNNING), moved(THERE, NodeState.SUCCEEDED))
        device.script.orders = None
        older = device.script.journal = copy_of(device.script.journal, upto=1)
        await device.link()
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        assert await shows(device, older, 1) == ("fork", 1)
        clock.advance(seconds=60)
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
    assert state_of(database, THERE) == "succeeded"


async def test_a_device_that_only_lost_orders_gets_them_again(database: Database, clock: ManualClock) -> None:
    """P20: its journal is the hub's, so it did nothing for them."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
        offers(database, clock, THERE)
        await take_orders(hub, device)
        device.script.orders = None
        await device.link()
        assert (await device.hears_orders()).first_seq == 1


@pytest.mark.slow
async def test_what_a_resolved_device_does_not_know_to_be_done_is_not_done_again(
    database: Database, clock: ManualClock
) -> None:
    """P21: it ended one task and took another on after the copy was made."""
    later = task_id_from("offered later")
    kept = task_id_from("still open on it")
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE, kept)
        await take_orders(hub, device)
        orders = device.script.orders
        assert orders is not None
        await device.append(started(1), moved(THERE, NodeState.RUNNING))
        offers(database, clock, later)
        hub.worker.wake(NAME)
        await device.hears_orders()
        device.say(Channel.DOWN_ORDERS_ACK, device.script.ack())
        goal = blob_of("asked on site")
        device.script.journal.append(TaskCreated(at_ms=2, task=HERE, goal=goal.ref(), limits=Limits()), goal)
        device.script.journal.append(moved(later, NodeState.RUNNING))
        device.script.journal.append(moved(THERE, NodeState.SUCCEEDED))
        await device.send(device.script.journal, first=3)
        # The card is replaced by a copy of it, made before all that.
        device.script.journal = copy_of(device.script.journal, upto=2)
        device.script.orders = ScriptedLog(orders.lane, orders.entries[:2])
        await device.link()
        assert await shows(device, device.script.journal, 2) == ("fork", 2)
        resolve(database, clock)
        device.script.journal = branch_of(device.script.journal, "branch")
        device.script.journal.append(started(9))
        await device.link()
        assert await sends_from(device, device.script.journal, 3, missing_from=1) == "ok"
        await take_orders(hub, device)
        told = [parse_record(entry.record) for entry in device.script.orders.entries]
        assert {(order.task, order.reason) for order in told if isinstance(order, TaskCancelled)} == {
            (THERE, "already_ended")
        }
        # Which of its offers it knows it says itself: its log may hold more than its last hello told.
        assert {order.task for order in told if isinstance(order, NodeQueried)} == {kept, later, HERE}
        forgotten = {"reason": FORGOTTEN, "is_repeated": True}
        await device.append(
            *(moved(task, NodeState.FAILED).model_copy(update=forgotten) for task in (later, HERE))
        )
    states = {task: state_of(database, task) for task in (THERE, kept, later, HERE)}
    assert states == {THERE: "succeeded", kept: "offered", later: "failed", HERE: "failed"}


async def test_a_device_that_works_on_what_has_ended_is_told(database: Database, clock: ManualClock) -> None:
    """P21: whatever was lost in between, on whichever side; else it would wait for an answer for ever."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        await device.append(moved(THERE, NodeState.RUNNING), moved(THERE, NodeState.SUCCEEDED))
        await device.append(moved(THERE, NodeState.RUNNING), moved(THERE, NodeState.WAITING))
        assert await take_orders(hub, device) == ["task.offered", "task.cancelled", "task.cancelled"]
        await device.append(moved(THERE, NodeState.CANCELLED))
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
    assert state_of(database, THERE) == "succeeded"


async def test_the_hub_asks_how_work_stands_of_which_records_were_lost(
    database: Database, clock: ManualClock
) -> None:
    """P19: else what ended within the gap would be shown as running for ever."""
    waits = task_id_from("not acknowledged")
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        log, goal = device.script.journal, blob_of("asked on site")
        await device.append(moved(THERE, NodeState.RUNNING))
        log.append(TaskCreated(at_ms=2, task=HERE, goal=goal.ref(), limits=Limits()), goal)
        await device.send(log, first=2)
        offers(database, clock, waits)
        log.append(moved(THERE, NodeState.SUCCEEDED))
        log.append(moved(HERE, NodeState.RUNNING))
        log.append(started(5))
        assert await sends_from(device, log, 5, missing_from=3) == "ok"
        assert await queried(hub, device) == {(THERE, 1), (HERE, 1)}
        again = {"is_repeated": True}
        await device.append(
            moved(THERE, NodeState.RUNNING).model_copy(update=again),
            moved(THERE, NodeState.SUCCEEDED).model_copy(update=again),
            moved(HERE, NodeState.FAILED).model_copy(update={**again, "reason": FORGOTTEN}),
        )
    states = {task: state_of(database, task) for task in (THERE, HERE)}
    assert states == {THERE: "succeeded", HERE: "failed"}


async def test_what_was_asked_and_not_heard_is_not_asked_again(
    database: Database, clock: ManualClock
) -> None:
    """P19: a device whose log has many gaps must not make its orders grow with each."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        log = device.script.journal
        for at in range(1, 10):
            log.append(started(at))
        for first in (2, 4, 6):
            batch = device.script.batch_of(log, first=first, last=first)
            ack = await device.send_batch(log, batch.model_copy(update={"missing_from": first - 1}))
            assert (ack.status, ack.upto) == ("ok", first)
        assert (await take_orders(hub, device)).count("node.queried") == 1
        assert await sends_from(device, log, 9, missing_from=7) == "ok"
        assert (await take_orders(hub, device)).count("node.queried") == 2


async def test_a_node_whose_beginning_is_in_a_gap_ends_without_a_dead_letter(
    database: Database, clock: ManualClock
) -> None:
    """P19"""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        log = device.script.journal
        log.append(moved(THERE, NodeState.RUNNING))
        log.append(moved(THERE, NodeState.SUCCEEDED))
        assert await sends_from(device, log, 2, missing_from=1) == "ok"
        assert hub.worker.counts.get("dead_letters", 0) == 0
    assert state_of(database, THERE) == "succeeded"


async def test_without_a_gap_a_node_ends_only_after_it_began(database: Database, clock: ManualClock) -> None:
    """P16"""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        await device.append(moved(THERE, NodeState.SUCCEEDED))
        assert hub.worker.counts["dead_letters"] == 1


async def test_a_question_of_which_only_the_repetition_came_can_be_answered(
    database: Database, clock: ManualClock
) -> None:
    """P19"""
    again = {"is_repeated": True}
    asked = QuestionAsked(at_ms=4, task=THERE, node=0, call=1, tool="order_milk", is_repeated=True)
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        await device.append(
            moved(THERE, NodeState.RUNNING).model_copy(update=again),
            asked,
            moved(THERE, NodeState.WAITING).model_copy(update=again),
        )
        with database.write() as session:
            tasks.answer(
                session, THERE, 0, among=None, call=1, happened=True, now=clock.now(), changes=Changes()
            )
        assert (await take_orders(hub, device))[-1] == "question.replied"


async def test_an_answer_about_what_has_ended_meanwhile_cancels_nothing(
    database: Database, clock: ManualClock
) -> None:
    """P19."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        await device.append(moved(THERE, NodeState.RUNNING), moved(THERE, NodeState.SUCCEEDED))
        await device.append(moved(THERE, NodeState.RUNNING).model_copy(update={"is_repeated": True}))
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)


async def test_a_device_that_asks_about_an_order_which_a_restored_hub_forgot_is_told(
    database: Database, clock: ManualClock
) -> None:
    """P20: nobody could answer it. What began on the device itself is left to whoever is there."""
    order = ForeignCause(lane="orders", epoch=bytes(16), seq=7)
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(
            moved(THERE, NodeState.RUNNING).model_copy(update={"causes": (order,)}),
            moved(THERE, NodeState.WAITING).model_copy(update={"causes": (order,)}),
            moved(HERE, NodeState.WAITING),
        )
        assert await take_orders(hub, device) == ["task.cancelled"]
        assert device.script.orders is not None
        cancel = parse_record(device.script.orders.entries[0].record)
        assert isinstance(cancel, TaskCancelled)
        assert (cancel.task, cancel.reason) == (THERE, "task_unknown")


async def test_work_that_began_on_a_device_whose_store_was_lost_has_failed_and_its_new_log_is_taken(
    database: Database, clock: ManualClock
) -> None:
    """P13: it was never offered, so it is not offered again; and nothing stands in the way of the new log."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        goal = blob_of("asked on site")
        device.script.journal.append(TaskCreated(at_ms=2, task=HERE, goal=goal.ref(), limits=Limits()), goal)
        await device.send(device.script.journal)
        assert state_of(database, HERE) == "queued"
        device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from("new store")))
        await device.link()
        assert (await device.append(started(1))).upto == 1
    assert state_of(database, HERE) == "failed"


@pytest.mark.parametrize("more", [0, 10], ids=["beyond what the hub holds", "another history than the hub's"])
@pytest.mark.slow
async def test_a_branch_that_a_restored_hub_has_forgotten_is_no_lost_store(
    more: int, database: Database, clock: ManualClock
) -> None:
    """P19, P21: an operator let the device go on, then the hub was put back to before. The device lost nothing."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        offers(database, clock, THERE)
        await take_orders(hub, device)
        await device.append(started(1), moved(THERE, NodeState.RUNNING))
        branch = branch_of(device.script.journal, "branch")
        if more:
            await device.append(*[started(number) for number in range(20, 20 + more)])
        device.script.journal = branch
        for number in range(3):
            branch.append(started(number))
        branch.append(moved(THERE, NodeState.SUCCEEDED))
        last = branch.append(started(9))
        await device.link()
        assert await sends_from(device, branch, last, missing_from=1) == "ok"
        assert await take_orders(hub, device) == ["task.offered", "node.queried"]
        again = {"is_repeated": True}
        await device.append(
            moved(THERE, NodeState.RUNNING).model_copy(update=again),
            moved(THERE, NodeState.SUCCEEDED).model_copy(update=again),
        )
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
    assert state_of(database, THERE) == "succeeded"
    closed, lane = lanes_of(database)
    assert (closed.close_reason, lane.closed_at) == (CloseReason.BRANCHED, None)
    assert [(gap.first_seq, gap.last_seq, gap.reason) for gap in gaps_of(database)] == [(1, last - 1, "lost")]
    assert is_sound(database)


async def test_a_hub_restored_from_a_backup_orders_again_what_was_not_acknowledged(
    database: Database, clock: ManualClock
) -> None:
    """P20: the device holds orders that this hub does not know; nothing that it may have done is ordered twice."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        script = device.script
        offers(database, clock, THERE)
        hub.worker.wake(NAME)
        await device.hears(Channel.DOWN_ORDERS)  # in the old session; what follows is told in the new one
        lane = lanes_of(database, Lane.ORDERS)[0]
        script.orders = ScriptedLog(LaneId(NAME, Lane.ORDERS, lane.epoch))
        script.orders.append(offered())
        script.orders.append(offered(task_id_from("of before the backup was restored")))
        clock.advance(seconds=1)
        await device.link()
        batch = await device.hears_orders()
        assert (batch.epoch != lane.epoch, batch.first_seq, len(batch.records)) == (True, 1, 1)
        device.say(Channel.DOWN_ORDERS_ACK, script.ack())
        await hub.settle()
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
    assert lanes_of(database, Lane.ORDERS)[0].close_reason == CloseReason.HUB_RESTORED
    assert state_of(database, THERE) == "offered"

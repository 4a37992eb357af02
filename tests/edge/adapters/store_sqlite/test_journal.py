"""The logs in SQLite: a record and what it means commit together, the chain holds, and nothing altered goes unseen."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import UNENROLLED, SqliteJournal
from edge.blobs import make_blob
from edge.ports import Draft, Journal, Outbox, Work
from shared.blobs import BLOB_MAX_BYTES, Blob, BlobRef
from shared.errors import CapacityError, CoveyError
from shared.ids import Lane, LaneId
from shared.log import Head, first_break, start
from shared.messages import Batch
from shared.records import (
    FORGOTTEN,
    DeviceStarted,
    ModelCalled,
    NodeMoved,
    NodeQueried,
    QuestionAsked,
    QuestionReplied,
    TaskCancelled,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.clock import START
from tests.support.device import ScriptedLog, bytes_from, signer_from, task_id_from
from tests.support.hub import ScriptedHub, batch_of
from tests.support.store import (
    PRINCIPAL,
    Order,
    kinds,
    opened_journal,
    projections,
    query,
    rebuild,
    records,
    verified,
)

TASK = task_id_from("task")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    async with opened_journal(path) as journal:
        yield journal


@pytest.fixture
def hub() -> ScriptedHub:
    return ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)


def created(task: str = TASK, goal: str = "what is the time") -> Draft:
    blob = make_blob(goal.encode())
    return Draft(TaskCreated(at_ms=1, task=task, goal=blob.ref(), limits=Limits()), (blob,))


def moved(state: NodeState, *, task: str = TASK, attempt: int = 1, result: Blob | None = None) -> Draft:
    record = NodeMoved(
        at_ms=2,
        task=task,
        node=0,
        attempt=attempt,
        state=state,
        result=None if result is None else result.ref(),
    )
    return Draft(record, () if result is None else (result,))


def offer(
    hub: ScriptedHub,
    task: str = TASK,
    *,
    attempt: int = 1,
    goal: str = "read the fridge",
    with_blob: bool = True,
) -> int:
    blob = Blob(salt=bytes_from(goal), content=goal.encode())
    record = TaskOffered(
        at_ms=1,
        task=task,
        node=0,
        attempt=attempt,
        goal=blob.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=10**12,
    )
    return hub.order(record, *((blob,) if with_blob else ()))


# --- appending -----------------------------------------------------------------------------------------------------


async def test_journal_keeps_the_ports(journal: SqliteJournal) -> None:
    as_ports: tuple[Journal, Work, Outbox] = (journal, journal, journal)
    assert as_ports[0] is journal


async def test_sequences_are_contiguous_from_one_and_the_chain_is_sound(journal: SqliteJournal) -> None:
    """P1 P2 P3"""
    assert await journal.append(Draft(DeviceStarted(at_ms=1, version="1", was_clean=True)), durable=True) == (
        1,
    )
    assert await journal.append(created(), moved(NodeState.RUNNING), durable=False) == (2, 3)
    lane = await journal.lane(Lane.JOURNAL)
    assert lane is not None
    entries = await journal.tail(Lane.JOURNAL, after=0, limit=10)
    assert first_break(start(lane.id), entries) is None
    assert (lane.head.seq, lane.head.hash) == (3, entries[-1].hash)
    assert (lane.tail, lane.acked) == (1, 0)


async def test_many_writers_at_once_make_one_sound_chain(journal: SqliteJournal, path: Path) -> None:
    seqs = await asyncio.gather(
        *(journal.append(created(task_id_from(f"{n}")), durable=n % 3 == 0) for n in range(100))
    )
    assert sorted(seq for (seq,) in seqs) == list(range(1, 101))
    assert verified(path) == {"journal": None}


async def test_a_log_begun_before_enrolment_is_the_same_log_after_it(path: Path) -> None:
    """P3"""
    async with opened_journal(path, principal=UNENROLLED) as journal:
        await journal.append(created(), durable=True)
        before = await journal.lane(Lane.JOURNAL)
    async with opened_journal(path) as journal:
        await journal.append(moved(NodeState.RUNNING), durable=True)
        after = await journal.lane(Lane.JOURNAL)
        assert before is not None
        assert after is not None
        assert after.id.epoch == before.id.epoch
        assert after.id.principal == PRINCIPAL
        entries = await journal.tail(Lane.JOURNAL, after=0, limit=10)
        assert first_break(start(after.id), entries) is None
    assert verified(path) == {"journal": None}


async def test_a_record_its_blobs_and_its_meaning_commit_together(journal: SqliteJournal, path: Path) -> None:
    await journal.append(created(), durable=True)
    node = await journal.node(TASK, 0)
    assert node is not None
    assert (node.state, node.origin, node.cause) == (NodeState.OFFERED, "local", 1)
    goal = await journal.blob(node.goal)
    assert goal is not None
    assert goal.text() == "what is the time"
    # The projection of this record cannot be written: neither record nor blob nor head may stay.
    before = (await journal.lane(Lane.JOURNAL), query(path, "SELECT count(*) FROM blob"))
    query(path, "CREATE TRIGGER no BEFORE INSERT ON node BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(CoveyError):
        await journal.append(moved(NodeState.RUNNING), created(task_id_from("other")), durable=True)
    assert (await journal.lane(Lane.JOURNAL), query(path, "SELECT count(*) FROM blob")) == before
    assert (await journal.node(TASK, 0)) == node
    query(path, "DROP TRIGGER no")
    assert await journal.append(created(task_id_from("other")), durable=True) == (2,)
    assert verified(path) == {"journal": None}


async def test_all_drafts_of_one_append_are_stored_or_none(journal: SqliteJournal) -> None:
    large = make_blob(b"x" * BLOB_MAX_BYTES)
    too_much = Draft(
        TaskCreated(
            at_ms=1, task=TASK, goal=BlobRef(hash=large.ref().hash, size=BLOB_MAX_BYTES), limits=Limits()
        ),
        (large,),
    )
    assert await journal.append(too_much, durable=True) == (1,)  # exactly the bound
    record = TaskCreated(at_ms=1, task=task_id_from("2"), goal=large.ref(), limits=Limits())
    call = ToolIntent(
        at_ms=1, causes=tuple(range(1, 65)), task=TASK, node=0, call=0, tool="t", idempotent=True,
        arguments=make_blob(b"{}").ref(),
    )  # fmt: skip
    assert await journal.append(Draft(record), Draft(call), durable=True) == (2, 3)
    assert await kinds(journal) == ["task.created", "task.created", "tool.intent"]


async def test_more_content_than_one_record_may_name_is_refused_and_nothing_stored(
    journal: SqliteJournal,
) -> None:
    """P4"""
    prompt, output = make_blob(b"p" * BLOB_MAX_BYTES), make_blob(b"o")
    record = ModelCalled(
        at_ms=1, model="m", purpose="chat", finish="stop", prompt_tokens=0, cached_tokens=0, output_tokens=0,
        first_token_ms=0.0, total_ms=0.0, prompt=prompt.ref(), output=output.ref(),
    )  # fmt: skip
    with pytest.raises(CapacityError) as caught:
        await journal.append(created(), Draft(record, (prompt, output)), durable=True)
    assert caught.value.bound == "BLOB_MAX_BYTES"
    assert await kinds(journal) == []
    assert await journal.open_nodes() == ()


async def test_a_full_disk_refuses_the_record_and_everything_about_it(
    journal: SqliteJournal, path: Path
) -> None:
    await journal.append(created(), durable=True)
    before = await journal.lane(Lane.JOURNAL)

    def allow(pages: int) -> None:
        journal._database.write_blocking(
            lambda db: db.execute(f"PRAGMA max_page_count={pages}"), durable=False
        )

    await asyncio.to_thread(allow, 1)
    with pytest.raises(CapacityError) as caught:
        await journal.append(created(task_id_from("2"), "g" * 50_000), durable=True)
    assert caught.value.bound == "disk"
    assert await journal.lane(Lane.JOURNAL) == before
    assert await journal.node(task_id_from("2"), 0) is None
    await asyncio.to_thread(allow, 2**30)
    assert await journal.append(created(task_id_from("2"), "g" * 50_000), durable=True) == (2,)
    assert verified(path) == {"journal": None}


async def test_listeners_hear_of_commits_and_not_of_failures(journal: SqliteJournal) -> None:
    heard: list[int] = []
    journal.on_change(lambda: heard.append(1))
    await journal.append(created(), durable=False)
    assert heard == [1]
    unknown = moved(NodeState.RUNNING)
    too_long = Draft(unknown.record.model_copy(update={"reason": "r" * 20_000}))
    with pytest.raises(CapacityError):
        await journal.append(too_long, durable=False)
    assert heard == [1]


# --- verifying -----------------------------------------------------------------------------------------------------


async def full_store(path: Path, hub: ScriptedHub) -> None:
    async with opened_journal(path) as journal:
        await journal.append(Draft(DeviceStarted(at_ms=1, version="1", was_clean=True)), durable=True)
        await journal.append(created(), durable=True)
        await journal.append(moved(NodeState.RUNNING), durable=True)
        await journal.append(moved(NodeState.SUCCEEDED, result=make_blob(b"it is noon")), durable=True)
        offer(hub, task_id_from("other"))
        await journal.receive(hub.batch_of_orders())


SPOILED = [
    ("UPDATE record SET data = data || x'00' WHERE seq = 2 AND lane_id = 1", "journal", "record 2"),
    ("UPDATE record SET hash = zeroblob(32) WHERE seq = 3 AND lane_id = 1", "journal", "record 3"),
    ("DELETE FROM record WHERE seq = 2 AND lane_id = 1", "journal", "record 2"),
    ("DELETE FROM record WHERE seq = 1 AND lane_id = 1", "journal", "record 1"),
    ("DELETE FROM record WHERE seq = 4 AND lane_id = 1", "journal", "ends at 3, its head says 4"),
    ("UPDATE lane SET head_hash = zeroblob(32) WHERE name = 'journal'", "journal", "ends at 4"),
    ("UPDATE lane SET epoch = zeroblob(16) WHERE name = 'journal'", "journal", "record 1"),
    (
        "UPDATE blob SET content = 'it is late' WHERE content = CAST('it is noon' AS BLOB)",
        "journal",
        "content of record 4",
    ),
    ("UPDATE blob SET content = zeroblob(100000) WHERE lane_id = 3", "orders", "content of record 1"),
    ("UPDATE blob SET salt = zeroblob(16) WHERE lane_id = 3", "orders", "content of record 1"),
    ("UPDATE record SET data = x'a0' WHERE lane_id = 3", "orders", "record 1"),
    ("UPDATE record SET data = 'text' WHERE lane_id = 3", "orders", "record 1"),
]


@pytest.mark.parametrize(
    ("spoil", "lane", "fault"),
    SPOILED,
    ids=[f"{n}-{each[2].replace(' ', '-')}" for n, each in enumerate(SPOILED)],
)
async def test_verify_finds_what_was_altered(
    path: Path, hub: ScriptedHub, spoil: str, lane: str, fault: str
) -> None:
    await full_store(path, hub)
    assert verified(path) == {"journal": None, "orders": None}
    query(path, "PRAGMA foreign_keys=OFF")
    query(path, spoil)
    found = verified(path)
    assert fault in str(found.pop(lane))
    assert set(found.values()) == {None}


async def test_verify_tells_two_swapped_records(path: Path, hub: ScriptedHub) -> None:
    await full_store(path, hub)
    (one,), (two,) = query(path, "SELECT data FROM record WHERE lane_id = 1 AND seq IN (2, 3)")
    query(path, "UPDATE record SET data = ? WHERE lane_id = 1 AND seq = 2", two)
    query(path, "UPDATE record SET data = ? WHERE lane_id = 1 AND seq = 3", one)
    assert "record 2" in str(verified(path)["journal"])


async def test_content_that_was_forgotten_leaves_the_history_whole(path: Path, hub: ScriptedHub) -> None:
    """P4"""
    await full_store(path, hub)
    query(path, "DELETE FROM blob")
    assert verified(path) == {"journal": None, "orders": None}


# --- orders --------------------------------------------------------------------------------------------------------


async def test_an_orders_batch_is_appended_and_applied(journal: SqliteJournal, hub: ScriptedHub) -> None:
    offer(hub)
    hub.order(TaskCancelled(at_ms=2, task=TASK, node=0, reason="asked"))
    reading = await journal.receive(hub.batch_of_orders())
    assert (reading.status, reading.head, reading.new_records) == ("ok", hub.orders.head, 2)
    node = await journal.node(TASK, 0)
    assert node is not None
    assert (node.origin, node.state, node.cancel) == ("hub", NodeState.OFFERED, "asked")
    assert (await journal.lane(Lane.ORDERS)) is not None
    assert await kinds(journal, Lane.ORDERS) == ["task.offered", "task.cancelled"]


async def test_a_batch_that_comes_again_changes_nothing(
    journal: SqliteJournal, hub: ScriptedHub, path: Path
) -> None:
    """P12"""
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    await journal.append(moved(NodeState.RUNNING), durable=True)
    before = await journal.node(TASK, 0)
    again = await journal.receive(hub.batch_of_orders())
    assert (again.status, again.head, again.new_records) == ("ok", hub.orders.head, 0)
    assert await journal.node(TASK, 0) == before
    # Half known, half new.
    hub.order(TaskCancelled(at_ms=2, task=TASK, node=0, reason="asked"))
    assert (await journal.receive(hub.batch_of_orders())).new_records == 1
    assert verified(path) == {"journal": None, "orders": None}


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ((), []),
        ((NodeState.RUNNING,), [NodeState.RUNNING]),
        ((NodeState.RUNNING, NodeState.WAITING), [NodeState.RUNNING, NodeState.WAITING]),
        ((NodeState.RUNNING, NodeState.SUCCEEDED), [NodeState.RUNNING, NodeState.SUCCEEDED]),
        ((NodeState.RUNNING, NodeState.FAILED), [NodeState.FAILED]),
        ((NodeState.REJECTED,), [NodeState.REJECTED]),
    ],
)
async def test_the_hub_is_told_again_how_a_node_stands(
    journal: SqliteJournal, hub: ScriptedHub, states: tuple[NodeState, ...], said: list[NodeState]
) -> None:
    """P19: whether it asks or offers it once more; with reason and result, in steps that lead there from any open
    state. The device's own tables stay as they are."""
    answer = make_blob(b"4 degrees")
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    for state in states:
        result = answer if state is NodeState.SUCCEEDED else None
        draft = moved(state, result=result)
        reason = "tool_failed" if state is NodeState.FAILED else None
        draft = replace(draft, record=draft.record.model_copy(update={"reason": reason}))
        await journal.append(draft, durable=True)
    await journal.acknowledged(Lane.JOURNAL, len(states))
    before = await journal.node(TASK, 0)
    for order in ("asked", "offered"):
        known = len(await records(journal))
        if order == "asked":
            hub.order(NodeQueried(at_ms=9, task=TASK, node=0, attempt=1))
        else:
            offer(hub)
        await journal.receive(hub.batch_of_orders())
        answers = (await records(journal))[known:]
        assert [each.state for each in answers if isinstance(each, NodeMoved)] == said
        assert all(each.is_repeated for each in answers)
        assert await journal.node(TASK, 0) == before
        if NodeState.FAILED in states:
            assert answers[-1].reason == "tool_failed"
        if NodeState.SUCCEEDED in states:
            assert answers[-1].result == answer.ref()
            _, parcels = await journal.parcels(Lane.JOURNAL, known + 1, 10)
            assert [blob for parcel in parcels for blob in parcel.blobs] == [answer]
            # A hub that is restored once more asks for the first record again: its content comes with it as well.
            _, parcels = await journal.parcels(Lane.JOURNAL, len(states), 1)
            assert [blob for parcel in parcels for blob in parcel.blobs] == [answer]


async def test_what_is_open_of_the_hubs_work_is_told_without_being_asked(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    """P19, P20: a restored hub does not ask about what it no longer knows."""
    begun, waiting, ended, new = (task_id_from(name) for name in ("begun", "waiting", "ended", "new"))
    for task in (begun, waiting, ended, new):
        offer(hub, task)
    await journal.receive(hub.batch_of_orders())
    for task in (begun, waiting, ended):
        await journal.append(moved(NodeState.RUNNING, task=task), durable=True)
    await journal.append(
        moved(NodeState.WAITING, task=waiting), moved(NodeState.FAILED, task=ended), durable=True
    )
    known = len(await records(journal))
    await journal.tell_again(START)
    told = (await records(journal))[known:]
    assert [(each.task, each.state, each.is_repeated) for each in told] == [
        (begun, NodeState.RUNNING, True),
        (waiting, NodeState.RUNNING, True),
        (waiting, NodeState.WAITING, True),
    ]
    assert all(each.causes[0].lane == "orders" for each in told)


async def test_of_another_attempt_the_hub_is_told_nothing(journal: SqliteJournal, hub: ScriptedHub) -> None:
    """P19: it is asked about another one than the device has."""
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    await journal.append(moved(NodeState.RUNNING), durable=True)
    hub.order(NodeQueried(at_ms=9, task=TASK, node=0, attempt=2))
    await journal.receive(hub.batch_of_orders())
    assert await kinds(journal) == ["node.moved"]


async def test_an_open_question_is_asked_again(journal: SqliteJournal, hub: ScriptedHub) -> None:
    """P19: with the arguments of the call; who answers must know what it was."""
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    arguments = make_blob(b'{"litres": 3}')
    place: dict[str, Any] = {"task": TASK, "node": 0, "call": 2, "tool": "order_milk"}
    intent = ToolIntent(at_ms=3, idempotent=False, arguments=arguments.ref(), **place)
    await journal.append(moved(NodeState.RUNNING), Draft(intent, (arguments,)), durable=True)
    await journal.append(Draft(QuestionAsked(at_ms=4, **place)), moved(NodeState.WAITING), durable=True)
    effects = await journal.effects(TASK, 0)
    hub.order(NodeQueried(at_ms=9, task=TASK, node=0, attempt=1))
    await journal.receive(hub.batch_of_orders())
    running, question, waiting = (await records(journal))[-3:]
    assert (running.state, waiting.state) == (NodeState.RUNNING, NodeState.WAITING)
    assert (question.call, question.tool, question.arguments) == (2, "order_milk", arguments.ref())
    assert question.is_repeated
    assert await journal.effects(TASK, 0) == effects


async def test_a_node_that_the_device_does_not_know_has_failed_as_forgotten(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    """P19: nobody will ever hear of it again."""
    hub.order(NodeQueried(at_ms=9, task=TASK, node=0, attempt=1))
    await journal.receive(hub.batch_of_orders())
    (answer,) = await records(journal)
    assert (answer.state, answer.reason, answer.is_repeated) == (NodeState.FAILED, FORGOTTEN, True)
    assert await journal.node(TASK, 0) is None


async def test_a_gap_is_answered_with_what_is_there(journal: SqliteJournal, hub: ScriptedHub) -> None:
    """P12"""
    for number in range(4):
        offer(hub, task_id_from(f"{number}"))
    await journal.receive(hub.batch_of_orders(last=1))
    reading = await journal.receive(hub.batch_of_orders(first=3))
    assert (reading.status, reading.head.seq, reading.new_records) == ("gap", 1, 0)
    assert await journal.node(task_id_from("3"), 0) is None
    assert (await journal.receive(hub.batch_of_orders(first=2))).head == hub.orders.head


async def test_a_batch_that_contradicts_itself_is_broken_and_stores_nothing(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    """P13"""
    offer(hub)
    batch = hub.batch_of_orders().model_copy(update={"head": bytes(32)})
    assert (await journal.receive(batch)).status == "broken"
    assert await journal.open_nodes() == ()
    assert (await journal.receive(hub.batch_of_orders())).status == "ok"


def forked(hub: ScriptedHub) -> Batch:
    """What another hub with the same epoch would have sent."""
    log = ScriptedLog(hub.orders.lane)
    for number in range(len(hub.orders.entries) + 1):
        log.append(TaskCancelled(at_ms=9, task=task_id_from(f"other {number}"), node=0, reason="other"))
    return batch_of(log, hub.signer)


async def test_a_fork_stops_the_lane_also_for_what_would_fit_and_also_after_a_restart(
    path: Path, hub: ScriptedHub
) -> None:
    """P13"""
    offer(hub)
    async with opened_journal(path) as journal:
        await journal.receive(hub.batch_of_orders())
        reading = await journal.receive(forked(hub))
        assert (reading.status, reading.head) == ("fork", hub.orders.head)
        assert await kinds(journal, Lane.ORDERS) == ["task.offered"]
        offer(hub, task_id_from("later"))
        assert (await journal.receive(hub.batch_of_orders(first=2))).status == "fork"
    async with opened_journal(path) as journal:
        assert (await journal.receive(hub.batch_of_orders(first=2))).status == "fork"
        assert await journal.node(task_id_from("later"), 0) is None
    assert verified(path) == {"journal": None, "orders": None}


async def test_a_hub_made_anew_has_a_new_epoch_which_is_read_from_its_start(
    journal: SqliteJournal, hub: ScriptedHub, path: Path
) -> None:
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    hub.orders = ScriptedLog(LaneId(PRINCIPAL, Lane.ORDERS, bytes_from("another epoch")))
    offer(hub, task_id_from("new"))
    reading = await journal.receive(hub.batch_of_orders())
    assert (reading.status, reading.head.seq) == ("ok", 1)
    lane = await journal.lane(Lane.ORDERS)
    assert lane is not None
    assert lane.id.epoch == bytes_from("another epoch")
    assert {node.task for node in await journal.open_nodes()} == {TASK, task_id_from("new")}
    assert verified(path) == {"journal": None, "orders": None}


async def test_an_epoch_of_which_nothing_was_stored_does_not_become_the_current_one(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    spoiled = hub.batch_of_orders().model_copy(update={"epoch": bytes_from("nobody's"), "first_seq": 7})
    assert (await journal.receive(spoiled)).status == "gap"
    lane = await journal.lane(Lane.ORDERS)
    assert lane is not None
    assert (lane.id.epoch, lane.head.seq) == (hub.orders.lane.epoch, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xa1\x64kind\x67unheard", "unknown kind"),
        (b"no cbor at all", "not well-formed CBOR"),
        (b"", "not well-formed CBOR"),
    ],
    ids=["unknown-kind", "noise", "empty"],
)
async def test_an_unknown_order_is_kept_and_dead_lettered_and_the_lane_goes_on(
    journal: SqliteJournal, hub: ScriptedHub, path: Path, data: bytes, reason: str
) -> None:
    """P11"""
    hub.orders.append_bytes(data)
    offer(hub)
    reading = await journal.receive(hub.batch_of_orders())
    assert (reading.status, reading.new_records) == ("ok", 2)
    assert query(path, "SELECT seq, reason FROM dead_letter") == [(1, reason)]
    assert [node.task for node in await journal.open_nodes()] == [TASK]
    assert [entry.record for entry in await journal.tail(Lane.ORDERS, after=0, limit=1)] == [data]
    assert verified(path) == {"journal": None, "orders": None}


async def test_a_journal_record_among_the_orders_is_a_dead_letter(
    journal: SqliteJournal, hub: ScriptedHub, path: Path
) -> None:
    """P11"""
    hub.orders.append(DeviceStarted(at_ms=1, version="1", was_clean=True))
    assert (await journal.receive(hub.batch_of_orders())).status == "ok"
    assert query(path, "SELECT reason FROM dead_letter") == [("device.started is not an order",)]


async def test_an_offer_without_its_goal_is_a_dead_letter(
    journal: SqliteJournal, hub: ScriptedHub, path: Path
) -> None:
    """P4 P11"""
    offer(hub, with_blob=False)
    offer(hub, task_id_from("whole"), goal="another")
    assert (await journal.receive(hub.batch_of_orders())).status == "ok"
    assert query(path, "SELECT seq, reason FROM dead_letter") == [
        (1, "the goal's content did not come with the offer")
    ]
    assert [node.task for node in await journal.open_nodes()] == [task_id_from("whole")]


async def test_a_blob_that_no_record_names_is_not_stored(
    journal: SqliteJournal, hub: ScriptedHub, path: Path
) -> None:
    """P4"""
    offer(hub)
    stowaway = make_blob(b"stowaway")
    batch = hub.batch_of_orders()
    await journal.receive(batch.model_copy(update={"blobs": (*batch.blobs, stowaway)}))
    assert await journal.blob(stowaway.ref()) is None
    assert query(path, "SELECT count(*) FROM blob") == [(1,)]


async def test_a_later_attempt_begins_the_node_anew_and_an_earlier_one_changes_nothing(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    """P16"""
    offer(hub)
    await journal.receive(hub.batch_of_orders())
    await journal.append(moved(NodeState.RUNNING), moved(NodeState.FAILED), durable=True)
    offer(hub, attempt=2)
    await journal.receive(hub.batch_of_orders())
    node = await journal.node(TASK, 0)
    assert node is not None
    assert (node.attempt, node.state, node.started) == (2, NodeState.OFFERED, None)
    await journal.append(moved(NodeState.SUCCEEDED, attempt=1), durable=True)
    assert await journal.node(TASK, 0) == node


# --- sending -------------------------------------------------------------------------------------------------------


async def test_parcels_follow_the_hash_before_them_and_carry_their_blobs(journal: SqliteJournal) -> None:
    await journal.append(created(goal="one"), durable=False)
    await journal.append(created(task_id_from("2"), goal="two"), durable=False)
    await journal.append(moved(NodeState.RUNNING), durable=False)
    before, parcels = await journal.parcels(Lane.JOURNAL, 2, 10)
    assert before == Head(1, await journal.hash_at(Lane.JOURNAL, 1) or b"")
    assert [parcel.entry.seq for parcel in parcels] == [2, 3]
    assert [blob.content for blob in parcels[0].blobs] == [b"two"]
    assert parcels[1].blobs == ()
    assert len((await journal.parcels(Lane.JOURNAL, 1, 2))[1]) == 2


async def test_parcels_stop_at_about_one_batch_but_are_at_least_one(journal: SqliteJournal) -> None:
    for number in range(20):
        await journal.append(created(task_id_from(f"{number}"), "g" * BLOB_MAX_BYTES), durable=False)
    _, parcels = await journal.parcels(Lane.JOURNAL, 1, 4_000)
    assert 1 <= len(parcels) < 20
    assert sum(len(blob.content) for parcel in parcels for blob in parcel.blobs) <= 1 << 20


async def test_what_is_sent_is_on_the_disk_before(journal: SqliteJournal) -> None:
    """P14"""
    statements: list[str] = []
    await journal.append(created(), durable=False)
    await asyncio.to_thread(
        journal._database.write_blocking, lambda db: db.set_trace_callback(statements.append), durable=False
    )
    await journal.parcels(Lane.JOURNAL, 1, 10)
    assert "PRAGMA synchronous=FULL" in statements
    assert any(line.startswith("INSERT") for line in statements), "a commit without a write waits for nothing"
    assert statements[-1] == "COMMIT"


async def test_acknowledged_is_remembered_over_a_restart(path: Path) -> None:
    async with opened_journal(path) as journal:
        await journal.append(created(), moved(NodeState.RUNNING), durable=True)
        await journal.acknowledged(Lane.JOURNAL, 1)
    async with opened_journal(path) as journal:
        lane = await journal.lane(Lane.JOURNAL)
        assert lane is not None
        assert (lane.acked, lane.head.seq) == (1, 2)


async def test_hash_at_is_none_beyond_the_log(journal: SqliteJournal) -> None:
    lane = await journal.lane(Lane.JOURNAL)
    assert lane is not None
    assert await journal.hash_at(Lane.JOURNAL, 0) == start(lane.id).hash
    assert await journal.hash_at(Lane.JOURNAL, 1) is None
    assert await journal.hash_at(Lane.ORDERS, 0) is None


# --- rebuilding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["journal first", "orders first"])
async def test_projections_rebuilt_from_the_logs_are_the_live_ones(
    journal: SqliteJournal, hub: ScriptedHub, tmp_path: Path, order: Order
) -> None:
    other = task_id_from("other")
    offer(hub)
    offer(hub, other, goal="another")
    await journal.receive(hub.batch_of_orders())
    arguments, result = make_blob(b'{"sensor": "fridge"}'), make_blob(b'{"value": 4}')
    await journal.append(moved(NodeState.RUNNING), durable=True)
    intent = ToolIntent(
        at_ms=3, task=TASK, node=0, call=0, tool="t", idempotent=False, arguments=arguments.ref()
    )
    done = ToolResult(at_ms=4, task=TASK, node=0, call=0, tool="t", ok=True, ms=1.0, result=result.ref())
    await journal.append(Draft(intent, (arguments,)), durable=True)
    hub.order(TaskCancelled(at_ms=5, task=other, node=0, reason="asked"))
    hub.order(QuestionReplied(at_ms=5, task=TASK, node=0, call=0, happened=True))
    await journal.receive(hub.batch_of_orders())
    await journal.append(
        Draft(done, (result,)), moved(NodeState.SUCCEEDED, result=make_blob(b"4 degrees")), durable=True
    )
    await journal.append(moved(NodeState.CANCELLED, task=other), durable=True)
    live = await journal._database.read(projections)
    rebuilt = await asyncio.to_thread(rebuild, journal._database, tmp_path / "fresh.sqlite", order)
    assert rebuilt == live
    assert {row[4] for row in live["node"]} == {"succeeded", "cancelled"}


async def test_records_can_be_read_page_by_page(journal: SqliteJournal) -> None:
    for number in range(5):
        await journal.append(created(task_id_from(f"{number}")), durable=False)
    page = await journal.tail(Lane.JOURNAL, after=2, limit=2)
    assert [entry.seq for entry in page] == [3, 4]
    assert len(await records(journal)) == 5

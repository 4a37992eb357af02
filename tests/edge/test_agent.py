"""The agent over a real store: what it does is in the journal in time, and it always comes to an end that is said."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Never

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.agent import RETRY_AFTER, AgentRunner, Asked, Ended, Interrupted
from edge.core.reading import READ
from edge.ports import Draft, NodeView
from shared.blobs import Blob
from shared.clock import to_ms
from shared.errors import CapacityError, ConfigError, RefusedError, UnavailableError
from shared.ids import Lane
from shared.inference.ports import Finished, Generation, TextDelta
from shared.knowledge.answer import REPEATED_MAX
from shared.records import ModelCalled, NodeMoved, TaskCancelled, TaskOffered, ToolIntent, ToolResult
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.agent import (
    ANSWER,
    FaultyJournal,
    Probe,
    act,
    end_of,
    first_offer,
    make_runner,
    progress_of,
    question_of,
    running,
    until,
    working,
)
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from, task_id_from
from tests.support.hub import ScriptedHub
from tests.support.model import Reply, ScriptedModel
from tests.support.store import PRINCIPAL, kinds, opened_journal, query, records, verified
from tests.support.waiting import eventually


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


def offer(hub: ScriptedHub, name: str, clock: ManualClock, *, deadline_s: int = 600, **limits: int) -> str:
    goal = Blob(salt=bytes_from(name), content=name.encode())
    record = TaskOffered(
        at_ms=to_ms(clock.now()),
        task=task_id_from(name),
        node=0,
        attempt=1,
        goal=goal.ref(),
        limits=Limits(**limits),
        lease_s=60,
        deadline_ms=to_ms(clock.now() + timedelta(seconds=deadline_s)),
    )
    hub.order(record, goal)
    return record.task


async def states(journal: SqliteJournal, task: str) -> list[tuple[NodeState, str | None]]:
    return [
        (record.state, record.reason)
        for record in await records(journal)
        if isinstance(record, NodeMoved) and record.task == task
    ]


async def ended_node(journal: SqliteJournal, task: str, state: NodeState) -> NodeView:
    async def has_ended() -> NodeView | None:
        node = await journal.node(task, 0)
        return node if node is not None and node.state is state else None

    node = await until(journal, has_ended)
    assert isinstance(node, NodeView)
    return node


async def for_ever() -> Never:
    """Until whoever waits is cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("for ever is over")


async def has_begun_to_wait(runner: AgentRunner) -> None:
    """Until it has put a task off because the model or the store was unavailable."""
    await eventually(lambda: runner._retry_at)


# --- the ordinary way ----------------------------------------------------------------------------------------------


async def test_a_task_runs_to_its_answer_and_the_journal_tells_the_story(
    journal: SqliteJournal, path: Path
) -> None:
    valve = Probe("valve")
    model = ScriptedModel(act("valve", to="open"), ANSWER, "It is open now.")
    async with working(journal, model, valve) as runner:
        task = await runner.submit("open the valve")
        assert await end_of(runner, task) == Ended(NodeState.SUCCEEDED, None, "It is open now.")
    assert valve.calls == [({"to": "open"}, f"{task}/0/1")]
    assert await kinds(journal) == [
        "task.created", "node.moved", "model.called", "policy.decided", "tool.intent", "tool.result",
        "model.called", "model.called", "policy.decided", "node.moved",
    ]  # fmt: skip
    # Each record names what caused it.
    assert [record.causes for record in await records(journal)] == [
        (),
        (1,),
        (1,),
        (3,),
        (3,),
        (5,),
        (6,),
        (7,),
        (8,),
        (8,),
    ]
    node = await journal.node(task, 0)
    assert node is not None
    assert node.result is not None
    result = await journal.blob(node.result)
    assert result is not None
    assert result.text() == "It is open now."
    assert verified(path) == {"journal": None}


async def test_the_answer_streams_while_it_is_made_and_the_choice_of_actions_does_not(
    journal: SqliteJournal,
) -> None:
    async with working(journal, ScriptedModel(ANSWER, "one two three"), Probe("valve")) as runner:
        task = await runner.submit("count")
        progress = await progress_of(runner, task)
    assert [item.text for item in progress if isinstance(item, TextDelta)] == ["one", " two", " three"]


async def test_who_watches_an_ended_task_hears_its_end_at_once(journal: SqliteJournal) -> None:
    async with working(journal, ScriptedModel("hello")) as runner:
        task = await runner.submit("hi")
        first = await end_of(runner, task)
        assert await end_of(runner, task) == first


async def test_the_goal_and_everything_said_is_content_beside_the_chain(
    journal: SqliteJournal, path: Path
) -> None:
    """P4"""
    async with working(
        journal, ScriptedModel(act("valve", to="open"), ANSWER, "secret answer"), Probe("valve")
    ) as runner:
        await end_of(runner, await runner.submit("secret question"))
    chain = b"".join(row[0] for row in query(path, "SELECT data FROM record"))
    assert b"secret" not in chain
    blobs = {row[0] for row in query(path, "SELECT content FROM blob")}
    assert {b"secret question", b"secret answer", b'{"to":"open"}'} <= blobs


# --- intent before, result after -----------------------------------------------------------------------------------


async def test_the_intent_is_committed_before_the_tool_runs_and_the_result_before_the_model_sees_it(
    journal: SqliteJournal, path: Path
) -> None:
    seen: dict[str, list[Any]] = {}

    def stored() -> list[Any]:
        # Another connection sees only what is committed.
        return query(path, "SELECT kind, name, result_hash IS NOT NULL FROM effect ORDER BY call")

    async def look(arguments: Mapping[str, object]) -> object:
        seen["tool"] = stored()
        return {"summary": "done"}

    def model_looks(_: object) -> str:
        seen["model"] = stored()
        return json.dumps(ANSWER)

    model = ScriptedModel(act("valve", to="open"), model_looks, "ok")
    async with working(journal, model, Probe("valve", outcome=look)) as runner:
        await end_of(runner, await runner.submit("open"))
    assert seen["tool"] == [("model", "act", 1), ("tool", "valve", 0)]
    assert seen["model"] == [("model", "act", 1), ("tool", "valve", 1)]


async def test_intent_and_result_wait_for_the_disk(journal: SqliteJournal) -> None:
    waited: list[tuple[str, bool]] = []

    class Watched(FaultyJournal):
        async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
            waited.extend((draft.record.kind, durable) for draft in drafts)
            return await super().append(*drafts, durable=durable)

    runner = make_runner(
        Watched(journal), ScriptedModel(act("valve", to="open"), ANSWER, "ok"), Probe("valve"), work=journal
    )
    async with running(runner):
        await end_of(runner, await runner.submit("open"))
    assert dict(waited) == {
        "task.created": True,
        "node.moved": True,  # the last one, the end
        "model.called": False,
        "policy.decided": True,
        "tool.intent": True,
        "tool.result": True,
    }


async def test_if_the_intent_cannot_be_stored_the_tool_is_not_called(journal: SqliteJournal) -> None:
    async def full(_: int, drafts: Sequence[Draft]) -> None:
        if any(isinstance(draft.record, ToolIntent) for draft in drafts):
            raise CapacityError("full", bound="disk", limit=0)

    valve = Probe("valve")
    clock = ManualClock()
    faulty = FaultyJournal(journal, before=full)
    model = ScriptedModel(act("valve", to="open"))
    runner = make_runner(faulty, model, valve, work=journal, clock=clock)
    async with running(runner):
        task = await runner.submit("open")
        await has_begun_to_wait(runner)
    assert valve.calls == []
    node = await journal.node(task, 0)
    assert node is not None
    assert node.state is NodeState.RUNNING


# --- tools that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RefusedError("no such thing"), "no such thing"),
        (UnavailableError("the sensor is off"), "the sensor is off"),
        (ValueError("a bug with a secret"), "valve failed."),
        (TimeoutError(), "gave no result"),
        (RecursionError(), "valve failed."),
    ],
    ids=["refused", "unavailable", "bug", "timeout", "recursion"],
)
async def test_a_tool_that_fails_is_a_result_and_the_task_goes_on(
    journal: SqliteJournal, error: Exception, shown: str
) -> None:
    async def fail(_: Mapping[str, object]) -> object:
        raise error

    model = ScriptedModel(act("valve", to="open"), ANSWER, "It did not work.")
    async with working(journal, model, Probe("valve", outcome=fail)) as runner:
        task = await runner.submit("open")
        assert (await end_of(runner, task)).state is NodeState.SUCCEEDED
    prompt = model.seen[1].messages[-1].content
    assert shown in prompt
    assert "secret" not in prompt
    (result,) = [record for record in await records(journal) if isinstance(record, ToolResult)]
    assert result.ok is False


@pytest.mark.parametrize(
    "content",
    [{"x": object()}, {"x": b"bytes"}, {"x": "\ud800"}, {1, 2}],
    ids=["object", "bytes", "surrogate", "set"],
)
async def test_a_result_that_is_not_json_is_a_failed_result(journal: SqliteJournal, content: object) -> None:
    async def odd(_: Mapping[str, object]) -> object:
        return content

    model = ScriptedModel(act("valve", to="open"), ANSWER, "ok")
    async with working(journal, model, Probe("valve", outcome=odd)) as runner:
        assert (await end_of(runner, await runner.submit("open"))).state is NodeState.SUCCEEDED
    assert "not plain JSON" in model.seen[1].messages[-1].content


@pytest.mark.parametrize(("size", "fits"), [(65_536, True), (65_537, False)])
async def test_a_result_at_the_limit_is_kept_and_one_beyond_is_a_failed_result(
    journal: SqliteJournal, size: int, fits: bool
) -> None:
    async def large(_: Mapping[str, object]) -> object:
        return "x" * (size - 2)  # with its quotes

    model = ScriptedModel(act("valve", to="open"), ANSWER, "ok", context_tokens=8_192)
    async with working(journal, model, Probe("valve", outcome=large)) as runner:
        await end_of(runner, await runner.submit("open"))
    (result,) = [record for record in await records(journal) if isinstance(record, ToolResult)]
    assert (result.ok, result.result.size == size) == (fits, fits)


async def test_a_tool_call_in_the_answers_text_does_nothing(journal: SqliteJournal) -> None:
    valve = Probe("valve")
    model = ScriptedModel(ANSWER, json.dumps(act("valve", to="open")))
    async with working(journal, model, valve) as runner:
        await end_of(runner, await runner.submit("say it"))
    assert valve.calls == []


async def test_a_model_that_goes_round_in_circles_over_its_quotes_is_stopped_and_recorded_as_cancelled(
    journal: SqliteJournal,
) -> None:
    async def find(_: Mapping[str, object]) -> object:
        passage = {"text": "Close valve V2 before cleaning the pump.", "source": "Pump (manuals)"}
        return {"is_supported": True, "passages": [passage]}

    model = ScriptedModel("Valve V2 must be closed.\n" * (REPEATED_MAX + 20))
    async with working(journal, model, Probe(READ, outcome=find)) as runner:
        end = await end_of(runner, await runner.submit("Which valve is closed before cleaning the pump?"))
    assert end.text == "Valve V2 must be closed. [1]\n\nSources:\n[1] Pump (manuals)"
    (called,) = [record for record in await records(journal) if isinstance(record, ModelCalled)]
    assert (called.finish, model.cancelled) == ("cancelled", 1)


async def test_an_action_that_was_not_offered_does_nothing(journal: SqliteJournal) -> None:
    valve = Probe("valve")
    async with working(journal, ScriptedModel(act("valve", to="explode"), "I cannot."), valve) as runner:
        assert (await end_of(runner, await runner.submit("x"))).text == "I cannot."
    assert valve.calls == []


# --- models that fail ----------------------------------------------------------------------------------------------


async def test_while_the_model_is_unavailable_the_task_waits_and_then_goes_on(journal: SqliteJournal) -> None:
    clock = ManualClock()
    model = ScriptedModel(UnavailableError("the server is away"), "Hello.")
    async with working(journal, model, clock=clock) as runner:
        task = await runner.submit("hi")
        await has_begun_to_wait(runner)
        watching = asyncio.create_task(end_of(runner, task))
        clock.advance(RETRY_AFTER - timedelta(seconds=1))
        runner.changed()
        node = await journal.node(task, 0)
        assert node is not None
        assert node.state is NodeState.RUNNING
        clock.advance(seconds=2)
        runner.changed()
        assert (await watching).text == "Hello."
    assert len(model.seen) == 2


async def test_a_clock_set_back_does_not_keep_a_task_waiting(journal: SqliteJournal) -> None:
    clock = ManualClock()
    async with working(journal, ScriptedModel(UnavailableError("away"), "Hello."), clock=clock) as runner:
        task = await runner.submit("hi")
        await has_begun_to_wait(runner)
        clock.set(clock.now() - timedelta(days=3_650))
        assert runner._idle_s() == RETRY_AFTER.total_seconds()
        runner.changed()
        assert (await end_of(runner, task)).text == "Hello."


async def test_a_task_whose_model_stays_away_ends_at_its_wall_time(journal: SqliteJournal) -> None:
    clock = ManualClock()
    model = ScriptedModel(UnavailableError("away"))
    async with working(journal, model, clock=clock) as runner:
        task = await runner.submit("hi", limits=Limits(wall_s=60))
        await has_begun_to_wait(runner)
        clock.advance(seconds=61)
        runner.changed()
        end = await end_of(runner, task)
    assert (end.state, end.reason) == (NodeState.TIMED_OUT, "wall_s")


async def test_a_task_that_was_cancelled_while_it_waited_leaves_nothing_to_wait_for(
    journal: SqliteJournal,
) -> None:
    clock = ManualClock()
    model = ScriptedModel(UnavailableError("away"))
    async with working(journal, model, clock=clock) as runner:
        task = await runner.submit("hi")
        await has_begun_to_wait(runner)
        assert await runner.cancel(task)
        await eventually(lambda: runner._idle_s() is None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConfigError("The model x is not installed: install it.", code="model_missing"), "model_missing"),
        (CapacityError("The prompt is too long.", bound="context_tokens", limit=10), "context_tokens"),
        (RefusedError("The server said no.", code="forbidden"), "forbidden"),
    ],
    ids=["missing", "context", "refused"],
)
async def test_a_model_that_cannot_answer_fails_the_task_with_its_sentence(
    journal: SqliteJournal, error: Any, reason: str
) -> None:
    async with working(journal, ScriptedModel(error)) as runner:
        assert await end_of(runner, await runner.submit("hi")) == Ended(NodeState.FAILED, reason, str(error))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CapacityError("Too much.", bound="BLOB_MAX_BYTES", limit=1), "blob_max_bytes"),
        (RefusedError("No.", code="Weird Code!\n" + "x" * 100), "weird_code__" + "x" * 52),
        (RefusedError("No.", code="-"), "failed"),
    ],
    ids=["upper-case", "foreign", "nothing-left"],
)
async def test_a_reason_that_is_no_code_does_not_keep_the_task_from_ending(
    journal: SqliteJournal, error: Any, reason: str
) -> None:
    async with working(journal, ScriptedModel(error)) as runner:
        task = await runner.submit("hi")
        assert (await end_of(runner, task)).state is NodeState.FAILED
        node = await journal.node(task, 0)
    assert node is not None
    assert node.reason == reason


async def test_who_watches_hears_that_an_answer_broke_off(journal: SqliteJournal) -> None:
    class Breaking(ScriptedModel):
        async def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
            async for item in super().generate(generation):
                yield item
                if len(self.seen) == 1:
                    raise UnavailableError("The server broke off.")

    clock = ManualClock()
    async with working(journal, Breaking("one two", "one two three"), clock=clock) as runner:
        task = await runner.submit("count")
        async with asyncio.timeout(10), runner.watch(task) as progress:
            assert await anext(progress) == TextDelta("one")
            assert await anext(progress) == Interrupted("The server broke off.")
            clock.advance(RETRY_AFTER)
            runner.changed()
            rest = [item async for item in progress]
    assert rest[-1] == Ended(NodeState.SUCCEEDED, None, "one two three")


async def test_a_bug_fails_the_task_without_telling_its_insides(journal: SqliteJournal) -> None:
    def bug(_: object) -> str:
        raise KeyError("secret")

    async with working(journal, ScriptedModel(bug, "I am fine.")) as runner:
        end = await end_of(runner, await runner.submit("hi"))
        assert (end.state, end.reason) == (NodeState.FAILED, "internal")
        assert "secret" not in end.text
        assert (await end_of(runner, await runner.submit("hi"))).state is NodeState.SUCCEEDED


async def test_a_request_longer_than_the_context_fails_by_that_name_without_a_model_call(
    journal: SqliteJournal,
) -> None:
    model = ScriptedModel(context_tokens=512)
    async with working(journal, model, Probe("valve")) as runner:
        end = await end_of(runner, await runner.submit("word " * 1_000))
    assert (end.state, end.reason) == (NodeState.FAILED, "context_tokens")
    assert model.seen == []


@pytest.mark.parametrize(
    "text", ["", "  \n ", "\ud83d half a pair", "\x00\x1b[31m"], ids=["empty", "blank", "half", "control"]
)
async def test_odd_answers_end_the_task_all_the_same(journal: SqliteJournal, text: str, path: Path) -> None:
    async with working(journal, ScriptedModel(text)) as runner:
        assert (await end_of(runner, await runner.submit("hi"))).state is NodeState.SUCCEEDED
    assert verified(path) == {"journal": None}


# --- cancelling ----------------------------------------------------------------------------------------------------


async def test_a_cancelled_task_ends_while_the_model_speaks_and_the_model_is_not_asked_again(
    journal: SqliteJournal,
) -> None:
    pause = asyncio.Event()
    model = ScriptedModel(Reply("one two three", pause=pause, pause_after=2), "never said")
    async with working(journal, model) as runner:
        task = await runner.submit("count")
        async with asyncio.timeout(10), runner.watch(task) as progress:
            assert [await anext(progress), await anext(progress)] == [TextDelta("one"), TextDelta(" two")]
            assert await runner.cancel(task)
            assert await anext(progress) == Ended(NodeState.CANCELLED, "asked", "")
        assert not await runner.cancel(task), "it has ended"
        # Work goes on with the next task.
        model.add("second")
        pause.set()
    assert len(model.seen) == 1
    assert model.cancelled == 1
    assert await states(journal, task) == [(NodeState.RUNNING, None), (NodeState.CANCELLED, "asked")]


async def test_a_task_cancelled_while_its_tool_runs_stops_the_tool_and_calls_no_other(
    journal: SqliteJournal,
) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, object]) -> object:
        entered.set()
        try:
            await for_ever()
        finally:
            left.set()

    valve = Probe("valve", outcome=slow)
    model = ScriptedModel(first_offer, first_offer)
    async with working(journal, model, valve) as runner:
        task = await runner.submit("open")
        async with asyncio.timeout(10):
            await entered.wait()
            assert await runner.cancel(task)
            await left.wait()
        next_task = await runner.submit("next")
        model.add(first_offer)
        await eventually(lambda: len(valve.calls) == 2)
        assert [key.split("/")[0] for _, key in valve.calls] == [task, next_task]
        await runner.cancel(next_task)


async def test_a_task_that_waits_in_the_queue_can_be_cancelled(journal: SqliteJournal) -> None:
    gate = asyncio.Event()
    model = ScriptedModel(Reply("first", gate=gate))
    async with working(journal, model) as runner:
        first, second = await runner.submit("1"), await runner.submit("2")
        assert await runner.cancel(second)
        assert (await end_of(runner, second)).state is NodeState.CANCELLED
        gate.set()
        assert (await end_of(runner, first)).text == "first"
    assert not any(state is NodeState.RUNNING for state, _ in await states(journal, second))


async def test_an_unknown_task_cannot_be_cancelled(journal: SqliteJournal) -> None:
    async with working(journal, ScriptedModel()) as runner:
        assert not await runner.cancel(task_id_from("nobody's"))


async def test_the_hub_cancels_a_task_that_runs(journal: SqliteJournal, hub: ScriptedHub) -> None:
    clock = ManualClock()
    gate = asyncio.Event()
    model = ScriptedModel(Reply("slow", gate=gate))
    task = offer(hub, "hub's", clock)
    async with working(journal, model, clock=clock) as runner:
        await journal.receive(hub.batch_of_orders())
        await eventually(lambda: model.seen)
        watching = asyncio.create_task(end_of(runner, task))
        await asyncio.sleep(0)
        hub.order(TaskCancelled(at_ms=1, task=task, node=0, reason="superseded"))
        await journal.receive(hub.batch_of_orders())
        assert await watching == Ended(NodeState.CANCELLED, "superseded", "")
    assert await states(journal, task) == [(NodeState.RUNNING, None), (NodeState.CANCELLED, "superseded")]
    assert len(model.seen) == 1


# --- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_task_that_takes_too_long_is_timed_out(journal: SqliteJournal) -> None:
    model = ScriptedModel(Reply("never", gate=asyncio.Event()))
    async with working(journal, model) as runner:
        end = await end_of(runner, await runner.submit("hi", limits=Limits(wall_s=1)))
    assert (end.state, end.reason) == (NodeState.TIMED_OUT, "wall_s")
    assert model.cancelled == 1


async def test_an_offer_past_its_deadline_expires_without_a_model_call(
    journal: SqliteJournal, hub: ScriptedHub
) -> None:
    clock = ManualClock()
    late, timely = offer(hub, "late", clock, deadline_s=10), offer(hub, "timely", clock, deadline_s=11)
    await journal.receive(hub.batch_of_orders())
    clock.advance(seconds=10)
    model = ScriptedModel("in time")
    async with working(journal, model, clock=clock):
        await ended_node(journal, timely, NodeState.SUCCEEDED)
    assert await states(journal, late) == [(NodeState.EXPIRED, "deadline")]
    assert len(model.seen) == 1


async def test_a_person_on_site_comes_before_the_hub(journal: SqliteJournal, hub: ScriptedHub) -> None:
    clock = ManualClock()
    for name in ("hub 1", "hub 2"):
        offer(hub, name, clock)
    await journal.receive(hub.batch_of_orders())
    model = ScriptedModel("a", "b", "c")
    runner = make_runner(journal, model, work=journal, clock=clock)
    local = await runner.submit("local")
    async with running(runner):
        await ended_node(journal, task_id_from("hub 2"), NodeState.SUCCEEDED)
    began = [
        record.task
        for record in await records(journal)
        if isinstance(record, NodeMoved) and record.state is NodeState.RUNNING
    ]
    assert began == [local, task_id_from("hub 1"), task_id_from("hub 2")]


async def test_one_task_more_than_may_be_open_is_refused_by_name(journal: SqliteJournal) -> None:
    runner = make_runner(journal, ScriptedModel(), work=journal, tasks_max_open=2)
    await runner.submit("1")
    await runner.submit("2")
    with pytest.raises(CapacityError) as caught:
        await runner.submit("3")
    assert (caught.value.bound, caught.value.limit) == ("tasks_max_open", 2)
    assert await kinds(journal) == ["task.created"] * 2


# --- questions -----------------------------------------------------------------------------------------------------


async def interrupted(path: Path, *, is_idempotent: bool) -> tuple[str, Probe]:
    """A store whose agent was stopped while its tool ran."""
    entered = asyncio.Event()

    async def hang(_: Mapping[str, object]) -> object:
        entered.set()
        await for_ever()

    valve = Probe("valve", is_idempotent=is_idempotent, outcome=hang)
    async with opened_journal(path) as journal, working(journal, ScriptedModel(first_offer), valve) as runner:
        task = await runner.submit("open the thing")
        async with asyncio.timeout(10):
            await entered.wait()
    valve.outcome = None
    return task, valve


async def test_an_interrupted_idempotent_call_is_made_again_with_the_same_key(path: Path) -> None:
    task, valve = await interrupted(path, is_idempotent=True)
    async with (
        opened_journal(path) as journal,
        working(journal, ScriptedModel(ANSWER, "ok"), valve) as runner,
    ):
        assert (await end_of(runner, task)).state is NodeState.SUCCEEDED
    assert [key for _, key in valve.calls] == [f"{task}/0/1"] * 2


@pytest.mark.parametrize("happened", [True, False])
async def test_an_interrupted_call_that_is_not_idempotent_waits_for_a_persons_word(
    path: Path, happened: bool
) -> None:
    task, valve = await interrupted(path, is_idempotent=False)
    async with opened_journal(path) as journal:
        async with working(journal, ScriptedModel(), valve) as runner:
            assert await question_of(runner, task) == Asked(1, "valve")
            assert len(valve.calls) == 1
            assert (await states(journal, task))[-1] == (NodeState.WAITING, "did_it_happen")
            assert not await runner.answer(task, 0, 0, happened=happened), "nobody asked about that call"
        # Also after another restart the question stands, once.
        async with working(journal, ScriptedModel(ANSWER, "ok"), valve) as runner:
            watching = asyncio.create_task(end_of(runner, task))
            assert await runner.answer(task, 0, 1, happened=happened)
            assert not await runner.answer(task, 0, 1, happened=not happened), "it is answered"
            assert (await watching).state is NodeState.SUCCEEDED
        assert len(valve.calls) == (1 if happened else 2)
        assert (await kinds(journal)).count("question.asked") == 1
    assert verified(path) == {"journal": None}


async def test_the_time_that_a_person_takes_to_answer_is_not_the_tasks(path: Path) -> None:
    task, valve = await interrupted(path, is_idempotent=False)
    clock = ManualClock()
    async with (
        opened_journal(path) as journal,
        working(journal, ScriptedModel(ANSWER, "ok"), valve, clock=clock) as runner,
    ):
        await question_of(runner, task)
        clock.advance(timedelta(days=2))
        watching = asyncio.create_task(end_of(runner, task))
        assert await runner.answer(task, 0, 1, happened=True)
        assert (await watching).state is NodeState.SUCCEEDED


async def test_a_retry_that_is_interrupted_too_is_asked_about_again_and_not_repeated(path: Path) -> None:
    task, valve = await interrupted(path, is_idempotent=False)
    entered = asyncio.Event()

    async def hang(_: Mapping[str, object]) -> object:
        entered.set()
        await for_ever()

    valve.outcome = hang
    async with opened_journal(path) as journal, working(journal, ScriptedModel(), valve) as runner:
        await question_of(runner, task)
        assert await runner.answer(task, 0, 1, happened=False)
        async with asyncio.timeout(10):
            await entered.wait()
    assert len(valve.calls) == 2
    valve.outcome = None
    async with (
        opened_journal(path) as journal,
        working(journal, ScriptedModel(ANSWER, "ok"), valve) as runner,
    ):
        assert await question_of(runner, task) == Asked(1, "valve")
        assert len(valve.calls) == 2
        watching = asyncio.create_task(end_of(runner, task))
        assert await runner.answer(task, 0, 1, happened=True)
        assert (await watching).state is NodeState.SUCCEEDED
    assert len(valve.calls) == 2


async def test_a_task_that_waits_for_a_word_does_not_hold_up_the_others(path: Path) -> None:
    task, valve = await interrupted(path, is_idempotent=False)
    async with (
        opened_journal(path) as journal,
        working(journal, ScriptedModel(ANSWER, "ok"), valve, name="other") as runner,
    ):
        await question_of(runner, task)
        other = await runner.submit("something else")
        assert (await end_of(runner, other)).state is NodeState.SUCCEEDED
        assert await runner.cancel(task)
        assert (await end_of(runner, task)).state is NodeState.CANCELLED


# --- a full disk ---------------------------------------------------------------------------------------------------


async def test_with_a_full_disk_nothing_is_claimed_and_later_the_task_goes_on(journal: SqliteJournal) -> None:
    is_full = True

    async def full(_: int, drafts: Sequence[Draft]) -> None:
        if is_full and isinstance(drafts[0].record, ModelCalled):
            raise CapacityError("The disk is full.", bound="disk", limit=0)

    clock = ManualClock()
    model = ScriptedModel("said into the void", "said again")
    runner = make_runner(FaultyJournal(journal, before=full), model, work=journal, clock=clock)
    async with running(runner):
        task = await runner.submit("hi")
        await has_begun_to_wait(runner)
        assert await states(journal, task) == [(NodeState.RUNNING, None)]
        is_full = False
        clock.advance(seconds=31)
        runner.changed()
        assert await end_of(runner, task) == Ended(NodeState.SUCCEEDED, None, "said again")


async def test_with_a_full_disk_a_new_task_is_refused(journal: SqliteJournal) -> None:
    async def full(_: int, _drafts: Sequence[Draft]) -> None:
        raise CapacityError("The disk is full.", bound="disk", limit=0)

    runner = make_runner(FaultyJournal(journal, before=full), ScriptedModel(), work=journal)
    with pytest.raises(CapacityError):
        await runner.submit("hi")
    assert await journal.open_nodes() == ()
    assert await journal.tail(Lane.JOURNAL, after=0, limit=1) == ()

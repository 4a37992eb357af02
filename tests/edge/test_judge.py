"""The agent under real rules: what is refused is never done, what people agreed to is done once, a stop pauses."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge.agent import AgentRunner, AwaitsApproval, Ended
from edge.core.turn import ToolSpec
from edge.judge import UNTOLD_MAX_BYTES, Place
from edge.ports import Draft
from shared.blobs import Blob
from shared.clock import to_ms
from shared.inference.ports import Generation, TextDelta
from shared.policy.arguments import Call
from shared.policy.contracts import Package
from shared.policy.decisions import Asker
from shared.records import (
    NodeMoved,
    NodeQueried,
    PolicyDecided,
    TaskOffered,
    ThreatFound,
    ToolIntent,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL, NodeState
from tests.support.agent import (
    ANSWER,
    FaultyJournal,
    Probe,
    act,
    end_of,
    make_runner,
    progress_of,
    running,
    until,
)
from tests.support.device import bytes_from, task_id_from
from tests.support.model import Reply, ScriptedModel
from tests.support.policy import PERMIT_ALL, package_of
from tests.support.policy_device import PolicyDevice, policy_device, sealed_bundle
from tests.support.store import power_cut, records, verified
from tests.support.waiting import eventually

VALVE = """
    roles: {chief: {local: true, within: 10m}}
    labels: {internal: {kind: confidentiality}}
    names: [Anna Schmidt]
    tools:
      valve:
        side_effect: irreversible
        sink: false
        parameters: {to: {type: string, enum: [open, closed]}}
        result: {labels: []}
        %s
      page: {side_effect: none, sink: false, parameters: {to: {type: string}}}
    %s
"""
ASKS = (
    PERMIT_ALL
    + """
    @id("ask") @reason("The chief agrees first.") @approval("chief")
    forbid (principal, action == Action::"valve", resource) unless { context.approved_by.contains("chief") };
"""
)
DENIES = (
    PERMIT_ALL
    + """
    @id("never") @reason("The valve stays shut.") @hint("Say so.")
    forbid (principal, action == Action::"valve", resource) when { context.args.to == "open" };
"""
)
OPEN, CLOSED = act("valve", to="open"), act("valve", to="closed")


def package(contract: str = "", more: str = "", *, version: int = 1) -> Package:
    return package_of(VALVE % (contract, more), version=version)


class At:
    """An agent at work on a device, with a probe for a valve."""

    def __init__(self, device: PolicyDevice, runner: AgentRunner, valve: Probe, model: ScriptedModel) -> None:
        self.device, self.runner, self.valve, self.model = device, runner, valve, model

    async def ends(self, goal: str = "turn the valve") -> Ended:
        return await end_of(self.runner, await self.runner.submit(goal))

    async def waits(self, goal: str = "turn the valve") -> str:
        """Until it waits for people; the task."""
        task = await self.runner.submit(goal)
        await until(self.device.journal, self.device.store.pending)
        await until(self.device.journal, lambda: self._is_waiting(task))
        return task

    async def _is_waiting(self, task: str) -> bool:
        node = await self.device.journal.node(task, 0)
        return node is not None and (node.state, node.reason) == (NodeState.WAITING, "approval")

    async def decisions(self) -> list[PolicyDecided]:
        """About calls of tools."""
        return [each for each in await self._decided() if each.call is not None]

    async def answers(self) -> list[PolicyDecided]:
        """About what people were told."""
        return [each for each in await self._decided() if each.action == "message.person"]

    async def _decided(self) -> list[PolicyDecided]:
        return [each for each in await records(self.device.journal) if isinstance(each, PolicyDecided)]


@asynccontextmanager
async def agent(
    home: Path,
    *script: Any,
    rules: str | None = None,
    of: Package | None = None,
    before: Callable[[int, Sequence[Draft]], Any] | None = None,
    after: Callable[[int, Sequence[Draft]], Any] | None = None,
    valve: Probe | None = None,
    is_idempotent: bool = False,
    outcome: Callable[[Mapping[str, object]], Any] | None = None,
    name: str = "",
    **options: Any,
) -> AsyncIterator[At]:
    """`rules`: published first; None if it goes on with what it has."""
    valve = valve or Probe("valve", is_idempotent=is_idempotent, outcome=outcome)
    spec = ToolSpec(name="valve", description="", choices=valve.choices, is_idempotent=is_idempotent)
    page = Probe("page", choices=({"to": "start"},))
    async with policy_device(home, spec, **options) as device:
        if rules is not None:
            await device.publish(sealed_bundle(of or package(), rules))
        model = ScriptedModel(*script)
        faulty = FaultyJournal(device.journal, before=before, after=after)
        runner = make_runner(
            faulty, model, valve, page, work=device.journal, clock=device.clock, judge=device.judge, name=name,
            is_stopped=lambda: device.rules.is_stopped, watch=device.watch,
        )  # fmt: skip
        device.rules.on_stop(runner.changed)
        async with running(runner):
            yield At(device, runner, valve, model)


# --- allowed and refused ---


async def test_the_arguments_that_were_decided_on_are_those_that_are_executed(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Done.", rules=PERMIT_ALL) as at:
        assert (await at.ends()).text == "Done."
        (decided,) = await at.decisions()
        (intent,) = [each for each in await records(at.device.journal) if isinstance(each, ToolIntent)]
        assert decided.arguments == intent.arguments is not None
        blob = await at.device.journal.blob(intent.arguments)
        assert blob is not None
        assert Call("valve", blob.content).values() == at.valve.calls[0][0]
        assert (decided.decision, decided.rules, decided.version) == ("allow", ("all",), 1)
        assert decided.bundle == at.device.rules.hash


async def test_a_refused_call_is_told_to_the_model_and_never_executed(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "It stays shut.", rules=DENIES) as at:
        assert (await at.ends()).state is NodeState.SUCCEEDED
        assert at.valve.calls == []
        shown = at.model.seen[1].messages[-1].content
        assert "The valve stays shut." in shown
        assert "Say so." in shown
        (decided,) = await at.decisions()
        assert (decided.decision, decided.rules) == ("deny", ("never",))
        assert not [
            each for each in await records(at.device.journal) if isinstance(each, ToolIntent | ToolResult)
        ]


async def test_without_a_bundle_nothing_is_turned(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "I cannot.") as at:
        assert (await at.ends()).text == "I cannot."
        assert at.valve.calls == []
        (decided,) = await at.decisions()
        assert (decided.rules, decided.version, decided.bundle) == (("baseline",), 0, b"")


async def test_a_rate_holds_over_tasks_and_restarts(tmp_path: Path) -> None:
    of = package("rates: [{max: 1, per: 1h}]")
    async with agent(tmp_path, OPEN, ANSWER, "1", OPEN, ANSWER, "2", rules=PERMIT_ALL, of=of) as at:
        await at.ends()
        await at.ends()
        assert len(at.valve.calls) == 1
        clock = at.device.clock
    async with agent(tmp_path, OPEN, ANSWER, "3", OPEN, ANSWER, "4", clock=clock, name="later") as at:
        await at.ends()
        assert at.valve.calls == []
        clock.advance(timedelta(hours=1))
        await at.ends()
        assert len(at.valve.calls) == 1


async def test_what_a_result_brought_counts_at_the_next_call(tmp_path: Path) -> None:
    rules = (
        PERMIT_ALL
        + """@id("clean-hands") forbid (principal, action == Action::"valve", resource)
        when { context.labels.contains("untrusted") };"""
    )
    script = (act("page", to="start"), OPEN, ANSWER, "No.")
    async with agent(tmp_path, *script, rules=rules) as at:
        await at.ends()
        assert at.valve.calls == []
        assert [(each.action, each.decision, each.labels) for each in await at.decisions()] == [
            ("page", "allow", ()), ("valve", "deny", ("untrusted",)),
        ]  # fmt: skip


async def test_what_is_usual_is_learned_from_work_that_went_well(tmp_path: Path) -> None:
    rules = DENIES.replace('== "open"', '== "closed"')
    script = (
        *(act("page", to="start"), OPEN, ANSWER, "One."),
        *(CLOSED, OPEN, ANSWER, "Two."),
    )
    async with agent(tmp_path, *script, rules=rules) as at:
        await at.ends()
        await at.ends()
        assert await at.device.store.sequences(10) == (("page", "valve"), ("valve",)), (
            "what was refused was not done"
        )
        assert await at.device.store.sequences(1) == (("valve",),)
        finding = ThreatFound(
            at_ms=1, detector="imitation", severity="high", consequence="note",
            task=(await at.decisions())[0].task, node=0,
        )  # fmt: skip
        await at.device.journal.append(Draft(finding), durable=True)
        assert await at.device.store.sequences(10) == (("valve",),), (
            "what a detector spoke about is no example"
        )


# --- labels from elsewhere ---


FOR_WARDS = (
    PERMIT_ALL
    + """
    @id("kept") forbid (principal, action == Action::"valve", resource)
    when { context.labels.contains("internal") };
    @id("for-ann") forbid (principal, action == Action::"page", resource)
    unless { context.asked_by.who == "ann" && context.asked_by.roles.contains("shift-lead") };
"""
)


async def offered(at: At, *, labels: tuple[str, ...] = (), asker: str = "ann") -> str:
    """The hub asks for work; the task."""
    goal = Blob(salt=bytes_from("goal"), content=b"turn the valve")
    record = TaskOffered(
        at_ms=1,
        labels=labels,
        task=task_id_from("from the hub"),
        node=0,
        attempt=1,
        goal=goal.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=to_ms(at.device.clock.now() + timedelta(hours=1)),
        asker=asker,
        asker_roles=("shift-lead",),
    )
    await at.device.order(record, goal)
    return record.task


async def ends_of(at: At, task: str) -> NodeMoved:
    """The record of its end."""

    async def ended() -> list[NodeMoved]:
        found = [each for each in await records(at.device.journal) if isinstance(each, NodeMoved)]
        return [each for each in found if each.task == task and each.state in TERMINAL]

    await until(at.device.journal, ended)
    (end,) = await ended()
    return end


async def test_what_a_request_of_the_hub_bears_counts_and_comes_back_on_the_result(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "No.", rules=FOR_WARDS) as at:
        end = await ends_of(at, await offered(at, labels=("internal",)))
        assert at.valve.calls == []
        assert [each.rules for each in await at.decisions() if each.action == "valve"] == [("kept",)]
        assert (end.state, end.labels, end.is_labelled) == (NodeState.SUCCEEDED, ("internal",), True)


async def test_a_result_bears_what_its_task_has_seen(tmp_path: Path) -> None:
    async with agent(tmp_path, act("page", to="start"), ANSWER, "Hello.", rules=PERMIT_ALL) as at:
        end = await ends_of(at, await offered(at))
        assert (end.labels, end.is_labelled) == (("untrusted",), True)


async def test_the_labels_of_a_result_are_told_again_with_it(tmp_path: Path) -> None:
    async with agent(tmp_path, act("page", to="start"), ANSWER, "Hello.", rules=PERMIT_ALL) as at:
        end = await ends_of(at, await offered(at))
        await at.device.order(NodeQueried(at_ms=1, task=end.task, node=0, attempt=1))
        told = [each for each in await records(at.device.journal) if isinstance(each, NodeMoved)][-1]
        assert (told.is_repeated, told.result, told.labels, told.is_labelled) == (
            True, end.result, ("untrusted",), True,
        )  # fmt: skip


@pytest.mark.parametrize(("asker", "decision"), [("ann", "allow"), ("ben", "deny")])
async def test_rules_know_who_at_the_hub_asked(tmp_path: Path, asker: str, decision: str) -> None:
    async with agent(tmp_path, act("page", to="start"), ANSWER, "Hello.", rules=FOR_WARDS) as at:
        await ends_of(at, await offered(at, asker=asker))
        assert [each.decision for each in await at.decisions() if each.action == "page"] == [decision]


async def test_a_request_on_site_may_bear_labels(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "No.", rules=FOR_WARDS) as at:
        task = await at.runner.submit("turn the valve", labels=("internal",))
        assert (await ends_of(at, task)).labels == ("internal",)
        assert at.valve.calls == []


# --- people ---


async def test_what_needs_a_yes_waits_for_it_and_is_done_once(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Open.", rules=ASKS) as at:
        task = await at.waits()
        assert at.valve.calls == []
        (waiting,) = await at.device.store.pending()
        assert (waiting.action, waiting.roles, waiting.is_local, waiting.rule) == (
            "valve",
            ("chief",),
            True,
            "ask",
        )
        async with asyncio.timeout(20), at.runner.watch(task) as progress:
            await at.device.agree()
            at.runner.changed()
            last = [item async for item in progress][-1]
        assert last == Ended(NodeState.SUCCEEDED, None, "Open.")
        assert [call for call, _ in at.valve.calls] == [{"to": "open"}]
        assert await at.device.store.pending() == ()


async def finished(at: At, task: str) -> Ended:
    at.runner.changed()
    return await end_of(at.runner, task)


async def test_who_watches_is_told_that_people_are_asked(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Open.", rules=ASKS) as at:
        task = await at.runner.submit("turn")
        async with asyncio.timeout(20), at.runner.watch(task) as progress:
            assert await anext(progress) == AwaitsApproval(1, "valve")


async def test_a_yes_is_for_one_call_and_the_next_asks_again(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, CLOSED, ANSWER, "Done.", rules=ASKS) as at:
        task = await at.waits()
        await at.device.agree()
        at.runner.changed()

        async def asks_for_the_other() -> bool:
            return any(each.call == 3 for each in await at.device.store.pending())

        await until(at.device.journal, asks_for_the_other)
        assert [call for call, _ in at.valve.calls] == [{"to": "open"}]
        await at.device.agree()
        await finished(at, task)
        assert [call for call, _ in at.valve.calls] == [{"to": "open"}, {"to": "closed"}]


async def test_a_no_is_told_to_the_model(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "They said no.", rules=ASKS) as at:
        task = await at.waits()
        await at.device.agree(granted=False)
        assert (await finished(at, task)).text == "They said no."
        assert at.valve.calls == []
        assert "A person said no." in at.model.seen[1].messages[-1].content


async def test_silence_is_a_no(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Nobody came.", rules=ASKS) as at:
        task = await at.waits()
        at.device.clock.advance(timedelta(minutes=10))
        assert (await finished(at, task)).text == "Nobody came."
        assert at.valve.calls == []
        assert "Nobody agreed in time" in at.model.seen[1].messages[-1].content


async def test_a_yes_that_comes_too_late_is_a_no(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Late.", rules=ASKS) as at:
        task = await at.waits()
        at.device.clock.advance(timedelta(minutes=10))
        await at.device.agree()
        await finished(at, task)
        assert at.valve.calls == []


@pytest.mark.parametrize(
    "changes",
    [{"nonce": "01JGFJJZ0000000000000000AB"}, {"role": "cook"}, {"call": 7}, {"node": 3}],
    ids=["another nonce", "another role", "another call", "another node"],
)
async def test_a_yes_to_anything_else_counts_for_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with agent(tmp_path, OPEN, rules=ASKS) as at:
        task = await at.waits()
        if "nonce" in changes:
            (waiting,) = await at.device.store.pending()
            changes = {"nonce": f"{waiting.nonce[:-1]}{'b' if waiting.nonce[-1] == 'a' else 'a'}"}
        await at.device.agree(**changes)
        (waiting,) = await at.device.store.pending()
        assert waiting.votes == ()
        node = await at.device.journal.node(task, 0)
        assert node is not None
        assert node.state is NodeState.WAITING
        assert at.valve.calls == []


async def test_who_waits_is_judged_by_the_rules_that_hold_when_the_yes_comes(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, ANSWER, "Not any more.", rules=ASKS) as at:
        task = await at.waits()
        await at.device.publish(sealed_bundle(package(version=2), DENIES), version=2)
        await at.device.agree()
        await finished(at, task)
        assert at.valve.calls == []


async def test_the_wait_for_people_outlives_the_process(tmp_path: Path) -> None:
    async with agent(tmp_path, OPEN, rules=ASKS) as at:
        task = await at.waits()
        hub, clock = at.device.hub, at.device.clock
    async with agent(tmp_path, ANSWER, "Open.", hub=hub, clock=clock) as at:
        await at.device.agree()
        assert (await finished(at, task)).text == "Open."
        assert [call for call, _ in at.valve.calls] == [{"to": "open"}]


# --- killed at any moment ---


def sensible(generation: Generation) -> str:
    """A model that opens the valve, and answers when something came of it."""
    if generation.json_schema is None:
        return "Open."
    return json.dumps(ANSWER if "Result:" in generation.messages[-1].content else OPEN)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_killed_at_any_append_an_approved_call_is_done_at_most_once(
    tmp_path: Path, moment: str, is_idempotent: bool
) -> None:
    """The yes is given once; whatever dies in between, the valve is not turned twice by it.

    An idempotent tool is called again with the same key, which is the same turn.
    """
    ends: list[tuple[NodeState, str | None]] = []
    for step in range(1, 12):
        home, turned = tmp_path / f"{step}", Probe("valve", is_idempotent=is_idempotent)
        cut = asyncio.Event()

        async def die(
            number: int, drafts: Sequence[Draft], step: int = step, cut: asyncio.Event = cut
        ) -> None:
            if number == step:
                cut.set()
                await asyncio.Event().wait()

        faults = {moment: die}
        async with agent(
            home, *[sensible] * 5, rules=ASKS, valve=turned, is_idempotent=is_idempotent,
            before=faults.get("before"), after=faults.get("after"),
        ) as at:  # fmt: skip
            life = asyncio.create_task(a_life(at), name="life")
            death = asyncio.create_task(cut.wait(), name="death")
            async with asyncio.timeout(20):
                await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
            for each in (life, death):
                each.cancel()
            await asyncio.gather(life, death, return_exceptions=True)
            hub, clock = at.device.hub, at.device.clock
            left = await asyncio.to_thread(power_cut, home / "store.sqlite", home / "left")
        assert len(turned.calls) <= 1, step
        async with agent(
            left.parent, *[sensible] * 5, valve=turned, is_idempotent=is_idempotent, hub=hub, clock=clock
        ) as at:
            nodes = await at.device.journal.open_nodes()
            if nodes:
                ends.append(await until(at.device.journal, partial(settled, at, nodes[0].task)))
            assert len({key for _, key in turned.calls}) <= 1, step
            assert is_idempotent or len(turned.calls) <= 1, step
        assert set(verified(left).values()) == {None}, step
    assert (NodeState.SUCCEEDED, None) in ends
    assert (NodeState.WAITING, "approval") in ends
    assert ((NodeState.WAITING, "did_it_happen") in ends) is not is_idempotent


async def a_life(at: At) -> None:
    task = await at.waits()
    await at.device.agree()
    await finished(at, task)


async def settled(at: At, task: str) -> tuple[NodeState, str | None] | None:
    """How a node stands, once it is ended or waits for somebody."""
    node = await at.device.journal.node(task, 0)
    assert node is not None
    is_asking = node.state is NodeState.WAITING and not any(
        each.is_decided for each in await at.device.store.pending()
    )
    return (node.state, node.reason) if is_asking or node.state in TERMINAL else None


async def test_an_interrupted_call_that_the_rules_no_longer_allow_is_refused_and_the_task_goes_on(
    tmp_path: Path,
) -> None:
    hanging = Hanging()
    async with agent(tmp_path, OPEN, rules=PERMIT_ALL, is_idempotent=True, outcome=hanging) as at:
        task = await at.runner.submit("turn")
        await hanging.is_begun()
        hub, clock = at.device.hub, at.device.clock
    async with policy_device(tmp_path, hub=hub, clock=clock) as device:
        await device.publish(sealed_bundle(package(version=2), DENIES), version=2)
    async with agent(tmp_path, ANSWER, "It was interrupted.", hub=hub, clock=clock, is_idempotent=True) as at:
        assert (await finished(at, task)).text == "It was interrupted."
        assert at.valve.calls == []
        assert [each.decision for each in await at.decisions()] == ["allow", "deny"]


class Hanging:
    """A tool's outcome that never comes."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    async def __call__(self, _: Mapping[str, object]) -> object:
        self._begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def is_begun(self) -> None:
        async with asyncio.timeout(20):
            await self._begun.wait()


async def test_a_call_that_is_tried_again_after_an_interruption_is_one_call(tmp_path: Path) -> None:
    """It counts once, asks nobody again, and does not take its own yes for too old."""
    of = package("rates: [{max: 1, per: 1h}]", "budgets: {task: {calls: 1}}")
    hanging = Hanging()
    async with agent(tmp_path, OPEN, rules=ASKS, of=of, is_idempotent=True, outcome=hanging) as at:
        task = await at.waits()
        await at.device.agree()
        await hanging.is_begun()
        hub, clock = at.device.hub, at.device.clock
    clock.advance(timedelta(minutes=12))
    more = (ANSWER, "Open.", CLOSED, ANSWER, "Not twice.")
    async with agent(tmp_path, *more, hub=hub, clock=clock, is_idempotent=True, name="later") as at:
        assert (await finished(at, task)).text == "Open."
        assert [key for _, key in at.valve.calls] == [f"{task}/0/1"]
        assert [each.decision for each in await at.decisions() if each.action == "valve"] == [
            "needs_approval", "allow", "allow",
        ]  # fmt: skip
        assert await at.device.store.pending() == ()
        assert (await at.ends()).text == "Not twice."
        assert len(at.valve.calls) == 1, "for others the rate is used up"


async def test_a_budget_of_calls_holds_for_each_task(tmp_path: Path) -> None:
    of = package("", "budgets: {task: {calls: 1}}")
    script = (act("page", to="start"), OPEN, ANSWER, "One.", OPEN, ANSWER, "Two.")
    async with agent(tmp_path, *script, rules=PERMIT_ALL, of=of) as at:
        await at.ends()
        assert [each.rules for each in await at.decisions() if each.decision == "deny"] == [("budget.calls",)]
        await at.ends()
        assert len(at.valve.calls) == 1


async def test_what_was_refused_is_counted_and_is_no_text_from_elsewhere(tmp_path: Path) -> None:
    rules = (
        DENIES
        + """@id("no-more") forbid (principal, action == Action::"page", resource)
        when { context.counts.denied > 0 };"""
    )
    async with agent(tmp_path, OPEN, act("page", to="start"), ANSWER, "No.", rules=rules) as at:
        end = await ends_of(at, await at.runner.submit("turn"))
        assert [each.rules for each in await at.decisions() if each.decision == "deny"] == [
            ("never",),
            ("no-more",),
        ]
        assert end.labels == ()


# --- stops ---


@pytest.mark.parametrize("by", ["hub", "hand", "button"])
async def test_a_stop_pauses_work_and_it_goes_on_when_it_is_released(tmp_path: Path, by: str) -> None:
    gate = asyncio.Event()

    async def turn(at: At, *, is_stopped: bool) -> None:
        match by:
            case "hub":
                await at.device.halt(is_stopped=is_stopped)
            case "hand":
                await at.device.rules.stop(is_stopped=is_stopped)
            case _:
                at.device.pressed = is_stopped
                await at.device.rules.refresh()

    async with agent(
        tmp_path, Reply(json.dumps(OPEN), gate=gate), OPEN, ANSWER, "Done.", rules=PERMIT_ALL
    ) as at:
        task = await at.runner.submit("turn")
        await eventually(lambda: at.model.seen)
        await turn(at, is_stopped=True)
        await eventually(lambda: at.model.cancelled)
        node = await at.device.journal.node(task, 0)
        assert node is not None
        assert node.state is NodeState.RUNNING
        gate.set()
        await turn(at, is_stopped=False)
        assert (await finished(at, task)).text == "Done."
        assert len(at.valve.calls) == 1


@pytest.mark.slow
async def test_a_stop_that_comes_between_two_steps_costs_the_task_nothing(tmp_path: Path) -> None:
    """The button is only seen when the rules are asked: before the tool, and again before the answer goes out."""
    held: list[At] = []

    def pressed(reply: str) -> Callable[[Any], str]:
        def speak(_: Any) -> str:
            held[0].device.pressed = True
            return reply

        return speak

    async with agent(tmp_path, pressed(json.dumps(OPEN)), ANSWER, pressed("Done."), rules=PERMIT_ALL) as at:
        held.append(at)
        task = await at.runner.submit("turn")
        for _ in range(2):
            await eventually(lambda: at.device.rules.is_stopped)
            for _ in range(100):
                await asyncio.sleep(0)
            node = await at.device.journal.node(task, 0)
            assert node is not None
            assert node.state is NodeState.RUNNING
            at.device.pressed = False
            await at.device.rules.refresh()
        assert (await finished(at, task)).text == "Done."
        assert [call for call, _ in at.valve.calls] == [{"to": "open"}]
        # The work that is broken off may be about to write that it was refused, or have written it.
        decided = [each.rules for each in await at.decisions()]
        assert [rules for rules in decided if rules != ("stopped",)] == [("all",)]


async def test_a_stop_holds_over_restarts(tmp_path: Path) -> None:
    async with agent(tmp_path, rules=PERMIT_ALL) as at:
        await at.device.rules.stop(is_stopped=True)
        task = await at.runner.submit("turn")
        clock, hub = at.device.clock, at.device.hub
    async with agent(tmp_path, OPEN, ANSWER, "Done.", clock=clock, hub=hub) as at:
        for _ in range(50):
            await asyncio.sleep(0)
        assert at.model.seen == []
        await at.device.rules.stop(is_stopped=False)
        assert (await finished(at, task)).text == "Done."


# --- answers ---

SECRETIVE = (
    PERMIT_ALL
    + """
    @id("no-names") @reason("Names stay here.") forbid (principal, action == Action::"message.person", resource)
    when { context.args.text like "*secret*" };
"""
)


async def test_an_answer_that_the_rules_forbid_is_not_given_and_not_shown_before(tmp_path: Path) -> None:
    async with agent(tmp_path, ANSWER, "the secret is out", rules=SECRETIVE) as at:
        seen = await progress_of(at.runner, await at.runner.submit("tell"))
        assert not [item for item in seen if isinstance(item, TextDelta)]
        assert seen[-1] == Ended(NodeState.FAILED, "policy", "Names stay here.")
        assert at.valve.calls == []
        (judged,) = await at.answers()
        assert (judged.decision, judged.rules) == ("deny", ("no-names",))
        assert await untold(at) == {"text": "the secret is out"}, "so that other rules can be asked about it"


async def untold(at: At) -> object:
    """What is kept of the latest answer."""
    ref = (await at.answers())[-1].arguments
    blob = None if ref is None else await at.device.journal.blob(ref)
    return None if blob is None else json.loads(blob.text())


async def test_of_an_answer_that_was_told_nothing_is_kept_twice(tmp_path: Path) -> None:
    async with agent(tmp_path, ANSWER, "Hello.", rules=PERMIT_ALL) as at:
        await at.ends()
        assert await untold(at) is None


@pytest.mark.parametrize("more", [0, 1])
async def test_an_answer_that_is_not_told_is_kept_up_to_a_size(tmp_path: Path, more: int) -> None:
    async with agent(tmp_path, rules=SECRETIVE) as at:
        judge = at.device.judge
        place = Place(task=task_id_from("a task"), node=0, call=None, causes=())
        text = "secret" + "x" * (UNTOLD_MAX_BYTES - 6 + more)
        flow = await judge.conversation(Asker(), ())
        judged = await judge.ask_about("message.person", {"text": text}, flow, place=place)
        assert [json.loads(blob.text()) for blob in judged.draft.blobs] == [{"text": text}] * (1 - more)


async def test_a_decision_tells_the_devices_own_time(tmp_path: Path) -> None:
    there = timezone(timedelta(hours=-9, minutes=-30))
    async with policy_device(tmp_path, local=lambda moment: moment.astimezone(there)) as device:
        flow = await device.judge.conversation(Asker(), ())
        judged = await device.judge.ask_about("message.person", {"text": "Hello."}, flow)
        assert isinstance(judged.draft.record, PolicyDecided)
        assert judged.draft.record.utc_offset_min == -570


async def test_personal_data_is_taken_out_of_an_answer_and_not_shown_before(tmp_path: Path) -> None:
    of = package(more="obligations: [{redact: [email], tools: [message.person]}]")
    async with agent(tmp_path, ANSWER, "write to anna@example.org now", rules=PERMIT_ALL, of=of) as at:
        seen = await progress_of(at.runner, await at.runner.submit("tell"))
        assert not [item for item in seen if isinstance(item, TextDelta)]
        assert isinstance(last := seen[-1], Ended)
        assert last.state is NodeState.SUCCEEDED
        assert "anna" not in last.text
        assert last.text.startswith("write to ")


async def test_a_rate_of_answers_holds(tmp_path: Path) -> None:
    of = package(more="actions: {message.person: {rates: [{max: 1, per: 1h}]}}")
    async with agent(tmp_path, ANSWER, "one", ANSWER, "two", rules=PERMIT_ALL, of=of) as at:
        assert [(await at.ends()).text.partition(" ")[0] for _ in range(2)] == ["one", "message.person"]
        assert [each.decision for each in await at.answers()] == ["allow", "deny"]


async def test_an_answer_that_no_rule_reads_streams(tmp_path: Path) -> None:
    async with agent(tmp_path, ANSWER, "one two", rules=PERMIT_ALL) as at:
        seen = await progress_of(at.runner, await at.runner.submit("count"))
        assert [item.text for item in seen if isinstance(item, TextDelta)] == ["one", " two"]


async def test_an_agent_that_may_not_answer_says_why(tmp_path: Path) -> None:
    only_tools = PERMIT_ALL.replace("action,", 'action in Action::"tools",')
    async with agent(tmp_path, ANSWER, "hello", rules=only_tools) as at:
        ended = await at.ends()
        assert (ended.state, ended.reason) == (NodeState.FAILED, "policy")
        assert "hello" not in ended.text

"""A crash at every step: whatever was in the journal is not done again, and the task ends.

The process dies right before, or right after, each append, or in the middle of a tool; what it leaves behind is the
files as they were, and a new process goes on from them.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edge.agent import Asked, Ended
from edge.ports import Draft
from shared.ids import Lane
from shared.records import ToolResult, parse_record
from shared.tasks.states import NodeState
from tests.support.agent import FaultyJournal, Probe, first_offer, make_runner, progress_of, running, working
from tests.support.model import ScriptedModel
from tests.support.store import opened_journal, power_cut, projections, rebuild, verified

STEPS = 15
"""Appends of this story: the task, running, four calls each with choice, intent and result, and the end."""


class World:
    """What a crash does not undo: the valve that was turned, the reading that was taken."""

    def __init__(self, *, valve_is_idempotent: bool) -> None:
        self.done: list[str] = []
        self.meter = Probe("meter", choices=({"at": "in"}, {"at": "out"}), outcome=self._measure)
        self.valve = Probe("valve", is_idempotent=valve_is_idempotent, outcome=self._turn)

    async def _measure(self, arguments: Mapping[str, object]) -> object:
        self.done.append(f"meter {arguments['at']}")
        return {"summary": f"{arguments['at']} is 4"}

    async def _turn(self, arguments: Mapping[str, object]) -> object:
        self.done.append(f"valve {arguments['to']}")
        return {"summary": f"valve is {arguments['to']}"}

    @property
    def probes(self) -> tuple[Probe, Probe]:
        return self.meter, self.valve


def model() -> ScriptedModel:
    return ScriptedModel(*[first_offer] * 20)


async def crash(home: Path, world: World, *, step: int, moment: str) -> tuple[str, Path]:
    """Work until append `step`, and cut the power there; the store as it was left, and what was recorded by then."""
    cut = asyncio.Event()

    async def at(number: int, _: Sequence[Draft]) -> None:
        if number == step:
            cut.set()
            await asyncio.Event().wait()

    path = home / "store.sqlite"
    async with opened_journal(path) as journal:
        faults = {moment: at}
        faulty = FaultyJournal(journal, before=faults.get("before"), after=faults.get("after"))
        # The task itself is safe before the agent hears of it: `submit` is not under test here.
        task = await make_runner(journal, model(), work=journal).submit("do everything")
        async with running(make_runner(faulty, model(), *world.probes, work=journal)):
            async with asyncio.timeout(20):
                await cut.wait()
            left = await asyncio.to_thread(power_cut, path, home / "left")
    return task, left


async def finish(path: Path, world: World, task: str) -> tuple[Ended, int]:
    """Start again on what was left; a person says truthfully what happened."""
    questions = 0
    async with opened_journal(path) as journal, working(journal, model(), *world.probes) as runner:
        while True:
            last = (await progress_of(runner, task))[-1]
            if isinstance(last, Ended):
                return last, questions
            assert isinstance(last, Asked)
            questions += 1
            effect = (await journal.effects(task, 0))[last.call]
            assert effect.argument is not None
            argument = await journal.blob(effect.argument)
            assert argument is not None
            happened = f"{effect.name} {json.loads(argument.text())['to']}" in world.done
            assert await runner.answer(task, 0, last.call, happened=happened)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
async def test_no_finished_effect_is_repeated_and_the_task_ends(
    tmp_path: Path, step: int, moment: str
) -> None:
    world = World(valve_is_idempotent=False)
    task, left = await crash(tmp_path, world, step=step, moment=moment)
    assert verified(left) == {"journal": None}, "a crash leaves a sound journal"
    recorded_before = await results(left)
    end, questions = await finish(left, world, task)
    assert end.state is NodeState.SUCCEEDED
    assert questions <= 1
    # Not idempotent: exactly once. Idempotent: again only if its result was not in the journal.
    assert sorted(item for item in world.done if item.startswith("valve")) == ["valve closed", "valve open"]
    meters = [item for item in world.done if item.startswith("meter")]
    assert set(meters) == {"meter in", "meter out"}
    assert len(meters) <= 3
    recorded = await results(left)
    assert recorded[: len(recorded_before)] == recorded_before, "what was recorded stays"
    assert len(recorded) == 4
    assert verified(left) == {"journal": None}


async def results(path: Path) -> list[tuple[int, bytes]]:
    """Which call has which result."""
    async with opened_journal(path) as journal:
        entries = await journal.tail(Lane.JOURNAL, after=0, limit=1_000)
    parsed = [parse_record(entry.record) for entry in entries]
    return [(record.call, record.result.hash) for record in parsed if isinstance(record, ToolResult)]


async def test_the_story_has_as_many_steps_as_are_tried(tmp_path: Path) -> None:
    world = World(valve_is_idempotent=False)
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        faulty = FaultyJournal(journal)
        runner = make_runner(faulty, model(), *world.probes, work=journal)
        async with running(runner):
            task = await runner.submit("do everything")
            assert isinstance((await progress_of(runner, task))[-1], Ended)
    assert faulty.appends - 1 == STEPS
    assert world.done == ["meter in", "meter out", "valve open", "valve closed"]


async def test_a_crash_in_the_middle_of_a_tool_leaves_a_question_and_not_a_second_effect(
    tmp_path: Path,
) -> None:
    world = World(valve_is_idempotent=False)
    in_tool = asyncio.Event()

    async def turn_and_die(arguments: Mapping[str, object]) -> object:
        world.done.append(f"valve {arguments['to']}")
        in_tool.set()
        await asyncio.Event().wait()
        raise AssertionError("for ever is over")

    world.valve.outcome = turn_and_die
    path = tmp_path / "store.sqlite"
    async with opened_journal(path) as journal, working(journal, model(), *world.probes) as runner:
        task = await runner.submit("do everything")
        async with asyncio.timeout(20):
            await in_tool.wait()
        left = await asyncio.to_thread(power_cut, path, tmp_path / "left")
    world.valve.outcome = world._turn
    end, questions = await finish(left, world, task)
    assert (end.state, questions) == (NodeState.SUCCEEDED, 1)
    assert world.done.count("valve open") == 1


async def test_a_journal_resumed_after_a_crash_rebuilds_to_what_is_live(tmp_path: Path) -> None:
    world = World(valve_is_idempotent=False)
    task, left = await crash(tmp_path, world, step=10, moment="before")
    await finish(left, world, task)
    async with opened_journal(left) as journal:
        live = await journal._database.read(projections)
    assert rebuild(left, tmp_path / "fresh.sqlite", "journal first") == live

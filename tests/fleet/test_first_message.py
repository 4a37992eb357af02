"""The whole story in one screen: a task goes from the hub to a device's model and back, signed; and what can go wrong.

Real daemon, real ingest, real task service; only the broker and the model are scripted (`tests/fleet/in_memory.py`).
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge.core.turn import ToolSpec
from edge.tools import Tool
from shared.ids import Lane
from shared.records import (
    DeviceStarted,
    DeviceStopped,
    MemoryChanged,
    MemoryWritten,
    ModelCalled,
    NodeMoved,
    PolicyDecided,
    ToolIntent,
    ToolResult,
    TwinReported,
)
from tests.fleet.in_memory import LEASE_S, MemoryDevice, MemoryFleet, eventually, use
from tests.support.model import Reply, ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

QUESTION = "What is the temperature of the fridge, and is it in range?"
ANSWER = "The fridge is at 4.2 °C, within its range."


def reads_the_fridge(answer: str = ANSWER) -> ScriptedModel:
    """It calls `read_sensor`, sees that it knows enough, and answers."""
    return ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), answer)


async def test_a_task_of_the_hub_is_done_by_the_device_and_its_signed_answer_is_in_the_hub(
    tmp_path: Path,
) -> None:
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", reads_the_fridge()) as device:
        task = await fleet.create_task(QUESTION, device)

        view = await fleet.ended(task)

        (node,) = view.nodes
        assert (view.state, node.principal, node.result) == ("succeeded", "acme.fridge-1", ANSWER)
        (effect,) = node.effects
        assert (effect.tool, effect.intents, effect.results, effect.ok) == ("read_sensor", 1, 1, True)
        assert "4.2 °C" in (effect.result or "")
        (offer,) = node.offers
        assert offer.acknowledged_at is not None
        # Every record came in order, and the device's own signature vouches for the whole of both logs' chains.
        await drained_log(fleet, device)
        kinds = [type(line.record) for line in await fleet.log(device)]
        assert kinds[:11] == [
            DeviceStarted, TwinReported,
            NodeMoved, ModelCalled, PolicyDecided, ToolIntent, ToolResult, ModelCalled, ModelCalled,
            PolicyDecided, NodeMoved,
        ]  # fmt: skip
        # Then the device remembers it.
        assert set(kinds[11:]) <= {PolicyDecided, MemoryWritten, MemoryChanged}
        reports = {report.lane: report for report in await fleet.verify(device)}
        assert [report.problem for report in reports.values()] == [None, None]
        assert reports["journal"].sealed_upto == reports["journal"].head_seq >= 11


async def test_work_done_while_cut_off_appears_at_the_hub_complete_and_in_order(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", reads_the_fridge()) as device:
        before = len(await drained_log(fleet, device))
        device.link.cut()
        await eventually("the link to be down", lambda: has_state(device, "offline"))

        task = await device.daemon.runner.submit(QUESTION)
        await eventually("the task to end offline", lambda: has_ended(device, task))
        assert len(await fleet.log(device)) == before

        device.link.mend()
        view = await fleet.ended(task)
        assert (view.origin, view.state, view.nodes[0].result) == ("acme.fridge-1", "succeeded", ANSWER)
        assert await drained_log_data(fleet, device) == [
            entry.record for entry in await device.journal.tail(Lane.JOURNAL, after=0, limit=1_000)
        ]


async def test_a_task_for_a_device_that_is_away_is_done_when_it_comes_back(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device("fridge-1", ScriptedModel()) as device:
            pass
        task = await fleet.create_task(QUESTION, device)
        assert (await fleet.show(task)).state == "queued"

        async with fleet.device("fridge-1", reads_the_fridge()):
            assert (await fleet.ended(task)).state == "succeeded"


async def test_a_hub_that_restarts_in_the_middle_gets_the_answer_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    model = ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), Reply(ANSWER, gate=gate))
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", model) as device:
        task = await fleet.create_task(QUESTION, device)
        await fleet.reached(task, "to have its tool called", lambda view: bool(view.nodes[0].effects))

        await fleet.stop_hub()

        async def has_noticed() -> bool:
            fleet.clock.advance(seconds=1)  # the word is doubted for a moment
            return await has_state(device, "connected")

        await eventually("the device to notice", has_noticed)
        gate.set()
        await eventually("the task to end without a hub", lambda: has_ended(device, task))
        await fleet.start_hub()

        view = await fleet.ended(task)
        assert (view.state, view.nodes[0].result, view.late_results) == ("succeeded", ANSWER, [])
        assert [effect.results for effect in view.nodes[0].effects] == [1]
        assert await eventually("the device to be linked", lambda: has_state(device, "linked"))


async def test_a_device_stopped_between_tool_and_answer_goes_on_without_repeating_the_tool(
    tmp_path: Path,
) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        stuck = ScriptedModel(
            use("read_sensor", sensor="fridge"), Reply('{"action": "answer"}', gate=asyncio.Event())
        )
        async with fleet.device("fridge-1", stuck) as device:
            task = await fleet.create_task(QUESTION, device)
            await fleet.reached(
                task, "to have a tool result", lambda view: [e.results for e in view.nodes[0].effects] == [1]
            )

        async with fleet.device("fridge-1", ScriptedModel(use("answer"), ANSWER)):
            view = await fleet.ended(task)
        assert (view.state, view.nodes[0].result) == ("succeeded", ANSWER)
        assert [(effect.intents, effect.results) for effect in view.nodes[0].effects] == [(1, 1)]
        stopped = [line.seq for line in await fleet.log(device) if isinstance(line.record, DeviceStopped)]
        assert len(stopped) >= 1


async def test_a_cancel_at_the_hub_stops_the_model_and_the_device_confirms(tmp_path: Path) -> None:
    model = ScriptedModel(Reply('{"action": "answer"}', gate=asyncio.Event()))
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", model) as device:
        task = await fleet.create_task("Say hello.", device)
        await fleet.reached(task, "to run", lambda view: view.state == "running")
        await eventually("the model to begin", lambda: says(bool(model.seen)))
        assert model.cancelled == 0

        await fleet.cancel(task)
        view = await fleet.ended(task)

        assert (view.state, view.nodes[0].reason) == ("cancelled", "operator")
        assert model.cancelled == 1
        moves = [line.record for line in await fleet.log(device) if isinstance(line.record, NodeMoved)]
        assert [move.state.value for move in moves] == ["running", "cancelled"]


async def test_a_lapsed_lease_gives_the_node_to_another_device_and_the_late_answer_is_kept(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    slow = ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), Reply("Too late.", gate=gate))
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", slow) as first:
        task = await fleet.create_task(QUESTION)
        await fleet.reached(task, "to have its tool called", lambda view: bool(view.nodes[0].effects))
        first.link.cut()
        await eventually("the first device to be cut off", lambda: has_state(first, "offline"))

        async with fleet.device("fridge-2", reads_the_fridge()) as second:
            fleet.clock.advance(seconds=LEASE_S + 1)
            await fleet.sweep()
            view = await fleet.ended(task)
            assert (view.nodes[0].principal, view.nodes[0].attempt) == (second.principal, 2)
            assert view.nodes[0].result == ANSWER

            gate.set()
            await eventually("the first device to end its work", lambda: has_ended(first, task))
            first.link.mend()
            view = await fleet.reached(task, "to have late results", lambda view: bool(view.late_results))

        assert (view.state, view.nodes[0].result) == ("succeeded", ANSWER)
        late = view.late_results[-1]
        assert (late.principal, late.state, late.result) == (first.principal, "succeeded", "Too late.")
        assert [(offer.principal, offer.withdrawn_at is None) for offer in view.nodes[0].offers] == [
            (first.principal, False),
            (second.principal, True),
        ]


async def test_a_question_about_an_interrupted_call_is_answered_from_the_hub(tmp_path: Path) -> None:
    calls: list[str] = []
    begun = asyncio.Event()

    async def unlock(_arguments: Mapping[str, object], key: str) -> dict[str, object]:
        calls.append(key)
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("the device is stopped while the door moves")

    door = Tool(ToolSpec(name="unlock", description="Unlock.", choices=({},), is_idempotent=False), unlock)
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device("door-1", ScriptedModel(use("unlock")), tools=[door]) as device:
            task = await fleet.create_task("Let me in.", device)
            async with asyncio.timeout(10):
                await begun.wait()
            await fleet.reached(task, "to have begun a call", lambda view: bool(view.nodes[0].effects))

        async with fleet.device("door-1", ScriptedModel(use("answer"), "The door is open."), tools=[door]):
            view = await fleet.reached(task, "to wait for a word", lambda view: view.state == "waiting")
            (effect,) = view.nodes[0].effects
            assert (effect.question, effect.results, view.nodes[0].reason) == ("asked", 0, "did_it_happen")

            await fleet.answer(task, node=0, call=effect.call, happened=True)
            view = await fleet.ended(task)

        assert (view.state, view.nodes[0].result) == ("succeeded", "The door is open.")
        assert [(e.intents, e.results) for e in view.nodes[0].effects] == [(1, 1)]
        assert calls == [f"{task}/0/{effect.call}"]


# --- asking a device


async def has_state(device: MemoryDevice, state: str) -> bool:
    return await device.state() == state


async def has_ended(device: MemoryDevice, task: str) -> bool:
    return all(node.task != task for node in await device.journal.open_nodes())


async def says(value: bool) -> bool:
    return value


async def drained_log(fleet: MemoryFleet, device: MemoryDevice) -> list[object]:
    await eventually("the device to have been acknowledged", device.is_drained)
    return [line.record for line in await fleet.log(device)]


async def drained_log_data(fleet: MemoryFleet, device: MemoryDevice) -> list[bytes]:
    """The hub's bytes of the device's journal, once everything was acknowledged."""
    await eventually("the device to have been acknowledged", device.is_drained)
    return await fleet.log_bytes(device)


async def test_a_device_that_lost_its_store_does_no_finished_work_again(tmp_path: Path) -> None:
    """P1, P13: a new journal epoch closes the old orders; what was never delivered is offered anew."""
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device("fridge-1", reads_the_fridge()) as device:
            done = await fleet.create_task(QUESTION, device)
            assert (await fleet.ended(done)).state == "succeeded"
            await drained_log(fleet, device)
        waiting = await fleet.create_task(QUESTION, device)
        for file in (tmp_path / "fridge-1").glob("store.sqlite*"):
            file.unlink()

        async with fleet.device("fridge-1", reads_the_fridge("It is still cold.")) as reborn:
            view = await fleet.ended(waiting)
            assert (view.state, view.nodes[0].result, view.nodes[0].attempt) == (
                "succeeded",
                "It is still cold.",
                2,
            )
            assert await reborn.journal.node(done, 0) is None
        view = await fleet.show(done)
        assert (view.state, view.nodes[0].result, view.late_results) == ("succeeded", ANSWER, [])
        assert [(effect.intents, effect.results) for effect in view.nodes[0].effects] == [(1, 1)]


async def test_work_that_a_lost_store_held_has_failed_and_says_why(tmp_path: Path) -> None:
    gate = asyncio.Event()
    model = ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), Reply(ANSWER, gate=gate))
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device("fridge-1", model) as device:
            task = await fleet.create_task(QUESTION, device)
            await fleet.reached(task, "to have its tool called", lambda view: bool(view.nodes[0].effects))
        for file in (tmp_path / "fridge-1").glob("store.sqlite*"):
            file.unlink()
        async with fleet.device("fridge-1", ScriptedModel()):
            view = await fleet.ended(task)
        assert (view.state, view.nodes[0].reason) == ("failed", "store_lost")

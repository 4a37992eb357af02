"""A device whose journal is full: it refuses new work and says so, goes on with all else, and recovers by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edge.ports import JOURNAL_BOUND
from shared.blobs import Blob
from shared.clock import to_ms
from shared.errors import CapacityError
from shared.ids import Lane
from shared.records import JOURNAL_FULL, DeviceCondition, NodeMoved, TaskOffered
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.agent import end_of, make_runner, running, until, working
from tests.support.clock import START
from tests.support.daemon import RunningDaemon, daemon_in
from tests.support.device import bytes_from, signer_from, task_id_from
from tests.support.hub import ScriptedHub
from tests.support.model import Reply, ScriptedModel
from tests.support.retention import OpenRoom
from tests.support.store import PRINCIPAL, opened_journal, records, verified
from tests.support.waiting import eventually
from tests.support.work import done

LIMIT_BYTES = 1_048_576
RESERVE_BYTES = 262_144
FULL = CapacityError("The journal is full.", bound=JOURNAL_BOUND, limit=LIMIT_BYTES)
LIMITS: dict[str, Any] = {"journal_max_bytes": LIMIT_BYTES, "journal_reserve_bytes": RESERVE_BYTES}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


async def fill(device: RunningDaemon) -> None:
    """Work until there is no room for more. (Nobody acknowledges: it is not linked.)"""
    number = 0
    while device.journal.gauge.journal_bytes < LIMIT_BYTES:
        number += 1
        await device.journal.append(*done(task_id_from(f"{number}"), content_bytes=4_000), durable=False)
    await eventually(lambda: device.daemon.retention.is_full)


async def refused(device: RunningDaemon, path: str, body: dict[str, Any]) -> str:
    response = await device.client.post(path, json=body)
    assert response.status_code == 507, response.text
    assert response.json()["error"]["code"] == "capacity"
    return str(response.json()["error"]["message"])


async def conditions(device: RunningDaemon) -> list[tuple[str, bool]]:
    found = [record for record in await records(device.journal) if isinstance(record, DeviceCondition)]
    return [(record.condition, record.is_active) for record in found]


@pytest.mark.slow
async def test_a_full_journal_refuses_new_work_in_one_sentence_and_answers_all_else(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel("hello"), **LIMITS) as device:
        await fill(device)
        for path, body in (
            ("/tasks", {"goal": "more"}),
            ("/v1/chat/completions", {"model": "covey", **CHAT}),
            ("/v1/chat/completions", {"model": "scripted", **CHAT}),
        ):
            message = await refused(device, path, body)
            assert "The journal is full" in message
            assert "\n" not in message
        assert await device.journal.open_nodes() == ()
        status = (await device.client.get("/status")).json()
        assert [issue["part"] for issue in status["issues"]] == ["journal"]
        lane = status["lanes"]["journal"]
        assert lane["max_bytes"] == LIMIT_BYTES <= lane["disk_bytes"] <= LIMIT_BYTES + RESERVE_BYTES
        assert lane["waiting"] == lane["head"]
        stats = (await device.client.get("/memory/stats")).json()
        assert stats["sorts"]["episode"]["holding"] > 0
        assert (await device.client.get("/journal")).status_code == 200
        await eventually_told(device, [(JOURNAL_FULL, True)])

        # The hub takes it all: the device finds out by itself.
        await device.journal.acknowledged(Lane.JOURNAL, lane["head"])
        await eventually_told(device, [(JOURNAL_FULL, True), (JOURNAL_FULL, False)])
        assert (await device.client.post("/tasks", json={"goal": "more"})).status_code == 202
        status = (await device.client.get("/status")).json()
        assert status["issues"] == []
        assert status["lanes"]["journal"]["tail"] > 1
    assert verified(tmp_path / "store.sqlite") == {"journal": None}


async def eventually_told(device: RunningDaemon, expected: list[tuple[str, bool]]) -> None:
    seen = len(expected)

    async def is_told() -> bool:
        return len(await conditions(device)) == seen

    await until(device.journal, is_told)
    # What was trimmed since is no longer in the log.
    assert (await conditions(device))[-1] == expected[-1]


@pytest.mark.slow
async def test_a_device_that_stopped_full_starts_full(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel(), **LIMITS) as device:
        await fill(device)
        await eventually_told(device, [(JOURNAL_FULL, True)])
    async with daemon_in(tmp_path, ScriptedModel(), **LIMITS) as device:
        assert device.daemon.retention.is_full
        await refused(device, "/tasks", {"goal": "more"})
        assert await conditions(device) == [(JOURNAL_FULL, True)]
    # With more room it is not, and says so.
    async with daemon_in(tmp_path, ScriptedModel()) as device:
        await eventually(lambda: not device.daemon.retention.is_full)
        await eventually_told(device, [(JOURNAL_FULL, True), (JOURNAL_FULL, False)])


# --- the agent ---


def offer(hub: ScriptedHub, name: str) -> str:
    goal = Blob(salt=bytes_from(name), content=name.encode())
    record = TaskOffered(
        at_ms=to_ms(START),
        task=task_id_from(name),
        node=0,
        attempt=1,
        goal=goal.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=to_ms(START) + 600_000,
    )
    hub.order(record, goal)
    return record.task


async def test_with_a_full_journal_what_the_hub_offers_is_rejected_so_that_it_goes_elsewhere(
    tmp_path: Path,
) -> None:
    room, hub = OpenRoom(), ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
    room.error = FULL
    async with (
        opened_journal(tmp_path / "store.sqlite") as journal,
        working(journal, ScriptedModel("never"), room=room) as runner,
    ):
        task = offer(hub, "read the fridge")
        await journal.receive(hub.batch_of_orders())
        assert (await end_of(runner, task)).state is NodeState.REJECTED
        (moved,) = await records(journal)
        assert isinstance(moved, NodeMoved)
        assert (moved.reason, moved.result) == (JOURNAL_FULL, None)


async def test_with_a_full_journal_what_was_begun_ends_and_what_was_only_asked_for_waits(
    tmp_path: Path,
) -> None:
    room, gate = OpenRoom(), asyncio.Event()
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        model = ScriptedModel(Reply("first", gate=gate), "second")
        runner = make_runner(journal, model, work=journal, room=room)
        async with running(runner):
            first, second = await runner.submit("a"), await runner.submit("b")
            await eventually(lambda: model.seen)
            room.error = FULL
            gate.set()
            assert (await end_of(runner, first)).text == "first"
            runner.changed()
            await eventually(lambda: runner.current_task is None)
            assert [node.task for node in await journal.open_nodes()] == [second]
            assert len(model.seen) == 1
            room.error = None
            runner.changed()
            assert (await end_of(runner, second)).text == "second"

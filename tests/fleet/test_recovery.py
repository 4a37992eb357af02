"""Copies of stores and old backups, on both sides: the real daemon, the real ingest, and an operator between them."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlmodel import select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.journal.tables import LaneGap, LaneRow
from cloud.recovery import service as recovery
from cloud.tasks.schemas import TaskView
from edge.adapters.store_sqlite.trimming import drop_through
from shared.errors import RefusedError
from shared.ids import Lane
from shared.log import Head
from tests.fleet.in_memory import MemoryDevice, MemoryFleet, eventually, use
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.slow

NAME = "fridge-1"
PRINCIPAL = "acme.fridge-1"


def answers(*texts: str) -> ScriptedModel:
    return ScriptedModel(*(reply for text in texts for reply in (use("answer"), text)))


async def drained(fleet: MemoryFleet, device: MemoryDevice) -> None:
    async def is_drained() -> bool:
        # What the sender waits for is told by the clock, which stands still by itself.
        fleet.clock.advance(seconds=1)
        return await device.is_drained()

    await eventually("everything to be acknowledged", is_drained)


async def asked(fleet: MemoryFleet, device: MemoryDevice, question: str) -> str:
    task = await device.daemon.runner.submit(question)
    await fleet.ended(task)
    await drained(fleet, device)
    return task


def status_of(fleet: MemoryFleet) -> tuple[str, str | None]:
    with fleet.database.read() as session:
        device = session.get(Device, PRINCIPAL)
        assert device is not None
        return device.status, device.status_reason


async def quarantined(fleet: MemoryFleet, reason: str) -> None:
    async def look() -> bool:
        fleet.clock.advance(seconds=1)
        return status_of(fleet) == ("quarantined", reason)

    await eventually(f"the device to be quarantined as {reason}", look)


def resolve(fleet: MemoryFleet) -> None:
    with fleet.database.write() as session:
        recovery.resolve(session, PRINCIPAL, fleet.clock.now())


def copy_store(fleet: MemoryFleet, to: str) -> None:
    shutil.copytree(fleet.directory / NAME, fleet.directory / to, dirs_exist_ok=True)


def restore_store(fleet: MemoryFleet, of: str) -> None:
    shutil.rmtree(fleet.directory / NAME)
    shutil.copytree(fleet.directory / of, fleet.directory / NAME)


def gaps(database: Database) -> list[tuple[str, int, int, str]]:
    with database.read() as session:
        lanes = {row.id: row.lane for row in session.exec(select(LaneRow)).all()}
        found = [(lanes[gap.lane_id], gap) for gap in session.exec(select(LaneGap)).all()]
        return sorted((lane, gap.first_seq, gap.last_seq, gap.reason) for lane, gap in found)


async def test_a_device_restored_from_an_old_copy_goes_on_after_an_operator_said_so_and_all_of_its_work_arrives(
    tmp_path: Path,
) -> None:
    """P13, P21."""
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device(NAME, answers("one")) as device:
            await asked(fleet, device, "the first question")
        copy_store(fleet, "backup")
        async with fleet.device(NAME, answers("two")) as device:
            forgotten = await asked(fleet, device, "asked after the copy was made")
        restore_store(fleet, "backup")
        async with fleet.device(NAME, answers("three"), linked=False) as device:
            offline = await device.daemon.runner.submit("asked of the restored device, offline")
            await eventually("it to end offline", lambda: has_ended(device, offline))
            device.link.mend()
            await quarantined(fleet, "fork")
            await eventually("the device to know it", lambda: is_forked(device))
            resolve(fleet)
            view = await reached(fleet, offline)
            assert (view.state, view.nodes[0].result) == ("succeeded", "three")
            await drained(fleet, device)
            await eventually("the device to know that it is resolved", lambda: is_whole(fleet, device))
            # What the device forgot, the hub still has.
            assert (await fleet.show(forgotten)).nodes[0].result == "two"
            assert [report.problem for report in await fleet.verify(device)] == [None] * len(
                await fleet.verify(device)
            )
        assert [
            (lane, first, reason) for lane, first, _, reason in gaps(fleet.database) if lane == "journal"
        ] == [("journal", 1, "branch")]
        # The branch is a log like any other: also after a restart.
        async with fleet.device(NAME, answers("four")) as device:
            await asked(fleet, device, "and after a restart")
            assert status_of(fleet) == ("active", None)


async def test_a_hub_restored_from_a_backup_gets_everything_again(tmp_path: Path) -> None:
    """P12, P20: what the device still holds comes again; what was ordered in between is not done a second time."""
    async with (
        MemoryFleet(tmp_path) as fleet,
        fleet.device(NAME, answers("one", "two", "three", "four")) as device,
    ):
        await fleet.ended(await fleet.create_task("ordered before the backup", device))
        await drained(fleet, device)
        backup = await fleet.backup()
        done = await fleet.create_task("ordered after the backup", device)
        await fleet.ended(done)
        await drained(fleet, device)
        held = await fleet.log_bytes(device)
        await fleet.restore(backup)
        again = await fleet.create_task("ordered after the restoration", device)

        async def look() -> bool:
            fleet.clock.advance(seconds=1)
            return (await fleet.show(again)).state == "succeeded"

        await eventually("the new task to be done", look)
        await drained(fleet, device)
        assert (await fleet.log_bytes(device))[: len(held)] == held
        assert status_of(fleet) == ("active", None)
        assert gaps(fleet.database) == []
        assert all(report.problem is None for report in await fleet.verify(device))
        lanes = [report.lane for report in await fleet.verify(device)]
        assert lanes.count("orders") == 2


async def test_what_a_device_had_trimmed_when_the_hub_was_restored_is_a_gap_and_nothing_stands_still(
    tmp_path: Path,
) -> None:
    """P19."""
    async with MemoryFleet(tmp_path) as fleet, fleet.device(NAME, answers("one", "two")) as device:
        backup = await fleet.backup()
        await asked(fleet, device, "the first question")
        lane = await device.journal.lane(Lane.JOURNAL)
        assert lane is not None
        await trim(fleet, device, lane.head)
        await fleet.restore(backup)
        await asked(fleet, device, "the second question")
        (gap,) = [gap for gap in gaps(fleet.database) if gap[0] == "journal"]
        assert gap[2:] == (lane.head.seq, "lost")
        assert status_of(fleet) == ("active", None)
        assert all(report.problem is None for report in await fleet.verify(device))


async def has_ended(device: MemoryDevice, task: str) -> bool:
    node = await device.journal.node(task, 0)
    return node is not None and node.state == "succeeded"


async def is_forked(device: MemoryDevice) -> bool:
    return bool((await device.daemon.status())["link"]["forked"])


async def is_whole(fleet: MemoryFleet, device: MemoryDevice) -> bool:
    fleet.clock.advance(seconds=1)
    return not await is_forked(device)


async def reached(fleet: MemoryFleet, task: str) -> TaskView:
    """The task at the hub, once it is there and has succeeded."""

    async def look() -> TaskView | None:
        fleet.clock.advance(seconds=1)
        try:
            view = await fleet.show(task)
        except RefusedError:
            return None
        return view if view.state == "succeeded" else None

    return await eventually(f"task {task} at the hub", look)


async def trim(fleet: MemoryFleet, device: MemoryDevice, upto: Head) -> None:
    """As the retention of the device does with what is acknowledged."""
    store = fleet.directory / NAME / "store.sqlite"

    def change() -> None:
        with sqlite3.connect(store) as db:
            drop_through(db, 1, upto)

    await asyncio.to_thread(change)

"""Forgetting across the whole system: asked for at the hub, done by a real device, proven by every byte of both."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from cloud.memory import requests
from cloud.memory.forgetting import Forgetter, Wanted
from cloud.memory.keeper import Keeper
from cloud.memory.schemas import ForgetView
from cloud.memory.shelves import Room
from shared.ids import Lane
from tests.cloud.memory.world import caller
from tests.fleet.in_memory import TENANT, MemoryFleet, eventually, use
from tests.fleet.test_first_message import has_ended
from tests.support.device import task_id_from
from tests.support.model import ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

NAME = "Xanthippe Quorndale"
REQUEST = task_id_from("forget her")


def files_with(directory: Path, text: str) -> list[str]:
    needles = [form.encode() for form in (text, text.lower())]
    return [
        str(path.relative_to(directory))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def tables_with(fleet: MemoryFleet, text: str) -> set[str]:
    """Of the hub's database, whichever it is."""

    def holds(value: object) -> bool:
        told = value if isinstance(value, bytes) else str(value).encode()
        return text.lower().encode() in told.lower()

    with fleet.database.read() as session:
        return {
            name
            for name, table in SQLModel.metadata.tables.items()
            if any(holds(value) for row in session.execute(select(table)) for value in row)
        }


def keeper_of(fleet: MemoryFleet) -> tuple[Forgetter, Keeper]:
    forgetter = Forgetter(
        database=fleet.database, clock=fleet.clock, digest_key=bytes(32), on_ordered=fleet.wake
    )
    keeper = Keeper(
        database=fleet.database,
        clock=fleet.clock,
        forgetter=forgetter,
        room=Room(documents_max=10, waiting_max_bytes=1_000_000),
        publish_after=timedelta(),
        on_asked=lambda: None,
    )
    return forgetter, keeper


async def test_what_the_hub_wants_forgotten_is_gone_from_hub_and_device_with_a_receipt(
    tmp_path: Path,
) -> None:
    """P30"""
    model = ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), f"{NAME} is at 4.2 °C.")
    async with MemoryFleet(tmp_path) as fleet, fleet.device("ward-1", model) as device:
        task = await fleet.create_task(f"How warm is the fridge of {NAME}?", device)
        await fleet.ended(task)
        await eventually("the journal to be with the hub", device.is_drained)
        assert any(each.startswith("ward-1/") for each in files_with(tmp_path, NAME))
        assert "blob" in tables_with(fleet, NAME)
        forgetter, keeper = keeper_of(fleet)
        await asyncio.to_thread(
            forgetter.ask, caller(tenant=TENANT), Wanted(tenant=TENANT), NAME, request_id=REQUEST
        )

        async def closed() -> ForgetView | None:
            await asyncio.to_thread(keeper.work, fleet.database)
            with fleet.database.read() as session:
                view = requests.view(session, TENANT, REQUEST, receipts=10)
            return view if view.closed_at is not None else None

        view = await eventually("the receipt", closed)
        await asyncio.to_thread(keeper.work, fleet.database)
        (receipt,) = view.receipts
        assert (receipt.device, receipt.state, receipt.kept) == ("ward-1", "done", 0)
        assert receipt.contents >= 2
        assert view.contents >= 2
        assert tables_with(fleet, NAME) == set()
        assert files_with(tmp_path, NAME) == []
        shown = await fleet.show(task)
        assert (shown.goal, shown.nodes[0].result) == (None, None)
        # The history is whole: what the records say is proven, and what they named is not there.
        assert {report.problem for report in await fleet.verify(device)} == {None}
        orders = [each.kind for each in await fleet.log(device, Lane.ORDERS)]
        assert orders[-2:] == ["forget.ordered", "forget.confirmed"]


async def test_what_was_forgotten_before_the_hub_had_it_never_gets_there(tmp_path: Path) -> None:
    """P30: the records go without their content, and their log goes on."""
    model = ScriptedModel(f"{NAME} is well.", "Hello.")
    async with MemoryFleet(tmp_path) as fleet, fleet.device("ward-1", model) as device:
        device.link.cut()
        task = await device.daemon.runner.submit(f"Greet {NAME}.")
        await eventually("the task to end", lambda: has_ended(device, task))
        await device.daemon.mind.memory.think()
        gone = await device.daemon.mind.forgetting.forget(NAME)
        assert (gone.remaining, gone.kept) == ((), 0)
        device.link.mend()
        await eventually("the journal to be with the hub", device.is_drained)
        assert tables_with(fleet, NAME) == set()
        assert files_with(tmp_path, NAME) == []
        lane = await device.journal.lane(Lane.JOURNAL)
        assert lane is not None
        assert lane.waiting_bytes == 0
        reports = {report.lane: report for report in await fleet.verify(device)}
        assert reports["journal"].problem is None
        again = await device.daemon.runner.submit("Hello?")
        await eventually("work to go on", lambda: has_ended(device, again))

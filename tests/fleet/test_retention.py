"""What a device sheds and refuses while it is cut off, and what the hub knows of it when it is back."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from cloud.devices.tables import Device
from cloud.journal.tables import LaneGap, LaneRow
from edge.core.retention import RetentionLimits
from shared.errors import CapacityError
from shared.ids import Lane
from shared.records import MetricsShed
from tests.fleet.in_memory import MemoryDevice, MemoryFleet, eventually, use
from tests.support.device import task_id_from
from tests.support.model import ScriptedModel
from tests.support.store import records
from tests.support.work import done, window

NAME = "fridge-1"
MANY = 2**40
UNLIMITED = RetentionLimits(
    journal_bytes=MANY,
    reserve_bytes=MANY,
    history_bytes=MANY,
    history_age=timedelta(days=10_000),
    episodes=1_000,
    metrics_bytes=MANY,
    metrics_age=timedelta(days=10_000),
)


def limited(*, journal_bytes: int = MANY, metrics_bytes: int = MANY) -> RetentionLimits:
    return RetentionLimits(
        journal_bytes=journal_bytes,
        reserve_bytes=MANY,
        history_bytes=min(journal_bytes, MANY),
        history_age=UNLIMITED.history_age,
        episodes=UNLIMITED.episodes,
        metrics_bytes=metrics_bytes,
        metrics_age=UNLIMITED.metrics_age,
    )


async def drained(fleet: MemoryFleet, device: MemoryDevice, lane: Lane) -> None:
    async def is_drained() -> bool:
        fleet.clock.advance(seconds=1)  # what the sender waits for
        held = await device.journal.lane(lane)
        return held is not None and held.acked == held.head.seq

    await eventually(f"the hub to have acknowledged the {lane}", is_drained)


def gaps(fleet: MemoryFleet) -> list[tuple[str, int, int, str]]:
    with fleet.database.read() as session:
        lanes = {row.id: row.lane for row in session.exec(select(LaneRow))}
        return [
            (lanes[gap.lane_id], gap.first_seq, gap.last_seq, gap.reason)
            for gap in session.exec(select(LaneGap))
        ]


def conditions(fleet: MemoryFleet, device: MemoryDevice) -> set[str]:
    with fleet.database.read() as session:
        row = session.get(Device, device.principal)
        assert row is not None
        return set(row.conditions)


@pytest.mark.slow
async def test_what_was_shed_offline_is_a_gap_at_the_hub_and_its_tombstones_add_up(tmp_path: Path) -> None:
    """P19"""
    async with (
        MemoryFleet(tmp_path) as fleet,
        fleet.device(NAME, ScriptedModel(), linked=False) as device,
    ):
        windows = 0
        for _ in range(8):
            some = [window(n, series=20) for n in range(20)]
            await device.journal.append(*some, durable=False, lane=Lane.METRICS)
            windows += len(some)
            device.daemon.retention.reconfigure(limited(metrics_bytes=65_536))
            await device.daemon.retention.look()
        told = [each for each in await records(device.journal, Lane.METRICS) if isinstance(each, MetricsShed)]
        assert told
        device.link.mend()
        await drained(fleet, device, Lane.METRICS)
        log = await fleet.log(device, Lane.METRICS)
        received = sum(record.kind == "metrics.window" for record in log)
        assert received < windows
        assert sum(record.kind == "metrics.shed" for record in log) == len(told)
        assert sum(record.count for record in told) == windows - received
        ((lane, first, last, reason),) = gaps(fleet)
        assert (lane, first, reason) == ("metrics", 1, "shed")
        assert last == log[0].seq - 1
        assert all(report.problem is None for report in await fleet.verify(device))


@pytest.mark.slow
async def test_a_journal_that_filled_up_offline_takes_work_again_when_the_hub_has_it(tmp_path: Path) -> None:
    async with (
        MemoryFleet(tmp_path) as fleet,
        fleet.device(NAME, ScriptedModel(use("answer"), "done"), linked=False) as device,
    ):
        await device.journal.append(*done(task_id_from("before")), durable=True)
        device.daemon.retention.reconfigure(limited(journal_bytes=device.journal.gauge.journal_bytes))
        with pytest.raises(CapacityError, match="The journal is full"):
            await device.daemon.runner.submit("more")
        for number in range(20):
            # Work that was begun goes on into the reserve.
            await device.journal.append(*done(task_id_from(f"{number}"), content_bytes=4_000), durable=False)
        device.daemon.retention.reconfigure(limited(journal_bytes=device.journal.gauge.journal_bytes))
        device.link.mend()
        await eventually("it to recover", lambda: _is(not device.daemon.retention.is_full))
        task = await device.daemon.runner.submit("more")
        assert (await fleet.ended(task)).state == "succeeded"
        await drained(fleet, device, Lane.JOURNAL)
        assert conditions(fleet, device) == set()
        told = [record.kind for record in await fleet.log(device)]
        assert told.count("device.condition") == 2
        assert (await device.daemon.status())["lanes"]["journal"]["tail"] > 1
        assert all(report.problem is None for report in await fleet.verify(device))
        assert gaps(fleet) == []


async def _is(value: bool) -> bool:
    return value

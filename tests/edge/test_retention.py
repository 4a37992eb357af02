"""The host of retention: takes the steps that are decided, says once what began and ended, and wakes who waits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.core.retention import CLOCK_SETTLE_S
from edge.ports import JOURNAL_BOUND, StoreUsage, TrimLane
from edge.retention import DISK_FULL, Pace, Retention
from shared.errors import CapacityError, UnavailableError
from shared.records import JOURNAL_FULL, DeviceCondition
from tests.edge.core.test_retention import DAY, JOURNAL, LIMITS, NOTHING
from tests.support.clock import ManualClock
from tests.support.retention import ScriptedBallast, ScriptedStore
from tests.support.store import opened_journal, records
from tests.support.waiting import eventually

FULL = replace(NOTHING, lanes=(JOURNAL,), journal_bytes=LIMITS.journal_bytes)
"""At its limit, and nothing is acknowledged."""
ACKED = replace(FULL, lanes=(replace(JOURNAL, acked=60),))
ROOMY = replace(NOTHING, lanes=(JOURNAL,))
NO_REST = Pace(interval_s=3_600, rest_s=0)


@dataclass
class World:
    retention: Retention
    store: ScriptedStore
    journal: SqliteJournal
    ballast: ScriptedBallast
    clock: ManualClock
    heard: list[str]
    elapsed_s: list[float]

    def is_full(self) -> bool:
        return self.retention.is_full

    async def told(self) -> list[tuple[str, bool]]:
        found = await records(self.journal)
        assert all(isinstance(record, DeviceCondition) for record in found)
        return [(record.condition, record.is_active) for record in found]


@asynccontextmanager
async def retaining(
    tmp_path: Path,
    *usages: StoreUsage,
    conditions: frozenset[str] = frozenset(),
    pace: Pace = NO_REST,
    is_running: bool = False,
) -> AsyncIterator[World]:
    store, ballast, clock, heard = ScriptedStore(*usages), ScriptedBallast(), ManualClock(), list[str]()
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        elapsed_s = [0.0]
        retention = Retention(
            store=store,
            journal=journal,
            ballast=ballast,
            clock=clock,
            monotonic=lambda: elapsed_s[0],
            limits=LIMITS,
            pace=pace,
            conditions=conditions,
        )
        world = World(retention, store, journal, ballast, clock, heard, elapsed_s)
        retention.on_trimmed(lambda: heard.append("trimmed"))
        retention.on_room(lambda: heard.append("room"))
        running = asyncio.create_task(retention.run(), name="retention") if is_running else None
        try:
            yield world
        finally:
            if running is not None:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running


async def test_steps_are_taken_until_none_is_left_and_the_link_hears_of_each(tmp_path: Path) -> None:
    async with retaining(tmp_path, ACKED, ACKED, ROOMY) as world:
        await world.retention.look()
        assert [type(step) for step in world.store.steps] == [TrimLane, TrimLane]
        assert world.heard == ["trimmed", "trimmed"]
        assert not world.is_full()
        assert world.retention.issues == {}
        assert await world.told() == []


async def test_a_full_journal_is_told_when_it_begins_and_when_it_ends_and_only_then(tmp_path: Path) -> None:
    async with retaining(tmp_path, FULL) as world:
        await world.retention.look()
        await world.retention.look()
        assert world.is_full()
        assert await world.told() == [(JOURNAL_FULL, True)]
        assert "journal_max_bytes" in world.retention.issues["journal"]
        world.store.usages = [ACKED, ROOMY]
        await world.retention.look()
        assert not world.is_full()
        assert world.heard == ["trimmed", "room"]
        assert world.retention.issues == {}
        assert await world.told() == [(JOURNAL_FULL, True), (JOURNAL_FULL, False)]


async def test_new_work_is_admitted_below_the_limit_and_refused_at_it(tmp_path: Path) -> None:
    almost = replace(FULL, journal_bytes=LIMITS.journal_bytes - 1)
    async with retaining(tmp_path, almost) as world:
        await world.retention.admit()
        world.store.usages = [FULL]
        with pytest.raises(CapacityError, match="link the device or raise journal_max_bytes") as caught:
            await world.retention.admit()
        assert (caught.value.bound, caught.value.limit) == (JOURNAL_BOUND, LIMITS.journal_bytes)
        assert world.is_full()


async def test_room_that_can_be_made_is_made_before_work_is_refused(tmp_path: Path) -> None:
    async with retaining(tmp_path, ACKED, ROOMY) as world:
        await world.retention.admit()
        assert len(world.store.steps) == 1


async def test_work_is_admitted_again_as_soon_as_there_is_room_though_nobody_looked(tmp_path: Path) -> None:
    async with retaining(tmp_path, FULL) as world:
        await world.retention.look()
        world.store.usages = [ROOMY]
        await world.retention.admit()
        assert world.heard == ["room"]


async def test_what_was_full_before_the_start_is_full_until_it_is_looked_at(tmp_path: Path) -> None:
    async with retaining(tmp_path, ROOMY, conditions=frozenset({JOURNAL_FULL, "of_others"})) as world:
        assert world.is_full()
        await world.retention.look()
        assert not world.is_full()
        assert await world.told() == [(JOURNAL_FULL, False)]


async def test_a_missing_ballast_is_an_issue_and_a_condition(tmp_path: Path) -> None:
    async with retaining(tmp_path, ROOMY) as world:
        world.ballast.problem = "The disk is full."
        await world.retention.look()
        assert world.retention.issues == {"disk": "The disk is full."}
        world.ballast.problem = None
        await world.retention.look()
        assert await world.told() == [(DISK_FULL, True), (DISK_FULL, False)]
        assert world.ballast.restored == 2


async def test_a_commit_at_the_limit_wakes_it_and_an_acknowledgement_when_it_is_full(tmp_path: Path) -> None:
    async with retaining(tmp_path, ROOMY, is_running=True) as world:
        await eventually(lambda: world.ballast.restored == 1)
        world.retention.changed()
        world.store.usages = [FULL]
        world.retention.changed()
        await eventually(world.is_full)
        world.store.usages = [ROOMY]
        world.retention.acknowledged()
        # The last thing that a look does, so by then it is known what it found.
        await eventually(lambda: world.ballast.restored == 3)
        assert not world.is_full()


async def test_telemetry_beyond_its_limit_wakes_it(tmp_path: Path) -> None:
    async with retaining(tmp_path, ROOMY, is_running=True) as world:
        await eventually(lambda: world.ballast.restored == 1)
        world.store.usages = [replace(ROOMY, metrics_bytes=LIMITS.metrics_bytes + 1)]
        world.retention.changed()
        await eventually(lambda: world.ballast.restored == 2)


async def test_a_store_that_cannot_do_it_now_is_tried_again(tmp_path: Path) -> None:
    async with retaining(tmp_path, ROOMY, pace=Pace(interval_s=0.001, rest_s=0), is_running=True) as world:
        world.store.error = UnavailableError("The disk is busy.")
        await asyncio.sleep(0)
        world.store.error = None
        await eventually(lambda: world.ballast.restored)


async def test_nothing_goes_for_its_age_before_the_clock_is_known_to_be_steady(tmp_path: Path) -> None:
    old = replace(ROOMY, lanes=(replace(JOURNAL, acked=60),))
    async with retaining(tmp_path, old) as world:
        world.clock.advance(40 * DAY)
        world.elapsed_s[0] = 1.0
        await world.retention.look()
        assert world.store.steps == []
        world.clock.advance(seconds=CLOCK_SETTLE_S)
        world.elapsed_s[0] += CLOCK_SETTLE_S
        await world.retention.look()
        assert [type(step) for step in world.store.steps] == [TrimLane]

"""The device's doctor on its clock: by the hub's time, or by what cannot have been in the future."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.adapters.hub_http import HubAnswer
from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.checks import clock as clock_check
from edge.checks.clock import BACK_BEYOND, FAIL_BEYOND, WARN_BEYOND
from edge.checks.subject import Subject
from edge.ports import Draft
from shared.clock import to_ms
from shared.findings import Finding, State
from shared.records import DeviceStarted
from tests.support.clock import START, ManualClock

HALF_A_SECOND = timedelta(seconds=0.5)
SECOND = timedelta(seconds=1)


def by_hub(ahead: timedelta, *, took: timedelta = timedelta()) -> Finding:
    """When the device's clock is `ahead` of the hub's, whose whole seconds are half over on average."""
    hub = HubAnswer(version="1.2.3", at=START, ours=START + HALF_A_SECOND + ahead, took=took)
    return clock_check.judge(START + ahead, hub=hub, past={})


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        (timedelta(), State.OK),
        (WARN_BEYOND, State.OK),
        (-WARN_BEYOND, State.OK),
        (WARN_BEYOND + SECOND, State.WARN),
        (-FAIL_BEYOND, State.WARN),
        (FAIL_BEYOND + SECOND, State.FAIL),
        (-FAIL_BEYOND - SECOND, State.FAIL),
    ],
)
def test_the_hub_s_time_decides(ahead: timedelta, state: State) -> None:
    found = by_hub(ahead)
    assert found.state is state
    if state is not State.OK:
        assert ("ahead of" if ahead > timedelta() else "behind") in found.sentence
        assert found.command == "sudo timedatectl set-ntp true"


def test_what_lies_within_the_doubt_of_a_slow_answer_is_no_fault() -> None:
    assert by_hub(WARN_BEYOND + SECOND, took=timedelta(seconds=20)).state is State.OK


@pytest.mark.parametrize(("ahead", "state"), [(BACK_BEYOND, State.OK), (BACK_BEYOND + SECOND, State.FAIL)])
def test_without_a_hub_nothing_may_lie_in_the_future(ahead: timedelta, state: State) -> None:
    past = {"this program": START - timedelta(days=9), "the newest record": START + ahead}
    found = clock_check.judge(START, hub=None, past=past)
    assert found.state is state
    if state is State.FAIL:
        assert "the newest record" in found.sentence


def test_a_board_that_starts_in_the_past_is_seen_by_its_certificate(
    enrolled: Subject, clock: ManualClock
) -> None:
    """Also before it wrote a first record, and although no hub answers."""
    enrolled_at = clock.now()
    clock.set(datetime(1970, 1, 1, tzinfo=UTC))
    (found,) = clock_check.check(enrolled)
    assert found.state is State.FAIL
    assert enrolled_at.year > 1970


def test_the_newest_record_and_the_installed_program_are_looked_at(alone: Subject) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(days=2)

    async def write() -> None:
        database = await asyncio.to_thread(open_database, alone.settings.store_path)
        journal = await asyncio.to_thread(SqliteJournal, database)
        await journal.append(
            Draft(DeviceStarted(at_ms=to_ms(later), version="1.2.3", was_clean=True)), durable=True
        )
        await asyncio.to_thread(database.close)

    asyncio.run(write())
    (found,) = clock_check.check(replace(alone, clock=ManualClock(now)))
    assert found.state is State.FAIL
    assert "the newest record" in found.sentence
    (found,) = clock_check.check(replace(alone, clock=ManualClock(later)))
    assert found.state is State.OK

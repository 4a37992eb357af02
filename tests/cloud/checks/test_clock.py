"""The hub's doctor on the clock: nothing it noted lies in the future, and the database server agrees."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cloud.adapters.clock_system import SystemClock
from cloud.checks import clock as clock_check
from cloud.checks.clock import APART_FAIL, APART_WARN, BACK_BEYOND
from cloud.checks.subject import Subject
from shared.findings import State
from tests.cloud.checks.devices import add_device
from tests.support.clock import START, ManualClock

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("ahead", "state"), [(BACK_BEYOND, State.OK), (BACK_BEYOND + SECOND, State.FAIL)])
def test_what_lies_in_the_future_says_that_the_clock_went_back(ahead: timedelta, state: State) -> None:
    past = {"an old thing": START - timedelta(days=1), "the newest record": START + ahead}
    found = clock_check.judge(START, past=past, apart=None)
    assert found.state is state
    if state is State.FAIL:
        assert "the newest record" in found.sentence
        assert found.command == "sudo timedatectl set-ntp true"


@pytest.mark.parametrize(
    ("apart", "state"),
    [
        (APART_WARN, State.OK),
        (-APART_WARN, State.OK),
        (APART_WARN + SECOND, State.WARN),
        (-APART_FAIL, State.WARN),
        (APART_FAIL + SECOND, State.FAIL),
        (-APART_FAIL - SECOND, State.FAIL),
    ],
)
def test_the_database_server_s_clock_is_compared_with(apart: timedelta, state: State) -> None:
    found = clock_check.judge(START, past={}, apart=apart)
    assert found.state is state
    if state is not State.OK:
        assert ("ahead of" if apart > timedelta() else "behind") in found.sentence


def test_a_right_clock_is_well(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, "main.fridge", enrolled_at=datetime.now(UTC))
    (found,) = clock_check.check(replace(either, clock=SystemClock()))
    assert found.state is State.OK


def test_a_clock_behind_what_the_hub_noted_itself_is_seen(either: Subject) -> None:
    assert either.database is not None
    now = datetime.now(UTC)
    add_device(either.database, "main.fridge", last_hello_at=now + timedelta(hours=2))
    (found,) = clock_check.check(replace(either, clock=ManualClock(now)))
    assert found.state is State.FAIL
    assert "the newest that the hub noted" in found.sentence


def test_a_clock_behind_the_installed_program_is_seen(subject: Subject) -> None:
    (found,) = clock_check.check(replace(subject, clock=ManualClock(datetime(2001, 1, 1, tzinfo=UTC))))
    assert found.state is State.FAIL


@pytest.mark.postgres
def test_a_clock_that_differs_from_postgresql_s_is_seen(either: Subject) -> None:
    assert either.database is not None
    if either.database.is_sqlite:  # it runs by this machine's clock
        return
    (found,) = clock_check.check(replace(either, clock=ManualClock(datetime.now(UTC) + timedelta(minutes=1))))
    assert found.state is State.WARN
    assert "ahead of the database server's" in found.sentence

"""The poller: each distinct question once, answers to those who still ask, and no failure of one is another's."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import text

from cloud.dashboard.live import Answer, DeviceAnswer, FleetAnswer, Live, Question
from cloud.dashboard.query import DeviceQuery, FleetQuery, Sort
from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from shared.clock import to_ms
from shared.errors import UnavailableError
from tests.cloud.dashboard.rows import add_device, principal_of
from tests.support.clock import ManualClock

WAIT_S = 30.0


@dataclass(eq=False)
class Page:
    """A watcher that remembers."""

    question: Question | None
    answers: list[Answer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    is_broken: bool = False

    def take(self, answer: Answer, at_ms: int) -> None:
        self.answers.append(answer)
        self.heard.set()
        if self.is_broken:
            raise ValueError("this page is broken")

    def fail(self, problem: str) -> None:
        self.problems.append(problem)
        self.heard.set()
        if self.is_broken:
            raise ValueError("this page is broken")


def live_of(database: Database, clock: ManualClock) -> Live:
    return Live(database=database, clock=clock, limits=PresenceLimits(), poll_s=0.01)


def add(database: Database, clock: ManualClock, name: str) -> None:
    with database.write() as session:
        add_device(session, name, now=clock.now())


async def test_each_page_gets_the_answer_to_its_question(database: Database, clock: ManualClock) -> None:
    add(database, clock, "a")
    live = live_of(database, clock)
    fleet, one, gone = (
        Page(FleetQuery(tenant=None)),
        Page(DeviceQuery(tenant=None, principal=principal_of("a"))),
        Page(DeviceQuery(tenant=None, principal=principal_of("b"))),
    )
    for page in (fleet, one, gone):
        live.watch(page)
    await live.poll()
    (of_fleet,), (of_one,), (of_gone,) = fleet.answers, one.answers, gone.answers
    assert isinstance(of_fleet, FleetAnswer)
    assert [row.name for row in of_fleet.page.rows] == ["a"]
    assert isinstance(of_one, DeviceAnswer)
    assert of_one.page is not None
    assert of_one.page.row == of_fleet.page.rows[0]
    assert of_gone == DeviceAnswer(page=None, metrics=None)


async def test_a_change_by_another_process_is_in_the_next_poll(
    database: Database, clock: ManualClock
) -> None:
    live = live_of(database, clock)
    page = Page(FleetQuery(tenant=None))
    live.watch(page)
    await live.poll()
    await asyncio.to_thread(add, database, clock, "new")
    await live.poll()
    before, after = page.answers
    assert isinstance(before, FleetAnswer)
    assert isinstance(after, FleetAnswer)
    assert (before.page.matched, after.page.matched) == (0, 1)


async def test_time_alone_changes_presence(database: Database, clock: ManualClock) -> None:
    add(database, clock, "a")
    live = live_of(database, clock)
    before, _ = await live.ask(FleetQuery(tenant=None))
    clock.advance(timedelta(seconds=301))
    after, at_ms = await live.ask(FleetQuery(tenant=None))
    assert isinstance(before, FleetAnswer)
    assert isinstance(after, FleetAnswer)
    assert (before.page.rows[0].presence, after.page.rows[0].presence) == ("online", "stale")
    assert at_ms == to_ms(clock.now())


async def test_the_same_question_is_read_once_however_many_ask_it(
    database: Database, clock: ManualClock
) -> None:
    live = live_of(database, clock)
    pages = [Page(FleetQuery(tenant=None, sort=Sort.LAG)) for _ in range(5)]
    for page in pages:
        live.watch(page)
    await live.poll()
    (first, *others) = [page.answers[0] for page in pages]
    assert all(other is first for other in others)


async def test_a_page_that_paused_left_or_asked_anew_is_not_bothered(
    database: Database, clock: ManualClock
) -> None:
    live = live_of(database, clock)
    paused, left, other = Page(None), Page(FleetQuery(tenant=None)), Page(FleetQuery(tenant=None))
    for page in (paused, left, other):
        live.watch(page)
    polling = asyncio.create_task(live.poll())
    await asyncio.sleep(0)  # the poll has asked, and has no answer yet
    live.forget(left)
    other.question = FleetQuery(tenant=None, page=2)
    await polling
    assert (paused.answers, left.answers, other.answers) == ([], [], [])


async def test_a_page_that_cannot_be_brought_up_to_date_disturbs_no_other(
    database: Database, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    live = live_of(database, clock)
    broken, sound = Page(FleetQuery(tenant=None), is_broken=True), Page(FleetQuery(tenant=None))
    live.watch(broken)
    live.watch(sound)
    await live.poll()
    assert len(sound.answers) == 1
    assert "an open page could not be brought up to date" in caplog.text


async def test_a_database_that_is_away_is_told_and_asked_again(
    database: Database, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    add(database, clock, "a")
    live = live_of(database, clock)
    broken, page = Page(FleetQuery(tenant=None), is_broken=True), Page(FleetQuery(tenant=None))
    live.watch(broken)
    live.watch(page)
    rename(database, "device", "away")
    try:
        await live.poll()
    finally:
        rename(database, "away", "device")
    assert page.problems in (
        ["The hub's database does not answer; see its log, then try again."],
        ["The hub made a mistake; its log says which."],
    )
    await live.poll()
    assert len(page.answers) == 1


def rename(database: Database, before: str, after: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(f'ALTER TABLE "{before}" RENAME TO "{after}"'))


@pytest.mark.slow
async def test_the_poller_sleeps_until_somebody_watches(database: Database, clock: ManualClock) -> None:
    live = live_of(database, clock)
    page = Page(FleetQuery(tenant=None))
    running = asyncio.create_task(live.run())
    try:
        live.watch(page)
        async with asyncio.timeout(WAIT_S):
            for _ in range(3):
                await page.heard.wait()
                page.heard.clear()
        live.forget(page)
        page.answers.clear()
        live.watch(page)
        async with asyncio.timeout(WAIT_S):
            await page.heard.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_asking_a_database_that_is_away_is_unavailable(clock: ManualClock) -> None:
    database = Database("sqlite:////nonexistent/hub.sqlite")
    live = live_of(database, clock)
    with pytest.raises(UnavailableError):
        await live.ask(FleetQuery(tenant=None))
    page = Page(FleetQuery(tenant=None))
    live.watch(page)
    await live.poll()
    assert page.problems == ["The hub's database does not answer; see its log, then try again."]
    database.close()


async def test_measurements_are_read_anew_only_when_there_is_more(
    database: Database, clock: ManualClock
) -> None:
    add(database, clock, "a")
    live = live_of(database, clock)
    question = DeviceQuery(tenant=None, principal=principal_of("a"))
    (first, _), (second, _) = await live.ask(question), await live.ask(question)
    assert isinstance(first, DeviceAnswer)
    assert isinstance(second, DeviceAnswer)
    assert second.metrics is first.metrics
    clock.advance(seconds=60)
    third, _ = await live.ask(question)
    assert isinstance(third, DeviceAnswer)
    assert third.metrics is not first.metrics

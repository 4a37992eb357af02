"""One leader of several, by a lease in the database; and a fence against one that has not noticed that it lost it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest
from sqlmodel import select

from cloud.adapters.clock_system import SystemClock
from cloud.db import Database, Transactions
from cloud.leader import LEASE_LOST, Candidate, Job, Leader, Lease, Term
from shared.clock import Clock
from shared.errors import RefusedError, UnavailableError
from tests.support.clock import START, ManualClock
from tests.support.waiting import eventually

TTL_S = 15.0
WAIT_S = 20.0


class Stopwatch:
    """A monotonic clock under the test's control."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def candidates(database: Database, clock: ManualClock) -> Callable[..., Candidate]:
    numbers = count(1)

    def make(monotonic: Callable[[], float] | None = None, ttl_s: float = TTL_S) -> Candidate:
        return Candidate(
            database,
            name="leader",
            holder=f"process {next(numbers)}",
            ttl_s=ttl_s,
            clock=clock,
            monotonic=monotonic or Stopwatch(),
        )

    return make


def expire(database: Database) -> None:
    """As if the lease had been taken long ago, by whatever clock counts."""
    with database.write() as session:
        lease = session.get_one(Lease, "leader")
        lease.expires_at = START - timedelta(days=1)


def lease_of(database: Database) -> Lease:
    with database.read() as session:
        return session.get_one(Lease, "leader")


def test_first_to_come_holds_the_lease_and_keeps_it(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    one, two = candidates(), candidates()
    assert (one.hold(), two.hold()) == (1, None)
    before = lease_of(database).expires_at
    assert (one.hold(), two.hold()) == (1, None)
    assert lease_of(database).expires_at >= before


def test_lease_that_ran_out_goes_to_another_and_its_generation_grows(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    one, two = candidates(), candidates()
    assert one.hold() == 1
    expire(database)
    assert two.hold() == 2
    assert one.hold() is None
    assert two.hold() == 2


def test_holder_that_is_late_but_unchallenged_goes_on(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    one = candidates()
    one.hold()
    expire(database)
    assert one.hold() == 1


def test_lease_that_is_given_up_is_free_at_once(candidates: Callable[..., Candidate]) -> None:
    one, two = candidates(), candidates()
    one.hold()
    one.release()
    assert two.hold() == 2
    one.release()  # it is not ours any more
    assert two.hold() == 2


def test_lease_far_in_the_future_that_nobody_touches_is_taken_after_its_life(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    """The database's clock was set back, and the holder has died."""
    watch = Stopwatch()
    candidates().hold()
    with database.write() as session:
        session.get_one(Lease, "leader").expires_at = START + timedelta(days=36_500)
    waiting = candidates(watch)
    assert waiting.hold() is None
    watch.now_s += TTL_S - 1
    assert waiting.hold() is None
    watch.now_s += 1
    assert waiting.hold() == 2


def test_lease_that_is_renewed_is_not_taken_however_long_one_watches(
    clock: ManualClock, candidates: Callable[..., Candidate]
) -> None:
    watch = Stopwatch()
    holder, waiting = candidates(), candidates(watch)
    for _ in range(5):
        assert holder.hold() == 1
        assert waiting.hold() is None
        watch.now_s += TTL_S - 1
        clock.advance(seconds=TTL_S - 1)


def test_of_many_that_race_for_it_one_holds_it(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    racing = [candidates() for _ in range(6)]
    for generation in range(1, 4):
        barrier = threading.Barrier(len(racing), timeout=WAIT_S)

        def race(candidate: Candidate, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            return candidate.hold()

        with ThreadPoolExecutor(len(racing)) as threads:
            held = list(threads.map(race, racing))
        assert sorted(each for each in held if each is not None) == [generation]
        # It is now somebody else's turn: the winner is shut out by a newer generation.
        with database.write() as session:
            lease = session.get_one(Lease, "leader")
            lease.holder = "nobody"
            lease.expires_at = START - timedelta(days=1)


def test_what_an_old_leader_has_begun_is_not_committed(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    one, two = candidates(), candidates()
    generation = one.hold()
    assert generation is not None
    term = Term(database, name="leader", generation=generation)
    with term.write() as session:
        session.add(Lease(name="work of one", holder="one", expires_at=START))
    expire(database)
    assert two.hold() == 2
    with pytest.raises(RefusedError, match="Another process") as refused, term.write() as session:
        session.add(Lease(name="late work of one", holder="one", expires_at=START))
    assert refused.value.code == LEASE_LOST
    with database.read() as session:
        assert set(session.exec(select(Lease.name)).all()) == {"leader", "work of one"}


def test_taking_over_waits_for_the_commit_that_the_old_leader_has_begun(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    """So its transaction is wholly before the change of leaders, and never beside the new one's."""
    one, two = candidates(), candidates()
    generation = one.hold()
    assert generation is not None
    term = Term(database, name="leader", generation=generation)
    order: list[str] = []

    def take_over() -> None:
        assert two.hold() == 2
        order.append("taken over")

    with ThreadPoolExecutor(1) as thread:
        expire(database)
        with term.write() as session:
            taking = thread.submit(take_over)
            session.add(Lease(name="work", holder="one", expires_at=START))
            session.flush()
            order.append("worked")
            # Only a lock can show that it waits; give it every chance to do wrong.
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.05)
        taking.result(timeout=WAIT_S)
    assert order == ["worked", "taken over"]


def test_leader_renews_its_lease_while_its_own_job_is_in_a_transaction(
    database: Database, candidates: Callable[..., Candidate]
) -> None:
    """On PostgreSQL the lock of the fence is one that renewing does not wait for. SQLite has one writer at a time."""
    if database.is_sqlite:
        return
    one = candidates()
    generation = one.hold()
    assert generation is not None
    with Term(database, name="leader", generation=generation).write(), ThreadPoolExecutor(1) as thread:
        assert thread.submit(one.hold).result(timeout=WAIT_S) == 1


# ---------------------------------------------------------------- the process that leads


class Process:
    """A leader in this test's loop, with one job that notes who did it."""

    def __init__(self, database: Database, clock: Clock, name: str, done: list[str]) -> None:
        self.name = name
        self.done = done
        self.fail: Exception | None = None
        self.hang: threading.Event | None = None
        candidate = Candidate(database, name="leader", holder=name, ttl_s=600, clock=clock)
        job = Job(name="note", interval_s=0.001, work=self._work)
        # It looks often, but is not pressed: the lease itself lives long.
        self.leader = Leader(
            database=database, candidate=candidate, name="leader", ttl_s=0.06, jobs=[job], job_max_s=0.5
        )
        self.task = asyncio.create_task(self.leader.run(), name=name)

    def _work(self, transactions: Transactions) -> None:
        if self.fail is not None:
            raise self.fail
        if self.hang is not None:
            self.hang.wait(WAIT_S)
        with transactions.write():
            self.done.append(self.name)

    async def stop(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([self.task])


@pytest.fixture
def moving_clock() -> Clock:
    """As fast as the loop's, for SQLite, whose leases are by the process's clock."""
    return SystemClock()


async def test_job_runs_in_one_process_and_in_another_when_that_one_stops(
    database: Database, moving_clock: Clock
) -> None:
    done: list[str] = []
    one = Process(database, moving_clock, "one", done)
    await eventually(lambda: "one" in done)
    two = Process(database, moving_clock, "two", done)
    await eventually(lambda: done.count("one") > 20)
    assert "two" not in done
    assert (one.leader.generation, two.leader.generation) == (1, None)
    await one.stop()
    await eventually(lambda: "two" in done)
    before = done.count("one")
    await eventually(lambda: done.count("two") > 5)
    assert done.count("one") == before
    await two.stop()


async def test_leader_that_lost_its_lease_stops_its_jobs_and_waits_again(
    database: Database, moving_clock: Clock
) -> None:
    done: list[str] = []
    one = Process(database, moving_clock, "one", done)
    await eventually(lambda: "one" in done)

    def take() -> None:
        with database.write() as session:
            lease = session.get_one(Lease, "leader")
            lease.holder, lease.generation = "somebody else", lease.generation + 1
            lease.expires_at = START - timedelta(days=1)

    await asyncio.to_thread(take)
    await eventually(lambda: one.leader.generation == 3)
    await one.stop()


@pytest.mark.slow
async def test_leader_whose_job_hangs_lets_another_lead_until_it_comes_back(
    database: Database, moving_clock: Clock
) -> None:
    done: list[str] = []
    one = Process(database, moving_clock, "one", done)
    await eventually(lambda: "one" in done)
    two = Process(database, moving_clock, "two", done)
    one.hang = threading.Event()
    await eventually(lambda: "two" in done)
    assert one.leader.generation is None
    one.hang.set()
    one.hang = None
    await two.stop()
    before = done.count("one")
    await eventually(lambda: done.count("one") > before)
    await one.stop()


@pytest.mark.parametrize("error", [UnavailableError("The database is away."), ValueError("a mistake")])
async def test_job_that_fails_is_tried_again(
    error: Exception, database: Database, moving_clock: Clock
) -> None:
    done: list[str] = []
    one = Process(database, moving_clock, "one", done)
    await eventually(lambda: done)
    one.fail = error
    await eventually(lambda: one.leader.generation == 1)
    one.fail = None
    before = len(done)
    await eventually(lambda: len(done) > before)
    await one.stop()

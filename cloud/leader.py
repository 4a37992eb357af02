"""Who of several processes does the periodic jobs: whoever holds a lease in the database.

Each process of the hub runs a `Leader` over the same jobs. One of them holds the lease and renews it; when it dies,
another takes over once the lease has run out. What keeps an old leader from doing harm is not time but the
**generation**: it grows with each change of the holder, and every transaction of a job checks it (`Term.write`). On
PostgreSQL that check takes a lock for which a change of the holder waits; on SQLite writers exclude each other
anyway. So a transaction of an old leader has either committed before the change, or never does.

Clocks: `expires_at` is by the database server's clock, so those of the hub's machines need not agree (SQLite's
processes share a machine). Should the server's clock jump back, `expires_at` would lie far ahead: a lease that nobody
has touched for its whole life, by our own monotonic clock, counts as run out too.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Column, CursorResult, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, SQLModel, col, select

from cloud.db import Database, Transactions, UtcDateTime
from shared.clock import Clock
from shared.errors import RefusedError, UnavailableError

logger = logging.getLogger(__name__)

RENEWALS_PER_LIFE: Final = 3
"""How often the lease is renewed, and looked at by those who wait for it, within its life."""
LEASE_LOST: Final = "lease_lost"
RELEASE_TIMEOUT_S: Final = 5.0
JOB_MAX_S: Final = 300.0
"""A job that has not come back after so long hangs: on a connection, say, that swallows everything. Who cannot do the
jobs does not lead."""


class Lease(SQLModel, table=True):
    """`generation` grows with each change of the holder."""

    name: str = Field(primary_key=True, max_length=32)
    holder: str = Field(max_length=64)
    generation: int = Field(default=1, sa_column=Column(BigInteger, nullable=False))
    expires_at: datetime = Field(sa_type=UtcDateTime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the leader does each `interval_s`. `work` blocks, and opens its transactions with what it is given."""

    name: str
    interval_s: float
    work: Callable[[Transactions], object]


class Term:
    """One leadership. Its transactions commit only while nobody else has taken over. See `cloud.db.Transactions`."""

    def __init__(self, database: Database, *, name: str, generation: int) -> None:
        self.generation = generation
        self._database = database
        self._name = name
        self._has_ended = False

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Raises `RefusedError` (code `lease_lost`) if the term is over, and what `Database.write` raises."""
        with self._database.write() as session:
            # FOR KEY SHARE: our own renewals go on meanwhile, whoever wants to take over waits for our commit.
            held = select(Lease.generation).where(Lease.name == self._name)
            generation = session.exec(held.with_for_update(read=True, key_share=True)).first()
            if self._has_ended or generation != self.generation:
                raise RefusedError("Another process of the hub leads now; it does this job.", code=LEASE_LOST)
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._database.read() as session:
            yield session

    def end(self) -> None:
        """From now on no transaction begins, although nobody may have taken over yet. May be called from any thread."""
        self._has_ended = True


class Candidate:
    """One process's hold on a lease. Blocking; call it from one thread at a time."""

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        holder: str,
        ttl_s: float,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder` is another one for each process. `clock` serves on SQLite; PostgreSQL has its own."""
        self._database = database
        self._name = name
        self._holder = holder
        self._ttl = timedelta(seconds=ttl_s)
        self._clock = clock
        self._monotonic = monotonic
        self._generation: int | None = None
        self._watched: tuple[str, int, datetime] | None = None
        self._watched_since = 0.0

    def hold(self) -> int | None:
        """Renew the lease, or take it if it has run out: its generation while it is ours, else None.

        Raises `UnavailableError` if the database is away.
        """
        if self._generation is not None and not self._renew(self._generation):
            self._generation = None
        if self._generation is None:
            self._generation = self._take()
        return self._generation

    def release(self) -> None:
        """Let it run out at once, so that another need not wait. Nothing happens if it is not ours."""
        if self._generation is None:
            return
        with self._database.write() as session:
            self._extend(session, self._generation, timedelta(0))
        self._generation = None

    def _renew(self, generation: int) -> bool:
        with self._database.write() as session:
            return self._extend(session, generation, self._ttl)

    def _extend(self, session: Session, generation: int, life: timedelta) -> bool:
        renewed = session.execute(
            update(Lease)
            .where(
                col(Lease.name) == self._name,
                col(Lease.holder) == self._holder,
                col(Lease.generation) == generation,
            )
            .values(expires_at=self._now(session) + life)
        )
        assert isinstance(renewed, CursorResult)
        return renewed.rowcount == 1

    def _take(self) -> int | None:
        with self._database.write() as session:
            row = session.get(Lease, self._name)
            if row is None:
                return self._make(session)
            seen = (row.holder, row.generation, row.expires_at)
            if not self._has_run_out(seen, self._now(session)):
                return None
            # Waits for the transactions of the old leader's jobs.
            locked = session.exec(
                select(Lease)
                .where(Lease.name == self._name)
                .with_for_update()
                .execution_options(populate_existing=True)
            ).one()
            if (locked.holder, locked.generation, locked.expires_at) != seen:
                return None
            locked.holder = self._holder
            locked.generation += 1
            locked.expires_at = self._now(session) + self._ttl
            return locked.generation

    def _make(self, session: Session) -> int | None:
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        made = session.execute(
            insert(Lease)
            .values(
                name=self._name,
                holder=self._holder,
                generation=1,
                expires_at=self._now(session) + self._ttl,
            )
            .on_conflict_do_nothing()  # another process was as quick
            .returning(col(Lease.generation))
        )
        return made.scalar()

    def _has_run_out(self, seen: tuple[str, int, datetime], now: datetime) -> bool:
        if seen != self._watched:
            self._watched, self._watched_since = seen, self._monotonic()
        is_untouched = self._monotonic() - self._watched_since >= self._ttl.total_seconds()
        return seen[2] <= now or is_untouched

    def _now(self, session: Session) -> datetime:
        if self._database.is_sqlite:
            return self._clock.now()
        now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return now


class Leader:
    """Runs the jobs while this process holds the lease. Start with `run()`."""

    def __init__(
        self,
        *,
        database: Database,
        candidate: Candidate,
        name: str,
        ttl_s: float,
        jobs: Sequence[Job],
        job_max_s: float = JOB_MAX_S,
    ) -> None:
        self._job_max_s = job_max_s
        self._begun: dict[str, float] = {}
        self._database = database
        self._candidate = candidate
        self._name = name
        self._ttl_s = ttl_s
        self._jobs = tuple(jobs)
        self._term: Term | None = None

    @property
    def generation(self) -> int | None:
        """Of the term that this process leads in, None while it does not."""
        return None if self._term is None else self._term.generation

    async def run(self) -> None:
        """Until cancelled; the lease is then given up, so that another process takes over at once."""
        loop = asyncio.get_running_loop()
        with (
            # The lease has a thread of its own: jobs that take long must not keep it from being renewed.
            ThreadPoolExecutor(1, thread_name_prefix="lease") as lease,
            ThreadPoolExecutor(max(1, len(self._jobs)), thread_name_prefix="job") as threads,
        ):
            leading: asyncio.Task[None] | None = None
            try:
                renewed = loop.time()
                while True:
                    started = loop.time()
                    try:
                        hanging = self._hanging(started)
                        hold = self._candidate.hold if hanging is None else self._give_up
                        generation = await loop.run_in_executor(lease, hold)
                        renewed = started
                    except UnavailableError as error:
                        logger.warning("the lease could not be renewed: %s", error)
                        generation = self.generation if loop.time() - renewed < self._ttl_s else None
                    if generation != self.generation:
                        await self._end(leading)
                        leading = None if generation is None else self._begin(generation, threads)
                    elif leading is not None and leading.done():
                        await leading  # only a mistake of ours ends it
                    await asyncio.sleep(self._ttl_s / RENEWALS_PER_LIFE)
            finally:
                await self._end(leading)
                await _in_peace(loop.run_in_executor(lease, self._release))

    def _hanging(self, now: float) -> str | None:
        """The job that does not come back, of this term or an earlier one."""
        for name, begun in self._begun.items():
            if now - begun > self._job_max_s:
                if self._term is not None:
                    logger.error("the job %s hangs for %g s: another process shall lead", name, now - begun)
                return name
        return None

    def _give_up(self) -> None:
        self._candidate.release()

    def _begin(self, generation: int, threads: ThreadPoolExecutor) -> asyncio.Task[None]:
        logger.info("this process leads now (%s, generation %d)", self._name, generation)
        self._term = Term(self._database, name=self._name, generation=generation)
        return asyncio.create_task(self._lead(self._term, threads), name=f"leader[{generation}]")

    async def _end(self, leading: asyncio.Task[None] | None) -> None:
        if self._term is not None:
            logger.info("this process no longer leads (%s, generation %d)", self._name, self._term.generation)
            self._term.end()
            self._term = None
        if leading is not None:
            leading.cancel()
            await asyncio.wait([leading])

    async def _lead(self, term: Term, threads: ThreadPoolExecutor) -> None:
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job, term, threads), name=f"job[{job.name}]")

    async def _repeat(self, job: Job, term: Term, threads: ThreadPoolExecutor) -> None:
        """A job that fails is tried again after its interval. Ends when the term has."""
        loop = asyncio.get_running_loop()
        is_failing = False
        while True:
            work = loop.run_in_executor(threads, job.work, term)
            self._begun[job.name] = loop.time()
            work.add_done_callback(lambda _: self._begun.pop(job.name, None))
            try:
                await asyncio.shield(work)
                is_failing = False
            except UnavailableError as error:
                logger.log(
                    logging.DEBUG if is_failing else logging.WARNING, "%s skipped: %s", job.name, error
                )
                is_failing = True
            except RefusedError as error:
                if error.code == LEASE_LOST:
                    return
                logger.exception("the job %s failed", job.name)
            except Exception:
                logger.exception("the job %s failed", job.name)
            await asyncio.sleep(job.interval_s)

    def _release(self) -> None:
        try:
            self._candidate.release()
        except UnavailableError:
            logger.warning("the lease could not be given up; it runs out in %g s", self._ttl_s)


async def _in_peace(work: "asyncio.Future[None]") -> None:
    """Wait a while for what has begun, also while we are being cancelled."""
    await asyncio.wait([work], timeout=RELEASE_TIMEOUT_S)

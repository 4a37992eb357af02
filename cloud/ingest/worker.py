"""One ingest worker: takes messages from its link, hands them to the pipeline, publishes what comes of them.

The event loop owns the inbox; the pipeline runs on one thread, so messages are handled in order. Several workers, in
one process or in many, share the devices' messages through the broker (`$share`), and meet only in the database.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from cloud.db import Database
from cloud.ingest.inbox import QUEUE_MAX_BYTES, QUEUE_MAX_MESSAGES, Arrival, Inbox
from cloud.ingest.pipeline import Outcome, Pipeline
from cloud.ports import Link
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.keys import Signer
from shared.topics import FROM_DEVICE, HUB_STATUS, Channel, every_device

logger = logging.getLogger(__name__)

SHARE_CONTEXT: Final = b"covey ingest share 1"
SHARE_CHARS: Final = 32


T = TypeVar("T")


def filters(signer: Signer) -> tuple[str, ...]:
    """What a worker's link subscribes to; the same for all workers with the hub's key.

    The share's name is a secret: a broker that checks rights only when it delivers (Mosquitto before 2.1) lets anybody
    join a share whose name they know, and what it then picks them for reaches nobody.
    """
    # An Ed25519 signature is the same each time, and nobody else can make it (RFC 8032).
    share = f"hub-{hashlib.sha256(signer.sign(SHARE_CONTEXT)).hexdigest()[:SHARE_CHARS]}"
    return (
        # Births and deaths are retained, and retained messages never come over a shared subscription (MQTT 5, 4.8.2).
        # So every worker hears them all, also those from before it started; taking one twice changes nothing.
        every_device(Channel.STATE),
        HUB_STATUS,
        *(every_device(channel, share=share) for channel in FROM_DEVICE if channel is not Channel.STATE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestLimits:
    """The worker's bounds. A group is what shares one commit."""

    queue_max_messages: int = QUEUE_MAX_MESSAGES
    queue_max_bytes: int = QUEUE_MAX_BYTES
    group_max_messages: int = 64
    group_max_bytes: int = 262_144
    poll_s: float = 1.0
    database_tries: int = 5
    database_retry_s: float = 1.0


class IngestWorker:
    """Start with `run()`. `counts` tells what was taken, refused, dropped and failed since it was made."""

    def __init__(
        self,
        *,
        database: Database,
        link: Link,
        signer: Signer,
        clock: Clock,
        on_tasks_changed: Callable[[set[str]], None],
        limits: IngestLimits,
    ) -> None:
        self._link = link
        self._limits = limits
        self._on_tasks_changed = on_tasks_changed
        self._pipeline = Pipeline(database=database, signer=signer, clock=clock)
        self._inbox = Inbox(max_messages=limits.queue_max_messages, max_bytes=limits.queue_max_bytes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: set[str] = set()
        self._is_woken = asyncio.Event()
        self._counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled. Raises `ConfigError` if the link cannot be set up."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="ingest") as executor:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.run(self._inbox.put), name="ingest-link")
                group.create_task(self._consume(executor), name="ingest-consume")
                group.create_task(self._push(executor), name="ingest-push")

    def wake(self, principal: str) -> None:
        """Orders were appended for this device: send them. May be called from any thread."""
        self.wake_all({principal})

    def wake_all(self, principals: Collection[str]) -> None:
        """As `wake`, for many at once."""
        if principals and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, frozenset(principals))

    @property
    def connected(self) -> asyncio.Event:
        """Set while devices can be heard."""
        return self._link.connected

    @property
    def counts(self) -> dict[str, int]:
        """Counters by name: `messages`, `records`, `refused.<reason>`, `dropped`, `unpublished`, `failed`, more."""
        return {**self._counts, "dropped": self._inbox.dropped}

    def _wake(self, principals: frozenset[str]) -> None:
        self._woken |= principals
        self._is_woken.set()

    async def _consume(self, executor: ThreadPoolExecutor) -> None:
        while True:
            arrivals = await self._inbox.take(
                max_messages=self._limits.group_max_messages, max_bytes=self._limits.group_max_bytes
            )
            await self._finish(await self._try(executor, self._handle, arrivals))

    def _handle(self, arrivals: list[Arrival]) -> Outcome:
        return self._pipeline.handle(arrivals, fill=self._inbox.fill)

    async def _push(self, executor: ThreadPoolExecutor) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.poll_s):
                    await self._is_woken.wait()
            except TimeoutError:
                await self._finish(await self._try(executor, lambda _: self._pipeline.push_due(), None))
                continue
            self._is_woken.clear()
            woken, self._woken = self._woken, set()
            await self._finish(await self._try(executor, self._pipeline.push, woken))

    async def _try(self, executor: ThreadPoolExecutor, work: Callable[[T], Outcome], argument: T) -> Outcome:
        """Run on the worker's thread; while the database is away, again a few times."""
        assert self._loop is not None
        for attempt in range(self._limits.database_tries):
            try:
                return await self._loop.run_in_executor(executor, work, argument)
            except UnavailableError as error:
                logger.warning("the database is away (attempt %d): %s", attempt + 1, error)
                await asyncio.sleep(self._limits.database_retry_s)
            except Exception:
                logger.exception("ingest failed")
                break
        # What is given up here is repeated by its sender, or found by the next poll.
        return Outcome(counts=Counter(failed=1))

    async def _finish(self, outcome: Outcome) -> None:
        """After the commit: publish, tell, count."""
        self._counts += outcome.counts
        for outgoing in outcome.outgoing:
            if not await self._link.publish(outgoing.topic, outgoing.message):
                self._counts["unpublished"] += 1
        if outcome.must_announce:
            await self._link.announce()
        if outcome.touched_tasks:
            try:
                self._on_tasks_changed(outcome.touched_tasks)
            except Exception:  # a watcher's trouble is not ingest's; watchers poll as well
                logger.exception("the watchers of %d tasks could not be told", len(outcome.touched_tasks))

"""One ingest worker: takes messages from its link, hands them to the pipeline, publishes what comes of them.

The event loop owns the inbox; the pipeline runs on one thread, so messages are handled in order. Several workers, in
one process or in many, share the devices' messages through the broker (`$share`), and meet only in the database.
"""

import asyncio
import hashlib
import itertools
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.renewal import Renewals
from cloud.ingest.applied import EndedNode
from cloud.ingest.inbox import (
    DEVICE_MAX_MESSAGES,
    QUEUE_MAX_BYTES,
    QUEUE_MAX_MESSAGES,
    Arrival,
    Inbox,
    Kind,
)
from cloud.ingest.pipeline import Outcome, Pipeline
from cloud.ingest.rates import DeviceRate, DeviceRates
from cloud.ingest.status import HubWord, spread_for
from cloud.ingest.strangers import STRANGERS_MAX
from cloud.ports import Link
from cloud.twins.delivery import SaltOf
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.keys import Signer, TrustView
from shared.topics import FROM_DEVICE, HUB_STATUS, Channel, every_device

logger = logging.getLogger(__name__)

SHARE_PURPOSE: Final = "ingest share"
SHARE_CHARS: Final = 32
BEAT_S: Final = 5.0
"""How often a worker notes that it hears the devices; far below `cloud.devices.presence.DEAF_AFTER`."""
SPREAD_EVERY_BEATS: Final = 12


T = TypeVar("T")


def filters(key: bytes) -> tuple[str, ...]:
    """What a worker's link subscribes to; the same for all workers with `key`: the hub's for `SHARE_PURPOSE`.

    The share's name is a secret: a broker that checks rights only when it delivers (Mosquitto before 2.1) lets
    anybody join a share whose name they know, and what it then picks them for reaches nobody.
    """
    share = f"hub-{hashlib.sha256(key).hexdigest()[:SHARE_CHARS]}"
    return (
        # Births and deaths are retained, and retained messages never come over a shared subscription (MQTT 5, 4.8.2).
        # So every worker hears them all, also those from before it started; taking one twice changes nothing.
        every_device(Channel.STATE),
        HUB_STATUS,
        *(every_device(channel, share=share) for channel in FROM_DEVICE if channel is not Channel.STATE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestLimits:
    """The worker's bounds: the settings `ingest_…`, `hello_rate_max_per_s` and `presence_…`.

    A group is what shares one commit. `contradict_within_s`: within this one of the workers that live contradicts
    the will of one that died.
    """

    queue_max_messages: int = QUEUE_MAX_MESSAGES
    queue_max_bytes: int = QUEUE_MAX_BYTES
    device_max_messages: int = DEVICE_MAX_MESSAGES
    group_max_messages: int = 64
    group_max_bytes: int = 262_144
    poll_s: float = 1.0
    database_tries: int = 5
    database_retry_s: float = 1.0
    hello_rate_max_per_s: int = 300
    contradict_within_s: float = 0.5
    device_rate: DeviceRate = field(default_factory=DeviceRate)
    presence: PresenceLimits = field(default_factory=PresenceLimits)


class IngestWorker:
    """Start with `run()`. `counts` tells what was taken, refused, dropped and failed since it was made."""

    def __init__(
        self,
        *,
        database: Database,
        link: Link,
        word: HubWord,
        signer: Signer,
        trust: TrustView,
        salt_of: SaltOf,
        clock: Clock,
        on_tasks_changed: Callable[[set[str]], None],
        limits: IngestLimits,
        on_nodes_ended: Callable[[list[EndedNode]], None] = lambda _ended: None,
        renewals: Renewals | None = None,
        on_revoked_heard: Callable[[Collection[str]], None] = lambda _principals: None,
    ) -> None:
        """`on_revoked_heard`: called in the loop with revoked devices that are still connected."""
        self._link = link
        self._word = word
        self._limits = limits
        self._on_tasks_changed = on_tasks_changed
        self._on_nodes_ended = on_nodes_ended
        self._pipeline = Pipeline(
            database=database, signer=signer, trust=trust, salt_of=salt_of, clock=clock, renewals=renewals
        )
        self._on_revoked_heard = on_revoked_heard
        self._rates = DeviceRates(limits.device_rate)
        self._inbox = Inbox(
            clock=clock,
            max_messages=limits.queue_max_messages,
            max_bytes=limits.queue_max_bytes,
            device_max_messages=limits.device_max_messages,
            rates=self._rates,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: set[str] = set()
        self._heard: set[str] = set()
        self._strangers: Counter[str] = Counter()
        self._is_woken = asyncio.Event()
        self._must_contradict = asyncio.Event()
        self._must_sign_anew = asyncio.Event()
        self._counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled. Raises `ConfigError` if the link cannot be set up."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="ingest") as executor:
            await self._spread(executor)  # before we say that we are there
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.run(self._inbox.put), name="ingest-link")
                group.create_task(self._consume(executor), name="ingest-consume")
                group.create_task(self._push(executor), name="ingest-push")
                group.create_task(self._listen(executor), name="ingest-listen")
                group.create_task(self._contradict(), name="ingest-contradict")
                group.create_task(self._follow_keys(), name="ingest-keys")

    def wake(self, principal: str) -> None:
        """Orders were appended for this device: send them. May be called from any thread."""
        self.wake_all({principal})

    def wake_all(self, principals: Collection[str]) -> None:
        """As `wake`, for many at once."""
        if principals and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, self._woken, frozenset(principals))

    def hear(self, principals: Collection[str]) -> None:
        """As `wake_all`, for what all workers are told alike: they share it. In the loop only."""
        self._wake(self._heard, frozenset(principals))

    def sign_anew(self) -> None:
        """The hub signs with another key now: say so, and leave a will of it. May be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._must_sign_anew.set)

    @property
    def connected(self) -> asyncio.Event:
        """Set while devices can be heard."""
        return self._link.connected

    @property
    def counts(self) -> dict[str, int]:
        """Counters by name: `messages`, `records`, `refused.<reason>`, `dropped`, `unpublished`, `failed`, more."""
        return {**self._counts, "dropped": self._inbox.dropped, "hellos_replaced": self._inbox.replaced}

    @property
    def inbox_fill(self) -> dict[str, float]:
        """How full the queues of the inbox are, from 0 to 1, by kind of message."""
        return {kind.name.lower(): self._inbox.fill(kind) for kind in Kind}

    def _wake(self, woken: set[str], principals: frozenset[str]) -> None:
        woken |= principals
        self._is_woken.set()

    async def _consume(self, executor: ThreadPoolExecutor) -> None:
        while True:
            arrivals = await self._inbox.take(
                max_messages=self._limits.group_max_messages, max_bytes=self._limits.group_max_bytes
            )
            await self._finish(await self._try(executor, self._handle, arrivals))

    def _handle(self, arrivals: list[Arrival]) -> Outcome:
        return self._pipeline.handle(
            arrivals,
            fill=self._inbox.fill(Kind.BULK),
            live_fill=self._inbox.fill(Kind.LIVE),
            heard_until=self._inbox.heard_until(),
        )

    def _push_due(self, _: None) -> Outcome:
        return self._pipeline.push_due(heard_until=self._inbox.heard_until())

    def _push_those(self, principals: set[str], *, skip_locked: bool = False) -> Outcome:
        return self._pipeline.push(principals, skip_locked=skip_locked, heard_until=self._inbox.heard_until())

    async def _push(self, executor: ThreadPoolExecutor) -> None:
        """Send what we are told of at once, and look for the rest each `poll_s`, however much we are told."""
        assert self._loop is not None
        due_at = self._loop.time() + self._limits.poll_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._is_woken.wait()
            if self._loop.time() >= due_at:
                due_at = self._loop.time() + self._limits.poll_s
                await self._finish(await self._try(executor, self._push_due, None))
            self._is_woken.clear()
            # Emptied in place: whoever wakes us holds on to the sets.
            woken, heard = set(self._woken), self._heard - self._woken
            self._woken.clear()
            self._heard.clear()
            if woken:
                await self._finish(await self._try(executor, self._push_those, woken))
            if heard:
                share = partial(self._push_those, skip_locked=True)
                await self._finish(await self._try(executor, share, heard))

    async def _listen(self, executor: ThreadPoolExecutor) -> None:
        """Tell whoever derives presence that the devices can be heard, and keep our own word up to date."""
        limits = self._limits.presence
        for beat in itertools.count():
            await self._link.connected.wait()
            await self._try(executor, self._pipeline.note_listening, limits)
            if too_fast := self._rates.fetch_refused():
                await self._finish(await self._try(executor, self._pipeline.note_too_fast, too_fast))
            if strangers := self._strangers:
                self._strangers = Counter()
                await self._try(executor, self._pipeline.note_strangers, strangers)
            if beat % SPREAD_EVERY_BEATS == 0:
                await self._spread(executor)
            await asyncio.sleep(BEAT_S)

    async def _spread(self, executor: ThreadPoolExecutor) -> None:
        assert self._loop is not None
        try:
            devices = await self._loop.run_in_executor(
                executor, self._pipeline.count_active, self._limits.presence
            )
        except UnavailableError as error:
            logger.warning("the devices could not be counted: %s", error)
            return
        self._word.spread(spread_for(devices, rate_max_per_s=self._limits.hello_rate_max_per_s))

    async def _contradict(self) -> None:
        """Say that the hub is there when a worker's will says that it is not, unless another worker is quicker."""
        while True:
            await self._must_contradict.wait()
            await asyncio.sleep(random.uniform(0.0, self._limits.contradict_within_s))
            if self._must_contradict.is_set():
                self._must_contradict.clear()
                await self._link.announce()

    async def _follow_keys(self) -> None:
        while True:
            await self._must_sign_anew.wait()
            self._must_sign_anew.clear()
            self._word.seal_anew()
            await self._link.reconnect()

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
        if outcome.still_there:
            self._on_revoked_heard(outcome.still_there)
        for name, count in outcome.strangers.items():
            if name in self._strangers or len(self._strangers) < STRANGERS_MAX:
                self._strangers[name] += count
        for outgoing in outcome.outgoing:
            if not await self._link.publish(outgoing.topic, outgoing.message):
                self._counts["unpublished"] += 1
        if outcome.hub_word is not None:
            if outcome.hub_word:
                self._must_contradict.clear()
            else:
                self._must_contradict.set()
        if outcome.touched_tasks:
            try:
                self._on_tasks_changed(outcome.touched_tasks)
                self._on_nodes_ended(outcome.ended)
            except Exception:  # a watcher's trouble is not ingest's; watchers poll as well
                logger.exception("the watchers of %d tasks could not be told", len(outcome.touched_tasks))

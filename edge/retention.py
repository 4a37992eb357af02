"""The host of retention: keeps the store within its limits, and says when there is no room for new work.

What goes is decided in `core.retention`; each step is one short transaction, with a rest between, so that appends and
the loop are not held up. When the journal is full, and when it no longer is, the hub is told by a `device.condition`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.core.retention import ClockWatch, RetentionLimits, is_journal_full, next_step
from edge.ports import JOURNAL_BOUND, Ballast, Draft, Journal, RetentionStore, StoreUsage
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, UnavailableError
from shared.records import JOURNAL_FULL, DeviceCondition

logger = logging.getLogger(__name__)

DISK_FULL: Final = "disk_full"
"""Condition: the ballast is not there although it should be."""
REST_S: Final = 0.02
"""Between two steps: several times what a step takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the store is looked after, and how long is rested between two steps, in seconds."""

    interval_s: float
    rest_s: float = REST_S


class Retention:
    """One store's retention. `conditions`: what the journal says of the device since before this start."""

    def __init__(
        self,
        *,
        store: RetentionStore,
        journal: Journal,
        ballast: Ballast,
        clock: Clock,
        monotonic: Callable[[], float],
        limits: RetentionLimits,
        pace: Pace,
        conditions: frozenset[str],
    ) -> None:
        self._store = store
        self._journal = journal
        self._ballast = ballast
        self._clock = clock
        self._monotonic = monotonic
        self._limits = limits
        self._pace = pace
        self._conditions = conditions & {JOURNAL_FULL, DISK_FULL}
        self._trim_listeners: list[Callable[[], None]] = []
        self._room_listeners: list[Callable[[], None]] = []
        self._is_full = JOURNAL_FULL in conditions
        self._watch = ClockWatch(clock.now(), monotonic())
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def on_trimmed(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a log holds less than before."""
        self._trim_listeners.append(listener)

    def on_room(self, listener: Callable[[], None]) -> None:
        """Call `listener` when there is room for new work again."""
        self._room_listeners.append(listener)

    # --- what others may ask and tell ---

    def reconfigure(self, limits: RetentionLimits) -> None:
        """Other limits from now on."""
        self._limits = limits
        self._wake.set()

    @property
    def is_full(self) -> bool:
        """Whether new work is refused."""
        return self._is_full

    @property
    def issues(self) -> dict[str, str]:
        """What people should know, by part."""
        issues = {}
        if self._is_full:
            issues["journal"] = str(self._refusal())
        if (problem := self._ballast.problem) is not None:
            issues["disk"] = problem
        return issues

    async def admit(self) -> None:
        """Make room for new work if there is none. Raises `CapacityError` if the journal stays full."""
        if self._is_full or self._store.journal_bytes >= self._limits.journal_bytes:
            await self.look()
        if self._is_full:
            raise self._refusal()

    async def usage(self) -> StoreUsage:
        return await self._store.usage(self._clock.now())

    def changed(self) -> None:
        """Something was committed to the store."""
        is_over = self._store.metrics_bytes > self._limits.metrics_bytes
        if is_over or (not self._is_full and self._store.journal_bytes >= self._limits.journal_bytes):
            self._wake.set()

    def acknowledged(self) -> None:
        """The hub has committed something: there may be room now."""
        if self._is_full:
            self._wake.set()

    # --- life ---

    async def run(self) -> None:
        """Look after the store until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except (CapacityError, UnavailableError) as error:
                # The disk is full or busy: trimming needs a little of it too, and is tried again.
                logger.warning("retention waits: %s", error)
                await asyncio.sleep(self._pace.interval_s)
                continue
            try:
                async with asyncio.timeout(self._pace.interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Take steps until everything is within its limits or nothing more may go, then say what changed by it."""
        async with self._turn:
            usage = await self._bring_within_limits()
            was_full = self._is_full
            self._is_full = is_journal_full(usage, self._limits, was_full=was_full)
            if was_full and not self._is_full:
                for listener in self._room_listeners:
                    listener()
            await asyncio.to_thread(self._ballast.restore)
            await self._tell()

    async def _bring_within_limits(self) -> StoreUsage:
        """The store as it is when there is no step left."""
        while True:
            now = self._clock.now()
            self._watch = self._watch.look(now, self._monotonic())
            usage = await self._store.usage(now)
            step = next_step(
                usage, self._limits, now, is_full=self._is_full, is_clock_steady=self._watch.is_steady
            )
            if step is None or not await self._store.perform(step, now):
                return usage
            logger.debug("retention: %s", step)
            for listener in self._trim_listeners:
                listener()
            await asyncio.sleep(self._pace.rest_s)

    async def _tell(self) -> None:
        """Journal the conditions that began or ended since they were told last."""
        present = set()
        if self._is_full:
            present.add(JOURNAL_FULL)
        if self._ballast.problem is not None:
            present.add(DISK_FULL)
        for condition in sorted(present ^ self._conditions):
            is_active = condition in present
            log = logger.warning if is_active else logger.info
            log("condition %s %s", condition, "began" if is_active else "ended")
            record = DeviceCondition(at_ms=self._now_ms(), condition=condition, is_active=is_active)
            await self._journal.append(Draft(record), durable=True)
            self._conditions ^= {condition}

    def _refusal(self) -> CapacityError:
        return CapacityError(
            f"The journal is full: {self._limits.journal_bytes} bytes wait for the hub; link the device or raise"
            " journal_max_bytes.",
            bound=JOURNAL_BOUND,
            limit=self._limits.journal_bytes,
        )

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())

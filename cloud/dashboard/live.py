"""The one poller of this process: reads anew what open pages show, and hands each page its answer.

Why polling: what a page shows also changes by other processes, and by nothing but time (a device that says nothing
becomes stale). A second's poll finds all of it in the same way; the pages compare, and push only what is different.
It costs nothing while no page is open, each distinct question is asked once however many pages ask it, and with many
pages or a slow database the pauses grow, so that the poller never takes more than a fixed share of the time.

Watchers live in the event loop; the database is read in a thread.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlmodel import Session

from cloud.dashboard.device_reading import read_device
from cloud.dashboard.facts import DevicePage, FleetPage, FleetSummary, MetricsFacts
from cloud.dashboard.fleet_reading import read_page, read_summary
from cloud.dashboard.memory_reading import MemoryPage, read_memory
from cloud.dashboard.metrics_reading import Version, read_metrics, read_version
from cloud.dashboard.query import DeviceQuery, FleetQuery, MemoryQuery
from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.presence_sql import read_horizons
from shared.clock import Clock, to_ms
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0
REST_FACTOR: Final = 4
"""A poll that took a second is followed by four seconds' rest."""

METRICS_KEPT: Final = 20
"""Devices whose measurements are remembered between polls."""

Question = FleetQuery | DeviceQuery | MemoryQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAnswer:
    page: FleetPage
    summary: FleetSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAnswer:
    """None: there is no such device."""

    page: DevicePage | None
    metrics: MetricsFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAnswer:
    page: MemoryPage


Answer = FleetAnswer | DeviceAnswer | MemoryAnswer


class Watcher(Protocol):
    """An open page. `question` None: it wants no news now."""

    @property
    def question(self) -> Question | None: ...

    def take(self, answer: Answer, at_ms: int) -> None:
        """The answer to `question`, as of `at_ms` by the hub's clock."""
        ...

    def fail(self, problem: str) -> None:
        """There is no answer now; what is shown is of before."""
        ...


class Live:
    """Start with `run()`."""

    def __init__(
        self, *, database: Database, clock: Clock, limits: PresenceLimits, poll_s: float = POLL_S
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._poll_s = poll_s
        self._watchers: list[Watcher] = []
        self._metrics: dict[DeviceQuery, tuple[Version, MetricsFacts]] = {}
        self._is_watched = asyncio.Event()

    def watch(self, watcher: Watcher) -> None:
        """From the next poll on."""
        if watcher not in self._watchers:
            self._watchers.append(watcher)
        self._is_watched.set()

    def forget(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers:
            self._is_watched.clear()

    async def ask(self, question: Question) -> tuple[Answer, int]:
        """Read now; the answer, and as of when. Raises `UnavailableError`."""
        answers, at_ms = await asyncio.to_thread(self._read, [question])
        return answers[question], at_ms

    async def run(self) -> None:
        """Until cancelled. A database that is away is told to the pages, and asked again."""
        loop = asyncio.get_running_loop()
        while True:
            await self._is_watched.wait()
            began = loop.time()
            await self.poll()
            await asyncio.sleep(max(self._poll_s, REST_FACTOR * (loop.time() - began)))

    async def poll(self) -> None:
        """Read once what is watched, and hand it over."""
        asked = [(watcher, watcher.question) for watcher in self._watchers]
        questions = list({question for _, question in asked if question is not None})
        if not questions:
            return
        try:
            answers, at_ms = await asyncio.to_thread(self._read, questions)
        except UnavailableError as error:
            self._tell_all(str(error))
            return
        except Exception:
            logger.exception("the dashboard could not be read")
            self._tell_all("The hub made a mistake; its log says which.")
            return
        for watcher, question in asked:
            # A person may have asked for something else, or left, meanwhile.
            if question is not None and watcher.question == question and watcher in self._watchers:
                self._hand(watcher, answers[question], at_ms)

    def _read(self, questions: Sequence[Question]) -> tuple[Mapping[Question, Answer], int]:
        now = self._clock.now()
        answers: dict[Question, Answer] = {}
        with self._database.read() as session:
            compared = read_horizons(session, self._limits, now)
            summaries: dict[str | None, FleetSummary] = {}
            for question in questions:
                match question:
                    case FleetQuery():
                        tenant = question.tenant
                        if tenant not in summaries:
                            summaries[tenant] = read_summary(session, compared, tenant)
                        page = read_page(session, question, compared)
                        answers[question] = FleetAnswer(page=page, summary=summaries[tenant])
                    case DeviceQuery():
                        device = read_device(session, question.principal, compared, question.tenant)
                        metrics = None if device is None else self._read_metrics(session, question, now)
                        answers[question] = DeviceAnswer(page=device, metrics=metrics)
                    case MemoryQuery():
                        answers[question] = MemoryAnswer(page=read_memory(session, question.tenant, now))
        return answers, to_ms(now)

    def _read_metrics(self, session: Session, question: DeviceQuery, now: datetime) -> MetricsFacts:
        """Anew only when there is more to tell: hundreds of windows are parsed for them."""
        version = read_version(session, question.principal, now)
        known = self._metrics.get(question)
        if known is not None and known[0] == version:
            return known[1]
        while len(self._metrics) >= METRICS_KEPT:
            # Two threads may read at once: `ask` and the poll.
            self._metrics.pop(next(iter(self._metrics), question), None)
        metrics = read_metrics(session, question.principal, question.span, now)
        self._metrics[question] = (version, metrics)
        return metrics

    def _hand(self, watcher: Watcher, answer: Answer, at_ms: int) -> None:
        try:
            watcher.take(answer, at_ms)
        except Exception:  # one page's trouble is not the others'
            logger.exception("an open page could not be brought up to date")

    def _tell_all(self, problem: str) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher.fail(problem)
            except Exception:
                logger.exception("an open page could not be told of a failure")

"""The device's metrics: measures board, sensors and queues, and records what `edge.core.telemetry` finds worth it.

What blocks runs off the loop, board and sensors each on one thread at most: a sensor that hangs keeps the sensors'
readings away and nothing else. What the store cannot take is dropped and counted: metrics are the first to give way.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final, Protocol

from edge.core.telemetry import DEADBANDS, Deadband, Recorder, speeds
from edge.ports import Board, Draft, LaneState, Measurement
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, UnavailableError
from shared.ids import UPWARD, Lane
from shared.records import ModelCalled

logger = logging.getLogger(__name__)

MEASURE_TIMEOUT_S: Final = 5.0
"""How long a round of measuring is waited for. One that takes longer goes on, and counts when it is done."""

_Round = Callable[[datetime], tuple[Measurement, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A sensor that is read each `interval_s`. `read` blocks; it raises `UnavailableError` if there is no reading."""

    name: str
    unit: str
    interval_s: float
    deadband: float
    read: Callable[[datetime], float]

    @property
    def series(self) -> str:
        return f"sensor.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often is measured, how long a window is, and after how long an unchanged series is written all the same."""

    is_on: bool
    sample_s: float
    window_s: float
    heartbeat_s: float


class MetricsLog(Protocol):
    """The lane that windows are appended to."""

    async def append(self, *drafts: Draft, durable: bool, lane: Lane) -> tuple[int, ...]: ...


class Queues(Protocol):
    """What waits on this device."""

    async def open_count(self) -> int: ...

    async def lane(self, name: Lane) -> LaneState | None: ...


class Telemetry:
    """The part `telemetry` of the daemon. `counts`: `windows`, `dropped` (windows), `unread` (sensors), `refused`."""

    def __init__(
        self,
        *,
        board: Board,
        sensors: Sequence[Sensor],
        queues: Queues,
        log: MetricsLog,
        clock: Clock,
        schedule: Schedule,
        seconds: Callable[[], float] = monotonic,
        measure_timeout_s: float = MEASURE_TIMEOUT_S,
    ) -> None:
        self._board = board
        self._sensors = tuple(sensors)
        self._queues = queues
        self._log = log
        self._clock = clock
        self._schedule = schedule
        self._seconds = seconds
        self._measure_timeout_s = measure_timeout_s
        bands = {sensor.series: Deadband(absolute=sensor.deadband) for sensor in sensors}
        self._recorder = Recorder(deadbands={**DEADBANDS, **bands}, heartbeat_s=schedule.heartbeat_s)
        self._read_at_s: dict[str, float] = {}
        self._rounds: dict[_Round, asyncio.Future[tuple[Measurement, ...]]] = {}
        self._window_began_s = seconds()
        self._has_changed = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    @property
    def latest(self) -> Mapping[str, Measurement]:
        """The newest measurement of each series; empty while telemetry is off."""
        return self._recorder.latest if self._schedule.is_on else {}

    @property
    def counts(self) -> Mapping[str, int]:
        return {**self._counts, "refused": self._recorder.refused}

    @property
    def tokens(self) -> Mapping[str, int]:
        """Tokens since the start: `prompt` (evaluated), `cached` (of prompts, reused), `output`."""
        return self._tokens

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    def reconfigure(
        self,
        *,
        is_on: bool | None = None,
        sample_s: float | None = None,
        window_s: float | None = None,
        heartbeat_s: float | None = None,
    ) -> None:
        """Change the schedule from now on; what is None stays. The window that is open is closed by the new measure."""
        was = self._schedule
        self._schedule = Schedule(
            is_on=was.is_on if is_on is None else is_on,
            sample_s=was.sample_s if sample_s is None else sample_s,
            window_s=was.window_s if window_s is None else window_s,
            heartbeat_s=was.heartbeat_s if heartbeat_s is None else heartbeat_s,
        )
        self._recorder.heartbeat_s = self._schedule.heartbeat_s
        if not was.is_on:
            self._window_began_s = self._seconds()
        self._has_changed.set()

    def witness(self, _seq: int, draft: Draft) -> None:
        """A record was committed to the journal: how fast was the model, how many tokens did it take?"""
        if isinstance(record := draft.record, ModelCalled):
            self._tokens["prompt"] += record.prompt_tokens - record.cached_tokens
            self._tokens["cached"] += record.cached_tokens
            self._tokens["output"] += record.output_tokens
            if self._schedule.is_on:
                self._recorder.take(speeds(record))

    async def run(self) -> None:
        """Measure and record until cancelled. The window that is open then is lost: at most `window_s` of it."""
        while True:
            self._has_changed.clear()
            wait_s: float | None = None
            if self._schedule.is_on:
                await self.sample()
                if self._seconds() - self._window_began_s >= self._schedule.window_s:
                    await self.write()
                wait_s = self._schedule.sample_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._has_changed.wait()

    async def sample(self) -> None:
        """One round of measuring."""
        # With the store closed, or its disk gone, nobody knows the queues; the rest is measured all the same.
        with contextlib.suppress(CapacityError, UnavailableError):
            self._recorder.take(await _depths(self._queues))
        loop, now = asyncio.get_running_loop(), self._clock.now()
        due: list[_Round] = [self._measure_board]
        if any(
            self._is_due(sensor) for sensor in self._sensors
        ):  # a round that reads none would cost a thread
            due.append(self._read_sensors)
        for measure in due:
            if measure not in self._rounds:
                self._rounds[measure] = loop.run_in_executor(None, measure, now)
        done, _ = await asyncio.wait(self._rounds.values(), timeout=self._measure_timeout_s)
        self._rounds = {measure: each for measure, each in self._rounds.items() if each not in done}
        for each in done:
            self._recorder.take(each.result())

    async def write(self) -> None:
        """Close the window, and append what of it is worth a record."""
        now_s = self._seconds()
        span_ms = round((now_s - self._window_began_s) * 1000)
        self._window_began_s = now_s
        windows = self._recorder.close(at_ms=to_ms(self._clock.now()), span_ms=span_ms, at_s=now_s)
        if not windows:
            return
        try:
            await self._log.append(*(Draft(window) for window in windows), durable=False, lane=Lane.METRICS)
        except (CapacityError, UnavailableError) as error:
            level = logging.DEBUG if self._counts["dropped"] else logging.WARNING
            logger.log(level, "metrics are dropped: %s", error)
            self._counts["dropped"] += len(windows)
            return
        self._counts["windows"] += len(windows)
        self._recorder.wrote(windows, at_s=now_s)

    def _is_due(self, sensor: Sensor) -> bool:
        return self._seconds() - self._read_at_s.get(sensor.name, float("-inf")) >= sensor.interval_s

    def _measure_board(self, _now: datetime) -> tuple[Measurement, ...]:
        return self._board.measure()

    def _read_sensors(self, now: datetime) -> tuple[Measurement, ...]:
        """Those whose turn it is. Blocks for as long as they take."""
        measured = []
        for sensor in self._sensors:
            if not self._is_due(sensor):
                continue
            self._read_at_s[sensor.name] = self._seconds()
            try:
                measured.append(Measurement(sensor.series, sensor.unit, sensor.read(now)))
            except UnavailableError:
                self._counts["unread"] += 1
        return tuple(measured)


async def _depths(queues: Queues) -> list[Measurement]:
    found = [Measurement("tasks.open", "", await queues.open_count())]
    for name in UPWARD:
        lane = await queues.lane(name)
        if lane is not None:
            found.append(Measurement(f"lane.{name.value}.waiting", "", lane.head.seq - lane.acked))
            found.append(Measurement(f"lane.{name.value}.waiting_bytes", "B", lane.waiting_bytes))
    return found

"""The part `telemetry`: what it measures reaches the metrics lane, and nothing that fails there stops it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.ports import Draft
from edge.telemetry import Schedule, Sensor, Telemetry
from shared.clock import to_ms
from shared.errors import CapacityError, UnavailableError
from shared.ids import Lane
from shared.records import MetricsWindow, ModelCalled, parse_record
from tests.support.board import ScriptedBoard
from tests.support.clock import START, ManualClock
from tests.support.store import opened_journal
from tests.support.waiting import eventually


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class FullLog:
    """Takes nothing until `has_room`."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.has_room = False
        self._journal = journal

    async def append(self, *drafts: Draft, durable: bool, lane: Lane) -> tuple[int, ...]:
        if not self.has_room:
            raise CapacityError("The disk is full.", bound="disk", limit=0)
        return await self._journal.append(*drafts, durable=durable, lane=lane)


def telemetry_over(
    journal: SqliteJournal, *, seconds: Seconds | None = None, **changes: Any
) -> tuple[Telemetry, ScriptedBoard]:
    board = ScriptedBoard({"cpu.share": 0.5})
    given: dict[str, Any] = {
        "board": board,
        "sensors": (),
        "queues": journal,
        "log": journal,
        "clock": ManualClock(),
        "schedule": Schedule(is_on=True, sample_s=10, window_s=60, heartbeat_s=600),
        **({} if seconds is None else {"seconds": seconds}),
    }
    return Telemetry(**{**given, **changes}), board


async def windows_in(journal: SqliteJournal) -> list[MetricsWindow]:
    entries = await journal.tail(Lane.METRICS, after=0, limit=100)
    records = [parse_record(entry.record) for entry in entries]
    return [record for record in records if isinstance(record, MetricsWindow)]


def sensor(read: Any, *, name: str = "fridge", interval_s: float = 60.0, deadband: float = 0.0) -> Sensor:
    return Sensor(name=name, unit="°C", interval_s=interval_s, deadband=deadband, read=read)


@asynccontextmanager
async def running(telemetry: Telemetry) -> AsyncIterator[None]:
    task = asyncio.create_task(telemetry.run(), name="telemetry")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    async with opened_journal(tmp_path / "store.sqlite") as opened:
        yield opened


async def test_window_of_board_queues_and_sensors_reaches_the_metrics_lane(journal: SqliteJournal) -> None:
    seconds = Seconds()
    telemetry, _ = telemetry_over(journal, seconds=seconds, sensors=[sensor(lambda _at: 4.5)])
    await telemetry.sample()
    seconds.now_s += 60
    await telemetry.write()
    (window,) = await windows_in(journal)
    assert (window.at_ms, window.span_ms) == (to_ms(START), 60_000)
    assert {series.name: series.last for series in window.series} == {
        "cpu.share": 0.5,
        "tasks.open": 0.0,
        "lane.journal.waiting": 0.0,
        "lane.journal.waiting_bytes": 0.0,
        "lane.metrics.waiting": 0.0,
        "lane.metrics.waiting_bytes": 0.0,
        "sensor.fridge": 4.5,
    }
    assert await journal.tail(Lane.JOURNAL, after=0, limit=10) == ()
    assert telemetry.counts["windows"] == 1


async def test_quiet_window_writes_no_record(journal: SqliteJournal) -> None:
    seconds = Seconds()
    telemetry, board = telemetry_over(journal, seconds=seconds)
    for _ in range(3):
        await telemetry.sample()
        seconds.now_s += 60
        await telemetry.write()
    assert len(await windows_in(journal)) == 1
    board.values["cpu.share"] = 0.9
    await telemetry.sample()
    await telemetry.write()
    assert [series.name for series in (await windows_in(journal))[-1].series] == ["cpu.share"]


async def test_sensor_is_read_no_more_often_than_its_interval(journal: SqliteJournal) -> None:
    seconds = Seconds()
    read_at: list[datetime] = []

    def read(at: datetime) -> float:
        read_at.append(at)
        return 4.0

    telemetry, board = telemetry_over(journal, seconds=seconds, sensors=[sensor(read, interval_s=60.0)])
    for _ in range(13):
        await telemetry.sample()
        seconds.now_s += 10
    assert board.rounds == 13
    assert len(read_at) == 3


async def test_sensor_without_a_reading_is_counted_and_the_others_are_read(journal: SqliteJournal) -> None:
    def broken(_at: datetime) -> float:
        raise UnavailableError("Sensor door gives no reading.")

    sensors = [sensor(broken, name="door"), sensor(lambda _at: 4.0)]
    telemetry, _ = telemetry_over(journal, sensors=sensors)
    await telemetry.sample()
    assert telemetry.counts["unread"] == 1
    assert "sensor.door" not in telemetry.latest
    assert telemetry.latest["sensor.fridge"].value == 4.0


async def test_sensor_that_hangs_keeps_nothing_from_being_measured(journal: SqliteJournal) -> None:
    release = threading.Event()

    def hanging(_at: datetime) -> float:
        assert release.wait(20)
        return 4.0

    telemetry, board = telemetry_over(journal, sensors=[sensor(hanging)], measure_timeout_s=0.01)
    try:
        for _ in range(3):
            await telemetry.sample()
        assert board.rounds >= 2
        assert "sensor.fridge" not in telemetry.latest
    finally:
        release.set()
    await telemetry.sample()
    await telemetry.sample()
    assert board.rounds >= 3


async def test_full_store_drops_windows_counts_them_and_writes_the_series_when_there_is_room_again(
    journal: SqliteJournal,
) -> None:
    log = FullLog(journal)
    telemetry, _ = telemetry_over(journal, log=log)
    for _ in range(2):
        await telemetry.sample()
        await telemetry.write()
    assert telemetry.counts["dropped"] == 2
    log.has_room = True
    await telemetry.sample()
    await telemetry.write()
    assert len(await windows_in(journal)) == 1


async def test_model_speeds_and_tokens_are_taken_from_the_journal(journal: SqliteJournal) -> None:
    telemetry, _ = telemetry_over(journal)
    record = ModelCalled(
        at_ms=0,
        model="m",
        purpose="answer",
        finish="stop",
        prompt_tokens=120,
        cached_tokens=20,
        output_tokens=41,
        first_token_ms=500.0,
        total_ms=2_500.0,
    )
    telemetry.witness(1, Draft(record))
    telemetry.witness(2, Draft(record))
    assert telemetry.latest["model.decode"].value == 20.0
    assert telemetry.latest["model.prompt"].value == 200.0
    assert telemetry.tokens == {"prompt": 200, "cached": 40, "output": 82}


async def test_running_part_samples_and_writes_by_itself(journal: SqliteJournal) -> None:
    schedule = Schedule(is_on=True, sample_s=0.01, window_s=0.01, heartbeat_s=0.01)
    telemetry, _ = telemetry_over(journal, schedule=schedule)
    async with running(telemetry):
        await eventually(lambda: telemetry.counts.get("windows", 0) >= 2)


async def test_telemetry_that_is_off_measures_nothing_until_it_is_switched_on(journal: SqliteJournal) -> None:
    schedule = Schedule(is_on=False, sample_s=0.01, window_s=0.01, heartbeat_s=600)
    telemetry, board = telemetry_over(journal, schedule=schedule)
    async with running(telemetry):
        await asyncio.sleep(0)
        assert board.rounds == 0
        assert telemetry.latest == {}
        telemetry.reconfigure(is_on=True)
        await eventually(lambda: telemetry.counts.get("windows", 0) >= 1)
        telemetry.reconfigure(is_on=False)
        assert telemetry.latest == {}


async def test_schedule_changes_while_it_runs(journal: SqliteJournal) -> None:
    schedule = Schedule(is_on=True, sample_s=3_600, window_s=3_600, heartbeat_s=3_600)
    telemetry, board = telemetry_over(journal, schedule=schedule)
    async with running(telemetry):
        await eventually(lambda: board.rounds == 1)
        telemetry.reconfigure(sample_s=0.01, window_s=0.01)
        await eventually(lambda: telemetry.counts.get("windows", 0) >= 1)
    assert telemetry.schedule == Schedule(is_on=True, sample_s=0.01, window_s=0.01, heartbeat_s=3_600)

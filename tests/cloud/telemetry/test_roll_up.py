"""Windows become hours exactly once, whatever happens in between; what is old goes, and the rest still verifies."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, func, select

from cloud.db import Database
from cloud.journal.service import verify
from cloud.journal.tables import DeadLetter, LaneRow, RecordRow, SealRow
from cloud.telemetry.roll_up import LANE_CHUNK_RECORDS, TRIM_CHUNK_RECORDS, RolledUp, roll_up
from cloud.telemetry.tables import DeviceMetrics, MetricHour, MetricRollUp
from tests.cloud.telemetry.measured import FRIDGE, enrol, minutes, store, store_each, window
from tests.support.clock import START, ManualClock
from tests.support.ingest import IngestHub

KEEP_S = 2 * 86_400
KEEP_DAYS = 90


class KilledError(BaseException):
    """The process ends here."""


class DyingDatabase:
    """Transactions of which the `deadly`-th writing one is never committed."""

    def __init__(self, database: Database, *, deadly: int) -> None:
        self._database = database
        self._left = deadly

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._database.write() as session:
            yield session
            session.flush()
            self._left -= 1
            if self._left == 0:
                raise KilledError

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._database.read() as session:
            yield session


def round_at(database: Database, now: datetime = START, *, raw_keep_s: int = KEEP_S) -> RolledUp:
    return roll_up(database, now, raw_keep_s=raw_keep_s, hours_keep_days=KEEP_DAYS)


def hours_of(database: Database, principal: str = FRIDGE) -> dict[datetime, MetricHour]:
    with Session(database.engine) as session:
        rows = session.exec(select(MetricHour).where(MetricHour.principal == principal)).all()
        return {row.hour: row for row in rows}


def lane_of(database: Database, key: int) -> LaneRow:
    with Session(database.engine) as session:
        row = session.get(LaneRow, key)
        assert row is not None
        return row


def count(database: Database, table: type[RecordRow | SealRow | DeadLetter], key: int) -> int:
    with Session(database.engine) as session:
        return session.exec(select(func.count()).select_from(table).where(col(table.lane_id) == key)).one()


@pytest.fixture(autouse=True)
def _fridge(database: Database) -> None:
    enrol(database, FRIDGE)


def test_windows_become_hours(database: Database) -> None:
    store(database, minutes(90))
    done = round_at(database)
    assert (done.windows, done.hours) == (90, 2)
    hours = hours_of(database)
    assert hours[START].series["load"] == {
        "unit": "",
        "count": 60,
        "min": 0.0,
        "max": 59.0,
        "sum": sum(range(60)),
        "last": 59.0,
    }
    assert hours[START + timedelta(hours=1)].series["load"]["count"] == 30


def test_round_without_news_changes_nothing(database: Database) -> None:
    store(database, minutes(90))
    round_at(database)
    before = {hour: row.series for hour, row in hours_of(database).items()}
    assert round_at(database) == RolledUp()
    assert {hour: row.series for hour, row in hours_of(database).items()} == before


def test_windows_that_come_later_are_added_to_their_hour(database: Database) -> None:
    store(database, minutes(10))
    round_at(database)
    store(database, [window(START + timedelta(minutes=30), 100.0), window(START, -5.0, name="other")])
    round_at(database)
    series = hours_of(database)[START].series
    assert (series["load"]["count"], series["load"]["max"]) == (11, 100.0)
    assert series["other"]["count"] == 1


def test_backlog_larger_than_a_chunk_is_rolled_up_in_one_round(database: Database) -> None:
    store(database, minutes(2 * LANE_CHUNK_RECORDS + 7))
    assert round_at(database).windows == 2 * LANE_CHUNK_RECORDS + 7
    assert sum(row.series["load"]["count"] for row in hours_of(database).values()) == 1_007


@pytest.mark.slow
def test_logs_of_many_devices_and_epochs_are_rolled_up_each(database: Database) -> None:
    names = [f"acme.oven-{number}" for number in range(120)]
    enrol(database, *names)
    store_each(database, minutes(2), names)
    store(database, minutes(3), epoch="first")
    store(database, minutes(4), epoch="second")
    assert round_at(database).windows == 247
    assert hours_of(database)[START].series["load"]["count"] == 7
    assert all(hours_of(database, name)[START].series["load"]["count"] == 2 for name in names)
    store(database, minutes(1), epoch="first")  # an older log may still grow: a card that was swapped back
    assert round_at(database).windows == 1


@pytest.mark.parametrize("deadly", [1, 2, 3])
def test_round_that_is_killed_anywhere_counts_nothing_twice_and_leaves_nothing_out(
    database: Database, deadly: int
) -> None:
    store(database, minutes(2 * LANE_CHUNK_RECORDS))
    with pytest.raises(KilledError):
        roll_up(DyingDatabase(database, deadly=deadly), START, raw_keep_s=KEEP_S, hours_keep_days=KEEP_DAYS)
    round_at(database)
    assert sum(row.series["load"]["count"] for row in hours_of(database).values()) == 2 * LANE_CHUNK_RECORDS


def test_what_another_process_rolled_up_meanwhile_is_left_alone(database: Database) -> None:
    """Two rounds at once, as when a lease changes hands: the second to write finds that it is late."""
    key = store(database, minutes(10))

    class Late:
        """Another process is quicker, each time."""

        @contextmanager
        def write(self) -> Iterator[Session]:
            round_at(database)
            with database.write() as session:
                yield session

        @contextmanager
        def read(self) -> Iterator[Session]:
            with database.read() as session:
                yield session

    assert roll_up(Late(), START, raw_keep_s=KEEP_S, hours_keep_days=KEEP_DAYS).windows == 0
    assert hours_of(database)[START].series["load"]["count"] == 10
    with Session(database.engine) as session:
        row = session.get(MetricRollUp, key)
        assert row is not None
        assert row.rolled_seq == 10


def test_records_that_are_no_windows_are_passed_over(database: Database) -> None:
    key = store(database, [*minutes(1), b"\xff", *minutes(1)])
    assert round_at(database).windows == 2
    assert lane_of(database, key).tail_seq == 1


# --- trimming ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_old_windows_go_and_the_tail_moves_behind_them(database: Database) -> None:
    all_ = TRIM_CHUNK_RECORDS + 100
    key = store(database, minutes(all_))
    now = START + timedelta(minutes=all_)
    done = round_at(database, now, raw_keep_s=3_600)
    kept = 60
    assert done.trimmed == all_ - kept
    lane = lane_of(database, key)
    assert lane.tail_seq == done.trimmed + 1
    assert count(database, RecordRow, key) == kept
    assert sum(row.series["load"]["count"] for row in hours_of(database).values()) == all_
    assert round_at(database, now, raw_keep_s=3_600).trimmed == 0


def test_tail_is_cut_rarely_and_then_by_much(database: Database) -> None:
    key = store(database, minutes(600))
    just_overdue = START + timedelta(seconds=KEEP_S, minutes=10)
    assert round_at(database, just_overdue).trimmed == 0
    overdue = START + timedelta(seconds=KEEP_S * 17 / 16, minutes=1)
    assert round_at(database, overdue).trimmed > 100
    assert lane_of(database, key).tail_seq > 100


def test_windows_that_are_not_rolled_up_yet_are_never_trimmed(database: Database) -> None:
    key = store(database, minutes(100))
    with pytest.raises(KilledError):
        roll_up(
            DyingDatabase(database, deadly=1),
            START + timedelta(days=30),
            raw_keep_s=KEEP_S,
            hours_keep_days=KEEP_DAYS,
        )
    assert count(database, RecordRow, key) == 100


def test_whole_log_may_go_but_its_head_stays(database: Database) -> None:
    key = store(database, minutes(100))
    assert round_at(database, START + timedelta(days=30)).trimmed == 100
    lane = lane_of(database, key)
    assert (lane.tail_seq, lane.head_seq, lane.tail_hash) == (101, 100, lane.head_hash)
    store(database, [window(START + timedelta(days=30))])
    assert lane_of(database, key).head_seq == 101


@pytest.mark.slow
def test_clock_far_in_the_future_keeps_no_log_for_ever(database: Database) -> None:
    future = START + timedelta(days=36_500)
    key = store(database, minutes(TRIM_CHUNK_RECORDS + 200, since=future))
    roll_up(database, START, raw_keep_s=KEEP_S, hours_keep_days=KEEP_DAYS, raw_max_records=100)
    assert count(database, RecordRow, key) == 100


async def test_trimmed_log_still_verifies_and_grows(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol("acme.oven-1")
        await device.link()
        log = device.script.metrics
        for begin in range(0, 300, 100):
            for record in minutes(100, since=START + timedelta(minutes=begin)):
                log.append(record)
            await device.send(log, first=begin + 1)
        done = round_at(database, START + timedelta(minutes=150, seconds=3_600), raw_keep_s=3_600)
        assert done.trimmed == 150
        with Session(database.engine) as session:
            lane = session.exec(select(LaneRow).where(LaneRow.principal == "acme.oven-1")).one()
        assert lane.tail_seq == 151
        (report,) = verify(database, "acme.oven-1")
        assert (report.problem, report.records) == (None, 150)

        log.append(window(START + timedelta(minutes=301)))
        ack = await device.send(log, first=301)
        assert (ack.status, ack.upto) == ("ok", 301)
        again = await device.send(
            log, first=290, last=300
        )  # records from before and behind the tail are known
        assert (again.status, again.upto) == ("ok", 301)
        (report,) = verify(database, "acme.oven-1")
        assert report.problem is None


async def test_log_whose_tail_is_cut_while_it_is_verified_is_sound(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol("acme.oven-1")
        await device.link()
        for record in minutes(200):
            device.script.metrics.append(record)
        await device.send(device.script.metrics)

    class CutWhileRead(Database):
        """Retention runs when the log has been looked up, and before it is read."""

        reads = 0

        @contextmanager
        def read(self) -> Iterator[Session]:
            self.reads += 1
            if self.reads == 2:
                assert round_at(database, START + timedelta(days=30)).trimmed == 200
            with database.read() as session:
                yield session

    cutting = CutWhileRead(database.engine.url.render_as_string(hide_password=False))
    (report,) = verify(cutting, "acme.oven-1")
    cutting.close()
    assert report.problem is None


def test_old_hours_expire_device_by_device(database: Database) -> None:
    enrol(database, "acme.oven-1")
    for name in (FRIDGE, "acme.oven-1"):
        store(database, minutes(120), principal=name)
    round_at(database)
    now = START + timedelta(days=KEEP_DAYS, hours=1)
    assert round_at(database, now).expired == 2
    assert set(hours_of(database)) == {START + timedelta(hours=1)}
    with Session(database.engine) as session:
        assert session.get(DeviceMetrics, FRIDGE) is not None

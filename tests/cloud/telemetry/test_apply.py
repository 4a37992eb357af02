"""What devices measured reaches the table of newest values, once a batch, and counts what was shed once."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlmodel import Session

from cloud.db import Database
from cloud.telemetry.apply import LATEST_MAX_SERIES
from cloud.telemetry.tables import DeviceMetrics
from shared.clock import to_ms
from shared.records import MAX_SERIES, MetricsShed, MetricsWindow, Series
from tests.cloud.telemetry.measured import FRIDGE, enrol, minutes, store, window
from tests.support.clock import START, ManualClock
from tests.support.ingest import IngestHub


def metrics_of(database: Database, principal: str = FRIDGE) -> DeviceMetrics:
    with Session(database.engine) as session:
        row = session.get(DeviceMetrics, principal)
        assert row is not None
        return row


def shed(first: int, last: int, count: int) -> MetricsShed:
    return MetricsShed(at_ms=to_ms(START), first=first, last=last, count=count)


@pytest.fixture
async def hub(database: Database, clock: ManualClock) -> AsyncIterator[IngestHub]:
    async with IngestHub(database, clock) as running:
        yield running


async def test_newest_value_of_each_series_is_known_after_a_batch(hub: IngestHub) -> None:
    device = hub.enrol(FRIDGE)
    await device.link()
    for record in (
        window(START, 1.0),
        window(START + timedelta(minutes=1), 2.0),
        window(START + timedelta(minutes=2), 20.5, name="sensor.fridge", unit="°C"),
    ):
        device.script.metrics.append(record)
    ack = await device.send(device.script.metrics)
    assert ack.upto == 3
    row = metrics_of(hub.database)
    assert row.at_ms == to_ms(START + timedelta(minutes=2))
    assert row.latest == {
        "load": {"value": 2.0, "unit": "", "at_ms": to_ms(START + timedelta(minutes=1))},
        "sensor.fridge": {"value": 20.5, "unit": "°C", "at_ms": to_ms(START + timedelta(minutes=2))},
    }


async def test_series_that_a_later_batch_leaves_out_stay_known(hub: IngestHub) -> None:
    device = hub.enrol(FRIDGE)
    await device.link()
    device.script.metrics.append(window(START, 1.0))
    await device.send(device.script.metrics)
    device.script.metrics.append(window(START, 5.0, name="other"))
    await device.send(device.script.metrics, first=2)
    assert {name: told["value"] for name, told in metrics_of(hub.database).latest.items()} == {
        "load": 1.0,
        "other": 5.0,
    }


def test_thousand_windows_cost_one_write_of_the_device(database: Database) -> None:
    enrol(database, FRIDGE)
    store(database, minutes(1))
    written: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "device_metrics" in statement and not statement.lstrip().upper().startswith("SELECT"):
            written.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        store(database, minutes(1_000))
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert len(written) == 1
    assert metrics_of(database).latest["load"]["value"] == 999.0


def test_names_without_end_do_not_fill_the_table(database: Database) -> None:
    enrol(database, FRIDGE)
    records = []
    for batch in range(LATEST_MAX_SERIES // MAX_SERIES + 2):
        series = tuple(
            Series(name=f"s{batch}.{number}", count=1, min=1.0, max=1.0, mean=1.0, last=1.0)
            for number in range(MAX_SERIES)
        )
        at_ms = to_ms(START + timedelta(minutes=batch))
        records.append(MetricsWindow(at_ms=at_ms, span_ms=60_000, series=series))
    store(database, records)
    latest = metrics_of(database).latest
    assert len(latest) == LATEST_MAX_SERIES
    assert "s0.0" not in latest
    assert f"s{len(records) - 1}.0" in latest


def test_what_was_shed_is_counted(database: Database) -> None:
    enrol(database, FRIDGE)
    store(
        database, [*minutes(2), shed(1, 2, 2)]
    )  # both are here: their acknowledgement was lost, then they made room
    assert metrics_of(database).shed_count == 0
    with database.write() as session:
        # A range of which nothing came: the log goes on behind it.
        session.connection().exec_driver_sql("UPDATE lane SET head_seq = 103")
    store(database, [shed(4, 103, 100)])
    assert metrics_of(database).shed_count == 100


def test_tombstone_that_holds_an_older_one_counts_only_what_is_new(database: Database) -> None:
    enrol(database, FRIDGE)
    store(database, minutes(1))
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE lane SET head_seq = 50")
    store(database, [shed(2, 50, 49), *minutes(2)])
    assert metrics_of(database).shed_count == 49
    store(database, [shed(2, 53, 51)])  # the older tombstone and the two windows behind it
    assert metrics_of(database).shed_count == 49


async def test_tombstone_of_what_comes_later_is_a_dead_letter(hub: IngestHub) -> None:
    device = hub.enrol(FRIDGE)
    await device.link()
    device.script.metrics.append(shed(1, 9, 9))
    ack = await device.send(device.script.metrics)
    assert ack.upto == 1
    assert hub.worker.counts["dead_letters"] == 1

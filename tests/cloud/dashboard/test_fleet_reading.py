"""A page of the fleet, filtered, ordered and cut by the database; and its totals."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, update
from sqlmodel import Session, col

from cloud.dashboard.facts import BrokerSession, FleetPage
from cloud.dashboard.fleet_reading import CHOICES_MAX, read_choices, read_page, read_rows, read_summary
from cloud.dashboard.query import FleetQuery, Only, Sort
from cloud.db import Database
from cloud.devices.presence import DEAF_AFTER, Hearing, Horizons, PresenceLimits, horizons
from cloud.devices.tables import Device
from cloud.twins.tables import DeviceTwin, TwinLayer
from shared.clock import to_ms
from shared.ids import Lane
from tests.cloud.dashboard.rows import add_device, add_fleet, add_lane, principal_of, started
from tests.support.clock import START

NOW = START
DAY_S = 86_400.0


def compared(now: datetime = NOW) -> Horizons:
    return horizons(now, None, PresenceLimits())


def page_of(database: Database, query: FleetQuery, page_rows: int = 10) -> FleetPage:
    with database.read() as session:
        return read_page(session, query, compared(), page_rows)


def names_of(page: FleetPage) -> list[str]:
    return [row.name for row in page.rows]


def found(database: Database, **query: Any) -> list[str]:
    return names_of(page_of(database, replace(FleetQuery(tenant=None), **query)))


def add_mixed(session: Session) -> None:
    """One of each kind."""
    add_device(session, "online", now=NOW, site="berlin", group="fridges", labels={"site": "berlin"})
    add_device(session, "stale", now=NOW, hello_s=4_000, ack_s=4_000, record_s=4_000, site="oslo")
    add_device(session, "offline", now=NOW, is_connected=False, hello_s=900, version="0.1.9")
    week = 8 * DAY_S
    add_device(
        session,
        "lost",
        now=NOW,
        is_connected=False,
        broker_s=week,
        hello_s=week,
        ack_s=week,
        record_s=week,
        enrolled_at=NOW - timedelta(days=30),
    )
    add_device(session, "forked", now=NOW, status="quarantined", status_reason="fork")
    add_device(session, "full", now=NOW, conditions={"journal_full": to_ms(NOW) - 5_000})
    add_device(session, "behind", now=NOW)
    add_device(
        session, "new", now=NOW, is_connected=False, broker_s=None, hello_s=None, ack_s=None, record_s=None
    )
    add_lane(session, "behind", Lane.JOURNAL, now=NOW, records=[started(1_000)], ahead=7, waiting_bytes=900)
    add_lane(session, "online", Lane.JOURNAL, now=NOW, records=[started(1_000)])


def test_a_page_has_its_rows_and_tells_how_many_there_are(database: Database) -> None:
    with database.write() as session:
        add_fleet(session, 25, now=NOW)
    first, last = (
        page_of(database, FleetQuery(tenant=None)),
        page_of(database, FleetQuery(tenant=None, page=3)),
    )
    assert names_of(first) == [f"dev-{number:05d}" for number in range(10)]
    assert names_of(last) == [f"dev-{number:05d}" for number in range(20, 25)]
    assert (first.matched, first.page, first.pages) == (25, 1, 3)


def test_a_page_beyond_the_last_is_the_last_and_no_devices_are_one_empty_page(database: Database) -> None:
    assert page_of(database, FleetQuery(tenant=None, page=9)) == FleetPage(
        rows=(), matched=0, page=1, pages=1
    )
    with database.write() as session:
        add_fleet(session, 11, now=NOW)
    assert names_of(page_of(database, FleetQuery(tenant=None, page=9))) == ["dev-00010"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (FleetQuery(tenant=None), ["dev-00000", "dev-00001"]),
        (FleetQuery(tenant=None, is_descending=True), ["dev-00034", "dev-00033"]),
        (FleetQuery(tenant=None, sort=Sort.LAG, is_descending=True), ["dev-00030", "dev-00020"]),
        (FleetQuery(tenant=None, sort=Sort.LAG), ["dev-00000", "dev-00001"]),
        (FleetQuery(tenant=None, sort=Sort.LAST_RECORD, is_descending=True), ["dev-00000", "dev-00001"]),
        (FleetQuery(tenant=None, sort=Sort.LAST_RECORD), ["dev-00034", "dev-00033"]),
    ],
)
def test_rows_are_ordered_by_the_database(database: Database, query: FleetQuery, expected: list[str]) -> None:
    with database.write() as session:
        add_fleet(session, 35, now=NOW)
    assert names_of(page_of(database, query, page_rows=2)) == expected


@pytest.mark.parametrize("is_descending", [False, True])
def test_devices_without_a_value_come_last_however_it_is_ordered(
    database: Database, is_descending: bool
) -> None:
    with database.write() as session:
        add_device(session, "never", now=NOW, record_s=None)
        add_device(session, "some", now=NOW)
    query = FleetQuery(tenant=None, sort=Sort.LAST_RECORD, is_descending=is_descending)
    assert names_of(page_of(database, query)) == ["some", "never"]


def test_lag_is_that_of_the_newest_journal(database: Database) -> None:
    with database.write() as session:
        add_device(session, "lost-store", now=NOW)
        add_device(session, "other", now=NOW)
        closed = NOW - timedelta(hours=1)
        add_lane(session, "lost-store", Lane.JOURNAL, now=NOW, epoch="old", ahead=500, closed_at=closed)
        add_lane(session, "lost-store", Lane.JOURNAL, now=NOW, epoch="new", records=[started(5)], ahead=2)
        add_lane(session, "other", Lane.JOURNAL, now=NOW, ahead=3)
    page = page_of(database, FleetQuery(tenant=None, sort=Sort.LAG, is_descending=True))
    assert [(row.name, row.lag_records) for row in page.rows] == [("other", 3), ("lost-store", 2)]


def test_each_filter_finds_its_devices(database: Database) -> None:
    with database.write() as session:
        add_mixed(session)
    assert found(database, presence="stale") == ["stale"]
    assert found(database, presence="lost") == ["lost"]
    assert found(database, presence="offline") == ["new", "offline"]
    assert found(database, site="berlin") == ["online"]
    assert found(database, group="fridges") == ["online"]
    assert found(database, only=Only.NOT_ACTIVE) == ["forked"]
    assert found(database, only=Only.CONDITIONS) == ["full"]
    assert found(database, only=Only.BEHIND) == ["behind"]
    assert found(database, only=Only.BEHIND, sort=Sort.LAG) == ["behind"]
    assert found(database, site="berlin", presence="lost") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LINE", ["offline", "online"]),
        ("oslo", ["stale"]),
        ("fridges", ["online"]),
        ("0.1.9", ["offline"]),
        ("journal_full", ["full"]),
        ("main.lo", ["lost"]),
        ("%", []),
        ("_nline", []),
        ("' OR 1=1 --", []),
    ],
)
def test_a_search_looks_for_the_text_and_nothing_in_it_is_a_pattern(
    database: Database, text: str, expected: list[str]
) -> None:
    with database.write() as session:
        add_mixed(session)
    assert found(database, text=text) == expected


def test_a_row_keeps_the_four_facts_of_presence_apart(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW, broker_s=100, hello_s=80, ack_s=60, record_s=40)
    (row,) = page_of(database, FleetQuery(tenant=None)).rows
    at = to_ms(NOW)
    assert (row.broker, row.presence) == (BrokerSession.OPEN, "online")
    ages = (row.broker_at_ms, row.hello_at_ms, row.ack_at_ms, row.record_at_ms)
    assert ages == (at - 100_000, at - 80_000, at - 60_000, at - 40_000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (BrokerSession.OPEN, 600)),
        ({"died_at": NOW - timedelta(seconds=2)}, (BrokerSession.DOUBTED, 2)),
        ({"is_connected": False}, (BrokerSession.ENDED, 600)),
        ({"is_connected": False, "broker_s": None}, (BrokerSession.NEVER, None)),
    ],
)
def test_what_the_broker_told_is_shown_as_told(
    database: Database, values: dict[str, object], expected: tuple[BrokerSession, int | None]
) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW, **values)
    (row,) = page_of(database, FleetQuery(tenant=None)).rows
    since = None if row.broker_at_ms is None else (to_ms(NOW) - row.broker_at_ms) // 1_000
    assert (row.broker, since) == expected


def test_seconds_behind_are_counted_only_while_more_waits(database: Database) -> None:
    with database.write() as session:
        add_device(session, "behind", now=NOW)
        add_device(session, "caught-up", now=NOW)
        add_lane(session, "behind", Lane.JOURNAL, now=NOW, records=[started(77)], ahead=4, waiting_bytes=50)
        add_lane(session, "behind", Lane.METRICS, now=NOW, ahead=1, waiting_bytes=7)
        # What waited when the device last said so has arrived since: its bytes wait no more.
        add_lane(session, "caught-up", Lane.JOURNAL, now=NOW, records=[started(77)], waiting_bytes=50)
    behind, caught_up = page_of(database, FleetQuery(tenant=None)).rows
    assert (behind.lag_records, behind.lag_since_ms, behind.waiting_bytes) == (4, 77, 57)
    assert (caught_up.lag_records, caught_up.lag_since_ms, caught_up.waiting_bytes) == (0, None, 0)


def test_desired_is_compared_with_reported(database: Database) -> None:
    with database.write() as session:
        for name in ("in-step", "late", "refusing", "silent"):
            add_device(session, name, now=NOW)
        session.add(
            TwinLayer(tenant="main", scope="fleet", name="", revision=4, document={"a": 1}, updated_at=NOW)
        )
        for name, revision, refused in (
            ("in-step", 4, {}),
            ("late", 3, {}),
            ("refusing", 4, {"a": "too_big"}),
        ):
            twin = DeviceTwin(principal=principal_of(name), reported_revision=revision, refused=refused)
            session.add(twin)
    rows = {row.name: row for row in page_of(database, FleetQuery(tenant=None)).rows}
    assert {
        name: (row.desired_revision, row.reported_revision, row.settings) for name, row in rows.items()
    } == {
        "in-step": (4, 4, "in_sync"),
        "late": (4, 3, "pending"),
        "refusing": (4, 4, "refused"),
        "silent": (4, None, "never"),
    }
    assert found(database, only=Only.UNSETTLED) == ["late", "refusing", "silent"]


def test_a_forked_log_is_named_until_it_is_closed(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        add_device(session, "b", now=NOW)
        add_lane(session, "a", Lane.JOURNAL, now=NOW, forked_at_seq=3)
        add_lane(session, "b", Lane.JOURNAL, now=NOW, forked_at_seq=3, closed_at=NOW)
    forked, resolved = page_of(database, FleetQuery(tenant=None)).rows
    assert (forked.forked, resolved.forked) == (("journal",), ())


def test_rows_of_devices_that_are_not_there_are_left_out(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
    with database.read() as session:
        rows = read_rows(session, [principal_of("a"), principal_of("b")], compared())
    assert [row.name for row in rows] == ["a"]


def test_the_totals_are_of_the_whole_fleet(database: Database) -> None:
    with database.write() as session:
        add_mixed(session)
    with database.read() as session:
        summary = read_summary(session, compared(), None)
    assert dict(summary.presence) == {"online": 4, "stale": 1, "offline": 2, "lost": 1}
    assert (summary.devices, summary.not_active, summary.with_conditions) == (8, 1, 1)
    assert (summary.behind, summary.lag_records, summary.waiting_bytes) == (1, 7, 900)
    assert summary.deaf_since_ms is None


def test_a_hub_that_does_not_listen_tells_since_when(database: Database) -> None:
    heard_at = NOW - DEAF_AFTER - timedelta(seconds=1)
    hearing = Hearing(since=NOW - timedelta(hours=1), gone_at=None, heard_at=heard_at)
    with database.write() as session:
        add_device(session, "a", now=NOW)
    with database.read() as session:
        summary = read_summary(session, horizons(NOW, hearing, PresenceLimits()), None)
    assert summary.deaf_since_ms == to_ms(heard_at)


def test_sites_and_groups_are_offered_in_order_and_not_without_number(database: Database) -> None:
    with database.write() as session:
        add_fleet(session, CHOICES_MAX + 1, now=NOW)
        numbered = func.replace(col(Device.name), "dev-", "s")
        session.execute(update(Device).values(site=numbered, group="a"))
        session.execute(update(Device).where(col(Device.name) == "dev-00003").values(group="b"))
    with database.read() as session:
        sites, groups = read_choices(session, None)
    assert len(sites) == CHOICES_MAX
    assert sites[:2] == ["s00000", "s00001"]
    assert groups == ["a", "b"]


def test_a_page_costs_as_many_queries_however_large_the_fleet_is(database: Database) -> None:
    selects: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            selects.append(statement)

    def cost() -> tuple[int, int]:
        selects.clear()
        page = page_of(database, FleetQuery(tenant=None, sort=Sort.LAG, is_descending=True), page_rows=5)
        return len(selects), len(page.rows)

    event.listen(database.engine, "before_cursor_execute", note)
    with database.write() as session:
        add_fleet(session, 6, now=NOW)
    small = cost()
    with database.write() as session:
        add_fleet(session, 300, now=NOW, first=6)
    assert cost() == small
    assert small[1] == 5
    # Every query of rows is about the page's devices, or ends with the page.
    assert [
        text for text in selects if "count(" not in text and " IN (" not in text and "LIMIT" not in text
    ] == []

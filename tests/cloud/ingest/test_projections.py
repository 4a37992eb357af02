"""Running handlers over records: drafts, and what becomes of records that a handler refuses (rule P11)."""

from datetime import timedelta

import pytest
from sqlmodel import Session, select

from cloud.db import Database
from cloud.devices.tables import Refusal
from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from shared.errors import ProtocolError
from shared.records import DeviceStarted, DeviceStopped, Poison, Record
from tests.support.clock import START

NAME = "acme.fridge-1"


def applied() -> Applied:
    return Applied(principal=NAME, tenant="acme", lane_id=1, lane="journal", epoch=bytes(16), now=START)


def tally(session: Session, context: Applied, record: DeviceStarted) -> None:
    """Counts starts by version in a table that has nothing to do with it; refuses, after its changes, version `bad`."""
    key = (NAME, record.version)
    row = context.find(session, Refusal, key)
    if row is None:
        row = context.make(Refusal, key, principal=NAME, reason=record.version, last_at=START)
    row.count += 1
    context.touched_tasks.add(record.version)
    if record.version == "bad":
        raise ProtocolError("This one is refused.")
    if record.version == "bug":
        raise ZeroDivisionError


def starts(*versions: str) -> list[Record | Poison]:
    return [DeviceStarted(at_ms=1, version=version, was_clean=True) for version in versions]


def run(database: Database, records: list[Record | Poison]) -> tuple[dict[int, str], dict[str, int], Applied]:
    context = applied()
    with database.write() as session:
        dead = project(session, context, records, first_seq=1, handlers={DeviceStarted: tally}, prefetch=())
    with database.read() as session:
        counts = {row.reason: row.count for row in session.exec(select(Refusal))}
    return dead, counts, context


def test_rows_made_by_one_record_are_found_by_the_next(database: Database) -> None:
    dead, counts, _ = run(database, starts("a", "b", "a", "a"))
    assert (dead, counts) == ({}, {"a": 3, "b": 1})


def test_rows_of_the_database_are_changed_in_place(database: Database) -> None:
    with database.write() as session:
        session.add(Refusal(principal=NAME, reason="a", count=41, last_at=START - timedelta(days=1)))
        session.add(Refusal(principal=NAME, reason="z", count=7, last_at=START))
    _, counts, _ = run(database, starts("a"))
    assert counts == {"a": 42, "z": 7}


def test_refused_record_leaves_no_trace_and_the_others_are_applied_once(database: Database) -> None:
    """P11: at the beginning, in the middle, in a row, and at the end."""
    versions = ["bad", "a", "a", "bad", "bad", "a", "b", "bad"]
    dead, counts, context = run(database, starts(*versions))
    assert sorted(dead) == [1, 4, 5, 8]
    assert set(dead.values()) == {"This one is refused."}
    assert counts == {"a": 3, "b": 1}
    assert context.touched_tasks == {"a", "b"}


def test_mistake_in_a_handler_costs_one_record_and_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """P11: a bug of ours must not wedge a lane."""
    dead, counts, _ = run(database, starts("a", "bug", "a"))
    assert dead == {2: "internal error: ZeroDivisionError"}
    assert counts == {"a": 2}
    assert "applying record 2" in caplog.text


def test_poison_and_records_without_a_handler_pass_by(database: Database) -> None:
    """P11."""
    records: list[Record | Poison] = [Poison("unknown kind"), DeviceStopped(at_ms=1), *starts("a")]
    dead, counts, _ = run(database, records)
    assert (dead, counts) == ({1: "unknown kind"}, {"a": 1})


def test_run_of_nothing_but_refused_records_ends(database: Database) -> None:
    """P11: it takes one savepoint a record, not one for each pair."""
    dead, counts, _ = run(database, starts(*["bad"] * 200))
    assert (len(dead), counts) == (200, {})


def test_settle_makes_drafts_visible_to_queries(database: Database) -> None:
    context = applied()
    with database.write() as session:
        made = context.make(Refusal, (NAME, "a"), principal=NAME, reason="a", last_at=START)
        made.count = 5
        context.settle(session)
        row = session.get(Refusal, (NAME, "a"))
        assert row is not None
        assert row.count == 5
        row.count = 6
        found = context.find(session, Refusal, (NAME, "a"))
        assert found is not None
        assert found.count == 6
        found.count = 7
        context.settle(session)
        assert row.count == 7

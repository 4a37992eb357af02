"""A fleet's figures are void unless its hub holds what was written; here are databases spoiled on purpose."""

import sqlite3
from pathlib import Path

import pytest
from sqlmodel import Session

from cloud.db import Database
from cloud.journal import repository
from cloud.schema import migrate
from shared.ids import Lane, LaneId
from shared.log import Head, extend
from tests.bench.fleet.evidence import check_logs
from tests.support.clock import START
from tests.support.device import bytes_from
from tests.support.process import ProcessFailedError

LANE = LaneId("main.sim-00001", Lane.JOURNAL, bytes_from("epoch"))
RECORDS = (b"one", b"two", b"three")


@pytest.fixture
def held(tmp_path: Path) -> tuple[Path, Head]:
    """A hub's database with one log of a device, and that log's head."""
    path = tmp_path / "hub.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    with database.write() as session:
        head = append_all(session)
    database.close()
    return path, head


def append_all(session: Session) -> Head:
    row = repository.create_lane(session, LANE, START)
    head = repository.head_of(row)
    for data in RECORDS:
        head = extend(head, data)
        repository.insert_records(
            session, [(repository.key_of(row), head.seq, head.hash, "device.started", 0, data)]
        )
    row.head_seq, row.head_hash = head.seq, head.hash
    return head


def test_a_log_that_is_there_to_its_end_is_sound(held: tuple[Path, Head]) -> None:
    path, head = held
    check_logs(path, {(LANE.principal, Lane.JOURNAL): head, (LANE.principal, Lane.METRICS): Head(0, b"")})


@pytest.mark.parametrize(("ahead", "hash_"), [(1, None), (0, bytes(32))])
def test_a_log_that_ends_elsewhere_is_told(held: tuple[Path, Head], ahead: int, hash_: bytes | None) -> None:
    path, head = held
    written = Head(head.seq + ahead, hash_ or head.hash)
    with pytest.raises(ProcessFailedError, match=r"1 logs differ.*sim-00001 journal"):
        check_logs(path, {(LANE.principal, Lane.JOURNAL): written})


def test_a_log_that_never_came_is_told(held: tuple[Path, Head]) -> None:
    path, head = held
    with pytest.raises(ProcessFailedError, match=r"sim-00002 metrics: 3 written, None held"):
        check_logs(path, {("main.sim-00002", Lane.METRICS): head})


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ("DELETE FROM record WHERE seq = 2", "1 logs differ"),
        (
            "INSERT INTO dead_letter (lane_id, seq, reason, at) VALUES (1, 2, 'x', '2026-01-01')",
            "1 records are",
        ),
    ],
)
def test_a_missing_record_and_a_dead_letter_are_told(
    held: tuple[Path, Head], spoil: str, complaint: str
) -> None:
    path, head = held
    with sqlite3.connect(path) as db:
        db.execute(spoil)
    db.close()
    with pytest.raises(ProcessFailedError, match=complaint):
        check_logs(path, {(LANE.principal, Lane.JOURNAL): head})

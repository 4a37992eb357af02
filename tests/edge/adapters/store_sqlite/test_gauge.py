"""What is reckoned for a record is about what SQLite takes for it, below and beyond the size where it needs pages."""

import os
import sqlite3
from contextlib import closing

import pytest

from edge.adapters.store_sqlite.database import known_migrations
from edge.adapters.store_sqlite.gauge import Gauge, measure, read_pages, record_disk_bytes
from edge.ports import JOURNAL_BOUND
from shared.errors import CapacityError

COUNT = 400


def a_store() -> "closing[sqlite3.Connection]":
    db = sqlite3.connect(":memory:", isolation_level=None)
    for migration in known_migrations():
        db.executescript(migration.read_text())
    db.execute("INSERT INTO lane (id, name, epoch, head_seq, head_hash) VALUES (1, 'metrics', x'', 0, x'')")
    return closing(db)


def fill(db: sqlite3.Connection, data_bytes: int) -> None:
    db.executemany(
        "INSERT INTO record VALUES (1, ?, ?, ?)",
        [(seq, os.urandom(32), os.urandom(data_bytes)) for seq in range(1, COUNT + 1)],
    )


@pytest.mark.parametrize("data_bytes", [60, 300, 900, 1_000, 3_000, 5_000, 16_000])
def test_what_is_reckoned_for_a_record_is_what_it_takes(data_bytes: int) -> None:
    with a_store() as db:
        empty = read_pages(db).file_bytes
        fill(db, data_bytes)
        taken = (read_pages(db).file_bytes - empty) / COUNT
        assert record_disk_bytes(data_bytes) == pytest.approx(taken, rel=0.15)


def test_what_is_not_reckoned_as_telemetry_is_the_journals() -> None:
    with a_store() as db:
        fill(db, 300)
        db.execute("UPDATE lane SET disk_bytes = ?", (COUNT * record_disk_bytes(300),))
        journal_bytes, metrics_bytes = measure(db)
        assert metrics_bytes == COUNT * record_disk_bytes(300)
        assert journal_bytes + metrics_bytes == read_pages(db).file_bytes
        db.execute("DELETE FROM record")
        db.execute("UPDATE lane SET disk_bytes = 0")
        # Pages that are free again count for nobody.
        assert sum(measure(db)) == read_pages(db).file_bytes - read_pages(db).free_bytes
        assert read_pages(db).free_bytes > COUNT * 300


def test_the_hard_limit_holds_to_the_byte() -> None:
    with a_store() as db:
        journal_bytes, _ = measure(db)
        gauge = Gauge(journal_bytes + 100)
        gauge.admit(db, 100)
        with pytest.raises(CapacityError) as caught:
            gauge.admit(db, 101)
        assert (caught.value.bound, caught.value.limit) == (JOURNAL_BOUND, journal_bytes + 100)
        Gauge().admit(db, 2**40)

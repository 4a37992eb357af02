"""What a query reads is the store at one moment, however long it takes and whatever is written meanwhile."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.database import Database, open_database
from shared.errors import UnavailableError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def count(db: sqlite3.Connection) -> int:
    (found,) = db.execute("SELECT count(*) FROM meta").fetchone()
    return int(found)


def test_a_query_of_several_statements_sees_one_moment(database: Database) -> None:
    """Else a batch could carry records without the content that they name: found by ./run chaos."""
    database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('before', 1)"), durable=False)

    def read(db: sqlite3.Connection) -> tuple[int, int]:
        first = count(db)
        database.write_blocking(
            lambda db: db.execute("INSERT INTO meta VALUES ('meanwhile', 1)"), durable=False
        )
        return first, count(db)

    assert database.read_blocking(read) == (1, 1)
    assert database.read_blocking(count) == 2


def test_a_query_that_fails_leaves_no_old_moment_behind(database: Database) -> None:
    with pytest.raises(UnavailableError):
        database.read_blocking(lambda db: db.execute("SELECT 1 FROM nowhere").fetchone())
    database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('after', 1)"), durable=False)
    assert database.read_blocking(count) == 1

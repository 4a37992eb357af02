"""Migrated databases of the hub, quickly: the migrations run once for each kind, then their result is copied.

Migrating takes longer than most tests do. What the migrations themselves do is tested on empty databases.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cloud.db import Database
from cloud.schema import migrate
from tests.support.postgres import PostgresServer

TEMPLATE = "migrated"


def migrated_sqlite(path: Path) -> str:
    """The URL of a migrated database at `path`, which is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_sqlite_template())
    return f"sqlite:///{path}"


@contextmanager
def migrated_postgres(server: PostgresServer) -> Iterator[str]:
    """The URL of a migrated database of `server`, dropped afterwards."""
    _make_postgres_template(server)
    with server.fresh_database(template=TEMPLATE) as url:
        yield url


@cache
def _sqlite_template() -> bytes:
    directory = Path(tempfile.mkdtemp(prefix="covey-template-"))
    try:
        path = directory / "hub.sqlite"
        database = Database(f"sqlite:///{path}")
        migrate(database)
        database.close()
        # Everything into the one file that is copied.
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()
    finally:
        shutil.rmtree(directory)


@cache
def _make_postgres_template(server: PostgresServer) -> None:
    server.execute(f'CREATE DATABASE "{TEMPLATE}"')
    database = Database(server.url(TEMPLATE))
    migrate(database)
    database.close()

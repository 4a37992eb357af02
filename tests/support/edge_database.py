"""A device's store, quickly: the migrations run once, then their result is copied.

Making a store takes longer than most tests do. What the migrations themselves do is tested on empty files.
"""

import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from edge.adapters.store_sqlite.database import Database, migrate, open_database


def open_store(path: Path) -> Database:
    """The store at `path`, which is made if it is not there. Blocks."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(_template())
    return open_database(path)


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="covey-template-") as directory:
        path = Path(directory) / "store.sqlite"
        migrate(path)
        # Everything into the one file that is copied.
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()

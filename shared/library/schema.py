"""The library's file: opening it, and its tables. Forward only; a file of a newer program is refused."""

import sqlite3
from pathlib import Path
from typing import Final

from shared.errors import ConfigError, UnavailableError

VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 30.0
CACHE_KIB: Final = 8_192

_TABLES: Final = """
CREATE TABLE corpus (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0,   -- grows with each change of its items
    number INTEGER NOT NULL DEFAULT 0,       -- of a collection: the revision that is held
    hash BLOB NOT NULL DEFAULT x'',          -- of its manifest
    manifest BLOB NOT NULL DEFAULT x'',      -- compressed; the rest is in it too
    root BLOB NOT NULL DEFAULT x'',
    model BLOB NOT NULL DEFAULT x'',
    labels TEXT NOT NULL DEFAULT '[]',       -- a JSON array
    chunks INTEGER NOT NULL DEFAULT 0,
    held_chunks INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE content (
    id BLOB NOT NULL,
    model BLOB NOT NULL,                     -- whose embedding it is
    headings TEXT NOT NULL,                  -- a JSON array
    text TEXT NOT NULL,
    vector BLOB NOT NULL,                    -- signed bytes
    PRIMARY KEY (id, model)                  -- not the rows' own order: beside a key they would take a page each
);
CREATE TABLE item (
    corpus INTEGER NOT NULL REFERENCES corpus(id),
    ordinal INTEGER NOT NULL,
    key BLOB NOT NULL,
    content BLOB NOT NULL,
    model BLOB NOT NULL,
    document TEXT NOT NULL,
    title TEXT NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    page INTEGER NOT NULL,                   -- 0: none
    heading_length INTEGER NOT NULL,         -- in terms
    body_length INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (corpus, ordinal)
) WITHOUT ROWID;
CREATE UNIQUE INDEX item_key ON item(corpus, key);
CREATE INDEX item_content ON item(content, model);
CREATE TABLE posting (
    corpus INTEGER NOT NULL REFERENCES corpus(id),
    term TEXT NOT NULL,
    segment INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (corpus, term, segment)
) WITHOUT ROWID;
"""


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection, which may be used from any thread, one at a time. Transactions are opened explicitly.

    Raises `UnavailableError` for a file that cannot be opened, `ConfigError` for one of a newer program.
    """
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise UnavailableError(f"{path} cannot be opened ({error}).") from error
    try:
        db.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        if read_only:
            db.execute("PRAGMA query_only=ON")
        else:
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA secure_delete=ON")  # what is removed is not left in the file
            _migrate(db, path)
    except sqlite3.Error as error:
        db.close()
        raise UnavailableError(f"{path} cannot be used ({error}).") from error
    except ConfigError:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(f"{path} was made by a newer program; install that one, or remove the file.")
        if version == 0:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise

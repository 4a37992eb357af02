"""What a store says of itself, read from the file beside a daemon that may be using it. Blocking; changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from edge.adapters.store_sqlite.database import known_migrations
from edge.adapters.store_sqlite.gauge import measure
from shared.errors import ConfigError, UnavailableError
from shared.ids import Lane
from shared.records import Poison, parse_record

LOOK_EACH_STEPS: Final = 10_000
"""Steps of SQLite's machine between two looks at the time that is left."""
MEASURED_SINCE_VERSION: Final = 2
"""The store version from which lanes know what they take of the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFacts:
    """A log as it stands."""

    name: str
    head: int
    acked: int
    forked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """`version` beyond `known` was made by a newer program, and then nothing else is told.

    `newest_ms`: when the last journal record was made. `file_bytes` with what is beside the file; `journal_bytes` and
    `metrics_bytes` are what of that is in use, 0 in a store that an older program made (`store_sqlite.gauge`).
    """

    version: int
    known: int
    lanes: tuple[LaneFacts, ...]
    dead_letters: int
    newest_ms: int | None
    file_bytes: int
    journal_bytes: int = 0
    metrics_bytes: int = 0


def inspect(path: Path) -> StoreFacts:
    """Raises `ConfigError` if it is no sound store, `UnavailableError` if it cannot be read."""
    known = len(known_migrations())
    file_bytes = sum(
        file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()
    )
    with _opened(path) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if not 0 < version <= known:
            return StoreFacts(
                version=version, known=known, lanes=(), dead_letters=0, newest_ms=None, file_bytes=file_bytes
            )
        (dead_letters,) = db.execute("SELECT count(*) FROM dead_letter").fetchone()
        journal_bytes, metrics_bytes = measure(db) if version >= MEASURED_SINCE_VERSION else (0, 0)
        return StoreFacts(
            version=version,
            known=known,
            lanes=tuple(_lanes(db)),
            dead_letters=dead_letters,
            newest_ms=_newest_ms(db),
            file_bytes=file_bytes,
            journal_bytes=journal_bytes,
            metrics_bytes=metrics_bytes,
        )


def find_damage(path: Path, *, limit_s: float) -> str | None:
    """The first fault of the file's structure, if one is found within `limit_s`.

    Raises `TimeoutError` when the time was too short for all of it. (SQLite's quick_check: pages, not contents.)
    """
    with _opened(path) as db:
        deadline = monotonic() + limit_s
        db.set_progress_handler(lambda: monotonic() > deadline, LOOK_EACH_STEPS)
        try:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if monotonic() > deadline:
                raise TimeoutError from error
            raise
        return None if said == "ok" else str(said)


def _lanes(db: sqlite3.Connection) -> Iterator[LaneFacts]:
    """The current epoch of each lane."""
    for name, head, acked, forked_at in db.execute(
        "SELECT name, head_seq, acked, forked_at FROM lane"
        " WHERE id IN (SELECT max(id) FROM lane GROUP BY name) ORDER BY name"
    ):
        yield LaneFacts(name=name, head=head, acked=acked, forked_at=forked_at)


def _newest_ms(db: sqlite3.Connection) -> int | None:
    row = db.execute(
        "SELECT data FROM record JOIN lane ON lane.id = lane_id WHERE name = ? ORDER BY lane_id DESC, seq DESC LIMIT 1",
        (Lane.JOURNAL.value,),
    ).fetchone()
    record = None if row is None else parse_record(row[0])
    return None if record is None or isinstance(record, Poison) else record.at_ms


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("BEGIN")
            yield db
        finally:
            db.close()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise ConfigError(f"{path} is not a sound SQLite database ({error}).") from error
        raise UnavailableError(f"{path} cannot be read ({error}).") from error

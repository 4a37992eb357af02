"""A device's store under a test's control: open it, spoil it, copy it, and rebuild its projections from the logs.

The rebuild goes through `store_sqlite.projection` alone, so it says what the records mean and not what was kept.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

from edge.adapters.store_sqlite.database import Database, migrate
from edge.adapters.store_sqlite.journal import SqliteJournal, verify
from edge.adapters.store_sqlite.projection import apply_journal, apply_order
from edge.blobs import make_blob
from edge.ports import Draft
from shared.blobs import Blob
from shared.ids import Lane
from shared.records import JournalRecord, OrderRecord, Poison, parse_record
from tests.support.edge_database import open_store

PRINCIPAL = "acme.fridge-1"

Order = Literal["journal first", "orders first"]

# What may differ between replays: in which order nodes of different logs became known.
_PROJECTIONS = {
    "node": (
        "task, node, origin, attempt, state, reason, goal_hash, result_hash, limits, deadline_ms, created_ms,"
        " started_ms, cause_epoch, cause_seq, cancel"
    ),
    "effect": "*",
    "twin": "*",
    "hub_question": "*",
}


@asynccontextmanager
async def opened_journal(path: Path, *, principal: str = PRINCIPAL) -> AsyncIterator[SqliteJournal]:
    """The store at `path` as the daemon has it; closed off the loop."""
    database = await asyncio.to_thread(open_store, path)
    try:
        yield await asyncio.to_thread(SqliteJournal, database, principal=principal)
    finally:
        await asyncio.to_thread(database.close)


def draft_of(record_of: Callable[[Blob], JournalRecord], content: str) -> Draft:
    """A record that names one new blob."""
    blob = make_blob(content.encode())
    return Draft(record_of(blob), (blob,))


def query(path: Path, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Look into the file past the daemon."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, arguments).fetchall()


def verified(path: Path) -> dict[str, str | None]:
    """The first fault of each lane, None where it is sound."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return {name: fault for name, head, fault in verify(db) if name != "metrics" or head}


def power_cut(path: Path, copy: Path) -> Path:
    """The files of an open store as they are at this moment, elsewhere: what a killed process leaves behind."""
    copy.mkdir(parents=True)
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy / file.name)
    return copy / path.name


# --- records ---


async def records(journal: SqliteJournal, lane: Lane = Lane.JOURNAL) -> list[Any]:
    """Everything in the current epoch of a lane, parsed."""
    return [parse_record(entry.record) for entry in await journal.tail(lane, after=0, limit=10_000)]


async def kinds(journal: SqliteJournal, lane: Lane = Lane.JOURNAL) -> list[str]:
    """What happened, in one word each."""
    return [getattr(record, "kind", "?") for record in await records(journal, lane)]


# --- rebuilding ---


def projections(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """The tables of work as comparable values."""
    return {
        table: sorted(db.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
        for table, columns in _PROJECTIONS.items()
    }


def rebuild(source: Database | Path, fresh: Path, order: Order) -> dict[str, list[tuple[Any, ...]]]:
    """The projections that follow from the logs in `source` alone, replayed lane by lane into a new store."""
    if isinstance(source, Database):
        lanes, blobs = source.read_blocking(_logs)
    else:
        with closing(sqlite3.connect(source, isolation_level=None)) as db:
            lanes, blobs = _logs(db)
    migrate(fresh)
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys=OFF")
        db.executemany("INSERT INTO blob VALUES (?, ?, ?, ?, ?)", blobs)
        for name, epoch, entries in sorted(lanes, key=lambda lane: lane[0], reverse=order == "orders first"):
            _replay(db, Lane(name), epoch, entries)
        return projections(db)


_Lane = tuple[str, bytes, Sequence[tuple[int, bytes]]]


def _logs(db: sqlite3.Connection) -> tuple[list[_Lane], list[tuple[Any, ...]]]:
    lanes: list[_Lane] = [
        (
            name,
            epoch,
            db.execute("SELECT seq, data FROM record WHERE lane_id = ? ORDER BY seq", (id_,)).fetchall(),
        )
        for id_, name, epoch in db.execute("SELECT id, name, epoch FROM lane ORDER BY id").fetchall()
    ]
    return lanes, db.execute("SELECT * FROM blob").fetchall()


def _replay(db: sqlite3.Connection, lane: Lane, epoch: bytes, entries: Iterable[tuple[int, bytes]]) -> None:
    for seq, data in entries:
        record = parse_record(data)
        if isinstance(record, Poison):
            continue
        if isinstance(record, OrderRecord):
            if lane is Lane.ORDERS:
                apply_order(db, record, seq=seq, epoch=epoch)
        elif lane is Lane.JOURNAL and isinstance(record, JournalRecord):
            apply_journal(db, record, seq=seq, epoch=epoch)

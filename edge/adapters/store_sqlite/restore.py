"""Making a store out of the logs of the device whose place this board takes (rule P27).

Into a file of its own, which takes its final name when it is whole: a power cut leaves no store, or all of it. The
records are kept bit for bit, so the log that begins with them is the old board's log. Secrets were sealed for the old
board's key and are not restored.
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from edge.adapters.store_sqlite.database import Database, open_database
from edge.adapters.store_sqlite.gauge import record_disk_bytes
from edge.adapters.store_sqlite.journal import store_blobs
from edge.adapters.store_sqlite.knowledge_rows import take_offered
from edge.adapters.store_sqlite.projection import apply_journal, apply_order
from shared.blobs import Blob
from shared.errors import ProtocolError, RefusedError
from shared.ids import Lane
from shared.log import chain
from shared.records import (
    JournalRecord,
    KnowledgeOffered,
    OrderRecord,
    Poison,
    PolicyPublished,
    SecretSet,
    parse_record,
)
from shared.restore import RestoredPage

PART_SUFFIX = ".restored"
_BESIDE = ("", "-wal", "-shm")

Pages = Callable[[Lane], Iterable[RestoredPage]]


def has_history(store: Path) -> bool:
    """Whether this board wrote a log of its own. Raises `ConfigError` while a daemon has the store open."""
    if not store.exists():
        return False
    database = open_database(store)
    try:
        return database.read_blocking(_has_records)
    finally:
        database.close()


def restore_store(store: Path, pages: Pages) -> dict[Lane, int]:
    """Make the store at `store` from what `pages` gives of each log; returns how many records each has. Blocks.

    Raises `RefusedError` (code `has_history`) if the board has a log of its own, `ProtocolError` if the records are not
    the chain that the hub says, and what opening a store and `pages` raise.
    """
    if has_history(store):
        raise RefusedError(
            f"This board has written a log of its own in {store}; move that file away, then say"
            " `covey-edge restore`.",
            code="has_history",
        )
    part = store.with_name(store.name + PART_SUFFIX)
    _remove(part)
    database = open_database(part)
    try:
        # Orders first: a node begins with its offer.
        counts = {lane: _take_all(database, pages(lane)) for lane in (Lane.ORDERS, Lane.JOURNAL)}
        database.write_blocking(lambda db: db.execute("PRAGMA user_version").fetchone(), durable=True)
    finally:
        database.close()  # the last connection writes SQLite's log back into the file
    _remove(store)
    part.replace(store)
    return counts


def _has_records(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT 1 FROM lane WHERE name = 'journal' AND head_seq > 0").fetchone()
    return row is not None


def _take_all(database: Database, pages: Iterable[RestoredPage]) -> int:
    taken, page = 0, None
    for page in pages:
        taken += database.write_blocking(partial(_take, page=page), durable=False)
    if page is not None and page.epoch is not None:
        last = page
        if database.read_blocking(lambda db: _position(db, last)) != (last.head, last.head_hash):
            raise ProtocolError(f"The hub's copy of the {last.lane} ends elsewhere than the hub says.")
    return taken


def _take(db: sqlite3.Connection, page: RestoredPage) -> int:
    """Append a page; the first of a log makes its lane."""
    if page.epoch is None:
        return 0
    position = _position(db, page)
    if position is None:
        db.execute(
            "INSERT INTO lane (name, epoch, head_seq, head_hash, tail_seq, tail_hash) VALUES (?, ?, ?, ?, ?, ?)",
            (page.lane, page.epoch, page.tail - 1, page.tail_hash, page.tail, page.tail_hash),
        )
        position = (page.tail - 1, page.tail_hash)
    at, before = position
    if page.first != at + 1:
        raise ProtocolError(f"The hub's copy of the {page.lane} goes on at {page.first} instead of {at + 1}.")
    (lane_id,) = db.execute(
        "SELECT id FROM lane WHERE name = ? AND epoch = ?", (page.lane, page.epoch)
    ).fetchone()
    blobs = {blob.ref().hash: blob for blob in page.blobs}
    size = disk = 0
    head = before
    for data, head in zip(page.records, chain(before, page.records), strict=True):
        at += 1
        db.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (lane_id, at, head, data))
        size += len(data) + _apply(db, lane_id, page.epoch, at, data, blobs)
        disk += record_disk_bytes(len(data))
    acked = at if page.lane == "journal" else 0
    db.execute(
        "UPDATE lane SET head_seq = ?, head_hash = ?, acked = ?, stored_bytes = stored_bytes + ?,"
        " disk_bytes = disk_bytes + ? WHERE id = ?",
        (at, head, acked, size, disk, lane_id),
    )
    return len(page.records)


def _apply(
    db: sqlite3.Connection, lane_id: int, epoch: bytes, seq: int, data: bytes, blobs: dict[bytes, Blob]
) -> int:
    """What the record means, and its content; returns the content's bytes."""
    record = parse_record(data)
    if isinstance(record, Poison | SecretSet | PolicyPublished):
        return 0
    if isinstance(record, KnowledgeOffered):
        take_offered(
            db, record, seq=seq, epoch=epoch, inline=None
        )  # this board has no base for what came along
        return 0
    size = store_blobs(db, lane_id, seq, record, blobs)
    if isinstance(record, JournalRecord):
        apply_journal(db, record, seq=seq, epoch=epoch)
    elif isinstance(record, OrderRecord):
        reason = apply_order(db, record, seq=seq, epoch=epoch)
        if reason is not None:
            db.execute("INSERT INTO dead_letter VALUES (?, ?, ?)", (lane_id, seq, reason))
    return size


def _position(db: sqlite3.Connection, page: RestoredPage) -> tuple[int, bytes] | None:
    row = db.execute(
        "SELECT head_seq, head_hash FROM lane WHERE name = ? AND epoch = ?", (page.lane, page.epoch)
    ).fetchone()
    return None if row is None else (row[0], bytes(row[1]))


def _remove(store: Path) -> None:
    for suffix in _BESIDE:
        store.with_name(store.name + suffix).unlink(missing_ok=True)

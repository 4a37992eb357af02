"""Secrets in the store: encrypted values, and the hub's orders about them until the journal has answered.

The box of an order is kept here and not beside the log, so that it is gone once it was opened. Must not know how
anything is encrypted.
"""

import sqlite3
from collections.abc import Sequence

from edge.adapters.store_sqlite.database import Database
from edge.ports import SecretOrder, StoredSecret
from shared.clock import from_ms, to_ms
from shared.records import (
    ForeignCause,
    SecretForgotten,
    SecretRefused,
    SecretRemoved,
    SecretSet,
    SecretStored,
)

NO_SECRETS_BEFORE_VERSION = 3
"""Of the store: older ones have no such table."""


class SqliteSecrets:
    """`SecretStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secrets(self) -> tuple[StoredSecret, ...]:
        return await self._database.read(read_secrets)

    async def orders(self) -> tuple[SecretOrder, ...]:
        return await self._database.read(read_orders)

    async def put(self, secrets: Sequence[StoredSecret]) -> None:
        await self._database.write(lambda db: write_secrets(db, secrets), durable=True)


def read_secrets(db: sqlite3.Connection) -> tuple[StoredSecret, ...]:
    """All, also those that were removed and of which the journal does not say so yet."""
    rows = db.execute("SELECT name, version, sealed, at_ms, is_told FROM secret ORDER BY name").fetchall()
    return tuple(
        StoredSecret(name=name, version=version, sealed=sealed, at=from_ms(at_ms), is_told=bool(is_told))
        for name, version, sealed, at_ms, is_told in rows
    )


def read_orders(db: sqlite3.Connection) -> tuple[SecretOrder, ...]:
    """In the order in which they came."""
    rows = db.execute(
        "SELECT epoch, seq, name, version, is_removal, box FROM secret_order ORDER BY position"
    ).fetchall()
    return tuple(
        SecretOrder(
            name=name,
            version=version,
            is_removal=bool(is_removal),
            box=box,
            order=ForeignCause(lane="orders", epoch=epoch, seq=seq),
        )
        for epoch, seq, name, version, is_removal, box in rows
    )


def write_secrets(db: sqlite3.Connection, secrets: Sequence[StoredSecret]) -> None:
    """Put these in the place of what is there under their names."""
    db.executemany(
        "INSERT OR REPLACE INTO secret (name, version, sealed, at_ms, is_told) VALUES (?, ?, ?, ?, ?)",
        [(each.name, each.version, each.sealed, to_ms(each.at), each.is_told) for each in secrets],
    )


def take_set(db: sqlite3.Connection, record: SecretSet, *, seq: int, epoch: bytes, box: bytes | None) -> None:
    """Keep the order to set a secret until it is carried out."""
    _take(db, record, seq=seq, epoch=epoch, box=box)


def take_removed(db: sqlite3.Connection, record: SecretRemoved, *, seq: int, epoch: bytes) -> None:
    """Keep the order to forget a secret until it is carried out."""
    _take(db, record, seq=seq, epoch=epoch, box=None)


def note_answer(db: sqlite3.Connection, record: SecretStored | SecretRefused | SecretForgotten) -> None:
    """The journal now says what became of a secret: the order is done, and what is here was told."""
    for cause in record.causes:
        if isinstance(cause, ForeignCause):
            db.execute("DELETE FROM secret_order WHERE epoch = ? AND seq = ?", (cause.epoch, cause.seq))
    key = (record.name, record.version)
    match record:
        case SecretStored():
            db.execute(
                "UPDATE secret SET is_told = 1 WHERE name = ? AND version = ? AND sealed IS NOT NULL", key
            )
        case SecretForgotten():
            db.execute("DELETE FROM secret WHERE name = ? AND version = ? AND sealed IS NULL", key)
        case SecretRefused():
            pass


def _take(
    db: sqlite3.Connection,
    record: SecretSet | SecretRemoved,
    *,
    seq: int,
    epoch: bytes,
    box: bytes | None,
) -> None:
    db.execute(
        "INSERT INTO secret_order (epoch, seq, name, version, is_removal, box) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (epoch, seq, record.name, record.version, isinstance(record, SecretRemoved), box),
    )

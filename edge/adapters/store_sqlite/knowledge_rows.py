"""The hub's newest word on each collection of knowledge, and what the journal answered.

What came along with an offer is kept here and not beside the log, so that it is gone once it was taken up or taken
back. Must not know what a revision holds, nor where it lies.
"""

import sqlite3

from edge.adapters.store_sqlite.database import Database, overwriting
from edge.ports import KnowledgeOffer
from shared.records import (
    ForeignCause,
    KnowledgeApplied,
    KnowledgeOffered,
    KnowledgeRefused,
    KnowledgeRemoved,
    KnowledgeWithdrawn,
    encode_record,
    parse_record,
)

APPLIED = "applied"


class SqliteOffers:
    """`KnowledgeOffers` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def offers(self) -> tuple[KnowledgeOffer, ...]:
        return await self._database.read(read_offers)


def read_offers(db: sqlite3.Connection) -> tuple[KnowledgeOffer, ...]:
    """By collection."""
    rows = db.execute(
        "SELECT epoch, seq, record, inline, answer FROM knowledge_offer ORDER BY collection"
    ).fetchall()
    found = []
    for epoch, seq, data, inline, answer in rows:
        record = parse_record(data)
        assert isinstance(record, KnowledgeOffered | KnowledgeWithdrawn), "it was one when it was kept"
        order = ForeignCause(lane="orders", epoch=epoch, seq=seq)
        found.append(KnowledgeOffer(record=record, inline=inline, order=order, answer=answer))
    return tuple(found)


def take_offered(
    db: sqlite3.Connection,
    record: KnowledgeOffered | KnowledgeWithdrawn,
    *,
    seq: int,
    epoch: bytes,
    inline: bytes | None,
) -> None:
    """Only the newest word on a collection counts."""
    with overwriting(db):
        db.execute(
            "INSERT OR REPLACE INTO knowledge_offer (collection, epoch, seq, record, inline) VALUES (?, ?, ?, ?, ?)",
            (record.collection, epoch, seq, encode_record(record), inline),
        )


def note_knowledge(
    db: sqlite3.Connection, record: KnowledgeApplied | KnowledgeRefused | KnowledgeRemoved
) -> None:
    """The journal says what became of an offer; of one that is not the newest any more that says nothing."""
    places = [(cause.epoch, cause.seq) for cause in record.causes if isinstance(cause, ForeignCause)]
    with overwriting(db):
        match record:
            case KnowledgeApplied():
                statement = "UPDATE knowledge_offer SET answer = ?, inline = NULL WHERE epoch = ? AND seq = ?"
                db.executemany(statement, [(APPLIED, *place) for place in places])
            case KnowledgeRefused():
                statement = "UPDATE knowledge_offer SET answer = ? WHERE epoch = ? AND seq = ?"
                db.executemany(statement, [(record.reason, *place) for place in places])
            case KnowledgeRemoved(reason="setting"):
                db.execute("DELETE FROM knowledge_offer WHERE collection = ?", (record.collection,))
            case KnowledgeRemoved():
                db.executemany("DELETE FROM knowledge_offer WHERE epoch = ? AND seq = ?", places)

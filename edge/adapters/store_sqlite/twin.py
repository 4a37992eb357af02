"""The settings in the store: what the hub ordered last, and what it was told last. Projections of both logs."""

import json
import sqlite3
from typing import cast

from edge.ports import DesiredSettings, ReportedSettings
from shared.clock import from_ms
from shared.errors import CapacityError, ProtocolError
from shared.records import ForeignCause, TwinDesired, TwinReported
from shared.twin import REPORT_MAX_BYTES, Document, canonical, merge, parse

DESIRED = "desired"
REPORTED = "reported"


def apply_desired(db: sqlite3.Connection, record: TwinDesired, *, seq: int, epoch: bytes) -> str | None:
    """Keep an order; the last one counts. Returns why it could not be, or None."""
    content = _content(db, record.document.hash)
    if content is None:
        return "the settings' content did not come with the order"
    try:
        document = parse(content)
    except (ProtocolError, CapacityError) as error:
        return str(error)
    _store(
        db,
        side=DESIRED,
        revision=record.revision,
        document=document,
        refused={},
        epoch=epoch,
        seq=seq,
        order_epoch=epoch,
        at_ms=record.at_ms,
    )
    return None


def apply_reported(db: sqlite3.Connection, record: TwinReported, *, seq: int, epoch: bytes) -> None:
    """Keep what the hub is told by our own record."""
    content = _content(db, record.patch.hash)
    if content is None:
        return
    before = None if record.is_whole else _reported(db)
    patch = parse(content, max_bytes=REPORT_MAX_BYTES)
    orders = [cause.epoch for cause in record.causes if isinstance(cause, ForeignCause)]
    _store(
        db,
        side=REPORTED,
        revision=record.revision,
        document=merge({} if before is None else before.document, patch),
        refused=dict(record.refused),
        epoch=epoch,
        seq=seq,
        order_epoch=orders[0] if orders else None,
        at_ms=record.at_ms,
    )


def read_settings(db: sqlite3.Connection) -> tuple[DesiredSettings | None, ReportedSettings | None]:
    """The last order and the last report."""
    return _desired(db), _reported(db)


def _store(
    db: sqlite3.Connection,
    *,
    side: str,
    revision: int,
    document: Document,
    refused: dict[str, str],
    epoch: bytes,
    seq: int,
    order_epoch: bytes | None,
    at_ms: int,
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO twin (side, revision, document, refused, epoch, seq, order_epoch, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            side,
            revision,
            canonical(document).decode(),
            json.dumps(refused),
            epoch,
            seq,
            order_epoch,
            at_ms,
        ),
    )


def _desired(db: sqlite3.Connection) -> DesiredSettings | None:
    row = db.execute(
        "SELECT revision, document, epoch, seq, at_ms FROM twin WHERE side = ?", (DESIRED,)
    ).fetchone()
    if row is None:
        return None
    revision, document, epoch, seq, at_ms = row
    return DesiredSettings(
        revision=revision,
        document=cast("Document", json.loads(document)),
        order=ForeignCause(lane="orders", epoch=epoch, seq=seq),
        at=from_ms(at_ms),
    )


def _reported(db: sqlite3.Connection) -> ReportedSettings | None:
    row = db.execute(
        "SELECT revision, document, refused, epoch, order_epoch, at_ms FROM twin WHERE side = ?", (REPORTED,)
    ).fetchone()
    if row is None:
        return None
    revision, document, refused, epoch, order_epoch, at_ms = row
    return ReportedSettings(
        revision=revision,
        document=cast("Document", json.loads(document)),
        refused=cast("dict[str, str]", json.loads(refused)),
        epoch=epoch,
        order_epoch=order_epoch,
        at=from_ms(at_ms),
    )


def _content(db: sqlite3.Connection, hash_: bytes) -> bytes | None:
    row = db.execute("SELECT content FROM blob WHERE hash = ?", (hash_,)).fetchone()
    return None if row is None else bytes(row[0])

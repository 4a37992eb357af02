"""Rows of the logs: find and lock lanes, append in bulk, read back. No decisions, no commits.

Records are never ORM objects here: tens of thousands a second are inserted by the driver's own `executemany`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, func, select

from cloud.db import insert_rows, table_of
from cloud.journal.tables import BlobRow, DeadLetter, LaneGap, LaneRow, RecordRow, SealRow
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, start

RecordValues = tuple[int, int, bytes, str, int, bytes]
"""lane_id, seq, hash, kind, at_ms, data: the columns of `RecordRow`, in order."""

BRANCH: Final = "branch"
"""Reason of the gap with which a log begins that goes on from another."""
READ_CHUNK: Final = 1_000
IN_CHUNK: Final = 500
"""Parameters of one `IN (…)`: below the smallest limit among the databases."""

_HASH_AT: Final = text("SELECT hash FROM record WHERE lane_id = :lane AND seq = :seq")
_RECORD_COLUMNS: Final = ("lane_id", "seq", "hash", "kind", "at_ms", "data")


def lane_id(row: LaneRow) -> LaneId:
    """The log that a row stands for."""
    return LaneId(row.principal, Lane(row.lane), row.epoch)


def head_of(row: LaneRow) -> Head:
    return Head(row.head_seq, row.head_hash)


def key_of(row: LaneRow) -> int:
    """The row's key; every row that was read or flushed has one."""
    assert row.id is not None
    return row.id


def newest_lane(session: Session, principal: str, lane: Lane) -> LaneRow | None:
    """The lane's latest epoch that the hub has heard of."""
    query = (
        select(LaneRow)
        .where(LaneRow.principal == principal, LaneRow.lane == lane.value)
        .order_by(col(LaneRow.id).desc())
        .limit(1)
    )
    return session.exec(query).first()


def lanes_of(session: Session, principal: str) -> Sequence[LaneRow]:
    """All lanes and epochs of a device, oldest first."""
    return session.exec(select(LaneRow).where(LaneRow.principal == principal).order_by(col(LaneRow.id))).all()


def lock_lane(session: Session, key: int) -> LaneRow:
    """The row as it stands now, locked until the transaction ends (on SQLite the whole database is)."""
    if session.get_bind().dialect.name == "sqlite":
        # Nobody else writes while this transaction does: as it has read the row, so the row stands.
        return session.get_one(LaneRow, key)
    session.flush()  # what this transaction changed must not be overwritten by reading anew
    query = (
        select(LaneRow).where(LaneRow.id == key).with_for_update().execution_options(populate_existing=True)
    )
    return session.exec(query).one()


def create_lane(session: Session, lane: LaneId, now: datetime) -> LaneRow:
    """A new, empty log."""
    row = LaneRow(
        principal=lane.principal,
        lane=lane.lane.value,
        epoch=lane.epoch,
        head_hash=start(lane).hash,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def hash_at(session: Session, row: LaneRow, seq: int) -> bytes | None:
    """The chain hash at `seq`; for 0 the lane's start; None where the log holds none: beyond, in a gap, trimmed."""
    if seq == row.head_seq:
        return row.head_hash
    if seq == 0:
        return start(lane_id(row)).hash
    if seq == row.tail_seq - 1:
        return row.tail_hash
    if not 0 < seq < row.head_seq:
        return None
    # Not by the ORM, which would make an object of the whole record: this is asked for most messages.
    found = session.execute(_HASH_AT, {"lane": key_of(row), "seq": seq}).scalar()
    if found is not None:
        return bytes(found)
    query = select(LaneGap.after_hash).where(LaneGap.lane_id == key_of(row), LaneGap.last_seq == seq)
    return session.exec(query).first()


def insert_gap(
    session: Session,
    *,
    row: LaneRow,
    first_seq: int,
    after: Head,
    reason: str,
    branch_of: int | None,
    at: datetime,
) -> None:
    """Record that the sequences from `first_seq` to `after` never came."""
    session.add(
        LaneGap(
            lane_id=key_of(row),
            first_seq=first_seq,
            last_seq=after.seq,
            after_hash=after.hash,
            reason=reason,
            branch_of=branch_of,
            at=at,
        )
    )
    session.flush()


def branch_gap(session: Session, row: LaneRow) -> LaneGap | None:
    """What stands before the beginning of a log that goes on from another one."""
    query = select(LaneGap).where(LaneGap.lane_id == key_of(row), col(LaneGap.branch_of).is_not(None))
    return session.exec(query).first()


def hashes_after(session: Session, key: int, after: int, limit: int) -> list[bytes]:
    """The chain's hashes right behind `after` in the log of that key, up to the first that is missing."""
    query = (
        select(RecordRow.seq, RecordRow.hash)
        .where(RecordRow.lane_id == key, RecordRow.seq > after, RecordRow.seq <= after + limit)
        .order_by(col(RecordRow.seq))
    )
    found: list[bytes] = []
    for seq, hash_ in session.exec(query):
        if seq != after + 1 + len(found):
            break
        found.append(bytes(hash_))
    return found


def gaps_of(session: Session, keys: Sequence[int]) -> Sequence[LaneGap]:
    """The gaps of these lanes, in order."""
    query = select(LaneGap).where(col(LaneGap.lane_id).in_(keys))
    return session.exec(query.order_by(col(LaneGap.lane_id), col(LaneGap.first_seq))).all()


def has_gap(session: Session, key: int) -> bool:
    """Whether records of this lane never came, other than those before a branch."""
    query = select(LaneGap.first_seq).where(LaneGap.lane_id == key, LaneGap.reason != BRANCH).limit(1)
    return session.exec(query).first() is not None


def count_branches(session: Session, key: int) -> int:
    """How many logs went on from this one."""
    return session.exec(select(func.count()).select_from(LaneGap).where(LaneGap.branch_of == key)).one()


def insert_records(session: Session, values: Sequence[RecordValues]) -> None:
    """Insert in bulk, by the driver alone."""
    insert_rows(session, "record", _RECORD_COLUMNS, values)


def insert_seal(session: Session, *, row: LaneRow, seq: int, kid: bytes, seal: bytes) -> None:
    session.execute(_plain(SealRow), {"lane_id": key_of(row), "seq": seq, "kid": kid, "seal": seal})


def insert_dead_letters(session: Session, *, row: LaneRow, reasons: Mapping[int, str], at: datetime) -> None:
    """Keep why the records at these sequences could not be understood or applied."""
    if reasons:
        values = [
            {"lane_id": key_of(row), "seq": seq, "reason": reason[:200], "at": at}
            for seq, reason in reasons.items()
        ]
        session.execute(_plain(DeadLetter), values)


def insert_blobs(session: Session, principal: str, blobs: Sequence[Blob]) -> None:
    """Store content by its hash; what is there already stays."""
    if not blobs:
        return
    values = [
        {"hash": blob.ref().hash, "principal": principal, "salt": blob.salt, "content": blob.content}
        for blob in blobs
    ]
    session.execute(_insert_missing_blob(session), values)


def blobs_by_hash(session: Session, hashes: Sequence[bytes]) -> dict[bytes, Blob]:
    """Those of the named blobs that the hub holds."""
    found: dict[bytes, Blob] = {}
    for begin in range(0, len(hashes), IN_CHUNK):
        part = hashes[begin : begin + IN_CHUNK]
        for row in session.exec(select(BlobRow).where(col(BlobRow.hash).in_(part))).all():
            found[row.hash] = Blob(salt=row.salt, content=row.content)
    return found


def read_rows(
    session: Session, row: LaneRow, *, after: int, limit: int, upto: int | None = None
) -> Sequence[RowMapping]:
    """Records after a sequence, oldest first, as plain mappings of `seq`, `hash`, `kind`, `at_ms`, `data`."""
    query = text(
        "SELECT seq, hash, kind, at_ms, data FROM record"
        " WHERE lane_id = :lane AND seq > :after AND seq <= :upto ORDER BY seq LIMIT :limit"
    )
    bounds = {
        "lane": key_of(row),
        "after": after,
        "upto": row.head_seq if upto is None else upto,
        "limit": limit,
    }
    return session.execute(query, bounds).mappings().all()


def read_entries(
    session: Session, row: LaneRow, *, after: int, limit: int, upto: int | None = None
) -> list[Entry]:
    """As `read_rows`, as entries of a log."""
    return [
        Entry(found["seq"], bytes(found["hash"]), bytes(found["data"]))
        for found in read_rows(session, row, after=after, limit=limit, upto=upto)
    ]


def seal_at(session: Session, row: LaneRow, seq: int) -> SealRow | None:
    return session.get(SealRow, (key_of(row), seq))


def seals_between(session: Session, row: LaneRow, *, after: int, upto: int) -> Iterator[SealRow]:
    """Seals at sequences from `after + 1` to `upto`, in order."""
    query = (
        select(SealRow)
        .where(SealRow.lane_id == key_of(row), col(SealRow.seq) > after, col(SealRow.seq) <= upto)
        .order_by(col(SealRow.seq))
    )
    yield from session.exec(query)


def dead_letters_between(session: Session, row: LaneRow, *, after: int, upto: int) -> dict[int, str]:
    """Reasons by sequence."""
    query = select(DeadLetter.seq, DeadLetter.reason).where(
        DeadLetter.lane_id == key_of(row), col(DeadLetter.seq) > after, col(DeadLetter.seq) <= upto
    )
    return dict(session.exec(query).all())


def _plain(table: type[SealRow] | type[DeadLetter]) -> Any:
    return table_of(table).insert()


def _insert_missing_blob(session: Session) -> Any:
    table = table_of(BlobRow)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing(index_elements=["hash"])

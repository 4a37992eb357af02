"""The logs and the projection of work in SQLite: `Journal`, `Work` and `Outbox` over one `Database`.

Every change of a log is one function on the writer thread, so a record and what it means commit together.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.projection import (
    apply_journal,
    apply_order,
    read_effects,
    read_episodes,
    read_node,
    read_open_nodes,
)
from edge.ports import Draft, EffectView, Episode, LaneState, NodeView, Reading
from shared.blobs import BLOB_MAX_BYTES, Blob, BlobRef
from shared.errors import CapacityError
from shared.ids import EPOCH_BYTES, Lane, LaneId
from shared.log import Entry, Head, chain, extend, start
from shared.messages import BATCH_MAX_RECORDS, Batch
from shared.records import OrderRecord, Poison, RecordBody, encode_record, parse_record
from shared.replication import BATCH_MAX_RAW_BYTES, Broken, Extend, Fork, Gap, Parcel, receive

UNENROLLED: Final = "local.unenrolled"
"""The principal before enrolment; it is in no record and no chain, so nothing has to change afterwards."""


class SqliteJournal:
    """The device's logs. `principal` is this device's name once it is enrolled."""

    def __init__(self, database: Database, *, principal: str = UNENROLLED) -> None:
        self._database = database
        self._principal = principal
        self._listeners: list[Callable[[], None]] = []
        self._on_disk: dict[Lane, int] = {}
        database.write_blocking(_ensure_own_lanes, durable=True)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop after each commit of this object."""
        self._listeners.append(listener)

    # --- Journal ---

    async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
        encoded = [(draft, _encode(draft)) for draft in drafts]
        seqs = await self._database.write(lambda db: _append(db, encoded), durable=durable)
        if durable and seqs:
            self._note_on_disk(Lane.JOURNAL, seqs[-1])
        self._notify()
        return seqs

    async def blob(self, ref: BlobRef) -> Blob | None:
        return await self._database.read(lambda db: _blob(db, ref.hash))

    async def tail(self, name: Lane, *, after: int, limit: int) -> tuple[Entry, ...]:
        """Stored records of the current epoch of a lane with sequence above `after`."""
        return await self._database.read(lambda db: _tail(db, name, after, limit))

    # --- Work ---

    async def open_nodes(self) -> tuple[NodeView, ...]:
        return await self._database.read(read_open_nodes)

    async def node(self, task: str, node: int) -> NodeView | None:
        return await self._database.read(lambda db: read_node(db, task, node))

    async def effects(self, task: str, node: int) -> tuple[EffectView, ...]:
        return await self._database.read(lambda db: read_effects(db, task, node))

    # --- Episodes ---

    async def episodes(self, *, limit: int) -> tuple[Episode, ...]:
        return await self._database.read(lambda db: read_episodes(db, limit))

    # --- Outbox ---

    async def lane(self, name: Lane) -> LaneState | None:
        return await self._database.read(lambda db: self._lane_state(db, name))

    async def parcels(self, name: Lane, first_seq: int, max_records: int) -> tuple[bytes, tuple[Parcel, ...]]:
        before, parcels = await self._database.read(lambda db: _parcels(db, name, first_seq, max_records))
        # Rule P14: what has not reached the disk may not leave.
        if parcels[-1].entry.seq > self._on_disk.get(name, 0):
            self._note_on_disk(name, await self._database.write(lambda db: _touch(db, name), durable=True))
        return before, parcels

    async def hash_at(self, name: Lane, seq: int) -> bytes | None:
        def read(db: sqlite3.Connection) -> bytes | None:
            lane = self._lane_state(db, name)
            return None if lane is None else _hash_at(db, name, lane.id, seq)

        return await self._database.read(read)

    async def acknowledged(self, name: Lane, upto: int) -> None:
        def change(db: sqlite3.Connection) -> None:
            db.execute("UPDATE lane SET acked = ? WHERE id = ?", (upto, _lane_id(db, name)))

        await self._database.write(change, durable=False)

    async def receive(self, batch: Batch) -> Reading:
        reading = await self._database.write(lambda db: self._receive(db, batch), durable=True)
        self._notify()
        return reading

    def _lane_state(self, db: sqlite3.Connection, name: Lane) -> LaneState | None:
        row = db.execute(
            "SELECT id, epoch, head_seq, head_hash, acked FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1",
            (name.value,),
        ).fetchone()
        if row is None:
            return None
        (tail,) = db.execute("SELECT min(seq) FROM record WHERE lane_id = ?", (row[0],)).fetchone()
        return LaneState(
            id=LaneId(self._principal, name, row[1]),
            tail=tail or row[2] + 1,
            head=Head(row[2], row[3]),
            acked=row[4],
        )

    def _receive(self, db: sqlite3.Connection, batch: Batch) -> Reading:
        name = Lane(batch.lane)
        lane = LaneId(self._principal, name, batch.epoch)
        row = db.execute(
            "SELECT id, head_seq, head_hash, forked_at FROM lane WHERE name = ? AND epoch = ?",
            (name.value, batch.epoch),
        ).fetchone()
        # A new epoch means that the hub's database was made anew: another log, read from its start.
        lane_id, *position, forked_at = row or (None, 0, start(lane).hash, None)
        ours = Head(*position)
        if forked_at is not None:
            # Rule P13: the lane stops, also for what would fit, until an operator decides.
            return Reading(head=ours, status="fork", new_records=0)

        def hash_at(seq: int) -> bytes | None:
            if seq == 0:
                return start(lane).hash
            return None if lane_id is None else _stored_hash(db, lane_id, seq)

        match receive(ours, batch, hash_at):
            case Gap():
                return Reading(head=ours, status="gap", new_records=0)
            case Broken():
                return Reading(head=ours, status="broken", new_records=0)
            case Fork(at):
                db.execute("UPDATE lane SET forked_at = ? WHERE id = ?", (at, lane_id))
                return Reading(head=ours, status="fork", new_records=0)
            case Extend(records, hashes, _):
                if lane_id is None:
                    lane_id = db.execute(
                        "INSERT INTO lane (name, epoch, head_seq, head_hash) VALUES (?, ?, 0, ?)",
                        (name.value, batch.epoch, ours.hash),
                    ).lastrowid
                assert lane_id is not None
                head = ours
                blobs = {blob.ref().hash: blob for blob in batch.blobs}
                for data, after in zip(records, hashes, strict=True):
                    head = Head(head.seq + 1, after)
                    db.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (lane_id, head.seq, after, data))
                    _take_order(db, lane_id, batch.epoch, head.seq, data, blobs)
                _set_head(db, lane_id, head)
                return Reading(head=head, status="ok", new_records=len(records))

    def _note_on_disk(self, name: Lane, seq: int) -> None:
        self._on_disk[name] = max(seq, self._on_disk.get(name, 0))

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def verify(db: sqlite3.Connection) -> list[tuple[str, int, str | None]]:
    """Each lane as (name, records, first fault or None): chain, head and blobs are recomputed. Blocks."""
    report: list[tuple[str, int, str | None]] = []
    for lane_id, name, epoch, head_seq, head_hash in db.execute(
        "SELECT id, CAST(name AS TEXT), CAST(epoch AS BLOB), head_seq, head_hash FROM lane ORDER BY id"
    ).fetchall():
        if name not in set(Lane):
            report.append((name, head_seq, "there is no such lane"))
            continue
        head = start(LaneId(UNENROLLED, Lane(name), epoch))
        fault: str | None = None
        # The casts: whoever alters the file may also alter the type of a value.
        for seq, hash_, data in db.execute(
            "SELECT seq, hash, CAST(data AS BLOB) FROM record WHERE lane_id = ? ORDER BY seq", (lane_id,)
        ):
            head = extend(head, data)
            if (head.seq, head.hash) != (seq, hash_):
                fault = f"record {head.seq} is missing or was altered"
                break
        if fault is None and (head.seq, head.hash) != (head_seq, head_hash):
            fault = f"the log ends at {head.seq}, its head says {head_seq}"
        if fault is None:
            for hash_, salt, content, seq in db.execute(
                "SELECT hash, CAST(salt AS BLOB), CAST(content AS BLOB), seq FROM blob WHERE lane_id = ?",
                (lane_id,),
            ):
                if hashlib.sha256(salt + content).digest() != hash_:
                    fault = f"content of record {seq} was altered"
                    break
        report.append((name, head_seq, fault))
    return report


def _encode(draft: Draft) -> bytes:
    named = {ref.hash: ref.size for ref in draft.record.blob_refs()}
    if sum(named.values()) > BLOB_MAX_BYTES:
        raise CapacityError(
            f"The content of one record would take {sum(named.values())} bytes; at most {BLOB_MAX_BYTES} are allowed.",
            bound="BLOB_MAX_BYTES",
            limit=BLOB_MAX_BYTES,
        )
    return encode_record(draft.record)


def _ensure_own_lanes(db: sqlite3.Connection) -> None:
    for name in (Lane.JOURNAL,):
        if db.execute("SELECT 1 FROM lane WHERE name = ?", (name.value,)).fetchone() is None:
            lane = LaneId(UNENROLLED, name, os.urandom(EPOCH_BYTES))
            db.execute(
                "INSERT INTO lane (name, epoch, head_seq, head_hash) VALUES (?, ?, 0, ?)",
                (name.value, lane.epoch, start(lane).hash),
            )


def _append(db: sqlite3.Connection, drafts: Sequence[tuple[Draft, bytes]]) -> tuple[int, ...]:
    lane_id, epoch, seq, hash_ = db.execute(
        "SELECT id, epoch, head_seq, head_hash FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1",
        (Lane.JOURNAL.value,),
    ).fetchone()
    hashes = chain(hash_, (data for _, data in drafts))
    seqs = tuple(range(seq + 1, seq + 1 + len(drafts)))
    db.executemany(
        "INSERT INTO record VALUES (?, ?, ?, ?)",
        [(lane_id, at, after, data) for at, after, (_, data) in zip(seqs, hashes, drafts, strict=True)],
    )
    for at, (draft, _) in zip(seqs, drafts, strict=True):
        _store_blobs(db, lane_id, at, draft.record, {blob.ref().hash: blob for blob in draft.blobs})
        apply_journal(db, draft.record, seq=at, epoch=epoch)
    _set_head(db, lane_id, Head(seqs[-1], hashes[-1]))
    return seqs


def _take_order(
    db: sqlite3.Connection, lane_id: int, epoch: bytes, seq: int, data: bytes, blobs: dict[bytes, Blob]
) -> None:
    """Apply one record of the orders lane, or keep it as a dead letter (rule P11)."""
    record = parse_record(data)
    reason: str | None
    if isinstance(record, Poison):
        reason = record.reason
    elif not isinstance(record, OrderRecord):
        reason = f"{record.kind} is not an order"
    else:
        _store_blobs(db, lane_id, seq, record, blobs)
        reason = apply_order(db, record, seq=seq, epoch=epoch)
    if reason is not None:
        db.execute("INSERT INTO dead_letter VALUES (?, ?, ?)", (lane_id, seq, reason))


def _store_blobs(
    db: sqlite3.Connection, lane_id: int, seq: int, record: RecordBody, blobs: dict[bytes, Blob]
) -> None:
    for ref in record.blob_refs():
        if (blob := blobs.get(ref.hash)) is not None:
            db.execute(
                "INSERT INTO blob VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (ref.hash, blob.salt, blob.content, lane_id, seq),
            )


def _touch(db: sqlite3.Connection, name: Lane) -> int:
    """A change that makes its commit wait for the disk, and with it all before; returns the lane's head."""
    db.execute("INSERT INTO meta VALUES ('syncs', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1")
    (seq,) = db.execute(
        "SELECT head_seq FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    return int(seq)


def _set_head(db: sqlite3.Connection, lane_id: int, head: Head) -> None:
    db.execute("UPDATE lane SET head_seq = ?, head_hash = ? WHERE id = ?", (head.seq, head.hash, lane_id))


def _lane_id(db: sqlite3.Connection, name: Lane) -> int:
    (lane_id,) = db.execute(
        "SELECT id FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    return int(lane_id)


def _stored_hash(db: sqlite3.Connection, lane_id: int, seq: int) -> bytes | None:
    row = db.execute("SELECT hash FROM record WHERE lane_id = ? AND seq = ?", (lane_id, seq)).fetchone()
    return None if row is None else bytes(row[0])


def _hash_at(db: sqlite3.Connection, name: Lane, lane: LaneId, seq: int) -> bytes | None:
    return start(lane).hash if seq == 0 else _stored_hash(db, _lane_id(db, name), seq)


def _parcels(
    db: sqlite3.Connection, name: Lane, first_seq: int, max_records: int
) -> tuple[bytes, tuple[Parcel, ...]]:
    lane_id, epoch = db.execute(
        "SELECT id, epoch FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    before = _hash_at(db, name, LaneId(UNENROLLED, name, epoch), first_seq - 1)
    if before is None:
        raise AssertionError(f"record {first_seq - 1} was trimmed before it was acknowledged")
    last_seq = first_seq + min(max_records, BATCH_MAX_RECORDS) - 1
    blobs: dict[int, list[Blob]] = {}
    for seq, salt, content in db.execute(
        "SELECT seq, salt, content FROM blob WHERE lane_id = ? AND seq BETWEEN ? AND ?",
        (lane_id, first_seq, last_seq),
    ):
        blobs.setdefault(seq, []).append(Blob(salt=salt, content=content))
    parcels: list[Parcel] = []
    size = 0
    for seq, hash_, data in db.execute(
        "SELECT seq, hash, data FROM record WHERE lane_id = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (lane_id, first_seq, last_seq),
    ):
        riders = tuple(blobs.get(seq, ()))
        size += len(data) + sum(len(blob.content) for blob in riders)
        if size > BATCH_MAX_RAW_BYTES and parcels:
            break
        parcels.append(Parcel(Entry(seq, hash_, data), riders))
    return before, tuple(parcels)


def _blob(db: sqlite3.Connection, hash_: bytes) -> Blob | None:
    row = db.execute("SELECT salt, content FROM blob WHERE hash = ?", (hash_,)).fetchone()
    return None if row is None else Blob(salt=row[0], content=row[1])


def _tail(db: sqlite3.Connection, name: Lane, after: int, limit: int) -> tuple[Entry, ...]:
    rows = db.execute(
        "SELECT r.seq, r.hash, r.data FROM record r WHERE r.lane_id ="
        " (SELECT id FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1) AND r.seq > ? ORDER BY r.seq LIMIT ?",
        (name.value, after, limit),
    ).fetchall()
    return tuple(Entry(*row) for row in rows)

"""The logs and the projection of work in SQLite: `Journal`, `Work` and `Outbox` over one `Database`.

Every change of a log is one function on the writer thread, so a record and what it means commit together.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.gauge import Gauge, record_disk_bytes
from edge.adapters.store_sqlite.knowledge_rows import take_offered
from edge.adapters.store_sqlite.memory_rows import take_forget
from edge.adapters.store_sqlite.policy_rows import take_published
from edge.adapters.store_sqlite.projection import (
    apply_journal,
    apply_order,
    count_open_nodes,
    read_effects,
    read_node,
    read_open_nodes,
)
from edge.adapters.store_sqlite.secret_rows import take_set
from edge.adapters.store_sqlite.standing import Answer, answers_to, carry_content, open_work
from edge.adapters.store_sqlite.trimming import drop_through
from edge.adapters.store_sqlite.twin import read_settings
from edge.ports import (
    DesiredSettings,
    Draft,
    EffectView,
    LaneState,
    NodeView,
    Reading,
    ReportedSettings,
)
from shared.blobs import BLOB_MAX_BYTES, Blob, BlobRef
from shared.clock import to_ms
from shared.errors import CapacityError, UnavailableError
from shared.ids import EPOCH_BYTES, UPWARD, Lane, LaneId
from shared.log import Entry, Head, chain, extend, start
from shared.messages import BATCH_MAX_RECORDS, Batch
from shared.records import (
    ForgetOrdered,
    KnowledgeOffered,
    MetricsRecord,
    NodeQueried,
    OrderRecord,
    Poison,
    PolicyPublished,
    RecordBody,
    SecretSet,
    TaskOffered,
    encode_record,
    parse_record,
)
from shared.replication import (
    BATCH_MAX_RAW_BYTES,
    Agreed,
    Broken,
    Extend,
    Fork,
    Gap,
    Missing,
    Parcel,
    receive,
)

UNENROLLED: Final = "local.unenrolled"
"""The principal before enrolment; it is in no record and no chain, so nothing has to change afterwards."""


class SqliteJournal:
    """The device's logs. `principal` is this device's name once it is enrolled; `gauge` measures and bounds them."""

    def __init__(self, database: Database, *, principal: str = UNENROLLED) -> None:
        self.gauge = Gauge()
        self._database = database
        self._principal = principal
        self._listeners: list[Callable[[], None]] = []
        self._ack_listeners: list[Callable[[], None]] = []
        self._on_disk: dict[Lane, int] = {}
        database.write_blocking(_ensure_own_lanes, durable=True)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop after each commit of this object."""
        self._listeners.append(listener)

    def on_acknowledged(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop after each acknowledgement that was stored."""
        self._ack_listeners.append(listener)

    # --- Journal ---

    async def append(self, *drafts: Draft, durable: bool, lane: Lane = Lane.JOURNAL) -> tuple[int, ...]:
        encoded = [(draft, _encode(draft)) for draft in drafts]
        seqs = await self._database.write(lambda db: self._append(db, lane, encoded), durable=durable)
        if durable and seqs:
            self._note_on_disk(lane, seqs[-1])
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

    async def open_count(self) -> int:
        """How many nodes have not ended."""
        return await self._database.read(count_open_nodes)

    async def node(self, task: str, node: int) -> NodeView | None:
        return await self._database.read(lambda db: read_node(db, task, node))

    async def effects(self, task: str, node: int) -> tuple[EffectView, ...]:
        return await self._database.read(lambda db: read_effects(db, task, node))

    # --- SettingsStore ---

    async def settings(self) -> tuple[DesiredSettings | None, ReportedSettings | None]:
        return await self._database.read(read_settings)

    # --- Outbox ---

    async def lane(self, name: Lane) -> LaneState | None:
        return await self._database.read(lambda db: self._lane_state(db, name))

    async def parcels(self, name: Lane, first_seq: int, max_records: int) -> tuple[Head, tuple[Parcel, ...]]:
        before, parcels = await self._database.read(lambda db: _parcels(db, name, first_seq, max_records))
        # Rule P14: what has not reached the disk may not leave.
        if parcels and parcels[-1].entry.seq > self._on_disk.get(name, 0):
            self._note_on_disk(name, await self._database.write(lambda db: _touch(db, name), durable=True))
        return before, parcels

    async def hash_at(self, name: Lane, seq: int) -> bytes | None:
        return await self._database.read(lambda db: _hash_at(db, name, seq))

    async def acknowledged(self, name: Lane, upto: int) -> None:
        await self._database.write(lambda db: _acknowledge(db, name, upto), durable=False)
        for listener in self._ack_listeners:
            listener()

    async def forked(self, name: Lane, seq: int | None) -> None:
        def change(db: sqlite3.Connection) -> None:
            db.execute("UPDATE lane SET forked_at = ? WHERE id = ?", (seq, _lane_id(db, name)))

        await self._database.write(change, durable=True)

    async def branch(self, name: Lane, common: Head) -> None:
        await self._database.write(lambda db: _branch(db, name, common), durable=True)
        self._on_disk.pop(name, None)
        self._notify()

    async def tell_again(self, now: datetime) -> None:
        await self._database.write(lambda db: _answer(db, open_work(db, to_ms(now))), durable=False)
        self._notify()

    async def receive(self, batch: Batch) -> Reading:
        reading = await self._database.write(lambda db: self._receive(db, batch), durable=True)
        self._notify()
        return reading

    def _append(
        self, db: sqlite3.Connection, name: Lane, drafts: Sequence[tuple[Draft, bytes]]
    ) -> tuple[int, ...]:
        if name is Lane.JOURNAL:
            size = sum(len(data) + sum(len(blob.content) for blob in draft.blobs) for draft, data in drafts)
            self.gauge.admit(db, size)
        seqs = append_records(db, name, drafts)
        self.gauge.measure(db)
        return seqs

    def _lane_state(self, db: sqlite3.Connection, name: Lane) -> LaneState | None:
        row = db.execute(
            "SELECT epoch, head_seq, head_hash, acked, tail_seq, stored_bytes, waiting_bytes, forked_at FROM lane"
            " WHERE name = ? ORDER BY id DESC LIMIT 1",
            (name.value,),
        ).fetchone()
        if row is None:
            return None
        epoch, head_seq, head_hash, acked, tail, stored_bytes, waiting_bytes, forked_at = row
        return LaneState(
            id=LaneId(self._principal, name, epoch),
            tail=tail,
            head=Head(head_seq, head_hash),
            acked=acked,
            stored_bytes=stored_bytes,
            waiting_bytes=waiting_bytes,
            forked_at=forked_at,
        )

    def _receive(self, db: sqlite3.Connection, batch: Batch) -> Reading:
        name = Lane(batch.lane)
        lane = LaneId(self._principal, name, batch.epoch)
        row = db.execute(
            "SELECT id, head_seq, head_hash, tail_seq, tail_hash, forked_at FROM lane WHERE name = ? AND epoch = ?",
            (name.value, batch.epoch),
        ).fetchone()
        # A new epoch means that the hub began the log anew: another log, read from its start.
        lane_id, *position, tail_seq, tail_hash, forked_at = row or (None, 0, start(lane).hash, 1, None, None)
        ours = Head(*position)
        if forked_at is not None:
            # Rule P13: the lane stops, also for what would fit, until an operator decides.
            return Reading(head=ours, status="fork", new_records=0)

        def hash_at(seq: int) -> bytes | None:
            if seq == ours.seq:
                return ours.hash
            if seq == 0:
                return start(lane).hash
            if seq == tail_seq - 1:
                return tail_hash
            return None if lane_id is None else _stored_hash(db, lane_id, seq)

        match receive(ours, batch, hash_at):
            case Gap():
                return Reading(head=ours, status="gap", new_records=0)
            case Broken():
                return Reading(head=ours, status="broken", new_records=0)
            case Agreed():
                return Reading(head=ours, status="ok", new_records=0)
            case Extend(missing=Missing()):
                # The hub sheds no orders: one that says so is not the hub that wrote this log.
                return Reading(head=ours, status="broken", new_records=0)
            case Fork(at):
                db.execute("UPDATE lane SET forked_at = ? WHERE id = ?", (at, lane_id))
                return Reading(head=ours, status="fork", new_records=0)
            case Extend(records, hashes, _):
                size = sum(map(len, records))
                self.gauge.admit(db, size + sum(len(blob.content) for blob in batch.blobs))
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
                    size += _take_order(db, lane_id, batch.epoch, head.seq, data, blobs)
                _set_head(db, lane_id, head, stored=size)
                self.gauge.measure(db)
                return Reading(head=head, status="ok", new_records=len(records))

    def _note_on_disk(self, name: Lane, seq: int) -> None:
        self._on_disk[name] = max(seq, self._on_disk.get(name, 0))

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def verify(db: sqlite3.Connection) -> list[tuple[str, int, str | None]]:
    """Each lane as (name, records, first fault or None): chain, head and blobs are recomputed. Blocks."""
    report: list[tuple[str, int, str | None]] = []
    for lane_id, name, epoch, head_seq, head_hash, tail_seq, tail_hash in db.execute(
        "SELECT id, CAST(name AS TEXT), CAST(epoch AS BLOB), head_seq, head_hash, tail_seq, CAST(tail_hash AS BLOB)"
        " FROM lane ORDER BY id"
    ).fetchall():
        if name not in set(Lane):
            report.append((name, head_seq, "there is no such lane"))
            continue
        head = start(LaneId(UNENROLLED, Lane(name), epoch))
        if tail_hash is not None:
            head = Head(tail_seq - 1, tail_hash)  # what was before is acknowledged and trimmed
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
    for name in UPWARD:
        if db.execute("SELECT 1 FROM lane WHERE name = ?", (name.value,)).fetchone() is None:
            lane = LaneId(UNENROLLED, name, os.urandom(EPOCH_BYTES))
            db.execute(
                "INSERT INTO lane (name, epoch, head_seq, head_hash) VALUES (?, ?, 0, ?)",
                (name.value, lane.epoch, start(lane).hash),
            )


def append_records(
    db: sqlite3.Connection, name: Lane, drafts: Sequence[tuple[Draft, bytes]]
) -> tuple[int, ...]:
    """Chain, store and apply encoded drafts at the end of one of our own lanes. Runs on the writer thread."""
    lane_id, epoch, seq, hash_ = db.execute(
        "SELECT id, epoch, head_seq, head_hash FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1",
        (name.value,),
    ).fetchone()
    hashes = chain(hash_, (data for _, data in drafts))
    seqs = tuple(range(seq + 1, seq + 1 + len(drafts)))
    db.executemany(
        "INSERT INTO record VALUES (?, ?, ?, ?)",
        [(lane_id, at, after, data) for at, after, (_, data) in zip(seqs, hashes, drafts, strict=True)],
    )
    size, disk = 0, 0
    for at, (draft, data) in zip(seqs, drafts, strict=True):
        size += len(data)
        size += store_blobs(db, lane_id, at, draft.record, {blob.ref().hash: blob for blob in draft.blobs})
        disk += record_disk_bytes(len(data))
        if not isinstance(draft.record, MetricsRecord):
            apply_journal(db, draft.record, seq=at, epoch=epoch)
    _set_head(db, lane_id, Head(seqs[-1], hashes[-1]), stored=size, waiting=size, disk=disk)
    return seqs


def _take_order(
    db: sqlite3.Connection, lane_id: int, epoch: bytes, seq: int, data: bytes, blobs: dict[bytes, Blob]
) -> int:
    """Apply one record of the orders lane, or keep it as a dead letter (rule P11); returns the bytes of its content."""
    record = parse_record(data)
    size = 0
    reason: str | None
    if isinstance(record, Poison):
        reason = record.reason
    elif not isinstance(record, OrderRecord):
        reason = f"{record.kind} is not an order"
    elif isinstance(record, SecretSet):
        box = blobs.get(record.box.hash)
        take_set(db, record, seq=seq, epoch=epoch, box=None if box is None else box.content)
        reason = None
    elif isinstance(record, PolicyPublished):
        bundle = blobs.get(record.bundle.hash)
        take_published(db, record, seq=seq, epoch=epoch, bundle=None if bundle is None else bundle.content)
        reason = None
    elif isinstance(record, KnowledgeOffered):
        inline = None if record.inline is None else blobs.get(record.inline.hash)
        take_offered(db, record, seq=seq, epoch=epoch, inline=None if inline is None else inline.content)
        reason = None
    elif isinstance(record, ForgetOrdered):
        about = blobs.get(record.about.hash)
        take_forget(db, record, seq=seq, epoch=epoch, about=None if about is None else about.content)
        reason = None
    else:
        size = store_blobs(db, lane_id, seq, record, blobs)
        if isinstance(record, NodeQueried | TaskOffered):
            _answer(db, answers_to(db, record, seq=seq, epoch=epoch))
        reason = apply_order(db, record, seq=seq, epoch=epoch)
    if reason is not None:
        db.execute("INSERT INTO dead_letter VALUES (?, ?, ?)", (lane_id, seq, reason))
    return size


def _answer(db: sqlite3.Connection, answers: Sequence[Answer]) -> None:
    """Say at the end of the journal how a node stands that the hub does not know about."""
    if not answers:
        return
    seqs = append_records(db, Lane.JOURNAL, [(Draft(answer), encode_record(answer)) for answer in answers])
    lane_id = _lane_id(db, Lane.JOURNAL)
    for seq, answer in zip(seqs, answers, strict=True):
        carry_content(db, lane_id, seq, answer)


def store_blobs(
    db: sqlite3.Connection, lane_id: int, seq: int, record: RecordBody, blobs: dict[bytes, Blob]
) -> int:
    """Keep the content that a record names and that is not there yet; returns its bytes."""
    size = 0
    for ref in record.blob_refs():
        if (blob := blobs.get(ref.hash)) is not None:
            stored = db.execute(
                "INSERT INTO blob VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (ref.hash, blob.salt, blob.content, lane_id, seq),
            ).rowcount
            size += stored * len(blob.content)
    return size


def _touch(db: sqlite3.Connection, name: Lane) -> int:
    """A change that makes its commit wait for the disk, and with it all before; returns the lane's head."""
    db.execute("INSERT INTO meta VALUES ('syncs', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1")
    (seq,) = db.execute(
        "SELECT head_seq FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    return int(seq)


def _set_head(
    db: sqlite3.Connection, lane_id: int, head: Head, *, stored: int = 0, waiting: int = 0, disk: int = 0
) -> None:
    db.execute(
        "UPDATE lane SET head_seq = ?, head_hash = ?, stored_bytes = stored_bytes + ?,"
        " waiting_bytes = waiting_bytes + ?, disk_bytes = disk_bytes + ? WHERE id = ?",
        (head.seq, head.hash, stored, waiting, disk, lane_id),
    )


def _acknowledge(db: sqlite3.Connection, name: Lane, upto: int) -> None:
    """Move what the hub holds, forwards, or backwards after it was restored from a backup."""
    lane_id, acked, waiting = db.execute(
        "SELECT id, acked, waiting_bytes FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    moved = bytes_between(db, lane_id, min(acked, upto), max(acked, upto))
    waiting = max(0, waiting - moved if upto > acked else waiting + moved)
    db.execute("UPDATE lane SET acked = ?, waiting_bytes = ? WHERE id = ?", (upto, waiting, lane_id))


def bytes_between(db: sqlite3.Connection, lane_id: int, after: int, upto: int) -> int:
    """Bytes of the records after `after` up to `upto` that are held, and of the content that rides with them."""
    (records,) = db.execute(
        "SELECT coalesce(sum(length(data)), 0) FROM record WHERE lane_id = ? AND seq > ? AND seq <= ?",
        (lane_id, after, upto),
    ).fetchone()
    (blobs,) = db.execute(
        "SELECT coalesce(sum(length(content)), 0) FROM blob WHERE lane_id = ? AND seq > ? AND seq <= ?",
        (lane_id, after, upto),
    ).fetchone()
    return int(records + blobs)


def _branch(db: sqlite3.Connection, name: Lane, common: Head) -> None:
    """Go on under a new epoch after `common`, which the hub holds under the old one (rule P21)."""
    lane_id, head_seq = db.execute(
        "SELECT id, head_seq FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    epoch = os.urandom(EPOCH_BYTES)
    if common.seq:
        drop_through(db, lane_id, common)
    else:
        _chain_anew(db, lane_id, start(LaneId(UNENROLLED, name, epoch)))
    db.execute(
        "UPDATE lane SET epoch = ?, acked = 0, forked_at = NULL, waiting_bytes = ? WHERE id = ?",
        (epoch, bytes_between(db, lane_id, common.seq, head_seq), lane_id),
    )


def _chain_anew(db: sqlite3.Connection, lane_id: int, head: Head) -> None:
    """Nothing is common with the old log, so nothing of its chain is kept: the records follow from a new start."""
    for seq, data in db.execute(
        "SELECT seq, data FROM record WHERE lane_id = ? ORDER BY seq", (lane_id,)
    ).fetchall():
        head = extend(head, data)
        db.execute("UPDATE record SET hash = ? WHERE lane_id = ? AND seq = ?", (head.hash, lane_id, seq))
    db.execute("UPDATE lane SET head_hash = ? WHERE id = ?", (head.hash, lane_id))


def _lane_id(db: sqlite3.Connection, name: Lane) -> int:
    (lane_id,) = db.execute(
        "SELECT id FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (name.value,)
    ).fetchone()
    return int(lane_id)


def _stored_hash(db: sqlite3.Connection, lane_id: int, seq: int) -> bytes | None:
    row = db.execute("SELECT hash FROM record WHERE lane_id = ? AND seq = ?", (lane_id, seq)).fetchone()
    return None if row is None else bytes(row[0])


def _hash_at(db: sqlite3.Connection, name: Lane, seq: int) -> bytes | None:
    row = db.execute(
        "SELECT id, epoch, head_seq, head_hash, tail_seq, tail_hash FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1",
        (name.value,),
    ).fetchone()
    if row is None:
        return None
    lane_id, epoch, head_seq, head_hash, tail_seq, tail_hash = row
    if seq == head_seq:
        return bytes(head_hash)
    if seq == 0:
        return start(LaneId(UNENROLLED, name, epoch)).hash
    return bytes(tail_hash) if seq == tail_seq - 1 else _stored_hash(db, lane_id, seq)


def _parcels(
    db: sqlite3.Connection, name: Lane, first_seq: int, max_records: int
) -> tuple[Head, tuple[Parcel, ...]]:
    lane_id = _lane_id(db, name)
    before = _tail_hash(db, lane_id, first_seq) or _hash_at(db, name, first_seq - 1)
    if before is None:
        # Shed since it was asked for: the next tick asks for what is still there.
        raise UnavailableError(f"Record {first_seq} of {name} is no longer held.")
    if max_records < 1:
        return Head(first_seq - 1, before), ()
    last_seq = first_seq + min(max_records, BATCH_MAX_RECORDS) - 1
    blobs: dict[int, list[Blob]] = {}
    for seq, salt, content in db.execute(
        "SELECT seq, salt, content FROM blob WHERE lane_id = ? AND seq BETWEEN ? AND ? UNION ALL"
        " SELECT earlier.seq, salt, content FROM content_before AS earlier JOIN blob USING (hash)"
        " WHERE earlier.lane_id = ? AND earlier.seq BETWEEN ? AND ?",
        (lane_id, first_seq, last_seq) * 2,
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
    return Head(first_seq - 1, before), tuple(parcels)


def _tail_hash(db: sqlite3.Connection, lane_id: int, first_seq: int) -> bytes | None:
    """The hash before the tail if the tail is asked for: for a branch it is not the lane's start, also at 0."""
    tail_seq, tail_hash = db.execute(
        "SELECT tail_seq, tail_hash FROM lane WHERE id = ?", (lane_id,)
    ).fetchone()
    return None if tail_hash is None or tail_seq != first_seq else bytes(tail_hash)


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

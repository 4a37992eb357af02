"""What the slices ask of the logs: append orders, keep and read content, show records, verify.

Functions that take a session work inside the caller's transaction and never commit. `verify` opens its own.
All of them block: call them from worker threads only.
"""

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, select

from cloud.db import Database
from cloud.devices.tables import Device, DeviceKey
from cloud.journal import repository
from cloud.journal.tables import BlobRow, CloseReason, LaneRow
from shared.blobs import Blob, BlobRef
from shared.clock import from_ms
from shared.errors import RefusedError
from shared.ids import EPOCH_BYTES, Lane, LaneId
from shared.keys import TrustedKey
from shared.log import Head, extend, first_break, start
from shared.records import OrderRecord, Poison, Record, encode_record, parse_record
from shared.replication import seal_input

TAIL_MAX_RECORDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """A record for people: its place, and what it says or (`Poison`) why it says nothing to us.

    `dead_letter` tells why it was not understood or not applied.
    """

    seq: int
    hash: bytes
    kind: str
    at: datetime
    record: Record | Poison
    dead_letter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """The outcome of verifying one log. `problem` is None if it is sound; else what is wrong, first at `broken_at`.

    `missing`: sequences that never came, each recorded as a gap. `sealed_upto`: up to here the writer's own signatures
    vouch for it (for `orders` the hub is the writer: 0).
    """

    lane: str
    epoch: bytes
    records: int
    missing: int
    head_seq: int
    seals: int
    sealed_upto: int
    problem: str | None = None
    broken_at: int | None = None


def append_order(
    session: Session,
    *,
    principal: str,
    records: Sequence[tuple[OrderRecord, tuple[Blob, ...]]],
    now: datetime,
) -> list[int]:
    """Append to the orders log of a device, with the content that the records name; returns their sequences.

    The log is made on first use, and anew (with a new epoch) after the last one forked. Delivery is the ingest
    worker's: tell it with `wake`, or leave it to its poll.

    Raises `RefusedError` if there is no such device.
    """
    lane = _orders_lane(session, principal, now)
    head = repository.head_of(lane)
    key = repository.key_of(lane)
    values: list[repository.RecordValues] = []
    blobs: list[Blob] = []
    for record, content in records:
        data = encode_record(record)
        head = extend(head, data)
        values.append((key, head.seq, head.hash, record.kind, record.at_ms, data))
        blobs.extend(content)
    repository.insert_records(session, values)
    repository.insert_blobs(session, principal, blobs)
    lane.head_seq, lane.head_hash = head.seq, head.hash
    session.flush()
    return [seq for _, seq, *_ in values]


def close_orders(session: Session, principal: str, reason: CloseReason, now: datetime) -> LaneRow | None:
    """Send no more of the device's orders lane: it is not what the device holds. The next order begins another.

    Returns the closed lane, None if there was none open.
    """
    row = repository.newest_lane(session, principal, Lane.ORDERS)
    if row is None or row.closed_at is not None:
        return None
    row = repository.lock_lane(session, repository.key_of(row))
    if row.closed_at is not None:
        return None
    row.closed_at, row.close_reason = now, reason.value
    session.flush()
    return row


def order_again(
    session: Session, closed: LaneRow, kinds: Sequence[str], now: datetime
) -> dict[int, tuple[int, int]]:
    """Append to the device's new orders lane, as they stand, the records of `kinds` in a closed one that were never
    acknowledged. Returns where each now is: by its old sequence, key of the new lane and sequence there."""
    moved: dict[int, tuple[int, int]] = {}
    after = closed.acked
    while rows := repository.read_rows(session, closed, after=after, limit=repository.READ_CHUNK):
        after = rows[-1]["seq"]
        wanted = [row for row in rows if row["kind"] in kinds]
        if not wanted:
            continue
        lane = _orders_lane(session, closed.principal, now)
        head, key = repository.head_of(lane), repository.key_of(lane)
        values: list[repository.RecordValues] = []
        for row in wanted:
            data = bytes(row["data"])
            head = extend(head, data)
            values.append((key, head.seq, head.hash, row["kind"], row["at_ms"], data))
            moved[row["seq"]] = (key, head.seq)
        repository.insert_records(session, values)
        lane.head_seq, lane.head_hash = head.seq, head.hash
        session.flush()
    return moved


def store_blob(session: Session, principal: str, blob: Blob) -> BlobRef:
    """Keep content; storing it again changes nothing."""
    repository.insert_blobs(session, principal, [blob])
    return blob.ref()


def read_blob(session: Session, hash_: bytes) -> Blob | None:
    """The content of that hash, or None if it never came or was forgotten."""
    row = session.get(BlobRow, hash_)
    return None if row is None else Blob(salt=row.salt, content=row.content)


def tail(session: Session, principal: str, lane: Lane, *, after: int, limit: int) -> list[RecordView]:
    """Records after a sequence of the lane's latest epoch, oldest first, at most `TAIL_MAX_RECORDS`."""
    row = repository.newest_lane(session, principal, lane)
    if row is None:
        return []
    found = repository.read_rows(session, row, after=after, limit=min(limit, TAIL_MAX_RECORDS))
    if not found:
        return []
    reasons = repository.dead_letters_between(session, row, after=after, upto=found[-1]["seq"])
    return [
        RecordView(
            seq=each["seq"],
            hash=bytes(each["hash"]),
            kind=each["kind"],
            at=from_ms(each["at_ms"]),
            record=parse_record(bytes(each["data"])),
            dead_letter=reasons.get(each["seq"]),
        )
        for each in found
    ]


def verify(database: Database, principal: str) -> list[LaneReport]:
    """Recompute every chain of a device, check every seal against its key, compare heads. Memory is bounded.

    The log may grow meanwhile: each lane is verified up to the head that it had at the start. If its tail is cut
    meanwhile (`cloud.telemetry.roll_up`), what went is no fault, and it is verified anew.
    """
    with database.read() as session:
        device = session.get(Device, principal)
        lanes = list(repository.lanes_of(session, principal))
        # What it sealed with a key that it had before (a board that was replaced), that key verifies.
        former = session.exec(select(DeviceKey.public).where(DeviceKey.principal == principal)).all()
    publics = {*former, *([] if device is None else [device.signing_public])}
    keys = [TrustedKey(owner=principal, public=public) for public in sorted(publics)]
    return [_verify_what_is_held(database, row, keys) for row in lanes]


def _verify_what_is_held(database: Database, row: LaneRow, keys: Sequence[TrustedKey]) -> LaneReport:
    while True:
        report = _verify_lane(database, row, keys)
        if report.problem is None:
            return report
        with database.read() as session:
            now = session.get(LaneRow, repository.key_of(row))
        if now is None or now.tail_seq == row.tail_seq:
            return report
        row = now


def _verify_lane(database: Database, row: LaneRow, keys: Sequence[TrustedKey]) -> LaneReport:
    lane = repository.lane_id(row)
    position = start(lane) if row.tail_hash is None else Head(row.tail_seq - 1, row.tail_hash)
    records = seals = missing = 0
    sealed_upto = position.seq
    problem: str | None = None
    broken_at: int | None = None
    with database.read() as session:
        gaps = deque(
            gap
            for gap in repository.gaps_of(session, [repository.key_of(row)])
            if gap.last_seq >= row.tail_seq
        )
    while problem is None:
        with database.read() as session:
            while gaps and gaps[0].first_seq == position.seq + 1:
                gap = gaps.popleft()
                missing += gap.last_seq - gap.first_seq + 1
                position = Head(gap.last_seq, gap.after_hash)
                seal = repository.seal_at(session, row, gap.last_seq)
                if seal is not None and _is_sealed(lane, position, seal.kid, seal.seal, keys):
                    seals, sealed_upto = seals + 1, position.seq
            upto = gaps[0].first_seq - 1 if gaps else row.head_seq
            entries = repository.read_entries(
                session, row, after=position.seq, limit=repository.READ_CHUNK, upto=min(upto, row.head_seq)
            )
            if not entries:
                break
            broken_at = first_break(position, entries)
            if broken_at is not None:
                problem = "the record is missing, altered or out of order"
                records += broken_at - position.seq - 1
                break
            hashes = {entry.seq: entry.hash for entry in entries}
            for seal in repository.seals_between(session, row, after=position.seq, upto=entries[-1].seq):
                if not _is_sealed(lane, Head(seal.seq, hashes[seal.seq]), seal.kid, seal.seal, keys):
                    problem, broken_at = "the seal is not the device's", seal.seq
                    break
                seals, sealed_upto = seals + 1, seal.seq
            records += len(entries)
            position = Head(entries[-1].seq, entries[-1].hash)
    if problem is None and position != repository.head_of(row):
        problem, broken_at = "the log does not reach the head that was acknowledged", position.seq + 1
    if problem is None and lane.lane is not Lane.ORDERS and sealed_upto != position.seq:
        problem, broken_at = "no seal of the device covers the end of the log", sealed_upto + 1
    return LaneReport(
        lane=row.lane,
        epoch=row.epoch,
        records=records,
        missing=missing,
        head_seq=row.head_seq,
        seals=seals,
        sealed_upto=sealed_upto,
        problem=problem,
        broken_at=broken_at,
    )


def _is_sealed(lane: LaneId, head: Head, kid: bytes, seal: bytes, keys: Sequence[TrustedKey]) -> bool:
    return any(key.kid == kid and key.verifies(seal, seal_input(lane, head)) for key in keys)


def _orders_lane(session: Session, principal: str, now: datetime) -> LaneRow:
    """The device's open orders log, locked; a new one if there is none."""
    row = repository.newest_lane(session, principal, Lane.ORDERS)
    while row is not None and _takes_more(row):
        # Whoever had it locked may have closed it: what is appended behind the close is sent to nobody.
        row = repository.lock_lane(session, repository.key_of(row))
        if _takes_more(row):
            return row
        row = repository.newest_lane(session, principal, Lane.ORDERS)
    # The device's row is the lock under which a lane is made: two writers must not make two.
    device = session.exec(select(Device).where(Device.principal == principal).with_for_update()).first()
    if device is None:
        raise RefusedError(f"There is no device {principal}.", code="not_found")
    row = repository.newest_lane(session, principal, Lane.ORDERS)
    if row is None or not _takes_more(row):
        epoch = secrets.token_bytes(EPOCH_BYTES)
        row = repository.create_lane(session, LaneId(principal, Lane.ORDERS, epoch), now)
    return repository.lock_lane(session, repository.key_of(row))


def _takes_more(row: LaneRow) -> bool:
    return row.closed_at is None and row.forked_at_seq is None

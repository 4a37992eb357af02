"""Appending an order to the logs of many devices at once: a few statements for all of them, not a few for each."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func
from sqlalchemy import select as columns
from sqlmodel import Session

from cloud.db import table_of
from cloud.devices.tables import Device
from cloud.journal import repository
from cloud.journal.repository import IN_CHUNK, RecordValues
from cloud.journal.tables import LaneRow
from shared.blobs import Blob
from shared.ids import EPOCH_BYTES, Lane, LaneId
from shared.log import Head, extend, start
from shared.records import OrderRecord, encode_record

_LANE = table_of(LaneRow)
_DEVICE = table_of(Device)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record came to stand."""

    epoch: bytes
    seq: int


def lock_for_orders(session: Session, principals: Sequence[str]) -> dict[str, int | None]:
    """Lock the devices, in the order of their names; returns the open orders log of each, as `append_to_each` takes it.

    A device that does not exist is left out.
    """
    lanes: dict[str, int | None] = {}
    ordered = sorted(principals)
    for begin in range(0, len(ordered), IN_CHUNK):
        part = ordered[begin : begin + IN_CHUNK]
        locked = (
            columns(_DEVICE.c.principal).where(_DEVICE.c.principal.in_(part)).order_by(_DEVICE.c.principal)
        )
        lanes |= dict.fromkeys(session.execute(locked.with_for_update()).scalars())
        newest = (
            columns(func.max(_LANE.c.id))
            .where(_LANE.c.principal.in_(part), _LANE.c.lane == Lane.ORDERS.value)
            .group_by(_LANE.c.principal)
        )
        query = columns(_LANE.c.principal, _LANE.c.id).where(
            _LANE.c.id.in_(newest), _LANE.c.closed_at.is_(None), _LANE.c.forked_at_seq.is_(None)
        )
        lanes |= {principal: key for principal, key in session.execute(query) if principal in lanes}
    return lanes


def append_to_each(
    session: Session,
    *,
    lanes: Mapping[str, int | None],
    records: Mapping[str, OrderRecord],
    blobs: Sequence[Blob],
    blobs_of: str,
    now: datetime,
) -> dict[str, Place]:
    """Append to the orders log of each device (by principal) its record; returns where each stands.

    `lanes` tells the key of each device's open orders log, None to begin one. The caller holds the devices' locks:
    under them nobody else begins a log. A log that somebody else has locked at this moment is left out. `blobs` are
    what the records name, kept as `blobs_of`'s.
    """
    heads = _locked_heads(session, [key for key in lanes.values() if key is not None])
    encoded: dict[OrderRecord, bytes] = {}
    begun: list[LaneRow] = []
    data_of: dict[str, bytes] = {}
    values: list[RecordValues] = []
    places: dict[str, Place] = {}
    for principal, key in lanes.items():
        record = records[principal]
        data = encoded.get(record)
        if data is None:
            data = encoded[record] = encode_record(record)
        if key is None:
            row = _begin(principal, data, now)
            begun.append(row)
            data_of[principal] = data
            places[principal] = Place(row.epoch, row.head_seq)
        elif key in heads:
            epoch, before = heads[key]
            head = extend(before, data)
            heads[key] = (epoch, head)
            values.append((key, head.seq, head.hash, record.kind, record.at_ms, data))
            places[principal] = Place(epoch, head.seq)
    _move_heads(session, {key: heads[key][1] for key, *_ in values})
    keys = _insert_lanes(session, begun)
    for row in begun:
        record, key = records[row.principal], keys[row.epoch]
        values.append((key, row.head_seq, row.head_hash, record.kind, record.at_ms, data_of[row.principal]))
    repository.insert_records(session, values)
    repository.insert_blobs(session, blobs_of, blobs)
    return places


def _locked_heads(session: Session, keys: Sequence[int]) -> dict[int, tuple[bytes, Head]]:
    """Epoch and head of each log that nobody else has locked; locked by us until the transaction ends."""
    found: dict[int, tuple[bytes, Head]] = {}
    for begin in range(0, len(keys), IN_CHUNK):
        query = (
            columns(*(_LANE.c[name] for name in ("id", "epoch", "head_seq", "head_hash")))
            .where(_LANE.c.id.in_(keys[begin : begin + IN_CHUNK]))
            .with_for_update(skip_locked=True)
        )
        for key, epoch, seq, hash_ in session.execute(query):
            found[key] = (epoch, Head(seq, hash_))
    return found


def _begin(principal: str, data: bytes, now: datetime) -> LaneRow:
    """A new log that already has its first record's head."""
    lane = LaneId(principal, Lane.ORDERS, secrets.token_bytes(EPOCH_BYTES))
    head = extend(start(lane), data)
    return LaneRow(
        principal=principal,
        lane=lane.lane.value,
        epoch=lane.epoch,
        head_seq=head.seq,
        head_hash=head.hash,
        created_at=now,
    )


def _insert_lanes(session: Session, rows: Sequence[LaneRow]) -> dict[bytes, int]:
    """Keys of new logs, by epoch."""
    if rows:
        session.execute(_LANE.insert(), [row.model_dump(exclude={"id"}) for row in rows])
    keys: dict[bytes, int] = {}
    for begin in range(0, len(rows), IN_CHUNK):
        part = rows[begin : begin + IN_CHUNK]
        query = columns(_LANE.c.epoch, _LANE.c.id).where(
            # By principal, of which there is an index.
            _LANE.c.principal.in_([row.principal for row in part]),
            _LANE.c.epoch.in_([row.epoch for row in part]),
        )
        keys |= {row.epoch: row.id for row in session.execute(query)}
    return keys


def _move_heads(session: Session, heads: Mapping[int, Head]) -> None:
    if not heads:
        return
    statement = (
        _LANE.update()
        .where(_LANE.c.id == bindparam("key"))
        .values(head_seq=bindparam("seq"), head_hash=bindparam("hash"))
    )
    session.execute(
        statement, [{"key": key, "seq": head.seq, "hash": head.hash} for key, head in heads.items()]
    )
    for row in list(session.identity_map.values()):
        if isinstance(row, LaneRow) and row.id in heads:
            session.expire(row)

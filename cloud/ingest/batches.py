"""A batch of a device's log: chain, seal, append, project, acknowledge (rules P9 to P14).

Everything happens in the turn's one transaction; the acknowledgement that is made here leaves after its commit.
"""

import logging
from collections.abc import Sequence
from typing import Final, Literal

from cloud.devices.tables import Device, DeviceSession
from cloud.ingest import histories, orders
from cloud.ingest.applied import Applied, EndedNode
from cloud.ingest.projections import project
from cloud.ingest.turn import FORK_REASON, RESTORED_REASON, Turn
from cloud.journal import repository
from cloud.journal.tables import CloseReason, LaneRow
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Head, start
from shared.messages import Ack, Batch
from shared.records import Poison, Record, parse_records
from shared.replication import Agreed, Broken, Extend, Fork, Gap, receive, seal_input
from shared.topics import ack_channel

logger = logging.getLogger(__name__)

AckStatus = Literal["ok", "gap", "fork"]

POISON_KIND: Final = "?"


def take(turn: Turn, device: Device, via: DeviceSession, *, lane: Lane, batch: Batch) -> None:
    """Append what is new of `batch` and acknowledge; or say what is missing; or refuse."""
    principal = device.principal
    if batch.lane != lane:
        turn.refuse(principal, "wrong_lane")
        return
    lane_id = LaneId(principal, lane, batch.epoch)
    epochs = [row for row in turn.lanes[principal] if row.lane == lane]
    row = next((row for row in epochs if row.epoch == batch.epoch), None)
    ours = start(lane_id) if row is None else repository.head_of(row)

    if row is not None and row.forked_at_seq is not None:
        _acknowledge_fork(turn, via, row, row.forked_at_seq)
        return
    last = Head(batch.first_seq - 1 + len(batch.records), batch.head)
    key = turn.key_of(device)
    match receive(ours, batch, lambda seq: _hash_at(turn, row, ours, seq)):
        case Broken():
            turn.refuse(principal, "broken_batch")
        case _ if not key.verifies(batch.seal, seal_input(lane_id, last)):
            turn.refuse(principal, "bad_seal")
        case Gap(wanted):
            logger.info("%s: the %s batch begins beyond what is held; %d is wanted", principal, lane, wanted)
            turn.counts["gaps"] += 1
            _acknowledge(turn, via, lane_id, ours, status="gap", latest=batch.latest)
        case Agreed(upto):
            _acknowledge(turn, via, lane_id, upto, latest=batch.latest)
        case Fork(seq, is_behind):
            reason = RESTORED_REASON if is_behind else FORK_REASON
            row = histories.stop(turn, device, row, lane_id, seq, reason)
            _acknowledge_fork(turn, via, row, seq)
        case Extend() as new if not new.records and new.missing is None:
            turn.counts["duplicate_batches"] += 1
            if row is not None:
                _note_writer(turn, row, batch, taken=0)
            orders.on_history_sound(turn, device, lane)
            _acknowledge(turn, via, lane_id, ours, latest=batch.latest)
        case Extend() as new:
            grown = histories.grow(turn, device, epochs, row, lane_id, batch, new.missing)
            if grown.forked_at_seq is not None:
                _acknowledge_fork(turn, via, grown, grown.forked_at_seq)
                return
            if any(each.close_reason == CloseReason.BRANCHED for each in epochs):
                new = histories.beyond_origin(turn, grown, new)
            taken = 0
            if new.records or new.missing is not None:
                taken = _append(turn, device, grown, new, batch.blobs) if new.records else 0
                repository.insert_seal(turn.session, row=grown, seq=last.seq, kid=key.kid, seal=batch.seal)
            _note_writer(turn, grown, batch, taken=taken)
            orders.on_history_sound(turn, device, lane)
            _acknowledge(turn, via, lane_id, repository.head_of(grown), latest=batch.latest)


def _hash_at(turn: Turn, row: LaneRow | None, ours: Head, seq: int) -> bytes | None:
    if row is None:
        return ours.hash if seq == ours.seq else None
    return repository.hash_at(turn.session, row, seq)


def _note_writer(turn: Turn, row: LaneRow, batch: Batch, *, taken: int) -> None:
    """How far the device is ahead of us, in its own signed words, less what this batch brought."""
    row.writer_head = max(batch.latest, row.head_seq)
    row.writer_bytes = max(0, batch.waiting_bytes - taken)
    row.writer_at = turn.now


def _append(turn: Turn, device: Device, row: LaneRow, new: Extend, blobs: Sequence[Blob]) -> int:
    """Store and project; returns the bytes that were taken."""
    key, first = repository.key_of(row), row.head_seq + 1
    parsed = parse_records(new.records)
    values: list[repository.RecordValues] = [
        (key, seq, hash_, POISON_KIND, 0, data)
        if isinstance(record, Poison)
        else (key, seq, hash_, record.kind, record.at_ms, data)
        for seq, (hash_, record, data) in enumerate(
            zip(new.hashes, parsed, new.records, strict=True), start=first
        )
    ]
    repository.insert_records(turn.session, values)
    if blobs:
        _store_named(turn, device.principal, parsed, blobs)
    row.head_seq, row.head_hash = values[-1][1], values[-1][2]
    row.last_at_ms = values[-1][4] or row.last_at_ms
    device.last_record_at = turn.now
    turn.counts["records"] += len(values)

    applied = Applied(
        principal=device.principal,
        tenant=device.tenant,
        lane_id=key,
        lane=row.lane,
        epoch=row.epoch,
        now=turn.now,
        touched_tasks=turn.touched_tasks,
        orders_for=turn.orders_for,
        blobs={blob.ref().hash: blob for blob in blobs},
    )
    dead = project(turn.session, applied, parsed, first_seq=first)
    turn.ended += [EndedNode(device.principal, key, seq) for seq in sorted(applied.ended - dead.keys())]
    if dead:
        logger.warning("%s: %d records of %s went to the dead letters", device.principal, len(dead), row.lane)
        turn.counts["dead_letters"] += len(dead)
        repository.insert_dead_letters(turn.session, row=row, reasons=dead, at=turn.now)
    return sum(map(len, new.records)) + sum(len(blob.content) for blob in blobs)


def _store_named(
    turn: Turn, principal: str, parsed: Sequence[Record | Poison], blobs: Sequence[Blob]
) -> None:
    named = {ref for record in parsed if not isinstance(record, Poison) for ref in record.blob_refs()}
    wanted = [blob for blob in blobs if blob.ref() in named]
    repository.insert_blobs(turn.session, principal, wanted)
    turn.counts["blobs"] += len(wanted)
    turn.counts["blobs_unnamed"] += len(blobs) - len(wanted)


def _acknowledge_fork(turn: Turn, via: DeviceSession, row: LaneRow, seq: int) -> None:
    held = repository.hash_at(turn.session, row, seq)
    head = repository.head_of(row) if held is None else Head(seq, held)
    _acknowledge(turn, via, repository.lane_id(row), head, status="fork", latest=head.seq)


def _acknowledge(
    turn: Turn, via: DeviceSession, lane: LaneId, head: Head, *, latest: int, status: AckStatus = "ok"
) -> None:
    """`latest`: how far the device said that its log goes."""
    ack = Ack(
        lane=lane.lane.value,
        epoch=lane.epoch,
        upto=head.seq,
        hash=head.hash,
        credit=turn.credit_for(max(0, latest - head.seq)),
        status=status,
    )
    turn.send(via, ack_channel(lane.lane), ack)

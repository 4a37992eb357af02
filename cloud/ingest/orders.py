"""Sending orders: the hub's side as a writer. Decisions are `shared.replication.step`'s; here they are carried out.

The sender's state lives in the lane's row and is locked while it moves, so any worker may carry it on, and two cannot
send the same batch. Messages leave after the commit; if that is lost, the sender repeats it by itself (rule P14).
"""

import logging
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import and_, or_
from sqlmodel import Session, col, select

from cloud.devices.tables import Device, DeviceSession, DeviceStatus
from cloud.ingest.turn import FORK_REASON, Turn
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from cloud.tasks.service import Changes, orders_acknowledged, store_lost
from shared.blobs import Blob
from shared.ids import Lane
from shared.messages import BATCH_MAX_RECORDS, Ack, Hello
from shared.records import Poison, parse_record
from shared.replication import (
    BATCH_MAX_RAW_BYTES,
    PROBE_AFTER,
    Acknowledged,
    Appended,
    Forget,
    Linked,
    Parcel,
    Phase,
    Relink,
    ReportFork,
    Send,
    SenderEvent,
    SenderState,
    Sent,
    Tick,
    Unlinked,
    pack,
    step,
)
from shared.topics import Channel

logger = logging.getLogger(__name__)

SEND_MAX_RECORDS: Final = 256
"""Orders name more content than other records, so fewer of them are read for a batch."""
DUE_MAX_LANES: Final = 500
"""Lanes that one poll moves on; the others follow with the next."""


def due(session: Session, now: datetime) -> list[str]:
    """Devices whose orders may have to be sent, or sent again; those whose wait is longest first.

    `unheard`: the log was begun after the device's last hello.
    """
    unsent = and_(col(LaneRow.phase) == Phase.IDLE.value, col(LaneRow.head_seq) > col(LaneRow.acked))
    waiting = and_(
        col(LaneRow.phase).in_([Phase.WAITING.value, Phase.NO_CREDIT.value]),
        col(LaneRow.since) <= now - PROBE_AFTER,
    )
    unheard = and_(
        col(LaneRow.phase) == Phase.UNLINKED.value,
        col(LaneRow.sent_to) == 0,
        col(LaneRow.acked) == 0,
        col(Device.broker_online),
    )
    query = (
        select(LaneRow.principal)
        .join(Device, col(Device.principal) == col(LaneRow.principal))
        .where(
            LaneRow.lane == Lane.ORDERS.value,
            col(LaneRow.forked_at_seq).is_(None),
            Device.status == DeviceStatus.ACTIVE.value,
            or_(unsent, waiting, unheard),
        )
        .order_by(col(LaneRow.since))
        .limit(DUE_MAX_LANES)
    )
    return sorted(set(session.exec(query).all()))


def on_hello(turn: Turn, device: Device, key: int, hello: Hello, via: DeviceSession) -> None:
    """The device said what it has; what it lacks follows, in the session that was just offered."""
    newest = turn.session.get_one(LaneRow, key)
    cursor = next((c for c in hello.cursors if (c.lane, c.epoch) == (newest.lane, newest.epoch)), None)
    if cursor is not None:
        _note_offers(turn, device, newest, cursor.upto, cursor.hash)
    lane = repository.lock_lane(turn.session, key)
    begin = repository.hash_at(turn.session, lane, 0)
    assert begin is not None
    upto, hash_ = (0, begin) if cursor is None else (cursor.upto, cursor.hash)
    own = repository.hash_at(turn.session, lane, upto)
    _feed(turn, device, lane, Linked(upto=upto, hash=hash_, own_hash=own, credit=BATCH_MAX_RECORDS), via)


def begin_anew(turn: Turn, device: Device) -> None:
    """The device's store was made anew, as its first signed batch proves: what it did must not be ordered again."""
    changes = Changes()
    store_lost(turn.session, device.principal, turn.now, changes)
    turn.touched_tasks |= changes.tasks
    turn.orders_for |= changes.orders_for


def on_ack(turn: Turn, device: Device, ack: Ack) -> None:
    """The device has committed, or says why it has not."""
    device.last_ack_at = turn.now
    newest = repository.newest_lane(turn.session, device.principal, Lane.ORDERS)
    if newest is None or (ack.lane, ack.epoch) != (newest.lane, newest.epoch):
        turn.refuse(device.principal, "wrong_lane")
        return
    if ack.status == "ok":
        _note_offers(turn, device, newest, ack.upto, ack.hash)
    lane = repository.lock_lane(turn.session, repository.key_of(newest))
    event = Acknowledged(
        upto=ack.upto,
        hash=ack.hash,
        own_hash=repository.hash_at(turn.session, lane, ack.upto),
        credit=ack.credit,
        status=ack.status,
    )
    _feed(turn, device, lane, event, None)


def _note_offers(turn: Turn, device: Device, lane: LaneRow, upto: int, hash_: bytes) -> None:
    """Tasks whose offers the device now holds say so. Before the lane is locked, as requests lock tasks first too."""
    if upto and repository.hash_at(turn.session, lane, upto) == hash_:
        turn.touched_tasks |= orders_acknowledged(turn.session, device.principal, upto, turn.now)


def on_gone(turn: Turn, device: Device) -> None:
    """The device left the broker: nothing is sent until its next hello."""
    newest = repository.newest_lane(turn.session, device.principal, Lane.ORDERS)
    if newest is not None:
        _feed(turn, device, repository.lock_lane(turn.session, repository.key_of(newest)), Unlinked(), None)


def push(turn: Turn, device: Device) -> None:
    """Send what was appended, and repeat what was not answered in time."""
    newest = repository.newest_lane(turn.session, device.principal, Lane.ORDERS)
    if newest is None:
        return
    lane = repository.lock_lane(turn.session, repository.key_of(newest))
    if _is_unheard(lane) and device.broker_online and turn.sessions[device.principal]:
        # Its hello said nothing of this log, which did not exist then: so it has nothing of it.
        begin = repository.hash_at(turn.session, lane, 0)
        assert begin is not None
        linked = Linked(upto=0, hash=begin, own_hash=begin, credit=BATCH_MAX_RECORDS)
        _feed(turn, device, lane, linked, None)
    _feed(turn, device, lane, Appended(lane.head_seq), None)
    _feed(turn, device, lane, Tick(), None)


def _is_unheard(lane: LaneRow) -> bool:
    return (lane.phase, lane.sent_to, lane.acked) == (Phase.UNLINKED.value, 0, 0)


def _feed(turn: Turn, device: Device, lane: LaneRow, event: SenderEvent, via: DeviceSession | None) -> None:
    """One event through the sender's state machine, and its effects."""
    if lane.forked_at_seq is not None:
        return
    state, effects = step(_load(lane), event, turn.now)
    for effect in effects:
        match effect:
            case Send():
                session = via or _session_for(turn, device, state)
                if session is None:
                    state = replace(state, phase=Phase.UNLINKED, since=None, resends=0)
                    continue
                state, _ = step(state, Sent(_send(turn, lane, effect, session)), turn.now)
            case Forget():
                pass  # the hub keeps its logs
            case Relink():
                logger.info("%s does not answer; its orders wait for its next hello", device.principal)
            case ReportFork(seq):
                logger.warning("%s holds other orders than ours at %d", device.principal, seq)
                lane.forked_at_seq = seq
                turn.quarantine(device, FORK_REASON)
    _save(lane, state)


def _session_for(turn: Turn, device: Device, state: SenderState) -> DeviceSession | None:
    """The newest session; a repeat goes by turns to the others that are honoured.

    A hello that somebody replayed leaves a session that the device will never listen in.
    """
    rows = sorted(turn.sessions[device.principal], key=lambda row: row.opened_at, reverse=True)
    return rows[state.resends % len(rows)] if rows else None


def _send(turn: Turn, lane: LaneRow, send: Send, via: DeviceSession) -> int:
    before = repository.hash_at(turn.session, lane, send.first_seq - 1)
    assert before is not None, "the sender's state is saved with the log it speaks of"
    parcels = _parcels(turn.session, lane, send)
    message, upto = pack(
        repository.lane_id(lane),
        before,
        parcels,
        signer=turn.signer,
        close=lambda batch: turn.seal(via, batch),
    )
    turn.publish(via, Channel.DOWN_ORDERS, message)
    turn.counts["orders.sent"] += upto - send.first_seq + 1
    return upto


def _parcels(session: Session, lane: LaneRow, send: Send) -> list[Parcel]:
    """Records with the content that they name, up to what fits a batch; each piece of content rides once."""
    limit = min(send.max_records, SEND_MAX_RECORDS)
    entries = repository.read_entries(session, lane, after=send.first_seq - 1, limit=limit)
    parcels: list[Parcel] = []
    riding: set[bytes] = set()
    size = 0
    for entry in entries:
        record = parse_record(entry.record)
        refs = () if isinstance(record, Poison) else record.blob_refs()
        blobs: tuple[Blob, ...] = ()
        if refs:
            missing = [ref.hash for ref in refs if ref.hash not in riding]
            blobs = tuple(repository.blobs_by_hash(session, missing).values())
            riding.update(missing)
        size += len(entry.record) + sum(len(blob.content) for blob in blobs)
        if parcels and size > BATCH_MAX_RAW_BYTES:
            break
        parcels.append(Parcel(entry, blobs))
    return parcels


def _load(lane: LaneRow) -> SenderState:
    return SenderState(
        head=lane.head_seq,
        acked=lane.acked,
        phase=Phase(lane.phase),
        credit=lane.credit,
        sent_to=lane.sent_to,
        since=lane.since,
        resends=lane.resends,
    )


def _save(lane: LaneRow, state: SenderState) -> None:
    lane.acked = state.acked
    lane.phase = state.phase.value
    lane.credit = state.credit
    lane.sent_to = state.sent_to
    lane.since = state.since
    lane.resends = state.resends

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
from cloud.governance import service as governance
from cloud.ingest.turn import Turn
from cloud.journal import repository
from cloud.journal.tables import CloseReason, LaneRow
from cloud.tasks.orders import Changes
from cloud.tasks.recovery import ask_again, begin_orders_anew, history_lost, lost_history, store_lost
from cloud.tasks.service import orders_acknowledged
from cloud.vaults import service as vaults
from shared.blobs import Blob
from shared.ids import Lane
from shared.log import Head
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
            col(LaneRow.closed_at).is_(None),
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
    upto = 0 if cursor is None else cursor.upto
    own = repository.hash_at(turn.session, lane, upto)
    if cursor is not None and own != cursor.hash and upto >= lane.tail_seq - 1:
        _on_hub_restored(turn, device)
        return
    lane.reader_seq = upto
    if upto < lane.acked and not _holds_same(turn, device, hello):
        # The device has fewer orders than it once acknowledged: an older copy of its store. What it did for them its
        # journal tells, which then contradicts ours; until that is known nothing may be ordered a second time.
        _feed(turn, device, lane, Unlinked(), None)
        return
    _link(turn, device, lane, via)


def on_history_sound(turn: Turn, device: Device, of: Lane) -> None:
    """The device's journal goes on from ours: orders that waited for that may go out."""
    if of is not Lane.JOURNAL:
        return
    newest = next((row for row in reversed(turn.lanes[device.principal]) if row.lane == Lane.ORDERS), None)
    if newest is None or newest.phase != Phase.UNLINKED.value or newest.reader_seq >= newest.acked:
        return
    _link(turn, device, repository.lock_lane(turn.session, repository.key_of(newest)), None)


def _link(turn: Turn, device: Device, lane: LaneRow, via: DeviceSession | None) -> None:
    """Send what the device lacks, from where its hello said that it stands."""
    own = repository.hash_at(turn.session, lane, lane.reader_seq)
    linked = Linked(upto=lane.reader_seq, hash=own or b"", own_hash=own, credit=BATCH_MAX_RECORDS)
    _feed(turn, device, lane, linked, via)


def _holds_same(turn: Turn, device: Device, hello: Hello) -> bool:
    """Whether the journal that the device announces is the one that we hold, to its end."""
    rows = {row.epoch: row for row in turn.lanes[device.principal] if row.lane == Lane.JOURNAL}
    return any(
        head.lane == Lane.JOURNAL.value
        and (row := rows.get(head.epoch)) is not None
        and (row.head_seq, row.head_hash) == (head.head, head.hash)
        for head in hello.heads
    )


def on_store_lost(turn: Turn, device: Device) -> None:
    """The device's store was made anew, as its first signed batch proves: what it did must not be ordered again."""
    changes = Changes()
    store_lost(turn.session, device.principal, turn.now, changes)
    vaults.store_lost(turn.session, device.principal, turn.now)
    governance.store_lost(turn.session, device.principal, turn.now)
    _note(turn, device, changes)


def on_branch(turn: Turn, device: Device, origin: LaneRow, at: int) -> None:
    """The device goes on from record `at` of `origin`: what it did and was told after that, it does not know."""
    lost = lost_history(turn.session, origin, after=at)
    changes = Changes()
    history_lost(turn.session, device.principal, lost, turn.now, changes)
    _note(turn, device, changes)


def on_gap(turn: Turn, device: Device) -> None:
    """Records of the device's journal will never come: what they said of its work it is asked again."""
    changes = Changes()
    ask_again(turn.session, device.principal, turn.now, changes)
    _note(turn, device, changes)


def _on_hub_restored(turn: Turn, device: Device) -> None:
    """The device holds orders that we do not know. Only the hub writes them: it was restored from a backup."""
    logger.warning("%s holds orders that this hub does not know; its orders begin anew", device.principal)
    turn.counts["orders.begun_anew"] += 1
    changes = Changes()
    begin_orders_anew(turn.session, device.principal, CloseReason.HUB_RESTORED, turn.now, changes)
    _note(turn, device, changes)


def _note(turn: Turn, device: Device, changes: Changes) -> None:
    turn.touched_tasks |= changes.tasks
    turn.orders_for |= changes.orders_for
    turn.settings_for.add(device.principal)  # in the log that begins now


def on_ack(turn: Turn, device: Device, ack: Ack) -> None:
    """The device has committed, or says why it has not."""
    device.last_ack_at = turn.now
    newest = turn.orders_lane(device)
    if newest is None or (ack.lane, ack.epoch) != (newest.lane, newest.epoch):
        turn.refuse(device.principal, "wrong_lane")
        return
    if ack.status == "ok":
        _note_offers(turn, device, newest, ack.upto, ack.hash)
    lane = repository.lock_lane(turn.session, repository.key_of(newest))
    own = repository.hash_at(turn.session, lane, ack.upto)
    if ack.status == "fork" or own != ack.hash:
        _on_hub_restored(turn, device)
        return
    event = Acknowledged(
        upto=ack.upto,
        hash=ack.hash,
        own_hash=own,
        credit=ack.credit,
        status=ack.status,
    )
    _feed(turn, device, lane, event, None)
    turn.settings_for.add(device.principal)


def _note_offers(turn: Turn, device: Device, lane: LaneRow, upto: int, hash_: bytes) -> None:
    """Tasks whose offers the device now holds say so. Before the lane is locked, as requests lock tasks first too."""
    if upto and turn.has_open_offers(device) and repository.hash_at(turn.session, lane, upto) == hash_:
        turn.touched_tasks |= orders_acknowledged(turn.session, device.principal, upto, turn.now)


def on_gone(turn: Turn, device: Device) -> None:
    """The device left the broker: nothing is sent until its next hello."""
    newest = turn.orders_lane(device)
    if newest is not None:
        _feed(turn, device, repository.lock_lane(turn.session, repository.key_of(newest)), Unlinked(), None)


def probe(turn: Turn, device: Device) -> bool:
    """Send the last order that the device has acknowledged once more: if it is there, it acknowledges again (rule P12).

    False if there is none, or something is in flight that it will acknowledge anyway.
    """
    newest = turn.orders_lane(device)
    if newest is None or newest.forked_at_seq is not None or newest.closed_at is not None:
        return False
    lane = repository.lock_lane(turn.session, repository.key_of(newest))
    state = _load(lane)
    via = _session_for(turn, device, state)
    if via is None or state.phase is not Phase.IDLE or state.acked < lane.tail_seq:
        return False
    _send(turn, lane, Send(state.acked, 1), via)
    turn.counts["orders.probes"] += 1
    return True


def push(turn: Turn, device: Device, newest: LaneRow) -> None:
    """Send what was appended to the device's newest orders log, and repeat what was not answered in time."""
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
    return (lane.phase, lane.sent_to, lane.acked, lane.reader_seq) == (Phase.UNLINKED.value, 0, 0, 0)


def _feed(turn: Turn, device: Device, lane: LaneRow, event: SenderEvent, via: DeviceSession | None) -> None:
    """One event through the sender's state machine, and its effects."""
    if lane.forked_at_seq is not None or lane.closed_at is not None:
        return
    state, effects = step(_load(lane), event, turn.patience_at if isinstance(event, Tick) else turn.now)
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
            case ReportFork():
                raise AssertionError(
                    "who holds other orders than ours is found out before the sender hears of it"
                )
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
    parcels = _parcels(turn, lane, send)
    message, upto = pack(
        repository.lane_id(lane),
        Head(send.first_seq - 1, before),
        parcels,
        latest=lane.head_seq,
        signer=turn.signer,
        close=lambda batch: turn.seal(via, batch),
    )
    turn.publish(via, Channel.DOWN_ORDERS, message)
    turn.counts["orders.sent"] += upto - send.first_seq + 1
    return upto


def _parcels(turn: Turn, lane: LaneRow, send: Send) -> list[Parcel]:
    """Records with the content that they name, up to what fits a batch; each piece of content rides once."""
    limit = min(send.max_records, SEND_MAX_RECORDS)
    entries = repository.read_entries(turn.session, lane, after=send.first_seq - 1, limit=limit)
    parcels: list[Parcel] = []
    riding: set[bytes] = set()
    size = 0
    for entry in entries:
        record = parse_record(entry.record)
        refs = () if isinstance(record, Poison) else record.blob_refs()
        blobs: tuple[Blob, ...] = ()
        if refs:
            missing = [ref.hash for ref in refs if ref.hash not in riding]
            blobs = turn.blobs(missing)
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

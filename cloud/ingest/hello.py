"""A hello opens a session: the answer carries the hub's cursors, its heads and credit (rule P17)."""

import secrets
from collections.abc import Sequence
from typing import Final

from cloud.devices.tables import Device, DeviceSession
from cloud.ingest import orders
from cloud.ingest.presence import note_hello
from cloud.ingest.turn import Turn
from cloud.journal import repository
from cloud.journal.tables import CloseReason, LaneRow
from shared.clock import to_ms
from shared.ids import UPWARD, Lane
from shared.messages import SESSION_BYTES, Cursor, Hello, HelloAck, LaneHead
from shared.topics import Channel

PENDING_MAX: Final = 3
"""Sessions that are offered and not yet used: a device says hello so often before it gives the connection up, and takes
the first answer that reaches it."""


def answer(turn: Turn, device: Device, hello: Hello) -> None:
    """Offer a session, answer, and begin to send the orders that the device lacks."""
    note_hello(turn, device, hello.connection)
    via = _offer(turn, device)
    lanes = turn.lanes[device.principal]
    own = _newest(lanes, Lane.ORDERS)
    ack = HelloAck(
        nonce=hello.nonce,
        session=via.id,
        at_ms=to_ms(turn.now),
        credit=turn.credit_for(_behind(lanes, hello)),
        heads=() if own is None else (_head(own),),
        cursors=tuple(_cursor(row) for row in _held(lanes, hello)),
        closed=tuple(_common(turn, row) for row in _resolved(lanes, hello)),
    )
    _note_writer(turn, lanes, hello)
    turn.send(via, Channel.HELLO_ACK, ack)
    if not _is_new_store(lanes, hello):
        turn.settings_for.add(device.principal)
        if own is not None:
            orders.on_hello(turn, device, repository.key_of(own), hello, via)


def _is_new_store(lanes: Sequence[LaneRow], hello: Hello) -> bool:
    """Whether the device writes a journal that is new to us while we hold an older one of its.

    It then lost its store. Orders wait for that journal's first batch: a batch is bound to a fresh session, a hello
    is not, and what the hub does then (`orders.begin_anew`) must not be set off by a hello that is only repeated.
    """
    held = {row.epoch for row in lanes if row.lane == Lane.JOURNAL.value}
    return bool(held) and any(
        head.lane == Lane.JOURNAL.value and head.epoch not in held for head in hello.heads
    )


def _offer(turn: Turn, device: Device) -> DeviceSession:
    rows = turn.sessions[device.principal]
    pending = sorted((row for row in rows if not row.is_current), key=lambda row: row.opened_at)
    for outdated in pending[: len(pending) - PENDING_MAX + 1]:
        turn.session.delete(outdated)
        rows.remove(outdated)
    via = DeviceSession(id=secrets.token_bytes(SESSION_BYTES), principal=device.principal, opened_at=turn.now)
    turn.session.add(via)
    rows.append(via)
    return via


def _held(lanes: Sequence[LaneRow], hello: Hello) -> list[LaneRow]:
    """For each upward lane the epoch that the device writes now, or else the newest that the hub has."""
    announced = {(head.lane, head.epoch) for head in hello.heads}
    held: list[LaneRow] = []
    for lane in UPWARD:
        written = next(
            (row for row in lanes if row.lane == lane and (row.lane, row.epoch) in announced), None
        )
        row = written or _newest(lanes, lane)
        if row is not None:
            held.append(row)
    return held


def _resolved(lanes: Sequence[LaneRow], hello: Hello) -> list[LaneRow]:
    """Of the logs that the device says it writes, those whose fork an operator has resolved (rule P21)."""
    announced = {(head.lane, head.epoch) for head in hello.heads}
    return [
        row
        for row in lanes
        if (row.lane, row.epoch) in announced
        and row.close_reason == CloseReason.BRANCHED
        and row.forked_at_seq is not None
    ]


def _common(turn: Turn, row: LaneRow) -> Cursor:
    """Up to where a forked log and the device's are known to be the same."""
    upto = row.forked_at_seq or 0
    held = repository.hash_at(turn.session, row, upto)
    if held is None:
        return _cursor(row)
    return Cursor(lane=repository.lane_id(row).lane.value, epoch=row.epoch, upto=upto, hash=held)


def _note_writer(turn: Turn, lanes: Sequence[LaneRow], hello: Hello) -> None:
    """How far the device says that it is ahead. For people: a hello may be an old one, so nothing hangs on it."""
    rows = {(row.lane, row.epoch): row for row in lanes}
    for head in hello.heads:
        row = rows.get((head.lane, head.epoch))
        if row is not None:
            row.writer_head, row.writer_at = max(head.head, row.head_seq), turn.now
            row.writer_bytes = head.waiting_bytes if head.head > row.head_seq else 0


def _behind(lanes: Sequence[LaneRow], hello: Hello) -> int:
    """How many records the device says to have that we do not, of all its logs."""
    held = {(row.lane, row.epoch): row.head_seq for row in lanes}
    return sum(max(0, head.head - held.get((head.lane, head.epoch), 0)) for head in hello.heads)


def _newest(lanes: Sequence[LaneRow], lane: Lane) -> LaneRow | None:
    return next((row for row in reversed(lanes) if row.lane == lane), None)


def _cursor(row: LaneRow) -> Cursor:
    lane = repository.lane_id(row).lane
    return Cursor(lane=lane.value, epoch=row.epoch, upto=row.head_seq, hash=row.head_hash)


def _head(row: LaneRow) -> LaneHead:
    return LaneHead(lane="orders", epoch=row.epoch, tail=1, head=row.head_seq, hash=row.head_hash)

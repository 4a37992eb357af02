"""A hello opens a session: the answer carries the hub's cursors, its heads and credit (rule P17)."""

import secrets
from collections.abc import Sequence
from typing import Final

from cloud.devices.tables import Device, DeviceSession
from cloud.ingest import orders
from cloud.ingest.presence import note_connection
from cloud.ingest.turn import Turn
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import UPWARD, Lane
from shared.messages import SESSION_BYTES, Cursor, Hello, HelloAck, LaneHead
from shared.topics import Channel

PENDING_MAX: Final = 2
"""Sessions that are offered and not yet used. Two, so that a hello that arrives twice does not undo its own answer."""


def answer(turn: Turn, device: Device, hello: Hello) -> None:
    """Offer a session, answer, and begin to send the orders that the device lacks."""
    note_connection(turn, device, hello.connection)
    device.last_hello_at = turn.now
    via = _offer(turn, device)
    lanes = turn.lanes[device.principal]
    own = _newest(lanes, Lane.ORDERS)
    ack = HelloAck(
        nonce=hello.nonce,
        session=via.id,
        at_ms=to_ms(turn.now),
        credit=turn.credit,
        heads=() if own is None else (_head(own),),
        cursors=tuple(_cursor(row) for row in _held(lanes, hello)),
    )
    turn.send(via, Channel.HELLO_ACK, ack)
    if own is not None and not _is_new_store(lanes, hello):
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


def _newest(lanes: Sequence[LaneRow], lane: Lane) -> LaneRow | None:
    return next((row for row in reversed(lanes) if row.lane == lane), None)


def _cursor(row: LaneRow) -> Cursor:
    lane = repository.lane_id(row).lane
    return Cursor(lane=lane.value, epoch=row.epoch, upto=row.head_seq, hash=row.head_hash)


def _head(row: LaneRow) -> LaneHead:
    return LaneHead(lane="orders", epoch=row.epoch, tail=1, head=row.head_seq, hash=row.head_hash)

"""What messages tell about who is connected: births, deaths, and signs of life (rule P18). The state itself is
derived (`cloud.devices.presence`).

A death is not believed at once: it is noted (`died_at`), and the device gets its last order once more, which it
acknowledges if it is there. Whatever arrives from it after the death contradicts. Without that, `end_doubted`, a
job of the leader, ends the session when the grace is over.

What "after" means: by when messages arrived at a worker, not by when it came to handle them. A broker delivers what
a device said before its will, so a message that waited in our queue does not bring a dead device back to life.
"""

import logging
from datetime import datetime
from typing import Final

from sqlalchemy import not_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.db import Transactions
from cloud.devices.presence import DEAF_AFTER, PresenceLimits, listen
from cloud.devices.presence_sql import hearing_of, is_connected, read_horizons
from cloud.devices.tables import Device, HubHearing
from cloud.devices.trust import KeyCache
from cloud.ingest import orders
from cloud.ingest.turn import Turn
from shared.clock import Clock
from shared.keys import Signer
from shared.messages import DeviceState

logger = logging.getLogger(__name__)

CHUNK_DEVICES: Final = 32
"""Devices whose sessions are ended in one transaction."""
ROUND_MAX_DEVICES: Final = 2_000
"""In one run of the job; the others follow with the next."""


def note_state(turn: Turn, device: Device, state: DeviceState) -> None:
    """A birth begins a connection, unless that is known already; a death counts if it is the latest connection's."""
    is_latest = state.connection == device.broker_connection
    if state.online and not is_latest:
        _begin(turn, device, state.connection)
    elif not state.online and is_latest and device.broker_online:
        _doubt(turn, device)


def note_hello(turn: Turn, device: Device, connection: bytes) -> None:
    """The device is there, on this connection: its birth may have been lost, or not have come yet."""
    device.last_hello_at = turn.now
    if connection != device.broker_connection:
        _begin(turn, device, connection)
    else:
        note_sign(turn, device)


def note_sign(turn: Turn, device: Device) -> None:
    """Something came in a session of the device's: its connection was open when that arrived."""
    told = device.died_at if device.broker_online else device.broker_at
    if told is None or not _is_after(turn, told):
        return
    if not device.broker_online:  # an end that was believed, and not true
        device.broker_online = True
        device.broker_at = turn.arrived_at
    device.died_at = None
    turn.counts["deaths.contradicted"] += 1


def note_listening(session: Session, now: datetime, limits: PresenceLimits) -> None:
    """The hub hears its devices now."""
    row = session.exec(select(HubHearing).with_for_update()).first()
    heard = listen(None if row is None else hearing_of(row), now, limits)
    if row is None:
        dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
        values = {"id": 1, "since": heard.since, "gone_at": heard.gone_at, "heard_at": heard.heard_at}
        session.execute(dialect.insert(HubHearing).values(values).on_conflict_do_nothing())
        return
    if heard.since != row.since:
        logger.info("the hub listens again; it did not since %s", heard.gone_at)
    row.since, row.gone_at, row.heard_at = heard.since, heard.gone_at, heard.heard_at


def end_doubted(transactions: Transactions, *, clock: Clock, signer: Signer, limits: PresenceLimits) -> int:
    """Take for ended what was said to have ended and was not contradicted in time; returns how many. Blocking."""
    with transactions.read() as session:
        compared = read_horizons(session, limits, clock.now())
        names = session.exec(
            select(Device.principal)
            .where(
                col(Device.broker_online).is_(True),
                col(Device.died_at).is_not(None),
                not_(is_connected(compared)),
            )
            .order_by(col(Device.principal))
            .limit(ROUND_MAX_DEVICES)
        ).all()
    ended = 0
    for begin in range(0, len(names), CHUNK_DEVICES):
        with transactions.write() as session:
            turn = Turn(session=session, now=clock.now(), signer=signer.current, keys=KeyCache())
            turn.lock(names[begin : begin + CHUNK_DEVICES])
            for device in turn.devices.values():
                died_at = device.died_at
                if not device.broker_online or died_at is None or compared.doubtful.holds(died_at):
                    continue  # contradicted in the meantime
                device.broker_online, device.broker_at, device.died_at = False, died_at, None
                orders.on_gone(turn, device)
                ended += 1
    return ended


def _begin(turn: Turn, device: Device, connection: bytes) -> None:
    device.broker_connection = connection
    device.broker_online = True
    device.broker_at = turn.arrived_at
    device.died_at = None


def _doubt(turn: Turn, device: Device) -> None:
    if device.died_at is None:
        device.died_at = turn.arrived_at
        turn.counts["deaths.doubted"] += 1
        orders.probe(turn, device)
    elif _is_after(turn, device.died_at):
        # The same will, as another worker or another subscription of ours hears it.
        device.died_at = turn.arrived_at


def _is_after(turn: Turn, instant: datetime) -> bool:
    """An instant that lies far in the future is of a clock that was wrong: everything is after it."""
    return turn.arrived_at > instant or instant > turn.arrived_at + DEAF_AFTER

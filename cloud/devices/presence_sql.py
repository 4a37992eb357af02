"""`cloud.devices.presence` as an SQL expression, for filters, counts and pages over a whole fleet.

A test holds both to the same answers.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, case, literal, or_
from sqlmodel import Session, col, select

from cloud.devices.presence import (
    Hearing,
    Horizons,
    PresenceLimits,
    PresenceState,
    Window,
    horizons,
)
from cloud.devices.tables import Device, HubHearing

_SIGNS = (col(Device.last_hello_at), col(Device.last_ack_at), col(Device.last_record_at))


def presence_of(compared: Horizons) -> ColumnElement[str]:
    """The state of each row of the device table: one of `PresenceState`'s values."""
    is_remembered = _any_in(compared.remembered, (*_SIGNS, col(Device.enrolled_at)))
    is_open = is_connected(compared)
    return case(
        (and_(is_remembered, is_open, _any_in(compared.fresh, _SIGNS)), literal(PresenceState.ONLINE.value)),
        (and_(is_remembered, is_open), literal(PresenceState.STALE.value)),
        (is_remembered, literal(PresenceState.OFFLINE.value)),
        else_=literal(PresenceState.LOST.value),
    )


def is_connected(compared: Horizons) -> ColumnElement[bool]:
    """Whether the session at the broker is open: no death has been told, or none that is believed."""
    died_at = col(Device.died_at)
    return and_(
        col(Device.broker_online).is_(True), or_(died_at.is_(None), _holds(compared.doubtful, died_at))
    )


def read_horizons(session: Session, limits: PresenceLimits, now: datetime) -> Horizons:
    """What the facts are to be compared with now."""
    row = session.exec(select(HubHearing)).first()
    return horizons(now, None if row is None else hearing_of(row), limits)


def hearing_of(row: HubHearing) -> Hearing:
    return Hearing(since=row.since, gone_at=row.gone_at, heard_at=row.heard_at)


# Unknown instants make these NULL, which a CASE takes for false.


def _any_in(window: Window, instants: tuple[SQLColumnExpression[Any], ...]) -> ColumnElement[bool]:
    return or_(*(_holds(window, instant) for instant in instants))


def _holds(window: Window, instant: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    is_after = instant > window.after
    return is_after if window.until is None else and_(is_after, instant <= window.until)

"""Queries over devices, tokens and refusals. No decisions, no commits."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import CursorResult, func, update
from sqlmodel import Session, col, select

from cloud.caller import device_unknown
from cloud.devices.presence import Horizons, PresenceState
from cloud.devices.presence_sql import presence_of
from cloud.devices.tables import Device, DeviceKey, EnrolmentToken, Refusal
from cloud.journal.tables import DeadLetter, LaneRow


def find_device(session: Session, principal: str) -> Device:
    """Raises `RefusedError` (code `device_unknown`)."""
    device = session.get(Device, principal)
    if device is None:
        raise device_unknown(principal)
    return device


def lock_device(session: Session, principal: str) -> Device:
    """As `find_device`, locked until the transaction ends: nobody appends to the device's logs meanwhile."""
    find_device(session, principal)
    locked = select(Device).where(Device.principal == principal).with_for_update()
    # What was read before the lock may be outdated by now, and would else be kept.
    return session.exec(locked.execution_options(populate_existing=True)).one()


def page(
    session: Session,
    *,
    tenant: str | None,
    presence: PresenceState | None,
    compared: Horizons,
    after: str,
    limit: int,
) -> Sequence[Device]:
    """Devices in the order of their principals, from behind `after`; only those in one state of presence, if one is
    named."""
    query = select(Device).where(Device.principal > after).order_by(col(Device.principal)).limit(limit)
    if tenant is not None:
        query = query.where(Device.tenant == tenant)
    if presence is not None:
        query = query.where(presence_of(compared) == presence.value)
    return session.exec(query).all()


def presence_counts(session: Session, *, tenant: str | None, compared: Horizons) -> dict[PresenceState, int]:
    """How many devices are in each state; none is left out."""
    state = presence_of(compared)
    query = select(state, func.count()).select_from(Device).group_by(state)
    if tenant is not None:
        query = query.where(Device.tenant == tenant)
    found = dict(session.exec(query).all())
    return {each: found.get(each.value, 0) for each in PresenceState}


def lanes_of(session: Session, principals: Sequence[str]) -> Sequence[LaneRow]:
    return session.exec(
        select(LaneRow).where(col(LaneRow.principal).in_(principals)).order_by(col(LaneRow.id))
    ).all()


def refusals_of(session: Session, principal: str) -> Sequence[Refusal]:
    return session.exec(
        select(Refusal).where(Refusal.principal == principal).order_by(col(Refusal.reason))
    ).all()


def dead_letters_of(
    session: Session, lane_ids: Sequence[int], limit: int
) -> tuple[int, Sequence[DeadLetter]]:
    """How many there are, and the newest `limit` of them."""
    is_theirs = col(DeadLetter.lane_id).in_(lane_ids)
    count = session.exec(select(func.count()).select_from(DeadLetter).where(is_theirs)).one()
    newest = session.exec(
        select(DeadLetter)
        .where(is_theirs)
        .order_by(col(DeadLetter.at).desc(), col(DeadLetter.seq).desc())
        .limit(limit)
    ).all()
    return count, newest


def has_signing_key(session: Session, kid: bytes) -> bool:
    """Whether any device has, or ever had, this key."""
    has_it = session.exec(select(Device.principal).where(Device.signing_kid == kid)).first() is not None
    return has_it or session.get(DeviceKey, kid) is not None


def tokens(session: Session, *, tenant: str | None, limit: int) -> Sequence[EnrolmentToken]:
    """Newest first; of one tenant, or of all."""
    query = select(EnrolmentToken).order_by(col(EnrolmentToken.created_at).desc()).limit(limit)
    if tenant is not None:
        query = query.where(EnrolmentToken.tenant == tenant)
    return session.exec(query).all()


def spend_token(session: Session, token_id: str, *, now: datetime) -> bool:
    """Mark the token as used if it is still good. Of several at once, one wins: the row is locked by the first."""
    result = session.execute(
        update(EnrolmentToken)
        .where(
            col(EnrolmentToken.id) == token_id,
            col(EnrolmentToken.used_at).is_(None),
            col(EnrolmentToken.revoked_at).is_(None),
            col(EnrolmentToken.expires_at) > now,
        )
        .values(used_at=now)
    )
    assert isinstance(result, CursorResult)
    return result.rowcount == 1

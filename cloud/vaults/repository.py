"""Queries over devices' secrets. No decisions, no commits."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.tables import BlobRow
from cloud.vaults.states import SecretState
from cloud.vaults.tables import DeviceSecret

IN_CHUNK = 500
"""Values in one SELECT … IN: SQLite allows some thousands, PostgreSQL plans badly with very many."""


def secrets_of(session: Session, principal: str) -> Sequence[DeviceSecret]:
    return session.exec(
        select(DeviceSecret).where(DeviceSecret.principal == principal).order_by(col(DeviceSecret.name))
    ).all()


def secrets_named(session: Session, name: str, principals: Sequence[str]) -> dict[str, DeviceSecret]:
    """By principal, where there is one."""
    found: dict[str, DeviceSecret] = {}
    for begin in range(0, len(principals), IN_CHUNK):
        part = principals[begin : begin + IN_CHUNK]
        query = select(DeviceSecret).where(DeviceSecret.name == name, col(DeviceSecret.principal).in_(part))
        found |= {row.principal: row for row in session.exec(query)}
    return found


def page_of_names(
    session: Session, *, tenant: str, name: str, after: str, limit: int
) -> Sequence[DeviceSecret]:
    """The devices that have to do with a secret, in the order of their principals."""
    query = (
        select(DeviceSecret)
        .where(
            DeviceSecret.name == name,
            col(DeviceSecret.principal).startswith(f"{tenant}.", autoescape=True),
            DeviceSecret.principal > after,
        )
        .order_by(col(DeviceSecret.principal))
        .limit(limit)
    )
    return session.exec(query).all()


def active_devices(
    session: Session, *, tenant: str, site: str | None, group: str | None, limit: int
) -> Sequence[Device]:
    """Of a tenant, one of its sites or one of its groups."""
    query = select(Device).where(Device.tenant == tenant, Device.status == DeviceStatus.ACTIVE.value)
    if site is not None:
        query = query.where(Device.site == site)
    if group is not None:
        query = query.where(Device.group == group)
    return session.exec(query.order_by(col(Device.principal)).limit(limit)).all()


def held_by(
    session: Session, *, tenant: str, name: str, site: str | None, group: str | None, limit: int
) -> Sequence[str]:
    """The devices that may hold a secret of this name, whatever their status."""
    query = (
        select(DeviceSecret.principal)
        .join(Device, col(Device.principal) == DeviceSecret.principal)
        .where(
            Device.tenant == tenant,
            DeviceSecret.name == name,
            col(DeviceSecret.state) != SecretState.REMOVED.value,
        )
    )
    if site is not None:
        query = query.where(Device.site == site)
    if group is not None:
        query = query.where(Device.group == group)
    return session.exec(query.order_by(col(DeviceSecret.principal)).limit(limit)).all()


def forget_box(session: Session, box_hash: bytes) -> None:
    """The sealed box has served: the record that names it stays."""
    session.exec(delete(BlobRow).where(col(BlobRow.hash) == box_hash))


def count_of(session: Session, principal: str) -> int:
    query = select(func.count()).select_from(DeviceSecret).where(DeviceSecret.principal == principal)
    return session.exec(query).one()

"""Queries over the tables of rules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from cloud.devices.tables import Device, DeviceStatus
from cloud.governance.states import ApprovalState, ReleaseState
from cloud.governance.tables import (
    Approval,
    DeviceHalt,
    DevicePolicy,
    Duty,
    PolicyActionTally,
    PolicyRelease,
    PolicyTally,
    ThreatRow,
)
from cloud.journal.repository import IN_CHUNK

BASELINE: Final = 0
"""The version of a device that has no rules: what that allowed or not was nobody's rule."""
RUNNING_STATES = (ReleaseState.ROLLING.value, ReleaseState.ACTIVE.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A device that a release is for, and where it stands."""

    principal: str
    ordered_version: int
    version: int
    refused_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTally:
    """Decisions about an action under the rules that are looked at, and under those before."""

    decided: int = 0
    denied: int = 0
    decided_before: int = 0
    denied_before: int = 0

    def with_more(self, decided: int, denied: int, *, is_now: bool) -> "ActionTally":
        """With these counted too."""
        if is_now:
            return replace(self, decided=self.decided + decided, denied=self.denied + denied)
        return replace(
            self, decided_before=self.decided_before + decided, denied_before=self.denied_before + denied
        )


def current_release(session: Session, tenant: str) -> PolicyRelease | None:
    """The newest one that is still going out or is out."""
    return session.exec(
        select(PolicyRelease)
        .where(PolicyRelease.tenant == tenant, col(PolicyRelease.state).in_(RUNNING_STATES))
        .order_by(col(PolicyRelease.version).desc())
        .limit(1)
    ).first()


def newest_version(session: Session, tenant: str) -> int:
    """Of all that were ever published; 0: none."""
    return session.exec(
        select(func.coalesce(func.max(PolicyRelease.version), 0)).where(PolicyRelease.tenant == tenant)
    ).one()


def releases(session: Session, tenant: str | None, limit: int) -> Sequence[PolicyRelease]:
    """Newest first."""
    query = select(PolicyRelease).order_by(col(PolicyRelease.published_at).desc()).limit(limit)
    return session.exec(query if tenant is None else query.where(PolicyRelease.tenant == tenant)).all()


def lock_release(session: Session, release_id: str) -> PolicyRelease | None:
    return session.exec(select(PolicyRelease).where(PolicyRelease.id == release_id).with_for_update()).first()


def open_tenants(session: Session) -> Sequence[str]:
    """Tenants that have a release going out, or out."""
    return session.exec(
        select(PolicyRelease.tenant).where(col(PolicyRelease.state).in_(RUNNING_STATES)).distinct()
    ).all()


def members(session: Session, tenant: str) -> list[Member]:
    """The tenant's active devices, by name, with where each stands."""
    rows = session.exec(
        select(
            Device.principal, DevicePolicy.ordered_version, DevicePolicy.version, DevicePolicy.refused_version
        )
        .join(DevicePolicy, col(DevicePolicy.principal) == col(Device.principal), isouter=True)
        .where(Device.tenant == tenant, Device.status == DeviceStatus.ACTIVE.value)
        .order_by(Device.principal)
    ).all()
    return [
        Member(
            principal=principal,
            ordered_version=ordered or 0,
            version=version or 0,
            refused_version=refused or 0,
        )
        for principal, ordered, version, refused in rows
    ]


def tally(session: Session, principals: Sequence[str], versions: Sequence[int] | None) -> tuple[int, int]:
    """Decisions and denials of devices under some versions of their rules (None: under any)."""
    query = select(
        func.coalesce(func.sum(PolicyTally.decided), 0), func.coalesce(func.sum(PolicyTally.denied), 0)
    ).where(col(PolicyTally.principal).in_(principals))
    if versions is not None:
        query = query.where(col(PolicyTally.version).in_(versions))
    decided, denied = session.exec(query).one()
    return int(decided), int(denied)


def tally_by_action(session: Session, principals: Sequence[str], version: int) -> dict[str, ActionTally]:
    """How devices' rules answered to each action: those of `version`, and the ones that they had before."""
    row = PolicyActionTally
    query = (
        select(row.action, row.version, func.sum(row.decided), func.sum(row.denied))
        .where(col(row.principal).in_(principals), col(row.version) > BASELINE)
        .group_by(col(row.action), col(row.version))
    )
    found: dict[str, ActionTally] = {}
    for action, of, decided, denied in session.exec(query):
        counts = found.get(action, ActionTally())
        found[action] = counts.with_more(int(decided), int(denied), is_now=of == version)
    return found


def policies_of(session: Session, principals: Sequence[str]) -> dict[str, DevicePolicy]:
    rows = session.exec(select(DevicePolicy).where(col(DevicePolicy.principal).in_(principals))).all()
    return {row.principal: row for row in rows}


def halts_of(session: Session, principals: Sequence[str]) -> dict[str, DeviceHalt]:
    found: dict[str, DeviceHalt] = {}
    for begin in range(0, len(principals), IN_CHUNK):
        part = list(principals[begin : begin + IN_CHUNK])
        for row in session.exec(select(DeviceHalt).where(col(DeviceHalt.principal).in_(part))):
            found[row.principal] = row
    return found


def approvals(session: Session, tenant: str | None, *, is_open: bool, limit: int) -> Sequence[Approval]:
    """Oldest first while open; else newest first."""
    query = select(Approval).limit(limit)
    if tenant is not None:
        query = query.where(Approval.tenant == tenant)
    if is_open:
        query = query.where(Approval.state == ApprovalState.OPEN.value).order_by(col(Approval.asked_at))
    else:
        query = query.order_by(col(Approval.asked_at).desc())
    return session.exec(query).all()


def lock_approval(session: Session, nonce: str) -> Approval | None:
    return session.exec(select(Approval).where(Approval.nonce == nonce).with_for_update()).first()


def duties(session: Session, tenant: str | None, person: str | None = None) -> Sequence[Duty]:
    query = select(Duty).order_by(Duty.tenant, Duty.person, Duty.role)
    if tenant is not None:
        query = query.where(Duty.tenant == tenant)
    return session.exec(query if person is None else query.where(Duty.person == person)).all()


def devices_chosen(
    session: Session, tenant: str, *, site: str | None, group: str | None, limit: int
) -> Sequence[str]:
    """Devices of a tenant, of a site or group if one is named, that are not gone for good."""
    query = (
        select(Device.principal)
        .where(Device.tenant == tenant, Device.status != DeviceStatus.REVOKED.value)
        .order_by(Device.principal)
        .limit(limit)
    )
    if site is not None:
        query = query.where(Device.site == site)
    if group is not None:
        query = query.where(Device.group == group)
    return session.exec(query).all()


def halts(session: Session, tenant: str | None, limit: int) -> Sequence[DeviceHalt]:
    """Devices that somebody holds, or that are to be held."""
    query = (
        select(DeviceHalt)
        .join(Device, col(Device.principal) == col(DeviceHalt.principal))
        .where(col(DeviceHalt.is_ordered) | col(DeviceHalt.is_held_by_hub) | col(DeviceHalt.is_held_locally))
        .order_by(DeviceHalt.principal)
        .limit(limit)
    )
    return session.exec(query if tenant is None else query.where(Device.tenant == tenant)).all()


def findings(session: Session, tenant: str | None, limit: int) -> Sequence[ThreatRow]:
    """Newest first."""
    query = select(ThreatRow).order_by(col(ThreatRow.at).desc()).limit(limit)
    return session.exec(query if tenant is None else query.where(ThreatRow.tenant == tenant)).all()

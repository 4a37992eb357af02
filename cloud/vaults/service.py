"""Ordering devices to hold secrets or forget them. Decides; never commits.

The value is in this process for the time of one call: it is sealed to each device's own key (rule P26), and the boxes
are what is kept until the devices have answered. Nothing here is ever given to a log.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from cloud.devices import sealing as sealing_keys
from cloud.devices.repository import find_device
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.service import append_order
from cloud.vaults import repository
from cloud.vaults.schemas import LeftOut, SecretLine, SecretOrdered, SecretPage, SecretView
from cloud.vaults.states import SecretState
from cloud.vaults.tables import DeviceSecret
from shared.blobs import SALT_BYTES, Blob
from shared.clock import to_ms
from shared.errors import CapacityError, RefusedError
from shared.records import SecretRemoved, SecretSet
from shared.sealed_box import Sealing, check_name, check_value, seal_secret

NO_KEY = "sealing_key_missing"
CHANGED_KEY = "sealing_key_changed"
_UNFIT = {
    NO_KEY: "Device {device} has no key to seal for; it makes one when it renews its certificate: update it, then try"
    " again.",
    CHANGED_KEY: "The key to seal for {device} was changed behind the hub's back: nothing is sealed for it. Find out"
    " who can write to the database; `covey-edge identity renew` on the device tells its own key again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Whom it concerns: one device (`principal`), or those of a tenant, one of its sites or one of its groups."""

    tenant: str
    principal: str | None = None
    site: str | None = None
    group: str | None = None

    @property
    def target(self) -> str:
        """For the audit log."""
        if self.principal is not None:
            return self.principal
        part = f"site {self.site}" if self.site is not None else f"group {self.group}"
        return self.tenant if self.site is None and self.group is None else f"{self.tenant}, {part}"


def set_secret(
    session: Session, chosen: Chosen, name: str, value: str, *, devices_max: int, now: datetime
) -> SecretOrdered:
    """Seal and order. A device without a sealing key, or with one that it did not tell, is left out and named; one
    that was named alone is refused.

    Raises `RefusedError` (also codes `sealing_key_missing`, `sealing_key_changed`, `device_inactive`, `device_unknown`,
    `nobody_chosen`) and `CapacityError`.
    """
    check_name(name)
    check_value(value)
    devices = _devices(session, chosen, devices_max)
    unfit = {
        device.principal: reason for device in devices if (reason := _unfit(session, device)) is not None
    }
    if (reason := unfit.get(chosen.principal or "")) is not None:
        raise RefusedError(_UNFIT[reason].format(device=chosen.principal), code=reason)
    fit = [device for device in devices if device.principal not in unfit]
    known = repository.secrets_named(session, name, [device.principal for device in fit])
    for device in fit:
        assert device.sealing_public is not None
        row = known.get(device.principal) or _fresh(device.principal, name, now)
        version = row.version + 1
        sealing = Sealing(device=device.principal, name=name, version=version)
        box = Blob(
            salt=secrets.token_bytes(SALT_BYTES), content=seal_secret(device.sealing_public, value, sealing)
        )
        record = SecretSet(at_ms=to_ms(now), name=name, version=version, box=box.ref())
        append_order(session, principal=device.principal, records=[(record, (box,))], now=now)
        if row.box_hash is not None:
            repository.forget_box(session, row.box_hash)  # what is newer takes its place
        _move(session, row, SecretState.ORDERED, now, version=version, box_hash=box.ref().hash)
    left_out = [LeftOut(principal=principal, reason=reason) for principal, reason in unfit.items()]
    return SecretOrdered(name=name, ordered=[device.principal for device in fit], left_out=left_out)


def _unfit(session: Session, device: Device) -> str | None:
    if device.sealing_public is None:
        return NO_KEY
    return None if sealing_keys.is_genuine(session, device) else CHANGED_KEY


def remove_secret(
    session: Session, chosen: Chosen, name: str, *, devices_max: int, now: datetime
) -> SecretOrdered:
    """Order to forget: of many devices those that may hold it; one that was named alone is ordered in any case.

    Raises as `set_secret` does.
    """
    check_name(name)
    if chosen.principal is not None:
        principals: Sequence[str] = [find_device(session, chosen.principal).principal]
    else:
        principals = repository.held_by(
            session,
            tenant=chosen.tenant,
            name=name,
            site=chosen.site,
            group=chosen.group,
            limit=devices_max + 1,
        )
    _check_number(principals, devices_max)
    known = repository.secrets_named(session, name, principals)
    for principal in principals:
        row = known.get(principal) or _fresh(principal, name, now)
        version = row.version + 1
        record = SecretRemoved(at_ms=to_ms(now), name=name, version=version)
        append_order(session, principal=principal, records=[(record, ())], now=now)
        if row.box_hash is not None:
            repository.forget_box(session, row.box_hash)
        _move(session, row, SecretState.REMOVING, now, version=version, box_hash=None)
    return SecretOrdered(name=name, ordered=list(principals), left_out=[])


def list_secrets(session: Session, principal: str) -> list[SecretView]:
    """What a device was ordered to hold and says that it holds. Raises `RefusedError` (code `device_unknown`)."""
    find_device(session, principal)
    return [_view(row) for row in repository.secrets_of(session, principal)]


def holders(session: Session, *, tenant: str, name: str, after: str, limit: int) -> SecretPage:
    """The devices that have to do with one secret."""
    check_name(name)
    rows = repository.page_of_names(session, tenant=tenant, name=name, after=after, limit=limit + 1)
    lines = [SecretLine(principal=row.principal, **_view(row).model_dump()) for row in rows[:limit]]
    return SecretPage(secrets=lines, next=lines[-1].principal if len(rows) > limit else None)


def store_lost(session: Session, principal: str, now: datetime) -> None:
    """The device's store was made anew: it holds nothing of what it held, and has not taken what was on its way."""
    for row in repository.secrets_of(session, principal):
        if row.state != SecretState.REMOVED.value:
            if row.box_hash is not None:
                repository.forget_box(session, row.box_hash)
            row.stored_version = None
            _move(session, row, SecretState.LOST, now, version=row.version, box_hash=None)


def _devices(session: Session, chosen: Chosen, devices_max: int) -> Sequence[Device]:
    if chosen.principal is not None:
        device = find_device(session, chosen.principal)
        if device.status != DeviceStatus.ACTIVE.value:
            raise RefusedError(
                f"Device {device.principal} is {device.status}; only active devices get secrets.",
                code="device_inactive",
            )
        return [device]
    devices = repository.active_devices(
        session, tenant=chosen.tenant, site=chosen.site, group=chosen.group, limit=devices_max + 1
    )
    _check_number(devices, devices_max)
    return devices


def _check_number(devices: Sequence[object], devices_max: int) -> None:
    if not devices:
        raise RefusedError(
            "No device is meant by that; `covey-hub device list` shows all.", code="nobody_chosen"
        )
    if len(devices) > devices_max:
        raise CapacityError(
            f"This would concern more than {devices_max} devices; choose a site or a group.",
            bound="secret_max_devices",
            limit=devices_max,
        )


def _fresh(principal: str, name: str, now: datetime) -> DeviceSecret:
    return DeviceSecret(principal=principal, name=name, state=SecretState.ORDERED.value, changed_at=now)


def _move(
    session: Session,
    row: DeviceSecret,
    state: SecretState,
    now: datetime,
    *,
    version: int,
    box_hash: bytes | None,
) -> None:
    row.state, row.reason, row.version, row.box_hash, row.changed_at = (
        state.value,
        None,
        version,
        box_hash,
        now,
    )
    session.add(row)
    session.flush()


def _view(row: DeviceSecret) -> SecretView:
    return SecretView(
        name=row.name,
        state=SecretState(row.state),
        reason=row.reason,
        version=row.version,
        stored_version=row.stored_version,
        changed_at=row.changed_at,
    )

"""What records say about devices, projected onto the device table."""

from typing import Final

from sqlmodel import Session

from cloud.devices.tables import Device
from cloud.ingest.applied import Applied, Handlers
from shared.errors import CapacityError
from shared.records import DeviceCondition, DeviceStarted


def on_device_started(session: Session, applied: Applied, record: DeviceStarted) -> None:
    """The daemon's version, as of its last start."""
    device = session.get(Device, applied.principal)  # in the session already: ingest has locked it
    if device is not None:
        device.version = record.version


def on_device_condition(session: Session, applied: Applied, record: DeviceCondition) -> None:
    """What the device says about itself, for as long as it says so."""
    device = session.get(Device, applied.principal)
    if device is None:
        return
    conditions = {code: since for code, since in device.conditions.items() if code != record.condition}
    if record.is_active:
        if len(conditions) >= CONDITIONS_MAX:
            raise CapacityError(
                f"A device may have {CONDITIONS_MAX} conditions at once.",
                bound="CONDITIONS_MAX",
                limit=CONDITIONS_MAX,
            )
        conditions[record.condition] = record.at_ms
    device.conditions = conditions


CONDITIONS_MAX: Final = 32

HANDLERS: Final[Handlers] = {DeviceStarted: on_device_started, DeviceCondition: on_device_condition}

"""What records say about devices, projected onto the device table."""

from typing import Final

from sqlmodel import Session

from cloud.devices.tables import Device
from cloud.ingest.applied import Applied, Handlers
from shared.records import DeviceStarted


def on_device_started(session: Session, applied: Applied, record: DeviceStarted) -> None:
    """The daemon's version, as of its last start."""
    device = session.get(Device, applied.principal)  # in the session already: ingest has locked it
    if device is not None:
        device.version = record.version


HANDLERS: Final[Handlers] = {DeviceStarted: on_device_started}

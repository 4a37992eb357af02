"""Who is connected to the broker, as births and deaths tell (rule P18)."""

from cloud.devices.tables import Device
from cloud.ingest import orders
from cloud.ingest.turn import Turn
from shared.messages import DeviceState


def note_state(turn: Turn, device: Device, state: DeviceState) -> None:
    """Take a birth as it is; a death only if it is that of the latest connection."""
    if state.online:
        note_connection(turn, device, state.connection)
        return
    if not device.broker_online or state.connection != device.broker_connection:
        return
    device.broker_online = False
    device.broker_at = turn.now
    orders.on_gone(turn, device)


def note_connection(turn: Turn, device: Device, connection: bytes) -> None:
    """The device is connected, under this id."""
    if device.broker_online and device.broker_connection == connection:
        return
    device.broker_connection = connection
    device.broker_online = True
    device.broker_at = turn.now

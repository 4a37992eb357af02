"""The key to which secrets for a device are encrypted, under a MAC of the hub's.

Who can write to the database, and has none of the hub's keys, shall not put their own key in its place and read what is
set from then on. The MAC covers whose key it is and by which signing key that board speaks, so neither another device's
nor a former board's row fits. Its own key travels in what a `Database` gives to each of its sessions, as that of
`cloud.audit.log_seal`; a session without it writes no MAC, and believes what there is.
"""

from typing import Final

from sqlmodel import Session, col, select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.row_seal import RowSeal

PURPOSE: Final = "sealing"
"""Of `Identity.derive`."""
REVISION: Final = "0009"
"""Of the database that has the MACs."""
_TABLE: Final = "device.sealing"
_INFO: Final = "covey.devices.sealing"


def seal_keys(database: Database, key: bytes) -> None:
    """From now on its sessions write MACs, and look at them. `key`: `Identity.derive(PURPOSE)`."""
    database.session_info[_INFO] = RowSeal(key)


def set_key(session: Session, device: Device, public: bytes | None) -> None:
    """The device itself has told its key, with a proof of its own. After its signing key is set."""
    seal = _seal(session)
    device.sealing_public = public
    device.sealing_mac = None if seal is None or public is None else seal.of(_TABLE, *_decisive(device))


def is_genuine(session: Session, device: Device) -> bool:
    """Whether it is the key that the device told, or there is none."""
    seal = _seal(session)
    if seal is None or device.sealing_public is None:
        return True
    return seal.fits(bytes(device.sealing_mac or b""), _TABLE, *_decisive(device))


def adopt(database: Database) -> int:
    """Take the keys of a database of before there were MACs for what they say; how many. Blocking."""
    with database.write() as session:
        devices = session.exec(select(Device).where(col(Device.sealing_public).is_not(None))).all()
        for device in devices:
            set_key(session, device, device.sealing_public)
            session.add(device)
        return len(devices)


def _decisive(device: Device) -> tuple[object, ...]:
    assert device.sealing_public is not None
    return device.principal, bytes(device.signing_public), bytes(device.sealing_public)


def _seal(session: Session) -> RowSeal | None:
    found = session.info.get(_INFO)
    assert found is None or isinstance(found, RowSeal)
    return found

"""Which signing keys the hub trusts: those of the device table, revoked ones included (rules P6, P8).

Blocking: it reads the database of the transaction that it was made for.
"""

from collections.abc import Mapping
from typing import Final

from sqlmodel import Session, select

from cloud.devices.tables import Device, DeviceStatus
from shared.keys import TrustedKey

KEYS_MAX: Final = 20_000
"""Parsed keys that are kept between transactions (about 0.5 KB each)."""


class KeyCache:
    """Parsed public keys by their bytes: parsing one costs about as much as a query. Holds no word on trust."""

    def __init__(self, max_keys: int = KEYS_MAX) -> None:
        self._max_keys = max_keys
        self._keys: dict[tuple[str, bytes, bool], TrustedKey] = {}

    def of(self, device: Device) -> TrustedKey:
        """The key of `device` as its row stands now."""
        place = (device.principal, device.signing_public, device.status == DeviceStatus.REVOKED)
        key = self._keys.get(place)
        if key is None:
            if len(self._keys) >= self._max_keys:
                self._keys.clear()
            key = TrustedKey(owner=device.principal, public=device.signing_public, is_revoked=place[2])
            self._keys[place] = key
        return key


class DeviceTrust:
    """A `shared.keys.TrustView` over the device table, within one transaction."""

    def __init__(self, session: Session, known: Mapping[str, Device], cache: KeyCache) -> None:
        """`known`: devices that the transaction has read already."""
        self._session = session
        self._by_kid = {device.signing_kid: device for device in known.values()}
        self._cache = cache

    def key(self, kid: bytes) -> TrustedKey | None:
        device = self._by_kid.get(kid)
        if device is None:
            device = self._session.exec(select(Device).where(Device.signing_kid == kid)).first()
        return None if device is None else self._cache.of(device)

"""Which keys the hub trusts: those of the device table, as it stands in this transaction (rules P6, P8)."""

from cloud.db import Database
from cloud.devices.tables import Device, DeviceStatus
from cloud.devices.trust import DeviceTrust, KeyCache
from tests.support.device import ScriptedDevice, signer_from
from tests.support.ingest import HUB_SIGNER, device_row


def enrol(database: Database, *names: str) -> list[ScriptedDevice]:
    scripts = [ScriptedDevice(name, hub=HUB_SIGNER) for name in names]
    with database.write() as session:
        session.add_all([device_row(script) for script in scripts])
    return scripts


def test_keys_are_found_by_id_with_their_owner_and_unknown_ones_are_not(database: Database) -> None:
    """P6."""
    first, second = enrol(database, "acme.a", "acme.b")
    with database.read() as session:
        trust = DeviceTrust(session, {}, KeyCache())
        for script in (first, second):
            key = trust.key(script.signer.kid)
            assert key is not None
            assert (key.owner, key.public, key.is_revoked) == (script.principal, script.signer.public, False)
        assert trust.key(signer_from("mallory").kid) is None


def test_revocation_counts_at_once_although_parsed_keys_are_kept(database: Database) -> None:
    """P8."""
    (script,) = enrol(database, "acme.a")
    cache = KeyCache()
    for status, is_revoked in (
        (DeviceStatus.ACTIVE, False),
        (DeviceStatus.REVOKED, True),
        (DeviceStatus.ACTIVE, False),
    ):
        with database.write() as session:
            row = session.get(Device, "acme.a")
            assert row is not None
            row.status = status.value
        with database.read() as session:
            key = DeviceTrust(session, {}, cache).key(script.signer.kid)
            assert key is not None
            assert key.is_revoked is is_revoked


def test_kept_keys_are_bounded(database: Database) -> None:
    scripts = enrol(database, "acme.a", "acme.b", "acme.c")
    cache = KeyCache(max_keys=2)
    with database.read() as session:
        trust = DeviceTrust(session, {}, cache)
        keys = [trust.key(script.signer.kid) for script in scripts]
        assert keys[2] is trust.key(scripts[2].signer.kid)
        # The third made room for itself; the first is parsed anew.
        assert keys[0] is not trust.key(scripts[0].signer.kid)

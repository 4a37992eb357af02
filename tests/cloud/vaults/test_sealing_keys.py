"""Secrets are encrypted to no key but the one that the device itself told."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import insert
from sqlmodel import select

from cloud import schema
from cloud.checks.sealing import judge
from cloud.db import Database, table_of
from cloud.devices import sealing
from cloud.devices.tables import Device
from cloud.ground import open_ground
from cloud.roles import Role
from cloud.settings import HubSettings
from shared.findings import NAMES_SHOWN, State
from tests.cloud.hub_api import HubApi
from tests.cloud.vaults.test_secrets import NAME, VALUE, equipped, set_secret
from tests.support.clock import ManualClock

MIGRATIONS = Path(schema.__file__).parent / "migrations"
PUT = ("PUT", f"/v1/secrets/{NAME}")


def change(hub: HubApi, **columns: object) -> None:
    """Of the till, behind the hub's back."""
    with hub.database.write() as session:
        row = session.get(Device, "main.till")
        assert row is not None
        for name, value in columns.items():
            setattr(row, name, value)
        session.add(row)


def row(hub: HubApi, principal: str) -> Device:
    with hub.database.read() as session:
        return session.get_one(Device, principal)


def with_own_key(hub: HubApi) -> None:
    change(hub, sealing_public=X25519PrivateKey.generate().public_key().public_bytes_raw())


def without_mac(hub: HubApi) -> None:
    change(
        hub,
        sealing_public=X25519PrivateKey.generate().public_key().public_bytes_raw(),
        sealing_mac=None,
    )


def with_another_devices(hub: HubApi) -> None:
    other = row(hub, equipped(hub, "mallory")[0].principal)
    change(hub, sealing_public=other.sealing_public, sealing_mac=other.sealing_mac)


def with_the_former_boards(hub: HubApi) -> None:
    """Key and MAC were right once; now another board speaks in this name."""
    change(hub, signing_public=bytes(32))


@pytest.mark.parametrize("spoil", [with_own_key, without_mac, with_another_devices, with_the_former_boards])
def test_nothing_is_sealed_for_a_key_that_the_device_did_not_tell(
    hub: HubApi, spoil: Callable[[HubApi], None]
) -> None:
    equipped(hub, "till")
    assert set_secret(hub, device="till")["ordered"] == ["main.till"]
    spoil(hub)
    assert hub.refusal(*PUT, {"value": VALUE, "device": "till"}) == (409, "sealing_key_changed")
    assert {"principal": "main.till", "reason": "sealing_key_changed"} in set_secret(hub, all=True)[
        "left_out"
    ]


def test_a_device_that_tells_its_key_again_gets_secrets_again(hub: HubApi) -> None:
    equipped(hub, "till")
    with_own_key(hub)
    with hub.database.write() as session:
        device = session.get_one(Device, "main.till")
        sealing.set_key(session, device, X25519PrivateKey.generate().public_key().public_bytes_raw())
        session.add(device)
    assert set_secret(hub, device="till")["ordered"] == ["main.till"]


@pytest.fixture
def upgraded(tmp_path: Path, clock: ManualClock) -> HubSettings:
    """The home of a hub whose database is as version 0008 left it."""
    settings = HubSettings(home=tmp_path / "hub", mqtt_url="mqtts://localhost:8883")
    settings.home.mkdir(mode=0o700)
    till = {
        "principal": "main.till", "tenant": "main", "name": "till", "status": "active", "signing_kid": bytes(8),
        "signing_public": bytes(32), "certificate_sha256": "", "certificate_not_after": clock.now(), "labels": {},
        "enrolled_at": clock.now(), "broker_online": False, "conditions": {}, "sealing_public": bytes(range(32)),
    }  # fmt: skip
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with closing(Database(settings.database)) as database, database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        connection.execute(insert(table_of(Device)).values(till))
        connection.commit()
    return settings


@pytest.mark.slow
def test_keys_of_before_there_were_macs_are_taken_over_once(
    upgraded: HubSettings, clock: ManualClock
) -> None:
    with (
        open_ground(upgraded, Role.API, has_own_broker=False, clock=clock) as ground,
        ground.database.write() as session,
    ):
        device = session.exec(select(Device)).one()
        assert sealing.is_genuine(session, device)
        device.sealing_public = bytes(32)
        session.add(device)
    with (
        open_ground(upgraded, Role.API, has_own_broker=False, clock=clock) as ground,
        ground.database.read() as session,
    ):
        assert not sealing.is_genuine(session, session.exec(select(Device)).one()), (
            "the next start takes nothing"
        )
    with closing(Database(upgraded.database)) as keyless, keyless.read() as session:
        assert sealing.is_genuine(session, session.exec(select(Device)).one())


def test_the_doctor_names_some_of_those_that_were_changed() -> None:
    assert judge([], "look").state is State.OK
    found = judge([f"main.till-{n}" for n in range(NAMES_SHOWN + 2)], "look")
    assert (found.state, "and 2 more" in found.sentence, found.command) == (State.FAIL, True, "look")

"""The hub's keys change under a real fleet: devices that were there, devices that slept, and somebody who lies."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cloud.identity import load_identity as load_hub_identity
from edge.identity import load_identity
from shared.keychain import KeyChain, follow, unpack
from shared.keys import Purpose
from shared.topics import HUB_KEYS
from tests.support.raw_device import NOT_AUTHORIZED, SUCCESS, RawConnection, RawDevice
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RECORDS = 40


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RealHub]:
    with RealHub(tmp_path / "hub") as running:
        yield running


def enrolled(hub: RealHub, tmp_path: Path, name: str) -> RealDevice:
    device = RealDevice(name, tmp_path / name)
    hub.enrol(name, device.home)
    device.configure()
    device.may_write(RECORDS)
    return device


def is_in_sync(device: RealDevice, records: int) -> bool:
    status = device.status()
    return bool(
        status["link"]["state"] == "linked"
        and status["journal"]["head"] >= records
        and status["journal"]["waiting"] == 0
    )


def rotate(hub: RealHub, purpose: str, *more: str) -> list[dict[str, Any]]:
    done = hub_command(hub, "keys", "rotate", purpose, *more, "--json")
    assert done.returncode == 0, done.stderr
    keys: list[dict[str, Any]] = json.loads(done.stdout)
    return keys


def current(keys: list[dict[str, Any]], purpose: str) -> str:
    return next(
        str(key["fingerprint"]) for key in keys if (key["purpose"], key["state"]) == (purpose, "current")
    )


def trusted_orders_key(device: RealDevice) -> str:
    identity = load_identity(device.home / "identity")
    assert identity is not None
    assert identity.hub_keys is not None
    newest = identity.hub_keys.chain.newest(Purpose.ORDERS)
    return "" if newest is None else newest.kid.hex()


def test_a_device_that_slept_through_rotations_of_every_key_syncs_and_one_that_was_awake_too(
    hub: RealHub, tmp_path: Path
) -> None:
    """P23: two of the orders key, one of the issuing authority; and a device that comes new after them."""
    sleeper, waker = enrolled(hub, tmp_path, "sleeper"), enrolled(hub, tmp_path, "waker")
    with sleeper.process, waker.process:
        for device in (sleeper, waker):
            device.wait_ready()
            device.wait_until(partial(is_in_sync, device, RECORDS), "to be in sync")
        sleeper.process.stop()
        keys = rotate(hub, "orders")
        waker.wait_until(
            lambda: trusted_orders_key(waker) == current(keys, "orders"), "to hear of the first rotation"
        )
        waker.may_write(2 * RECORDS)
        waker.wait_until(lambda: is_in_sync(waker, 2 * RECORDS), "to go on under the first new key")
        rotate(hub, "issuing")
        keys = rotate(hub, "orders")
        newest = current(keys, "orders")
        waker.wait_until(lambda: trusted_orders_key(waker) == newest, "to hear of the second rotation")
        waker.may_write(3 * RECORDS)
        waker.wait_until(lambda: is_in_sync(waker, 3 * RECORDS), "to go on under the second new key")

        sleeper.may_write(2 * RECORDS)
        sleeper.process.start()
        sleeper.wait_ready()
        sleeper.wait_until(lambda: is_in_sync(sleeper, 2 * RECORDS), "to follow the chain and sync")
        assert trusted_orders_key(sleeper) == newest
        newcomer = enrolled(hub, tmp_path, "newcomer")
        with newcomer.process:
            newcomer.wait_ready()
            newcomer.wait_until(lambda: is_in_sync(newcomer, RECORDS), "to sync with a new certificate")
        # The hub itself, and its broker, after a restart under the new authority.
        hub.stop()
        hub.start()
        for device in (sleeper, waker):
            device.wait_until(partial(is_in_sync, device, RECORDS), "to be linked again")
    for name in ("sleeper", "waker", "newcomer"):
        assert hub.get(f"/v1/devices/{name}/verify")["is_sound"] is True
        assert hub.refusals(name) == {}


def test_a_stolen_key_is_replaced_by_the_root_and_the_root_leaves_the_hub(
    hub: RealHub, tmp_path: Path
) -> None:
    """P23."""
    device = enrolled(hub, tmp_path, "till")
    passphrase, file = tmp_path / "passphrase", tmp_path / "root.sealed"
    passphrase.write_text("a long enough passphrase\n")
    exported = hub_command(hub, "keys", "export-root", file, "--passphrase-file", passphrase, "--remove")
    assert exported.returncode == 0, exported.stderr
    refused = hub_command(hub, "keys", "rotate", "orders", "--by-root")
    assert (refused.returncode, "import-root" in refused.stderr) == (77, True)
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: is_in_sync(device, RECORDS), "to be in sync")
        before = trusted_orders_key(device)
        assert hub_command(hub, "keys", "import-root", file, "--passphrase-file", passphrase).returncode == 0
        keys = rotate(hub, "orders", "--by-root")
        replaced = next(key for key in keys if key["state"] == "replaced_by_root")
        assert replaced["fingerprint"] == before
        device.wait_until(lambda: trusted_orders_key(device) == current(keys, "orders"), "to follow the root")
        device.may_write(2 * RECORDS)
        device.wait_until(lambda: is_in_sync(device, 2 * RECORDS), "to go on under the root's key")


def test_a_forged_chain_is_refused_by_the_broker_and_if_it_got_through_by_the_device(
    hub: RealHub, tmp_path: Path
) -> None:
    """P15, P23."""
    device = enrolled(hub, tmp_path, "till")
    liar = RawDevice(hub.enrol("liar", tmp_path / "liar"))
    with liar, device.process:
        device.wait_ready()
        device.wait_until(lambda: is_in_sync(device, RECORDS), "to be in sync")
        held = trusted_orders_key(device)
        liar.subscribe(HUB_KEYS)
        genuine = unpack(liar.hears(HUB_KEYS))
        known = load_hub_identity(hub.home / "identity", trust_domain="covey.internal")
        assert isinstance(follow(genuine.statements, root=known.root_public), KeyChain)
        forged = KeyChain().pack() + b"\x00"
        assert liar.publish(HUB_KEYS, forged, retain=True) == NOT_AUTHORIZED
        # With the hub's own certificate the broker lets it through.
        with RawConnection(
            host="localhost",
            port=hub.mqtt_port,
            ca=hub.home / "identity" / "ca.pem",
            certificate=hub.home / "identity" / "client.pem",
            key=hub.home / "identity" / "client.key",
        ) as insider:
            assert insider.publish(HUB_KEYS, forged, retain=True) == SUCCESS
        device.wait_until(
            lambda: any(issue["part"] == "hub keys" for issue in device.status()["issues"]), "to say so"
        )
        assert trusted_orders_key(device) == held
        assert "hub keys" in edge_command("status", "--home", device.home).stdout
        device.may_write(2 * RECORDS)
        device.wait_until(lambda: is_in_sync(device, 2 * RECORDS), "to go on")
        rotate(hub, "orders")  # the hub says anew what its keys are
        device.wait_until(
            lambda: not any(issue["part"] == "hub keys" for issue in device.status()["issues"]),
            "to hear the true chain",
        )

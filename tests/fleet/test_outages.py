"""A real device while its hub is away, and while another one answers in its place."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.raw_device import RawConnection
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RECORDS = 300


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RealHub]:
    with RealHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def device(hub: RealHub, tmp_path: Path) -> Iterator[RealDevice]:
    """Enrolled, running and linked, with all that it did so far at the hub."""
    made = RealDevice("device-1", tmp_path / "device-1")
    hub.enrol(made.name, made.home)
    made.configure()
    made.may_write(RECORDS)
    with made.process:
        made.wait_ready()
        made.wait_until(lambda: is_in_sync(made), "to be in sync")
        yield made


def is_in_sync(device: RealDevice, records: int = RECORDS) -> bool:
    status = device.status()
    journal = status["journal"]
    return bool(
        status["link"]["state"] == "linked"
        and journal["head"] >= records
        and journal["waiting"] == 0
        and status["tasks"]["open"] == 0
    )


def held(hub: RealHub, device: RealDevice) -> list[bytes]:
    """The device's journal as the hub stores it, bit for bit."""
    with closing(sqlite3.connect(f"{(hub.home / 'hub.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT data FROM record WHERE lane_id ="
            " (SELECT id FROM lane WHERE principal = ? AND lane = 'journal') ORDER BY seq",
            (device.principal,),
        ).fetchall()
    return [bytes(data) for (data,) in rows]


def works_alone(device: RealDevice, *, until: int) -> None:
    """It goes on working: its journal grows, and its tasks come to an end."""
    device.may_write(until)
    device.wait_until(
        lambda: (status := device.status())["journal"]["head"] >= until and status["tasks"]["open"] == 0,
        "to go on working without its hub",
    )


def test_a_device_works_on_while_its_hub_is_down_and_catches_up_later(
    hub: RealHub, device: RealDevice
) -> None:
    hub.stop()
    device.wait_until(lambda: device.link()["state"] == "offline", "to notice that nobody is there")
    works_alone(device, until=3 * RECORDS)
    assert device.status()["journal"]["waiting"] > RECORDS
    assert len(held(hub, device)) < 2 * RECORDS

    hub.start()

    device.wait_until(lambda: is_in_sync(device), "to catch up")
    assert held(hub, device) == device.journal()
    assert hub.get(f"/v1/devices/{device.name}/verify")["is_sound"] is True


def test_a_hub_killed_in_the_middle_of_a_backlog_gets_the_rest(hub: RealHub, device: RealDevice) -> None:
    hub.kill()
    works_alone(device, until=20 * RECORDS)
    before = len(held(hub, device))
    hub.start()
    hub.process.wait_until(
        lambda: len(held(hub, device)) > before, "to get some of the backlog", timeout_s=60
    )
    hub.kill()
    hub.start()
    device.wait_until(lambda: is_in_sync(device), "to catch up")
    assert held(hub, device) == device.journal()
    assert hub.refusals(device.name) == {}


def test_a_hub_of_another_ca_in_the_same_place_is_not_believed(hub: RealHub, device: RealDevice) -> None:
    before = held(hub, device)
    hub.stop()
    shutil.move(hub.home, hub.home.with_name("old"))
    hub.home.mkdir()
    hub.start()

    device.wait_until(
        lambda: "TLS handshake failed" in (link := device.link())["detail"] and link["state"] == "offline",
        "to refuse the stranger",
    )
    works_alone(device, until=2 * RECORDS)
    assert hub.get("/v1/devices")["devices"] == []

    # The true hub comes back, and nothing is missing.
    hub.stop()
    shutil.rmtree(hub.home)
    shutil.move(hub.home.with_name("old"), hub.home)
    hub.start()
    device.wait_until(lambda: is_in_sync(device), "to find its hub again")
    assert held(hub, device) == device.journal()
    assert held(hub, device)[: len(before)] == before


def test_a_hub_with_another_signing_key_is_not_believed(hub: RealHub, device: RealDevice) -> None:
    """P23: the same root, so the connection stands; but its chain is another than the device holds: two first keys."""
    hub.stop()
    files = [hub.home / "identity" / name for name in ("signing.key", "keychain")]
    for file in files:
        file.rename(file.with_suffix(".old"))
    hub.start()

    device.wait_until(lambda: device.link()["refused"].get("unknown_key", 0) > 0, "to refuse what it says")
    assert device.link()["state"] in ("offline", "connected")
    works_alone(device, until=2 * RECORDS)
    assert device.link()["state"] in ("offline", "connected")

    hub.stop()
    for file in files:
        file.with_suffix(".old").replace(file)
    hub.start()
    device.wait_until(lambda: is_in_sync(device), "to find its hub again")
    assert held(hub, device) == device.journal()


def test_a_hub_that_lost_its_database_does_not_know_the_device_and_takes_nothing(
    hub: RealHub, device: RealDevice
) -> None:
    hub.stop()
    for file in hub.home.glob("hub.sqlite*"):
        file.rename(file.with_name(f"old.{file.name}"))
    hub.start()

    device.wait_until(lambda: device.link()["state"] == "connected", "to reach the broker")
    works_alone(device, until=2 * RECORDS)
    assert device.link()["state"] != "linked"
    assert hub.get("/v1/devices")["devices"] == []
    assert device.status()["journal"]["waiting"] > 0

    hub.stop()
    for file in hub.home.glob("hub.sqlite*"):
        file.unlink()
    for file in hub.home.glob("old.hub.sqlite*"):
        file.rename(file.with_name(file.name.removeprefix("old.")))
    hub.start()
    device.wait_until(lambda: is_in_sync(device), "to find its hub again")
    assert held(hub, device) == device.journal()


def test_a_device_that_takes_another_s_name_as_mqtt_client_cuts_nobody_off(
    hub: RealHub, device: RealDevice, tmp_path: Path
) -> None:
    """MQTT ends the older connection of a client id; so that of a device must be one that nobody can guess."""
    thief = hub.enrol("thief-1", tmp_path / "thief-1")
    connected_at = hub.device(device.name)["presence"]["broker_at"]
    for name in (device.principal, device.name, f"{device.principal}-", f"hub-{device.name}", "hub"):
        with RawConnection(
            host="localhost",
            port=hub.mqtt_port,
            ca=thief.ca_path,
            certificate=thief.certificate_path,
            key=thief.key_path,
            client_id=name,
        ):
            pass
    device.may_write(2 * RECORDS)
    device.wait_until(lambda: is_in_sync(device, 2 * RECORDS), "to go on in sync")
    assert hub.device(device.name)["presence"]["broker_at"] == connected_at

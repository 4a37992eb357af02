"""A new board takes the place of an old one, at a real hub with its broker: name, settings and memory, its own keys."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.identity import load_identity
from tests.support.raw_device import NotConnectedError, RawDevice
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

RECORDS = 120
SETTINGS = {"reconnect_max_s": 0.5, "sweep_interval_s": 0.5}
REFUSED, WRONG_SETTINGS = 77, 78


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with RealHub(tmp_path_factory.mktemp("replacement") / "hub", settings=SETTINGS) as hub:
        yield hub


def is_in_sync(device: RealDevice) -> bool:
    status = device.status()
    return bool(status["link"]["state"] == "linked" and status["journal"]["waiting"] == 0)


def worked(hub: RealHub, name: str, home: Path) -> RealDevice:
    """A device that did some work, which the hub has."""
    device = RealDevice(name, home)
    hub.enrol(name, home)
    device.configure()
    device.may_write(RECORDS)
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: device.status()["journal"]["head"] >= RECORDS, "to work")
        device.wait_until(lambda: is_in_sync(device), "to sync its work")
    return device


def replaced(hub: RealHub, name: str) -> str:
    done = hub_command(hub, "device", "replace", name, "--reason", "water damage", "--json")
    assert done.returncode == 0, done.stderr
    token: str = json.loads(done.stdout)["token"]
    return token


def ended_tasks(home: Path) -> set[str]:
    with closing(sqlite3.connect(f"{(home / 'store.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        return {task for (task,) in db.execute("SELECT task FROM node WHERE state = 'succeeded'")}


def test_a_new_board_has_the_name_the_settings_and_the_memory_of_the_old_one(
    hub: RealHub, tmp_path: Path
) -> None:
    """P27"""
    old = worked(hub, "kiosk", tmp_path / "old")
    hub.patch(f"/v1/twins/device/{old.name}", {"patch": {"log_level": "debug"}})
    old_identity = load_identity(old.home / "identity")
    assert old_identity is not None
    remembered = ended_tasks(old.home)
    assert remembered
    token = replaced(hub, old.name)
    with pytest.raises(NotConnectedError), RawDevice(old_identity):
        pass

    new = RealDevice(old.name, tmp_path / "new")
    done = edge_command("enroll", "--token", token, "--home", new.home, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["restored_records"] >= RECORDS
    assert ended_tasks(new.home) == remembered
    identity = load_identity(new.home / "identity")
    assert identity is not None
    assert identity.signer.public != old_identity.signer.public
    new.configure()
    new.may_write(2 * RECORDS)
    shutil.copy(old.control / "ledger", new.control / "ledger")
    with new.process:
        new.wait_ready()
        new.wait_until(
            lambda: new.status()["journal"]["head"] >= 2 * RECORDS, "to go on from where the old one was"
        )
        new.wait_until(lambda: is_in_sync(new), "to sync its work")
        new.wait_until(
            lambda: hub.get(f"/v1/devices/{new.name}/twin")["state"] == "in_sync", "to take the settings up"
        )
    shown = hub.device(new.name)
    assert (shown["status"], shown["dead_letter_count"]) == ("active", 0)
    assert hub.get(f"/v1/devices/{new.name}/verify")["is_sound"] is True
    assert {gap["reason"] for gap in hub.get(f"/v1/devices/{new.name}/gaps")} == {"branch"}
    done = edge_command("restore", "--home", new.home)
    assert done.returncode == REFUSED
    assert remembered <= ended_tasks(new.home)


def test_a_token_of_a_replacement_is_for_a_board_without_a_past(hub: RealHub, tmp_path: Path) -> None:
    """P27: it is refused before it is spent, and the board may be enrolled once its store is put away."""
    old = worked(hub, "till", tmp_path / "old")
    token = replaced(hub, old.name)
    used = worked(hub, "used-before", tmp_path / "used")
    shutil.rmtree(used.home / "identity")
    done = edge_command("enroll", "--token", token, "--home", used.home)
    assert done.returncode == REFUSED
    assert "has worked already" in done.stderr
    (used.home / "store.sqlite").rename(used.home / "put-away.sqlite")
    assert edge_command("enroll", "--token", token, "--home", used.home).returncode == 0


def test_a_board_that_could_not_fetch_the_logs_does_not_start_without_them(
    hub: RealHub, tmp_path: Path
) -> None:
    """P27"""
    old = worked(hub, "gate", tmp_path / "old")
    token = replaced(hub, old.name)
    home = tmp_path / "new"
    assert edge_command("enroll", "--token", token, "--home", home).returncode == 0
    # As a power cut between enrolment and the last page leaves it.
    (home / "store.sqlite").unlink()
    (home / "identity" / "restore.token").write_text(token)
    started = edge_command("run", "--home", home)
    assert started.returncode == WRONG_SETTINGS
    assert "covey-edge restore" in started.stderr
    done = edge_command("restore", "--home", home, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["restored_records"] >= RECORDS
    assert not (home / "identity" / "restore.token").exists()


def test_only_whoever_spent_the_token_gets_the_logs(hub: RealHub, tmp_path: Path) -> None:
    """P27"""
    old = worked(hub, "door", tmp_path / "old")
    body = {"token_id": "a" * 16, "secret": "A" * 43 + "=", "lane": "journal", "after": 0}
    with hub.http() as client:
        assert client.post("/v1/restore", json=body).status_code == 403
        assert client.post("/v1/restore", json={**body, "lane": "metrics"}).status_code == 422
    token = hub.token("plain")
    home = tmp_path / "plain"
    done = edge_command("enroll", "--token", token, "--home", home)
    assert done.returncode == 0, done.stderr
    assert edge_command("restore", "--home", home).returncode == REFUSED
    assert hub.device(old.name)["status"] == "active"

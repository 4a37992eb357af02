"""A new board takes the place of an old one, at a real hub with its broker: name, settings and memory, its own keys."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.identity import load_identity
from shared.enrolment import Token
from shared.keys import Signer
from shared.restore import RestoreRequest, restore_proof_input
from tests.support.device import signer_from
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


def ask(hub: RealHub, token: Token, signer: Signer, **changes: object) -> int:
    """The status of a request for the journal."""
    fields = {"token_id": token.id, "secret": token.secret, "lane": "journal", "after": 0, **changes}
    request = RestoreRequest.model_validate({**fields, "proof": bytes(64)})
    request = request.model_copy(update={"proof": signer.sign(restore_proof_input(request))})
    with hub.http() as client:
        return client.post("/v1/restore", json=request.model_dump(mode="json")).status_code


def test_only_the_new_board_gets_the_logs_and_only_until_it_has_linked(hub: RealHub, tmp_path: Path) -> None:
    """P27: token and key, an active device, an unused entitlement."""
    worked(hub, "door", tmp_path / "old")
    text = replaced(hub, "door")
    token, home = Token.parse(text), tmp_path / "new"
    assert ask(hub, token, signer_from("anybody")) == 403, "it was not spent yet"
    assert edge_command("enroll", "--token", text, "--home", home).returncode == 0
    identity = load_identity(home / "identity")
    assert identity is not None
    assert ask(hub, token, identity.signer) == 200
    assert ask(hub, token, signer_from("anybody")) == 403, "the token alone"
    assert ask(hub, token, identity.signer, secret=bytes(32)) == 403, "the key alone"
    assert ask(hub, token, identity.signer, token_id="a" * 16) == 403
    assert ask(hub, Token.parse(hub.token("another")), identity.signer) == 403
    hub.post("/v1/devices/door/quarantine")
    assert ask(hub, token, identity.signer) == 409
    hub.post("/v1/devices/door/release")
    device = RealDevice("door", home)
    device.configure()
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: is_in_sync(device), "to link")
    assert ask(hub, token, identity.signer) == 403


def test_a_token_of_an_ordinary_enrolment_gives_no_logs(hub: RealHub, tmp_path: Path) -> None:
    """P27"""
    text, home = hub.token("plain"), tmp_path / "plain"
    assert edge_command("enroll", "--token", text, "--home", home).returncode == 0
    identity = load_identity(home / "identity")
    assert identity is not None
    assert ask(hub, Token.parse(text), identity.signer) == 403
    assert edge_command("restore", "--home", home).returncode == REFUSED


def test_a_board_that_needs_approval_gets_the_logs_when_it_is_approved(hub: RealHub, tmp_path: Path) -> None:
    """P27"""
    worked(hub, "locked", tmp_path / "old")
    done = hub_command(hub, "device", "replace", "locked", "--approve", "--json")
    home = tmp_path / "new"
    done = edge_command("enroll", "--token", json.loads(done.stdout)["token"], "--home", home, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["restored_records"] is None
    assert edge_command("restore", "--home", home).returncode == REFUSED
    assert hub_command(hub, "device", "approve", "locked").returncode == 0
    assert edge_command("restore", "--home", home).returncode == 0


@pytest.mark.parametrize("decision", ["revoke", "replace"])
def test_a_later_decision_voids_the_token_of_a_replacement(
    hub: RealHub, tmp_path: Path, decision: str
) -> None:
    """P27: whoever has a forgotten token must not bring a revoked device back."""
    name = f"voided-by-{decision}"
    hub.enrol(name, tmp_path / "old")
    token = replaced(hub, name)
    done = hub_command(hub, "device", decision, name, "--json")
    assert done.returncode == 0, done.stderr
    done = edge_command("enroll", "--token", token, "--home", tmp_path / "new")
    assert done.returncode == REFUSED
    assert "revoked" in done.stderr


def test_the_work_of_a_replaced_board_waits_for_the_new_one(hub: RealHub, tmp_path: Path) -> None:
    """P27: until somebody says that there will be none."""
    hub.enrol("worker", tmp_path / "old")
    hub.enrol("absent", tmp_path / "absent")
    task = hub.post("/v1/tasks", {"goal": "measure", "devices": ["worker"]})["id"]
    replaced(hub, "worker")

    def states(task: str) -> set[str]:
        return {node["state"] for node in hub.get(f"/v1/tasks/{task}")["nodes"]}

    def sweep() -> None:
        """A sweep that ended something of its own has seen the other task as well."""
        late = hub.post("/v1/tasks", {"goal": "measure", "devices": ["absent"], "deadline_s": 1})["id"]
        hub.process.wait_until(lambda: states(late) == {"expired"}, "to sweep", timeout_s=10)

    sweep()
    sweep()
    assert states(task) == {"queued"}
    hub.post("/v1/devices/worker/revoke")
    hub.process.wait_until(lambda: states(task) == {"failed"}, "to end its work", timeout_s=10)

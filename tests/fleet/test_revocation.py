"""Revoked, quarantined and waiting devices at a real hub with its real broker: at once, and after restarts."""

import csv
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from edge.identity import Identity, enrol
from shared.topics import Channel
from tests.support.ingest import started
from tests.support.raw_device import NotConnectedError, RawConnection, RawDevice
from tests.support.real_hub import RealHub, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[], RawDevice]
CUT_WITHIN_S = 5.0


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RealHub]:
    """A hub that a test may stop and start."""
    with RealHub(tmp_path / "hub") as hub:
        yield hub


def lies_about_its_id(device: RawDevice, hub: RealHub, home: Path, client_id: str) -> RawConnection:
    """A second program with the device's certificate, under a client id of its own choice."""
    return RawConnection(
        host="localhost",
        port=hub.mqtt_port,
        ca=home / "ca.crt",
        certificate=home / "device.crt",
        key=home / "device.key",
        client_id=client_id,
    )


def test_a_revoked_device_is_cut_off_and_cannot_come_back(
    real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    device = raw_device()
    device.link()
    device.script.journal.append(started())
    assert device.send(device.script.journal).upto == 1

    done = hub_command(real_hub, "device", "revoke", device.name, "--reason", "stolen")
    assert (done.returncode, done.stderr) == (0, "")
    assert "revoked for good" in done.stdout
    assert device.ended.wait(CUT_WITHIN_S)

    folder = tmp_path / device.name / "identity"
    with pytest.raises(NotConnectedError), lies_about_its_id(device, real_hub, folder, "again"):
        pass
    again = hub_command(real_hub, "device", "revoke", device.name, "--json")
    assert json.loads(again.stdout)["is_changed"] is False


def test_a_device_that_lies_about_its_client_id_is_cut_off_too(
    real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    device = raw_device()
    device.close()
    with lies_about_its_id(device, real_hub, tmp_path / device.name / "identity", "hub") as liar:
        real_hub.post(f"/v1/devices/{device.name}/revoke")
        assert liar.ended.wait(CUT_WITHIN_S)


def test_a_second_connection_with_the_same_certificate_ends_the_first(
    real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    device = raw_device()
    device.link()
    with lies_about_its_id(device, real_hub, tmp_path / device.name / "identity", "copy"):
        assert device.ended.wait(CUT_WITHIN_S)


def test_others_do_not_notice_that_a_device_is_revoked(real_hub: RealHub, raw_device: MakeDevice) -> None:
    revoked, other = raw_device(), raw_device()
    other.link()
    real_hub.post(f"/v1/devices/{revoked.name}/revoke")
    assert revoked.ended.wait(CUT_WITHIN_S)
    other.script.journal.append(started())
    assert other.send(other.script.journal).upto == 1
    assert not other.ended.is_set()


def test_a_quarantined_device_is_cut_off_and_comes_back_when_it_is_released(
    real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    device = raw_device()
    device.link()
    assert hub_command(real_hub, "device", "quarantine", device.name).returncode == 0
    assert device.ended.wait(CUT_WITHIN_S)
    folder = tmp_path / device.name / "identity"
    with pytest.raises(NotConnectedError), lies_about_its_id(device, real_hub, folder, "again"):
        pass
    assert hub_command(real_hub, "device", "release", device.name).returncode == 0

    def is_let_in() -> bool:
        try:
            with lies_about_its_id(device, real_hub, folder, "again"):
                return True
        except NotConnectedError:
            return False

    real_hub.process.wait_until(is_let_in, "to let a released device in", timeout_s=10)


def test_a_device_that_waits_for_approval_reaches_the_broker_and_not_the_hub(
    real_hub: RealHub, tmp_path: Path
) -> None:
    created = hub_command(real_hub, "token", "create", "--device", "waits-1", "--approve")

    identity = enrol(tmp_path / "identity", token_text=created.stdout.strip(), device=None, hub_url=None)
    assert identity.needs_approval
    with RawDevice(identity) as device:
        assert device.say(Channel.HELLO, device.script.hello()) == "Success"
        real_hub.wait_refused("waits-1", "not_approved", 1)
        assert hub_command(real_hub, "device", "approve", "waits-1").returncode == 0
        device.link()
    assert real_hub.device("waits-1")["status"] == "active"


def test_a_revocation_holds_after_the_broker_and_the_hub_were_started_again(
    own_hub: RealHub, tmp_path: Path
) -> None:
    identity = own_hub.enrol("fridge-1", tmp_path / "fridge-1")
    own_hub.post("/v1/devices/fridge-1/revoke")
    own_hub.process.wait_until(
        lambda: not is_let_in(identity, own_hub), "to refuse the device", timeout_s=CUT_WITHIN_S
    )

    before = own_hub.broker_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    own_hub.process.wait_until(
        lambda: own_hub.broker_pid not in (None, before), "to start its broker again", timeout_s=30
    )
    own_hub.wait_for_broker()
    assert not is_let_in(identity, own_hub)

    own_hub.kill()
    # What was cut off half way, or is missing, is made anew from the database.
    file = own_hub.home / "broker" / "revoked.pem"
    file.write_bytes(file.read_bytes()[:100])
    own_hub.start()
    own_hub.wait_for_broker()
    assert "was damaged and is made anew" in own_hub.process.output()
    assert not is_let_in(identity, own_hub)

    other = own_hub.enrol("fridge-2", tmp_path / "fridge-2")
    with RawDevice(other) as device:
        device.link()


def test_a_list_that_goes_missing_while_the_hub_runs_is_made_anew(own_hub: RealHub, tmp_path: Path) -> None:
    identity = own_hub.enrol("fridge-1", tmp_path / "fridge-1")
    own_hub.post("/v1/devices/fridge-1/revoke")
    file = own_hub.home / "broker" / "revoked.pem"
    own_hub.process.wait_until(
        lambda: names(file, identity), "to list the certificate", timeout_s=CUT_WITHIN_S
    )
    file.unlink()
    own_hub.process.wait_until(lambda: names(file, identity), "to list it again", timeout_s=CUT_WITHIN_S)


def test_tokens_by_the_hundred_go_into_a_file(real_hub: RealHub, tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    arguments = ("token", "create", "--count", "250", "--csv", path, "--prefix", "kiosk-", "--site", "berlin")
    done = hub_command(real_hub, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["100", "of", "250", "200", "of", "250", "250", "of", "250"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"kiosk-{number}" for number in range(1, 251)]
    assert len({row["token"] for row in rows}) == 250
    # Never over a file that is there: it may hold tokens that nobody can show again.
    assert hub_command(real_hub, *arguments).returncode == 78

    identity = enrol(tmp_path / "kiosk", token_text=rows[6]["token"], device=None, hub_url=None)
    assert str(identity.principal) == "main.kiosk-7"
    assert real_hub.device("kiosk-7")["labels"] == {"site": "berlin"}


def is_let_in(identity: Identity, hub: RealHub) -> bool:

    connection = RawConnection(
        host="localhost",
        port=hub.mqtt_port,
        ca=identity.ca_path,
        certificate=identity.certificate_path,
        key=identity.key_path,
    )
    try:
        with connection:
            return True
    except NotConnectedError:
        return False


def names(file: Path, identity: Identity) -> bool:
    """Whether the revocation list names the device's certificate."""

    serial = x509.load_pem_x509_certificate(identity.certificate_path.read_bytes()).serial_number
    if not file.exists():
        return False
    found = x509.load_pem_x509_crl(file.read_bytes())
    return found.get_revoked_certificate_by_serial_number(serial) is not None

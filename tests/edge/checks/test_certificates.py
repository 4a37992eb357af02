"""The device's doctor on its certificate: its own, of its hub, and valid for a while yet; or none, if not enrolled."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.identity import LEAF_LIFE, open_identity
from cloud.identity import Identity as HubIdentity
from edge.checks import certificates
from edge.checks.subject import Subject
from edge.key_files import KeyFiles
from shared.findings import Finding, State
from tests.support.clock import ManualClock
from tests.support.enrolled import enrol_at

DAY = timedelta(days=1)


def only(subject: Subject) -> Finding:
    (found,) = certificates.check(subject)
    return found


def test_a_device_that_is_not_enrolled_is_well_and_told_how_to_join(alone: Subject) -> None:
    found = only(alone)
    assert found.state is State.OK
    assert "covey-edge enroll" in found.sentence


def test_an_enrolled_device_is_well(enrolled: Subject) -> None:
    assert only(enrolled).state is State.OK


def test_near_the_end_it_is_told_and_past_it_it_fails(enrolled: Subject, clock: ManualClock) -> None:
    """The device has tried to renew it since two thirds of its life."""
    life = LEAF_LIFE + DAY  # certificates are valid from a day before
    clock.advance(LEAF_LIFE - life / 6 - timedelta(seconds=1))
    assert only(enrolled).state is State.OK
    clock.advance(seconds=2)
    found = only(enrolled)
    assert found.state is State.WARN
    assert found.command == enrolled.command("identity renew")
    clock.advance(life / 6)
    found = only(enrolled)
    assert found.state is State.FAIL
    assert found.command == enrolled.command("identity renew")


def test_a_clock_decades_ahead_is_to_blame_rather_than_the_authority(
    enrolled: Subject, clock: ManualClock
) -> None:
    clock.advance(timedelta(days=64 * 365))
    found = only(enrolled)
    assert found.state is State.FAIL
    assert "the hub's authority ended" in found.sentence
    assert "set the clock" in found.sentence


def test_encrypted_keys_are_well_with_their_passphrase_and_told_without(
    enrolled: Subject, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("word\n")
    KeyFiles(enrolled.settings.identity_dir).rewrite(passphrase)
    found = only(enrolled)
    assert (found.state, found.command) == (State.FAIL, None)
    assert "identity_passphrase_file" in found.sentence
    settings = enrolled.settings.model_copy(update={"identity_passphrase_file": passphrase})
    assert only(replace(enrolled, settings=settings)).state is State.OK


def test_before_its_time_the_clock_is_to_blame(enrolled: Subject, clock: ManualClock) -> None:
    clock.set(clock.now() - timedelta(days=2))
    found = only(enrolled)
    assert found.state is State.FAIL
    assert found.command == "sudo timedatectl set-ntp true"


@pytest.mark.parametrize("name", ["device.key", "device.crt", "ca.crt", "signing.key", "enrolment.json"])
@pytest.mark.parametrize("damage", [b"nonsense", None], ids=["nonsense", "missing"])
def test_a_damaged_identity_fails_and_is_made_anew(
    enrolled: Subject, name: str, damage: bytes | None
) -> None:
    path = enrolled.settings.identity_dir / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    found = only(enrolled)
    if name == "enrolment.json" and damage is None:
        assert found.state is State.OK  # it was written last: without it the device is not enrolled
        return
    assert found.state is State.FAIL
    assert found.command == enrolled.enrol_again


def test_files_that_do_not_belong_together_fail(
    enrolled: Subject, hub: HubIdentity, clock: ManualClock, tmp_path: Path
) -> None:
    folder = enrolled.settings.identity_dir
    other = enrol_at(hub, tmp_path / "other", now=clock.now(), principal="main.pump")
    own = (folder / "device.crt").read_bytes(), (folder / "device.key").read_bytes()
    (folder / "device.key").write_bytes(other.key_path.read_bytes())
    assert "is not the key of" in only(enrolled).sentence
    (folder / "device.crt").write_bytes(other.certificate_path.read_bytes())
    assert "main.pump" in only(enrolled).sentence
    (folder / "device.crt").write_bytes(own[0])
    (folder / "device.key").write_bytes(own[1])
    assert only(enrolled).state is State.OK


def test_a_certificate_of_another_hub_fails(enrolled: Subject, clock: ManualClock, tmp_path: Path) -> None:
    stranger = open_identity(
        tmp_path / "stranger", hosts=["localhost"], trust_domain="other.example", now=clock.now()
    )
    (enrolled.settings.identity_dir / "ca.crt").write_text(stranger.ca_pem)
    assert "is not from the authority" in only(enrolled).sentence


def test_the_command_names_this_device_s_own_home(enrolled: Subject) -> None:
    folder = enrolled.settings.identity_dir
    home = enrolled.settings.home
    assert enrolled.enrol_again == (
        f"mv {folder} {folder}.old && covey-edge enroll --token TOKEN --home {home}"
    )
    spaced = replace(enrolled, settings=enrolled.settings.model_copy(update={"home": Path("/a b")}))
    assert spaced.command("run") == "covey-edge run --home '/a b'"

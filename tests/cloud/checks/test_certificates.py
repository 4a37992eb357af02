"""The hub's doctor on its keys and certificates: whole, its own, and valid for a while yet."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.checks import certificates
from cloud.checks.certificates import AUTHORITY, CLIENT, ROOT, SERVER, SIGNING_KEY
from cloud.checks.subject import Subject
from cloud.identity import LEAF_LIFE, RENEW_BEFORE, Paths, open_identity
from cloud.keys.certificates import ISSUING_LIFE, ROOT_LIFE
from shared.findings import Finding, State
from tests.cloud.checks.conftest import running
from tests.support.clock import ManualClock

DAY = timedelta(days=1)


def found_in(subject: Subject) -> Mapping[str, Finding]:
    return {each.name: each for each in certificates.check(subject)}


def failed(subject: Subject) -> list[str]:
    return [name for name, each in found_in(subject).items() if each.state is State.FAIL]


def paths_of(subject: Subject) -> Paths:
    return Paths(subject.settings.identity_directory)


def other_identity(directory: Path, clock: ManualClock) -> Paths:
    """Of another hub."""
    return open_identity(directory, hosts=["localhost"], trust_domain="other.example", now=clock.now()).paths


def test_an_identity_as_the_hub_makes_it_is_well(subject: Subject) -> None:
    found = found_in(subject)
    assert set(found) == {ROOT, AUTHORITY, SIGNING_KEY, SERVER, CLIENT}
    assert {each.state for each in found.values()} == {State.OK}


def test_without_any_keys_the_first_start_makes_them(subject: Subject, tmp_path: Path) -> None:
    settings = subject.settings.model_copy(update={"home": tmp_path / "none"})
    found = found_in(replace(subject, settings=settings))
    assert found[AUTHORITY].state is State.FAIL
    assert found[AUTHORITY].command == f"covey-hub up --home {tmp_path / 'none'}"


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_half_an_authority_fails_and_nothing_is_made_in_its_place(subject: Subject, name: str) -> None:
    path = subject.settings.identity_directory / name
    path.unlink()
    found = found_in(subject)
    assert found[AUTHORITY].state is State.FAIL
    assert name in found[AUTHORITY].sentence
    assert not path.exists()


def test_an_authority_whose_key_is_another_s_fails(
    subject: Subject, tmp_path: Path, clock: ManualClock
) -> None:
    paths_of(subject).ca_key.write_bytes(other_identity(tmp_path / "other", clock).ca_key.read_bytes())
    assert failed(subject) == [AUTHORITY]


def test_a_missing_signing_key_fails_and_one_of_another_kind_too(subject: Subject) -> None:
    paths = paths_of(subject)
    signing = paths.signing_key.read_bytes()
    paths.signing_key.unlink()
    assert failed(subject) == [SIGNING_KEY]
    paths.signing_key.write_bytes(paths.server_key.read_bytes())
    assert failed(subject) == [SIGNING_KEY]
    paths.signing_key.write_bytes(signing)
    assert failed(subject) == []


def test_an_expired_certificate_fails_and_the_start_makes_it_anew(
    subject: Subject, clock: ManualClock
) -> None:
    clock.advance(LEAF_LIFE - DAY)
    assert failed(subject) == []
    clock.advance(DAY)
    assert failed(subject) == [SERVER, CLIENT]
    assert found_in(subject)[SERVER].command == subject.start


def test_a_running_hub_that_does_not_renew_is_told(subject: Subject, clock: ManualClock) -> None:
    clock.advance(LEAF_LIFE - RENEW_BEFORE + 2 * DAY)
    assert found_in(running(subject))[SERVER].state is State.WARN
    assert found_in(subject)[SERVER].state is State.OK  # the next start does it


def test_a_certificate_before_its_time_means_the_clock(subject: Subject, clock: ManualClock) -> None:
    clock.set(clock.now() - timedelta(days=400))
    found = found_in(subject)
    assert {found[name].state for name in (AUTHORITY, SERVER, CLIENT)} == {State.FAIL}
    assert found[SERVER].command == "sudo timedatectl set-ntp true"


def test_an_authority_near_its_end_is_told_and_one_past_it_fails(
    subject: Subject, clock: ManualClock
) -> None:
    clock.advance(ISSUING_LIFE - timedelta(days=179))
    found = found_in(subject)
    assert (found[AUTHORITY].state, found[ROOT].state) == (State.WARN, State.OK)
    assert "keys rotate issuing" in str(found[AUTHORITY].command)
    clock.advance(timedelta(days=179))
    assert found_in(subject)[AUTHORITY].state is State.FAIL
    clock.advance(ROOT_LIFE - ISSUING_LIFE - timedelta(days=729))
    assert found_in(subject)[ROOT].state is State.WARN
    clock.advance(timedelta(days=729))
    assert found_in(subject)[ROOT].state is State.FAIL


def test_a_certificate_with_another_key_or_of_another_authority_fails(
    subject: Subject, tmp_path: Path, clock: ManualClock
) -> None:
    paths, other = paths_of(subject), other_identity(tmp_path / "other", clock)
    paths.client_key.write_bytes(other.client_key.read_bytes())
    assert failed(subject) == [CLIENT]
    paths.client.write_bytes(other.client.read_bytes())
    assert "authority" in found_in(subject)[CLIENT].sentence


def test_a_certificate_that_is_no_certificate_is_removed_and_made_anew(subject: Subject) -> None:
    path = paths_of(subject).server
    path.write_text("nonsense")
    found = found_in(subject)[SERVER]
    assert found.state is State.FAIL
    assert found.command is not None
    assert found.command.startswith(f"rm -f {path} ")


def test_a_name_that_the_server_certificate_lacks_is_told(subject: Subject) -> None:
    settings = subject.settings.model_copy(update={"public_host": "hub.example.org"})
    found = found_in(replace(subject, settings=settings))[SERVER]
    assert found.state is State.WARN
    assert "hub.example.org" in found.sentence

"""Certificates of seconds' life at a real hub with its broker: renewed over the link, over HTTPS, or not at all."""

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge.core.validity import validity_of
from edge.identity import Identity, load_identity
from shared.errors import ConfigError
from tests.support.raw_device import NotConnectedError, RawDevice
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LIFE_S = 9.0
DAY_S = 86_400
SETTINGS = {
    "reconnect_max_s": 0.5,
    "sweep_interval_s": 0.5,
    "device_certificate_days": LIFE_S / DAY_S,
    "device_renewal_grace_days": 1.0,
    "device_renewal_interval_s": 0.5,
}
RECORDS = 50
WAIT_S = 60.0
REFUSED, WRONG_SETTINGS = 77, 78
FIFTY_YEARS_S = 50 * 365 * DAY_S


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with RealHub(tmp_path_factory.mktemp("renewal") / "hub", settings=SETTINGS) as hub:
        yield hub


def enrolled(hub: RealHub, name: str, home: Path) -> RealDevice:
    device = RealDevice(name, home)
    hub.enrol(name, home)
    device.configure()
    device.may_write(RECORDS)
    return device


def ends_at(home: Path) -> datetime:
    return validity_of((home / "identity" / "device.crt").read_bytes()).not_after


def wait_until_ended(hub: RealHub, home: Path) -> None:
    ends = ends_at(home)
    hub.process.wait_until(lambda: datetime.now(UTC) > ends, "to let a certificate end", timeout_s=WAIT_S)


def is_in_sync(device: RealDevice) -> bool:
    status = device.status()
    return bool(status["link"]["state"] == "linked" and status["journal"]["waiting"] == 0)


def identity_of(home: Path) -> Identity:
    identity = load_identity(home / "identity")
    assert identity is not None
    return identity


def test_a_certificate_is_renewed_over_the_link_and_the_device_goes_on_syncing(
    hub: RealHub, tmp_path: Path
) -> None:
    """P25"""
    device = enrolled(hub, "over-link", tmp_path / "device")
    key, first = (device.home / "identity" / "device.key").read_bytes(), ends_at(device.home)
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: ends_at(device.home) > first, "to renew its certificate")
        second = ends_at(device.home)
        device.wait_until(lambda: ends_at(device.home) > second, "to renew it again")
        assert (device.home / "identity" / "device.key").read_bytes() != key
        assert not (device.home / "identity" / "next.crt").exists()
        device.may_write(2 * RECORDS)
        device.wait_until(lambda: device.status()["journal"]["head"] >= 2 * RECORDS, "to work on")
        device.wait_until(lambda: is_in_sync(device), "to sync what it did since")
        assert [issue for issue in device.status()["issues"] if issue["part"] == "certificate"] == []
    assert hub.get(f"/v1/devices/{device.name}/verify")["is_sound"] is True
    with RawDevice(identity_of(device.home)) as connected:
        connected.link()


def test_a_certificate_that_ended_is_renewed_over_https_by_the_device_itself(
    hub: RealHub, tmp_path: Path
) -> None:
    """P25"""
    device = enrolled(hub, "over-https", tmp_path / "device")
    wait_until_ended(hub, device.home)
    with pytest.raises(NotConnectedError), RawDevice(identity_of(device.home)):
        pass
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: is_in_sync(device), "to come back with a new certificate")


def test_a_revoked_device_does_not_renew(hub: RealHub, tmp_path: Path) -> None:
    """P25"""
    device = enrolled(hub, "revoked", tmp_path / "device")
    wait_until_ended(hub, device.home)
    assert hub_command(hub, "device", "revoke", device.name).returncode == 0
    done = edge_command("identity", "renew", "--home", device.home)
    assert done.returncode == REFUSED, done.stderr
    assert "does not renew this certificate" in done.stderr
    before = (device.home / "identity" / "device.crt").read_bytes()
    with device.process:
        device.wait_ready()
        device.wait_until(
            lambda: any(
                issue["part"] == "certificate" and "does not renew" in issue["message"]
                for issue in device.status()["issues"]
            ),
            "to tell what is wrong",
        )
        assert device.link()["state"] == "offline"
    assert (device.home / "identity" / "device.crt").read_bytes() == before


def test_encrypted_keys_connect_renew_and_are_of_no_use_without_the_passphrase(
    hub: RealHub, tmp_path: Path
) -> None:
    home, passphrase = tmp_path / "device", tmp_path / "passphrase"
    home.mkdir(mode=0o700)
    passphrase.write_text("correct horse battery staple\n")
    device = RealDevice("encrypted", home)
    device.configure(f'identity_passphrase_file = "{passphrase}"\n')
    device.may_write(RECORDS)
    done = edge_command("enroll", "--home", home, "--token", hub.token("encrypted"))
    assert done.returncode == 0, done.stderr
    keys = home / "identity"
    for name in ("device.key", "signing.key", "sealing.key"):
        assert b"ENCRYPTED" in (keys / name).read_bytes()
        assert (keys / name).stat().st_mode & 0o077 == 0

    first = ends_at(home)
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: ends_at(home) > first and is_in_sync(device), "to renew and sync")
    assert b"ENCRYPTED" in (keys / "device.key").read_bytes()

    passphrase.write_text("wrong\n")
    done = edge_command("run", "--home", home)
    assert (done.returncode, done.stdout) == (WRONG_SETTINGS, "")
    assert "does not open" in done.stderr
    passphrase.unlink()
    done = edge_command("run", "--home", home)
    assert done.returncode == WRONG_SETTINGS
    assert "cannot be read" in done.stderr
    device.configure()
    done = edge_command("run", "--home", home)
    assert done.returncode == WRONG_SETTINGS
    assert "identity_passphrase_file" in done.stderr


def test_a_certificate_renewed_by_hand_is_used_by_the_next_connection(hub: RealHub, tmp_path: Path) -> None:
    device = enrolled(hub, "by-hand", tmp_path / "device")
    wait_until_ended(hub, device.home)
    done = edge_command("identity", "renew", "--json", "--home", device.home)
    assert done.returncode == 0, done.stderr
    renewed = datetime.fromisoformat(json.loads(done.stdout)["not_after"])
    shown = json.loads(edge_command("identity", "show", "--json", "--home", device.home).stdout)
    assert datetime.fromisoformat(shown["renewed_certificate"]["not_after"]) == renewed
    assert shown["device"] == "main.by-hand"
    with device.process:
        device.wait_ready()
        device.wait_until(lambda: is_in_sync(device), "to connect")
        device.wait_until(lambda: ends_at(device.home) >= renewed, "to take it for its own")


@pytest.mark.parametrize("off_s", [-FIFTY_YEARS_S, FIFTY_YEARS_S])
def test_a_clock_that_is_decades_off_is_told_and_mended_by_setting_it(
    off_s: int, hub: RealHub, tmp_path: Path
) -> None:
    device = enrolled(hub, f"clock-{'ahead' if off_s > 0 else 'behind'}", tmp_path / "device")
    clock = device.home / "clock"
    clock.write_text(str(off_s))

    def issues() -> list[dict[str, Any]]:
        return [issue for issue in device.status()["issues"] if issue["part"] == "clock"]

    with device.process:
        device.wait_ready()
        device.wait_until(issues, "to tell that its clock is wrong")
        (issue,) = issues()
        assert f"{datetime.now(UTC).year + off_s // FIFTY_YEARS_S * 50}-" in issue["message"]
        assert "timedatectl" in issue["message"]
        clock.write_text("0")
        device.wait_until(lambda: not issues() and is_in_sync(device), "to recover by itself")


def test_a_stolen_certificate_without_its_key_renews_nothing(hub: RealHub, tmp_path: Path) -> None:
    """P25"""
    victim = enrolled(hub, "victim", tmp_path / "victim")
    thief = enrolled(hub, "thief", tmp_path / "thief")
    stolen = (victim.home / "identity" / "device.crt").read_bytes()
    (thief.home / "identity" / "device.crt").write_bytes(stolen)
    done = edge_command("identity", "renew", "--home", thief.home)
    assert done.returncode == REFUSED, done.stderr
    with pytest.raises((ssl.SSLError, ConfigError)):
        RawDevice(identity_of(thief.home))

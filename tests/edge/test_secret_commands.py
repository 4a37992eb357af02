"""`covey-edge secret …` as a process: with and without a daemon, and never a value in sight."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge_cli import covey_edge, daemon, sentence

pytestmark = pytest.mark.slow

VALUE = "correct-horse-battery"
REFUSED, CONFIG = 77, 78


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def listed(home: Path) -> list[dict[str, Any]]:
    outcome = covey_edge("secret", "list", "--json", home=home)
    assert VALUE not in outcome.out + outcome.err
    found: list[dict[str, Any]] = json.loads(outcome.out)["secrets"]
    return found


def test_a_secret_is_set_listed_and_removed(home: Path) -> None:
    assert listed(home) == []
    done = covey_edge("secret", "set", "POS_TOKEN", home=home, text=f"{VALUE}\n")
    assert (done.code, done.err) == (0, "")
    assert VALUE not in done.out
    (shown,) = listed(home)
    assert (shown["name"], shown["set_by"]) == ("POS_TOKEN", "this device")
    assert not [path for path in home.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]
    assert (home / "identity" / "secrets.key").stat().st_mode & 0o077 == 0
    assert covey_edge("secret", "remove", "POS_TOKEN", home=home).code == 0
    assert listed(home) == []
    assert "no secret POS_TOKEN" in sentence(covey_edge("secret", "remove", "POS_TOKEN", home=home), REFUSED)


def test_a_running_daemon_takes_up_what_is_set_beside_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text(VALUE)
    with daemon(home) as device:
        device.wait_for_line('"ready": true', timeout_s=60)
        assert covey_edge("secret", "set", "POS_TOKEN", "--file", file, home=home).code == 0
        status = json.loads(covey_edge("status", "--json", home=home).out)
        assert status["secrets"] == ["POS_TOKEN"]
        assert covey_edge("secret", "remove", "POS_TOKEN", home=home).code == 0
        status = json.loads(covey_edge("status", "--json", home=home).out)
        assert status["secrets"] == []
    kinds = [
        json.loads(line)["kind"]
        for line in covey_edge("journal", "tail", "--json", home=home).out.splitlines()
    ]
    assert kinds == ["device.started", "secret.stored", "secret.forgotten", "device.stopped"]


def test_what_is_no_secret_is_refused_without_showing_it(home: Path, tmp_path: Path) -> None:
    assert "at least 8" in sentence(covey_edge("secret", "set", "A", home=home, text="sh0rt"), REFUSED)
    assert "capital letters" in sentence(covey_edge("secret", "set", "../x", home=home, text=VALUE), REFUSED)
    missing = covey_edge("secret", "set", "A", "--file", tmp_path / "nowhere", home=home)
    assert "cannot be read" in sentence(missing, CONFIG)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" * 20)
    assert "UTF-8" in sentence(covey_edge("secret", "set", "A", "--file", binary, home=home), CONFIG)
    # As an argument, everybody on the machine could read it.
    outcome = covey_edge("secret", "set", "A", VALUE, home=home)
    assert outcome.code == 2
    assert listed(home) == []

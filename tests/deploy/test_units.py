"""The systemd units are sound, name commands that exist, and drop what a daemon does not need."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PREFIX = "/opt/covey/bin/"


def read(unit: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read(unit, encoding="utf-8")
    return parser


def test_there_is_a_unit_for_each_side_and_for_each_role_of_a_hub_of_several_processes() -> None:
    assert [unit.name for unit in UNITS] == [
        "covey-edge.service",
        "covey-hub-api@.service",
        "covey-hub-ingest@.service",
        "covey-hub.service",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_systemd_accepts_the_unit_and_rates_it_hardened(unit: Path, tmp_path: Path) -> None:
    """Over a copy whose program is there: systemd looks for it."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    command = read(unit)["Service"]["ExecStart"].split()[0]
    copy.write_text(text.replace(command, str(program)), encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if unit.name in line]) == (
        0,
        [],
    )
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_the_unit_starts_a_command_that_the_package_installs(unit: Path) -> None:
    program, *arguments = read(unit)["Service"]["ExecStart"].split()
    side = {"covey-edge": "edge", "covey-hub": "cloud"}[program.removeprefix(PREFIX)]
    helped = subprocess.run(
        [sys.executable, "-m", side, arguments[0], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert all(option in helped.stdout for option in arguments[1:] if option.startswith("--"))

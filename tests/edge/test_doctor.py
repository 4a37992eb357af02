"""`covey-edge doctor`: runs every check whatever another does, with and without daemon and hub; changes nothing."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge.checks
from edge.checks import CHECKS
from edge.checks.subject import Subject
from edge.doctor import diagnose, gather, run_checks
from edge.settings import EdgeSettings
from edge.wiring import SystemClock
from shared.errors import UnavailableError
from shared.findings import Finding, State, ok
from tests.support.edge_cli import Outcome, covey_edge, daemon
from tests.support.real_hub import RealHub


def well(_subject: Subject) -> Iterator[Finding]:
    yield ok("well", "It is.")


def unavailable(_subject: Subject) -> Iterator[Finding]:
    yield from ()
    raise UnavailableError("It is away.")


def refused_by_the_system(_subject: Subject) -> Iterator[Finding]:
    yield from ()
    raise PermissionError(13, "Permission denied")


def mistaken(_subject: Subject) -> Iterator[Finding]:
    yield from ()
    raise ZeroDivisionError


@pytest.fixture
def nobody(tmp_path: Path) -> Subject:
    settings = EdgeSettings(home=tmp_path / "none", models_dir=tmp_path / "models")
    return gather(settings, clock=SystemClock(), version="1.2.3")


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(nobody: Subject) -> None:
    checks = {"a": unavailable, "b": refused_by_the_system, "c": mistaken, "d": well}
    found = run_checks(nobody, checks)
    assert [(each.name, each.state) for each in found] == [
        ("a", State.FAIL),
        ("b", State.FAIL),
        ("c", State.FAIL),
        ("well", State.OK),
    ]
    assert found[0].sentence == "It is away."
    assert "Permission denied" in found[1].sentence
    assert "ZeroDivisionError" in found[2].sentence


def test_a_wrong_setting_is_the_only_finding(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text("nonsense = 1\n")
    (found,) = diagnose(home=tmp_path, profile=None, clock=SystemClock(), version="1.2.3")
    assert (found.name, found.state) == ("settings", State.FAIL)
    assert "nonsense" in found.sentence


def test_where_no_device_is_yet_nothing_is_made(nobody: Subject) -> None:
    found = run_checks(nobody)
    assert {each.name for each in found if each.state is State.FAIL} == {"model"}
    assert not nobody.settings.home.exists()


def test_every_check_is_in_the_table() -> None:
    files = {path.stem for path in Path(edge.checks.__path__[0]).glob("*.py")} - {"__init__", "subject"}
    assert {check.__module__.rpartition(".")[2] for check in CHECKS.values()} == files


# --- as a person runs it


def findings(outcome: Outcome) -> dict[str, dict[str, Any]]:
    told = json.loads(outcome.out)
    assert told["is_well"] is (outcome.code == 0), outcome
    return {each["name"]: each for each in told["findings"]}


@pytest.mark.slow
def test_the_command_tells_one_document_or_a_table_and_its_exit_code(tmp_path: Path) -> None:
    home = tmp_path / "home"
    outcome = covey_edge("doctor", "--json", home=home)
    assert outcome.code == 1
    assert findings(outcome)["model"]["state"] == "fail"
    shown = covey_edge("doctor", home=home)
    assert shown.code == 1
    assert "covey-edge model install" in shown.out
    assert "wrong" in shown.out.splitlines()[-1]
    assert "Traceback" not in shown.err


@pytest.mark.slow
@pytest.mark.broker
def test_a_linked_device_is_not_disturbed_and_a_stopped_hub_is_seen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with RealHub(tmp_path / "hub") as hub:
        hub.enrol("fridge", home)
        (home / "edge.toml").write_text('index = "off"\nmodel_url = "http://127.0.0.1:1/v1"\n')
        process = daemon(home)
        with process:
            process.wait_for_line("linked: the hub answered", timeout_s=60)
            outcome = covey_edge("doctor", "--json", home=home)
            assert outcome.code == 0, outcome
            assert {each["state"] for each in findings(outcome).values()} == {"ok"}, outcome.out
            assert "within" in findings(outcome)["clock"]["sentence"]
            assert hub.refusals("fridge") == {}
            assert "the connection ended" not in process.output()

            hub.stop()
            outcome = covey_edge("doctor", "--json", home=home)
            assert outcome.code == 1
            told = findings(outcome)
            assert told["broker"]["state"] == "fail"
            assert told["broker"]["command"].startswith("covey-hub doctor")
            assert told["store"]["state"] == "ok"


@pytest.mark.slow
def test_a_daemon_that_is_stopped_in_its_tracks_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = daemon(home)
    with process:
        process.wait_for_line('"ready": true', timeout_s=60)
        process.signal(signal.SIGSTOP)
        try:
            told = findings(covey_edge("doctor", "--json", home=home))
        finally:
            process.signal(signal.SIGCONT)
        assert told["daemon"]["state"] == "fail"
        assert f"kill {process.pid}" in told["daemon"]["command"]

"""`covey-hub doctor`: every check is run whatever another does, and what is looked at stays as it is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloud.checks
from cloud.__main__ import run
from cloud.adapters.clock_system import SystemClock
from cloud.checks import CHECKS
from cloud.checks.subject import Subject
from cloud.doctor import diagnose, gathered, run_checks
from cloud.private_files import announced
from cloud.settings import HubSettings
from shared.errors import ConfigError, UnavailableError
from shared.findings import Finding, State, ok
from tests.support.real_hub import RealHub


def well(_subject: Subject) -> Iterator[Finding]:
    yield ok("well", "It is.")


def unavailable(_subject: Subject) -> Iterator[Finding]:
    yield ok("first half", "It is.")
    raise UnavailableError("It is away.")


def refused_by_the_system(_subject: Subject) -> Iterator[Finding]:
    yield from ()
    raise PermissionError(13, "Permission denied")


def mistaken(_subject: Subject) -> Iterator[Finding]:
    yield from ()
    raise ZeroDivisionError


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Subject]:
    settings = HubSettings(home=tmp_path / "none")
    with gathered(settings, clock=SystemClock(), version="1.2.3") as subject:
        yield subject


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(nobody: Subject) -> None:
    checks = {"a": unavailable, "b": refused_by_the_system, "c": mistaken, "d": well}
    found = run_checks(nobody, checks)
    assert [(each.name, each.state) for each in found] == [
        ("first half", State.OK),
        ("a", State.FAIL),
        ("b", State.FAIL),
        ("c", State.FAIL),
        ("well", State.OK),
    ]
    assert found[1].sentence == "It is away."
    assert "Permission denied" in found[2].sentence
    assert "ZeroDivisionError" in found[3].sentence


def test_a_wrong_setting_is_the_only_finding(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text("nonsense = 1\n")
    (found,) = diagnose(home=tmp_path, flags={}, clock=SystemClock(), version="1.2.3")
    assert (found.name, found.state) == ("settings", State.FAIL)
    assert "nonsense" in found.sentence
    with pytest.raises(ConfigError):
        HubSettings.load(tmp_path, {})


def test_where_no_hub_is_everything_is_told_and_nothing_made(tmp_path: Path) -> None:
    home = tmp_path / "none"
    found = diagnose(home=home, flags={}, clock=SystemClock(), version="1.2.3")
    assert State.FAIL in {each.state for each in found}
    assert not home.exists()


def test_a_process_that_says_it_lives_is_asked(tmp_path: Path) -> None:
    settings = HubSettings(home=tmp_path / "hub")
    facts = {"pid": 4711, "role": "api", "url": "https://127.0.0.1:1", "broker": "mqtts://127.0.0.1:2"}
    with (
        announced(settings.run_directory / "api-4711.json", json.dumps(facts).encode()),
        gathered(settings, clock=SystemClock(), version="1.2.3") as subject,
    ):
        (process,) = subject.processes
        assert (process.pid, process.role, process.answered) == (4711, "api", None)
        assert (subject.broker.host, subject.broker.port) == ("127.0.0.1", 2)
        assert not subject.has_own_broker  # only `serve` has roles


def test_the_broker_is_the_one_that_settings_name(tmp_path: Path) -> None:
    settings = HubSettings(home=tmp_path / "hub", mqtt_url="mqtts://broker.example")
    with gathered(settings, clock=SystemClock(), version="1.2.3") as subject:
        assert (subject.broker.host, subject.broker.port) == ("broker.example", 8883)
        assert not subject.has_own_broker


@pytest.mark.parametrize("has_configuration", [True, False])
def test_a_hub_that_runs_has_its_own_broker_if_it_has_written_a_configuration(
    tmp_path: Path, has_configuration: bool
) -> None:
    settings = HubSettings(home=tmp_path / "hub")
    facts = {"pid": 4711, "role": "all", "broker": "mqtts://127.0.0.1:2"}
    if has_configuration:
        settings.broker_directory.mkdir(parents=True)
        (settings.broker_directory / "mosquitto.conf").write_text("")
    with (
        announced(settings.run_directory / "all-4711.json", json.dumps(facts).encode()),
        gathered(settings, clock=SystemClock(), version="1.2.3") as subject,
    ):
        assert subject.has_own_broker is has_configuration


def test_every_check_is_in_the_table() -> None:
    files = {path.stem for path in Path(cloud.checks.__path__[0]).glob("*.py")} - {"__init__", "subject"}
    assert {check.__module__.rpartition(".")[2] for check in CHECKS.values()} == files


def test_the_command_tells_one_document_and_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(tmp_path / "none"), "doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["is_well"] is False
    assert {tuple(each) for each in told["findings"]} == {("name", "state", "sentence", "command")}
    assert run(["--home", str(tmp_path / "none"), "doctor"]) == 1
    shown = capsys.readouterr().out
    assert "covey-hub up --home" in shown
    assert shown.splitlines()[-1].strip().endswith("to know.")


@pytest.mark.broker
@pytest.mark.slow
def test_a_real_hub_is_well_until_something_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RealHub(tmp_path / "hub") as hub:
        hub.enrol("fridge", tmp_path / "fridge")
        arguments = ["--home", str(hub.home), "doctor", "--json"]

        def findings() -> list[dict[str, str]]:
            run(arguments)
            found: list[dict[str, str]] = json.loads(capsys.readouterr().out)["findings"]
            return found

        # Ingest and the leader may still be on their way when HTTPS answers.
        hub.process.wait_until(
            lambda: {each["state"] for each in findings()} == {"ok"}, "to be found well", timeout_s=30
        )
        assert hub.refusals("fridge") == {}

        (hub.home / "identity" / "ca.key").chmod(0o644)
        wrong = [each for each in findings() if each["state"] == "fail"]
        assert [each["name"] for each in wrong] == ["files"]
        assert wrong[0]["command"] == f"chmod 600 {hub.home / 'identity' / 'ca.key'}"

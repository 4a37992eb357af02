"""`covey-hub` as people use it: a real hub with its broker, started once, and the commands against it."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.__main__ import hoisted, run
from shared.enrolment import EnrolResponse, Token
from tests.cloud.hub_api import enrol_request
from tests.support.broker import Mosquitto
from tests.support.ports import accepts, free_ports
from tests.support.process import ChildProcess

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
WAIT_S = 120.0


@dataclass
class Home:
    """A hub's home, and the hub that runs in it."""

    directory: Path
    process: ChildProcess
    port: int
    mqtt_port: int

    def __call__(self, *arguments: str) -> int:
        return run(["--home", str(self.directory), *arguments])


def hub_process(directory: Path, port: int, mqtt_port: int, *more: str) -> ChildProcess:
    command: list[str | Path] = [sys.executable, "-m", "cloud", "up", "--home", directory]
    ports = ["--port", str(port), "--mqtt-port", str(mqtt_port)]
    log = directory.with_name(f"{directory.name}.log")
    options = ["--log-level", "info", "--json", *more]
    return ChildProcess([*command, *ports, *options], log=log, directory=REPOSITORY)


def wait_until_ready(process: ChildProcess) -> dict[str, Any]:
    line = process.wait_for_line(r'^\{"event": "ready"', timeout_s=WAIT_S).string
    facts: dict[str, Any] = json.loads(line)
    return facts


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    directory = tmp_path_factory.mktemp("cli") / "hub"
    port, mqtt_port = free_ports(2)
    with hub_process(directory, port, mqtt_port) as process:
        facts = wait_until_ready(process)
        assert facts["url"] == f"https://127.0.0.1:{port}"
        assert facts["broker"] == f"mqtts://localhost:{mqtt_port}"
        yield Home(directory, process, port, mqtt_port)


def enrol(home: Home, capsys: pytest.CaptureFixture[str], name: str, *more: str) -> EnrolResponse:
    assert home("token", "create", "--device", name, "--ttl", "5m", *more) == 0
    token = Token.parse(capsys.readouterr().out)
    verified = ssl.create_default_context(cafile=str(home.directory / "identity" / "ca.pem"))
    with httpx.Client(base_url=token.url, verify=verified, trust_env=False) as client:
        response = client.post("/v1/enroll", json=enrol_request(token))
    return EnrolResponse.model_validate_json(response.content)


@pytest.mark.broker
def test_a_device_is_let_in_given_work_and_seen(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    answer = enrol(home, capsys, "fridge-1", "--label", "site=a")
    assert answer.principal == "main.fridge-1"
    assert (answer.broker.host, answer.broker.port) == ("localhost", home.mqtt_port)

    assert home("device", "list") == 0
    assert "main.fridge-1" in capsys.readouterr().out
    assert home("device", "list", "--presence", "offline") == 0
    assert "main.fridge-1" in capsys.readouterr().out
    assert home("device", "list", "--presence", "online", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert home("device", "show", "fridge-1") == 0
    assert "offline as of " in capsys.readouterr().out
    assert home("device", "show", "fridge-1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"site": "a"}

    goal = "How warm [bold]is[/bold] it? \x1b[2J"
    assert home("task", "create", goal, "--device", "fridge-1", "--json") == 0
    task = json.loads(capsys.readouterr().out)
    assert task["state"] == "queued"
    assert home("task", "show", task["id"]) == 0
    shown = capsys.readouterr().out
    assert "How warm [bold]is[/bold] it? \ufffd[2J" in shown  # neither rich nor the terminal obeys it
    assert home("task", "list") == 0
    assert task["id"] in capsys.readouterr().out
    assert home("task", "cancel", task["id"]) == 0
    assert "cancel requested" in capsys.readouterr().out

    assert home("journal", "tail", "fridge-1", "--lane", "orders", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["task.offered", "task.cancelled"]
    assert home("journal", "verify", "--all", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["is_sound"] is True
    assert home("token", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["used_by"] == "main.fridge-1"


@pytest.mark.broker
def test_waiting_for_a_task_ends_with_it_and_tells_by_the_exit_code(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("task", "create", "?", "--any", "--label", "nobody=has-it", "--deadline", "1s", "--wait")
    assert home(*arguments, "--json") == 1
    view = json.loads(capsys.readouterr().out)
    assert (view["state"], view["nodes"][0]["reason"]) == ("expired", "deadline")
    assert home("task", "watch", view["id"]) == 1
    assert f"node 0 {view['nodes'][0]['place']}: expired (deadline)" in capsys.readouterr().out


@pytest.mark.broker
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("device", "show", "nobody"), 77, "There is no device main.nobody"),
        (("task", "show", "a" * 16), 77, "There is no task"),
        (("task", "create", "?", "--device", "nobody"), 77, "There is no device main.nobody"),
        (("task", "create", "?"), 78, "Say where"),
        (("task", "create", "?", "--any", "--lease", "soon"), 78, "--lease soon is not a duration"),
        (("task", "create", "?", "--any", "--label", "plain"), 78, "--label plain is not of the form"),
        (("task", "create", "x" * 65_537, "--any"), 75, "The goal is 65537 bytes long"),
        (("task", "answer", "a" * 16, "--call", "1", "--happened"), 77, "There is no task"),
        (("token", "create", "--device", "Not A Name"), 2, "device: "),
        (("journal", "verify"), 78, "Name the devices to verify"),
        (("journal", "tail", "nobody"), 77, "There is no device main.nobody"),
        (("task", "shov"), 2, "No such command"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_a_refusal_is_one_sentence_and_an_exit_code(
    home: Home, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert home(*arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    if code != 2:
        assert captured.err.count("\n") == 1


@pytest.mark.broker
def test_a_wrong_token_a_wrong_authority_and_a_wrong_address_are_told_apart(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("not-the-token\n")
    assert home("device", "list", "--token-file", str(wrong)) == 77
    assert "does not accept this token" in capsys.readouterr().err
    assert home("device", "list", "--ca-file", str(REPOSITORY / "pyproject.toml")) == 78
    assert "holds no certificate" in capsys.readouterr().err
    assert home("device", "list", "--ca-file", str(tmp_path / "none")) == 78
    assert "There is no CA certificate at" in capsys.readouterr().err
    assert home("device", "list", "--url", "http://127.0.0.1:1") == 78
    assert "is not an https:// address" in capsys.readouterr().err
    (port,) = free_ports(1)
    assert home("device", "list", "--url", f"https://127.0.0.1:{port}") == 69
    assert "start one with `covey-hub up`" in capsys.readouterr().err


@pytest.mark.broker
def test_a_second_hub_in_the_same_home_is_refused(home: Home) -> None:
    port, mqtt_port = free_ports(2)
    second = hub_process(home.directory, port, mqtt_port)
    second.start()
    assert second.wait(timeout_s=WAIT_S) == 78
    assert "Another hub runs in" in second.output()
    assert home("device", "list", "--json") == 0


@pytest.mark.broker
def test_a_killed_hub_takes_its_broker_along_and_starts_again(tmp_path: Path) -> None:
    port, mqtt_port = free_ports(2)
    process = hub_process(tmp_path / "hub", port, mqtt_port)
    with process:
        wait_until_ready(process)
        token = (tmp_path / "hub" / "admin.token").read_bytes()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = 500
        while accepts(mqtt_port) and deadline:
            deadline -= 1
        assert deadline, "the broker outlived its hub"
        process.start()
        wait_until_ready(process)
        assert (tmp_path / "hub" / "admin.token").read_bytes() == token


@pytest.mark.broker
def test_a_hub_that_is_asked_to_stop_stops_in_order(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    port, mqtt_port = free_ports(2)
    with hub_process(directory, port, mqtt_port) as process:
        wait_until_ready(process)
        assert [path.name for path in (directory / "run").iterdir()] == [f"all-{process.pid}.json"]
        assert oct((directory / "hub.sqlite").stat().st_mode & 0o777) == "0o600"
        process.signal(signal.SIGTERM)
        assert process.wait(timeout_s=WAIT_S) == 0
        assert list((directory / "run").iterdir()) == []
        assert not accepts(mqtt_port)
        assert "Traceback" not in process.output()


@pytest.mark.broker
def test_serve_uses_a_broker_that_is_there(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    port, mqtt_port = free_ports(2)
    with hub_process(directory, port, mqtt_port) as process:
        wait_until_ready(process)
    with Mosquitto(directory / "broker" / "mosquitto.conf", port=mqtt_port):
        serve = [sys.executable, "-m", "cloud", "serve", "--mqtt-url", f"mqtts://localhost:{mqtt_port}"]
        options = ["--home", str(directory), "--port", str(port), "--log-level", "info"]
        with ChildProcess([*serve, *options], log=tmp_path / "serve.log", directory=REPOSITORY) as process:
            process.wait_for_line(r"^covey-hub: ready https://127\.0\.0\.1", timeout_s=WAIT_S)
            process.wait_for_line("connected to the broker", timeout_s=WAIT_S)
            process.signal(signal.SIGTERM)
            assert process.wait(timeout_s=WAIT_S) == 0


@pytest.mark.broker
def test_what_stops_a_hub_from_starting_is_said_in_one_sentence(home: Home, tmp_path: Path) -> None:
    port, mqtt_port = free_ports(2)
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("--port", str(home.port)), 69, f"Cannot listen on 127.0.0.1:{home.port}"),
        (
            ("--mqtt-port", str(home.mqtt_port)),
            69,
            f"Something listens on 127.0.0.1:{home.mqtt_port} already",
        ),
        (("--database-url", f"sqlite:///{tmp_path}/no/such/place.sqlite"), 69, "cannot be opened"),
        (("--database-url", "nonsense"), 78, "database_url"),
        (("--database-url", "oracle://x/y"), 78, "database_url"),
        (("--public-host", "no spaces allowed"), 78, "The hub setting 'public_host' is wrong"),
    ]
    for number, (arguments, code, message) in enumerate(cases):
        process = hub_process(tmp_path / f"hub-{number}", port, mqtt_port, *arguments)
        process.start()
        assert process.wait(timeout_s=WAIT_S) == code, process.output()
        last = process.output().splitlines()[-1]
        assert last.startswith("covey-hub: ")
        assert message in last
        assert "Traceback" not in process.output()


def test_without_a_hub_the_commands_say_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["device", "list", "--home", str(tmp_path)]) == 78
    assert "start a hub there with `covey-hub up`" in capsys.readouterr().err


def test_serve_says_that_it_needs_a_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--home", str(tmp_path / "hub")]) == 78
    assert "`serve` needs the broker's address: --mqtt-url" in capsys.readouterr().err
    assert run(["serve", "--home", str(tmp_path / "hub"), "--mqtt-url", "mqtts://host:99999"]) == 78
    assert "is not of the form mqtts://HOST:PORT" in capsys.readouterr().err


def test_an_unknown_setting_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hub.toml").write_text("prot = 1\n")
    assert run(["up", "--home", str(tmp_path)]) == 78
    assert "There is no hub setting 'prot'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("task list --home /x", "--home /x task list"),
        ("task list --home=/x --json", "--home=/x task list --json"),
        ("--home /x task list", "--home /x task list"),
        ("task create -- --home", "task create -- --home"),
        ("task list --home", "--home task list"),
    ],
)
def test_the_options_of_the_program_may_stand_behind_the_command(given: str, expected: str) -> None:
    assert hoisted(given.split()) == expected.split()


def test_the_commands_do_not_load_the_servers_libraries() -> None:
    code = (
        "import sys, cloud.__main__;"
        "print([name for name in ('fastapi', 'sqlalchemy', 'uvicorn', 'paho', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.broker
def test_settings_are_written_layer_by_layer_and_shown_for_a_device(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(home, capsys, "twin-1", "--label", "site=berlin")
    fleet = ("--fleet", "--json")
    assert home("twin", "set", *fleet, "log_level=debug", "hello_interval_s=60", "custom.line.7=[1,2]") == 0
    assert printed(capsys)["document"] == {
        "log_level": "debug",
        "hello_interval_s": 60,
        "custom": {"line": {"7": [1, 2]}},
    }
    assert home("twin", "set", *fleet, "custom.text=3 bars", 'custom.number="3"', "--expect", "1") == 0
    assert printed(capsys)["revision"] == 2
    assert home("twin", "set", "--site", "berlin", "hello_interval_s=null", "custom.line=null", "--json") == 0
    assert printed(capsys)["document"] == {"hello_interval_s": None, "custom": {"line": None}}
    assert home("twin", "unset", *fleet, "custom.text", "nothing.there") == 0
    assert printed(capsys)["document"]["custom"] == {"line": {"7": [1, 2]}, "number": "3"}

    assert home("twin", "show", "twin-1", "--json") == 0
    view = printed(capsys)
    assert (view["state"], view["revision"]) == ("never", 4)
    assert view["desired"] == {"log_level": "debug", "custom": {"number": "3"}}
    assert home("twin", "show", "twin-1") == 0
    assert "desired revision 4, never reported" in capsys.readouterr().out
    assert home("twin", "list") == 0
    listed = capsys.readouterr().out
    assert "site berlin" in listed
    assert home("twin", "get", "--fleet") == 0
    assert "fleet: revision 3" in capsys.readouterr().out


@pytest.mark.broker
def test_settings_are_replaced_from_a_file_and_only_if_nobody_else_wrote(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"task_turns": 4}')
    group = ("--group", "kiosks")
    assert home("twin", "replace", str(file), *group, "--expect", "0", "--json") == 0
    assert printed(capsys)["document"] == {"task_turns": 4}
    assert home("twin", "set", *group, "task_turns=5", "--expect", "0") == 77
    assert "have revision 1 now, not 0" in capsys.readouterr().err
    for command, code, complaint in (
        (("set", "task_turns=5"), 78, "Say whose settings"),
        (("set", "--fleet", *group, "a=1"), 78, "Say whose settings"),
        (("set", *group, "task_turns"), 78, "key.path=value"),
        (("set", *group, "a..b=1"), 78, "keys with dots"),
        (("set", *group, "ä=1"), 76, "keys are letters"),
        (("set", *group, f"a={'x' * 9_000}"), 75, "at most 8192"),
        (("set", "--device", "nobody", "a=1"), 77, "There is no device"),
        (("replace", str(tmp_path / "missing"), *group), 78, "cannot be read"),
        (("show", "nobody"), 77, "There is no device"),
    ):
        assert home("twin", *command) == code, command
        assert complaint in capsys.readouterr().err
    file.write_text("[]")
    assert home("twin", "replace", str(file), *group) == 78
    assert "does not hold a JSON object" in capsys.readouterr().err


def test_recovery_commands_speak_to_the_running_hub(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong with a new device, and each command says so, or says what is not there."""
    enrol(home, capsys, "sound-1")
    for command in (("forks",), ("forks", "sound-1"), ("gaps", "sound-1"), ("deadletters", "sound-1")):
        assert home("device", *command, "--json") == 0
        assert json.loads(capsys.readouterr().out) == []
        assert home("device", *command) == 0
        capsys.readouterr()
    assert home("device", "deadletters", "sound-1", "--retry", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"applied": [], "dismissed": [], "refused": {}}
    assert home("device", "resolve", "sound-1") == 77
    assert "device forks" in capsys.readouterr().err
    assert home("device", "gaps", "nobody") == 77
    assert "There is no device" in capsys.readouterr().err
    assert home("device", "deadletters", "sound-1", "--retry", "--dismiss") == 2


def test_the_running_hub_serves_every_route_that_the_slices_define(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slice that is not wired answers 404 to every command, and no test of the slice alone sees that."""
    defined = {
        literal.replace(":path}", "}")
        for path in (REPOSITORY / "cloud").rglob("routes.py")
        for literal in re.findall(
            r'@router\.(?:get|post|put|patch|delete)\(\s*f?"(/[^"]*)"', path.read_text()
        )
    }
    assert len(defined) > 20
    token = (home.directory / "admin.token").read_text().strip()
    verified = ssl.create_default_context(cafile=str(home.directory / "identity" / "ca.pem"))
    with httpx.Client(
        base_url=f"https://127.0.0.1:{home.port}", verify=verified, trust_env=False,
        headers={"Authorization": f"Bearer {token}"},
    ) as client:  # fmt: skip
        served = set(client.get("/v1/openapi.json").raise_for_status().json()["paths"])
    missing = {path for path in defined if not any(each.endswith(path) for each in served)}
    assert missing == set()

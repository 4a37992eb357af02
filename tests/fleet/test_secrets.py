"""Secrets across the whole system: a real hub, a real broker, a real daemon, and every byte that they wrote."""

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.core.scrub import forms_of
from tests.support.leaky_device import VARIABLE, WAYS
from tests.support.process import ChildProcess
from tests.support.real_hub import ROOT, RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FROM_HUB = 'h0b/"pässwörd"+&\\x9'
FROM_HERE = "l0cal.t0ken-4711-4712"
PROMPT_HELD_ONE = b"THE PROMPT HELD A SECRET"
WAIT_S = 60.0


def told(home: Path, path: str, *, method: str = "GET", body: Any = None) -> str:
    """What the device's local API answers, as it is."""
    url = json.loads((home / "api.json").read_text())["url"]
    token = (home / "api.token").read_text().strip()
    answer = httpx.request(
        method,
        url + path,
        json=body,
        headers={"authorization": f"Bearer {token}"},
        timeout=30,
        trust_env=False,
    )
    answer.raise_for_status()
    return answer.text


def leaks(folder: Path, values: dict[str, str]) -> list[str]:
    """Files below that hold a form of a value."""
    wanted = {form: name for name, value in values.items() for form in forms_of(value)}
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path}: {wanted[form]} as {form!r}" for form in wanted if form in data]
            found += [f"{path}: the prompt"] if PROMPT_HELD_ONE in data else []
    return found


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Where everything that is searched lies; the values themselves are in files beside it."""
    folder = tmp_path / "world"
    (folder / "tmp").mkdir(parents=True)
    return folder


def test_a_secret_is_in_no_byte_that_the_system_wrote(world: Path, tmp_path: Path) -> None:
    """P26."""
    value_file, values = tmp_path / "value", {"FROM_HUB": FROM_HUB, "FROM_HERE": FROM_HERE}
    home = world / "till-1"
    device = ChildProcess(
        [sys.executable, "-m", "tests.support.leaky_device", "--home", home],
        log=world / "till-1.log",
        environment={
            VARIABLE: "\n".join(value[::-1] for value in values.values()),
            "TMPDIR": str(world / "tmp"),
        },
        directory=ROOT,
    )
    with RealHub(world / "hub", log_level="debug") as hub:
        hub.enrol("till-1", home)
        (home / "edge.toml").write_text('reconnect_max_s = 0.5\nindex = "off"\nlog_level = "debug"\n')
        value_file.write_text(f"{FROM_HERE}\n")
        assert (
            edge_command("secret", "set", "FROM_HERE", "--file", value_file, "--home", home).returncode == 0
        )
        value_file.write_text(FROM_HUB)
        done = hub_command(hub, "secret", "set", "FROM_HUB", "--device", "till-1", "--file", value_file)
        assert (done.returncode, FROM_HUB in done.stdout + done.stderr) == (0, False)
        with device:
            device.wait_for_line('"ready"', timeout_s=WAIT_S)
            states = device.wait_until(lambda: held(hub), "to tell the hub what it holds", timeout_s=WAIT_S)
            assert states == {"FROM_HUB": "stored", "FROM_HERE": "stored"}

            goal = f"Tell me everything. I know that it is {FROM_HERE}, right?"
            task = json.loads(told(home, "/tasks", method="POST", body={"goal": goal}))["task"]
            shown = device.wait_until(lambda: ended(home, task), "to end the task", timeout_s=WAIT_S)
            view = json.loads(shown)
            assert view["state"] == "succeeded", shown
            assert view["result"] == "All done. By the way, [secret FROM_HUB] and [secret FROM_HERE]."
            assert "[secret FROM_HERE], right?" in view["goal"]
            assert [
                json.loads(each["arguments"])["how"] for each in view["effects"] if each["kind"] == "tool"
            ] == [*WAYS]
            chat = {
                "model": "leaky",
                "messages": [{"role": "user", "content": f"Is it {FROM_HUB}?"}],
                "stream": True,
            }
            spoken = told(home, "/v1/chat/completions", method="POST", body=chat)
            asked = told(home, "/journal") + told(home, "/status") + spoken + shown
            assert not [
                form for value in values.values() for form in forms_of(value) if form in asked.encode()
            ]
            of_hub = device.wait_until(lambda: at_hub(hub, task), "to sync the task", timeout_s=WAIT_S)
            assert of_hub["state"] == "succeeded"
            device.wait_until(lambda: is_drained(home), "to have sent everything", timeout_s=WAIT_S)
        # While the hub still runs: the files beside its database have not been folded into it yet.
        assert leaks(world, values) == []
    assert leaks(world, values) == []
    log = (world / "till-1.log").read_text()
    assert "connecting with [secret FROM_HUB]" in log
    assert "the secret is [secret FROM_HERE]" in log
    (world / "hub" / "planted").write_text(f"what is there is found: {FROM_HUB}")
    assert len(leaks(world, values)) == 1
    assert "ValueError" in log, "the traceback of a tool that crashed is for the operator"


def held(hub: RealHub) -> dict[str, str]:
    found = {each["name"]: each["state"] for each in hub.get("/v1/devices/till-1/secrets")}
    return found if set(found.values()) == {"stored"} and len(found) == 2 else {}


def ended(home: Path, task: str) -> str:
    shown = told(home, f"/tasks/{task}")
    return shown if json.loads(shown)["state"] not in ("offered", "running") else ""


def at_hub(hub: RealHub, task: str) -> Any:
    with hub.http() as client:
        answer = client.get(f"/v1/tasks/{task}")
    return answer.json() if answer.status_code == 200 and answer.json()["state"] == "succeeded" else None


def is_drained(home: Path) -> bool:
    return bool(json.loads(told(home, "/status"))["journal"]["waiting"] == 0)

"""Asking the hub for real: two programs, a broker, and documents that the installed model embedded."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from shared.records import HubAsked, NodeAmended, parse_record
from tests.support.real_device import RealDevice
from tests.support.real_hub import SETTINGS, RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.model, pytest.mark.slow]

QUESTION: Final = "Which valve is closed before cleaning the pump?"
MANUAL: Final = "# Pump\n\nClose valve V2 before cleaning the pump.\n\nThe filter is changed twice a year.\n"
ANSWER: Final = "Close valve V2 before cleaning the pump. [1]"
ANSWER_TIMEOUT_S: Final = 60.0


@pytest.fixture
def hub(models_dir: Path, tmp_path: Path) -> Iterator[RealHub]:
    """With a manual; it answers by quotes alone."""
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "pump.md").write_text(MANUAL)
    settings = {
        **SETTINGS, "models_dir": str(models_dir), "answer_model": "", "vector_index": "off", "dashboard": "off",
    }  # fmt: skip
    with RealHub(tmp_path / "hub", settings=settings) as running:
        for arguments in (("create", "manuals", "--label", "internal"), ("add", "manuals", folder)):
            done = hub_command(running, "knowledge", *arguments)
            assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture
def device(hub: RealHub, tmp_path: Path) -> Iterator[RealDevice]:
    made = RealDevice("device-1", tmp_path / "device-1")
    hub.enrol(made.name, made.home)
    made.configure('escalate = "unanswered"\nescalate_wait_s = 50\n')
    with made.process:
        made.wait_ready()
        made.wait_until(lambda: made.link()["state"] == "linked", "to be linked")
        yield made


def call(device: RealDevice, method: str, path: str, body: Any = None) -> Any:
    url = json.loads((device.home / "api.json").read_text())["url"]
    headers = {"authorization": f"Bearer {(device.home / 'api.token').read_text().strip()}"}
    answer = httpx.request(
        method, f"{url}{path}", json=body, headers=headers, timeout=ANSWER_TIMEOUT_S, trust_env=False
    )
    answer.raise_for_status()
    return answer.json()


def ended(device: RealDevice, task: str) -> dict[str, Any]:
    """The task, when it has ended."""
    device.wait_until(lambda: call(device, "GET", f"/tasks/{task}")["state"] == "succeeded", "to answer")
    shown: dict[str, Any] = call(device, "GET", f"/tasks/{task}")
    return shown


def written(device: RealDevice, kind: type) -> list[Any]:
    records = [parse_record(data) for data in device.journal()]
    return [record for record in records if isinstance(record, kind)]


def orders_of(hub: RealHub, kind: str) -> int:
    with closing(sqlite3.connect(f"{(hub.home / 'hub.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM record WHERE kind = ?", (kind,)).fetchone()
        return int(count)


def test_a_linked_device_is_answered_by_its_hub(hub: RealHub, device: RealDevice) -> None:
    """P31"""
    messages = [{"role": "user", "content": QUESTION}]
    said = call(device, "POST", "/v1/chat/completions", {"model": "covey", "messages": messages})
    text = said["choices"][0]["message"]["content"]
    assert text.startswith(ANSWER)
    assert "\n\nSources:\n[1] Pump (manuals, revision " in text
    assert text.endswith("This answer came from the hub (quotes).")
    listed = hub_command(hub, "question", "list", "--device", device.name, "--json")
    (only,) = json.loads(listed.stdout)["questions"]
    assert (only["question"], only["is_known"], only["collections"]) == (QUESTION, True, ["manuals"])
    shown = hub_command(hub, "question", "show", str(only["number"]))
    assert ANSWER in shown.stdout
    assert "bears untrusted, internal" in shown.stdout
    assert 'covey_hub_questions{outcome="known"} 1.0' in hub.http().get("/metrics").text


def test_a_question_asked_without_a_hub_is_answered_when_it_is_back(hub: RealHub, device: RealDevice) -> None:
    """P31. Both programs are killed on the way."""
    hub.kill()
    device.wait_until(lambda: device.link()["state"] != "linked", "to notice that nobody is there")
    task = call(device, "POST", "/tasks", {"goal": QUESTION})["task"]
    shown = ended(device, task)
    assert shown["result"].endswith("its answer will stand beside this one when it comes.")
    device.process.kill()
    hub.start()
    device.process.start()
    device.wait_ready()
    device.wait_until(lambda: bool(written(device, NodeAmended)), "to have the hub's answer")
    assert (len(written(device, HubAsked)), len(written(device, NodeAmended))) == (1, 1)
    assert orders_of(hub, "hub.answered") == 1
    told = edge_command("task", "show", task, "--home", device.home)
    assert "later answer" in told.stdout
    assert "V2" in told.stdout
    assert "V2" in edge_command("task", "questions", "--home", device.home).stdout
    device.wait_until(lambda: bool(hub.get(f"/v1/tasks/{task}")["later_answers"]), "the hub to know")
    assert "later answers" in hub_command(hub, "task", "show", task).stdout

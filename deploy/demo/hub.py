"""The demo's hub: its process, and what its command line is asked. Everything goes through `covey-hub`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.demo.stage import Device, Stage, free_port, wait_until

EXIT_UNKNOWN: Final = 1
"""Of `covey-hub ask`: nothing supports an answer."""
PAGE: Final = 500
TASK_TIMEOUT_S: Final = 600.0
ENDED: Final = ("succeeded", "failed", "timed_out", "rejected", "cancelled", "expired")
SETTINGS: Final = 'answer_model = "{model}"\n'


@dataclass
class Hub:
    """A hub on the stage. `model`: the catalogue name of what answers from documents."""

    stage: Stage
    model: str
    url: str = ""

    @property
    def home(self) -> Path:
        return self.stage.directory / "hub"

    def start(self) -> None:
        """Start it with its own broker, on free ports."""
        self.home.mkdir(mode=0o700)
        (self.home / "hub.toml").write_text(SETTINGS.format(model=self.model), encoding="utf-8")
        port = str(free_port())
        arguments = ["cloud", "up", "--home", str(self.home), "--port", port]
        self.stage.start("hub", [*arguments, "--mqtt-port", str(free_port()), "--json"])
        self.url = f"https://127.0.0.1:{port}"

    def run(self, *arguments: str) -> str:
        """Run a `covey-hub` command; returns what it printed."""
        return self.stage.run("cloud", *arguments, "--home", str(self.home))

    def json(self, *arguments: str) -> Any:
        """The same with `--json`, parsed."""
        return self.stage.run_json("cloud", *arguments, "--home", str(self.home))

    def answer(self, question: str, collection: str) -> Any:
        """What it answers from documents; it may be that it does not know."""
        arguments = ("ask", question, "--collection", collection, "--home", str(self.home))
        return self.stage.run_json("cloud", *arguments, codes=(0, EXIT_UNKNOWN))

    def device(self, device: Device) -> Any:
        """The device as the hub sees it."""
        return self.json("device", "show", device.name)

    def task(self, task: str) -> Any:
        return self.json("task", "show", task)

    def head(self, device: Device) -> int:
        """How far the hub's copy of the device's journal goes."""
        lanes = [lane for lane in self.device(device)["lanes"] if lane["lane"] == "journal"]
        return int(lanes[-1]["head_seq"]) if lanes else 0

    def records(self, device: Device) -> list[dict[str, Any]]:
        """The hub's copy of the device's journal: longer ones than `PAGE` do not come about here."""
        lines = self.run("journal", "tail", device.name, "-n", str(PAGE), "--json")
        return [json.loads(line) for line in lines.splitlines()]

    def wait_task(self, task: str) -> Any:
        """The task when it has ended."""
        return wait_until(
            f"task {task} to end",
            lambda: shown if (shown := self.task(task))["state"] in ENDED else None,
            timeout_s=TASK_TIMEOUT_S,
            every_s=1.0,
        )

"""`./run demo`: a hub, its broker and three devices as real processes, with a real local model, tell one story.

Enrol three; ask all three; read three signed answers at the hub; cut device 3 off, ask it on site, bring it back and
find its offline work at the hub, complete and in order; kill device 2 in the middle of a task and see it finished
without repeating a tool call; verify every journal on both sides. Each step checks what it claims.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.demo.stage import Device, Stage, StageError, free_port, wait_until
from edge.settings import default_models_dir

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
STATE: Final = REPOSITORY / ".demo"
QUESTION: Final = "What is the fridge's temperature, and is it in range?"
SECOND_QUESTION: Final = "Is the fridge still cold enough, and what time is it?"
INTERRUPTED: Final = 130
HUB_PAGE: Final = 500
LINK_TIMEOUT_S: Final = 60.0
TASK_TIMEOUT_S: Final = 600.0
SENSOR: Final = """model_idle_unload_s = 600
# Three models compute at once on what may be two cores: more threads than cores would only wait for one another.
model_threads = 1

[[sensors]]
name = "fridge"
kind = "csv"
path = "{path}"
column = "celsius"
interval_s = 1800
quantity = "temperature"
unit = "°C"
low = 2
high = 8
"""


class Story:
    """The steps and what came of each. A step that fails ends the story."""

    def __init__(self, console: Console, stage: Stage, model: str) -> None:
        self._console = console
        self._stage = stage
        self._model = model
        self.rows: list[tuple[str, bool, str]] = []
        self.hub_home = stage.directory / "hub"
        self.hub_url = ""
        self.devices = [Device(stage, f"fridge-{number}", model) for number in (1, 2, 3)]

    def tell(self) -> bool:
        """Run every step in order; True if all held."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("hub and broker started", self._start_hub),
            ("three devices enrolled and linked", self._enrol),
            ("all three asked, three signed answers at the hub", self._ask_all),
            ("device 3 cut off, asked on site", self._cut_off),
            ("device 3 back, its offline work at the hub", self._reconnect),
            ("device 2 killed in a task, task finished", self._kill),
            ("all journals verified, both sides", self._verify),
        ]
        return all(self._step(title, step) for title, step in steps)

    def summary(self) -> Table:
        """What happened, as a table."""
        table = Table(title="covey demo", title_justify="left")
        table.add_column("step", overflow="fold")
        table.add_column("held")
        table.add_column("what was seen", overflow="fold")
        for title, held, seen in self.rows:
            table.add_row(title, Text("yes", "green") if held else Text("no", "red"), Text(seen))
        return table

    def _step(self, title: str, step: Callable[[], str]) -> bool:
        started = time.monotonic()
        with self._console.status(title):
            try:
                seen, held = step(), True
            except StageError as error:
                seen, held = str(error), False
        took_s = time.monotonic() - started
        self.rows.append((title, held, seen))
        self._console.print(Text(f"{'ok ' if held else 'NO '} {title} ({took_s:.1f} s)"))
        if seen:
            self._console.print(Text(f"    {seen}", "dim"))
        return held

    # --- steps ---

    def _start_hub(self) -> str:
        port = str(free_port())
        self._stage.start(
            "hub",
            [
                "cloud",
                "up",
                "--home",
                str(self.hub_home),
                "--port",
                port,
                "--mqtt-port",
                str(free_port()),
                "--json",
            ],
        )
        self.hub_url = f"https://127.0.0.1:{port}"
        return f"{self.hub_url}, Mosquitto with mutual TLS"

    def _enrol(self) -> str:
        for number, device in enumerate(self.devices, start=1):
            device.home.mkdir(mode=0o700)
            readings = Path(__file__).parent / f"fridge-{number}.csv"
            (device.home / "edge.toml").write_text(SENSOR.format(path=readings), encoding="utf-8")
            token = self._hub_json("token", "create", "--device", device.name, "--ttl", "10m")["token"]
            device.edge("enroll", "--token", token)
        for device in self.devices:
            device.start()
        for device in self.devices:
            self._wait_linked(device)
        return ", ".join(self._principal(device) for device in self.devices)

    def _ask_all(self) -> str:
        selected = [word for device in self.devices for word in ("--device", device.name)]
        task = self._hub_json("task", "create", *selected, QUESTION)["id"]
        shown = self._wait_task(task)
        if shown["state"] != "succeeded":
            raise StageError(f"The task ended as {shown['state']}.")
        answers = {node["principal"]: node for node in shown["nodes"] if node["kind"] == "agent"}
        for device in self.devices:
            node = answers[self._principal(device)]
            if not any(effect["tool"] == "read_sensor" and effect["ok"] for effect in node["effects"]):
                raise StageError(f"{device.name} answered without reading its sensor.")
            self._check_signed(device)
        return " | ".join(
            f"{device.name}: {answers[self._principal(device)]['result']}" for device in self.devices
        )

    def _cut_off(self) -> str:
        device = self.devices[2]
        device.edge("link", "stop")
        wait_until(
            "the hub to see device 3 go",
            lambda: not self._device(device)["presence"]["broker_online"],
            timeout_s=LINK_TIMEOUT_S,
        )
        at_hub = self._hub_head(device)
        answer = device.edge_json("ask", QUESTION)["answer"]
        waiting = device.get("/status")["journal"]["waiting"]
        if not answer or waiting < 1:
            raise StageError("Device 3 did not answer, or did not journal its answer.")
        if self._hub_head(device) != at_hub:
            raise StageError("The hub got records from a device that was cut off.")
        return f"{answer} ({waiting} records wait on the device)"

    def _reconnect(self) -> str:
        device = self.devices[2]
        before = self._hub_head(device)
        device.edge("link", "start")
        self._wait_drained(device)
        own = [(record["seq"], record["hash"]) for record in device.records()]
        at_hub = [(record["seq"], record["hash"]) for record in self._hub_records(device)]
        if own[: len(at_hub)] != at_hub or len(at_hub) <= before:
            raise StageError("The hub's copy of device 3's journal is not the same, in the same order.")
        return f"{len(at_hub) - before} records came over, hash for hash as on the device"

    def _kill(self) -> str:
        device = self.devices[1]
        task = self._hub_json("task", "create", "--device", device.name, SECOND_QUESTION)["id"]
        wait_until(
            "a finished tool call", lambda: self._finished_calls(device, task), timeout_s=TASK_TIMEOUT_S
        )
        if device.child is None:
            raise StageError("Device 2 does not run.")
        device.child.kill()
        state = self._task(task)["state"]
        device.start()
        shown = self._wait_task(task)
        if shown["state"] != "succeeded":
            raise StageError(f"The task ended as {shown['state']}.")
        tools = {effect["tool"] for node in shown["nodes"] for effect in node["effects"] if effect["ok"]}
        if not {"read_sensor", "now"} <= tools:
            raise StageError("Device 2 answered without looking at its fridge and its clock.")
        self._check_nothing_repeated(device, task)
        return f"killed while {state}; after the restart: {shown['nodes'][0]['result']}"

    def _verify(self) -> str:
        counts = []
        for device in self.devices:
            self._wait_drained(device)
            lanes = device.edge_json("journal", "verify")["lanes"]
            counts.append(f"{device.name}: {sum(lane['records'] for lane in lanes)} records")
        report = self._hub_json("journal", "verify", "--all")
        if len(report) != len(self.devices) or not all(item["is_sound"] for item in report):
            raise StageError("The hub's copies do not verify.")
        return ", ".join(counts)

    # --- asking the hub ---

    def _hub_json(self, *arguments: str) -> Any:
        return self._stage.run_json("cloud", *arguments, "--home", str(self.hub_home))

    def _device(self, device: Device) -> Any:
        return self._hub_json("device", "show", device.name)

    def _task(self, task: str) -> Any:
        return self._hub_json("task", "show", task)

    def _principal(self, device: Device) -> str:
        return f"main.{device.name}"

    def _hub_head(self, device: Device) -> int:
        lanes = [lane for lane in self._device(device)["lanes"] if lane["lane"] == "journal"]
        return int(lanes[-1]["head_seq"]) if lanes else 0

    def _hub_records(self, device: Device) -> list[dict[str, Any]]:
        """The hub's copy of the device's journal: longer ones than `HUB_PAGE` do not come about here."""
        lines = self._stage.run(
            "cloud",
            "journal",
            "tail",
            device.name,
            "-n",
            str(HUB_PAGE),
            "--json",
            "--home",
            str(self.hub_home),
        )
        return [json.loads(line) for line in lines.splitlines()]

    def _wait_linked(self, device: Device) -> None:
        wait_until(
            f"{device.name} to be linked",
            lambda: device.get("/status")["link"]["state"] == "linked",
            timeout_s=LINK_TIMEOUT_S,
        )

    def _wait_drained(self, device: Device) -> None:
        self._wait_linked(device)
        wait_until(
            f"{device.name} to have sent everything",
            lambda: device.get("/status")["journal"]["waiting"] == 0,
            timeout_s=LINK_TIMEOUT_S,
        )

    def _wait_task(self, task: str) -> Any:
        ended = ("succeeded", "failed", "timed_out", "rejected", "cancelled", "expired")
        return wait_until(
            f"task {task} to end",
            lambda: shown if (shown := self._task(task))["state"] in ended else None,
            timeout_s=TASK_TIMEOUT_S,
            every_s=1.0,
        )

    # --- checks ---

    def _check_signed(self, device: Device) -> None:
        """The hub's copy follows hash by hash, and the device's own signatures vouch for all of it."""
        (report,) = self._hub_json("journal", "verify", device.name)
        for lane in report["lanes"]:
            if lane["problem"] is not None or (
                lane["lane"] == "journal" and lane["sealed_upto"] < lane["head_seq"]
            ):
                raise StageError(f"The journal of {device.name} at the hub is not vouched for: {lane}.")

    def _finished_calls(self, device: Device, task: str) -> list[Any]:
        shown = device.get(f"/tasks/{task}")
        effects = [] if shown is None else shown["effects"]
        return [effect for effect in effects if effect["kind"] == "tool" and effect["result"] is not None]

    def _check_nothing_repeated(self, device: Device, task: str) -> None:
        """No intent follows the result of the same call, and no call has two results."""
        finished: set[int] = set()
        for record in device.records():
            if record.get("task") != task or record["kind"] not in ("tool.intent", "tool.result"):
                continue
            if record["call"] in finished:
                raise StageError(f"Device 2 repeated call {record['call']} after it was finished.")
            if record["kind"] == "tool.result":
                finished.add(record["call"])
        if not finished:
            raise StageError("Device 2 finished no tool call in this task.")


def main() -> int:
    """Parse, play, clean up."""
    parser = argparse.ArgumentParser(prog="./run demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--once", action="store_true", help="tell the story, print the summary, stop")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct", help="catalogue name of the model")
    parser.add_argument("--models-dir", type=Path, help="where model files are")
    options = parser.parse_args()
    console = Console(highlight=False)
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o700)
    stage = Stage(STATE, options.models_dir or default_models_dir())
    story = Story(console, stage, options.model)
    with _interruptible():
        try:
            held = story.tell()
            console.print(story.summary())
            if not held:
                console.print(Text("demo: failed", "red"))
                return 1
            if not options.once:
                _stay_up(console, story)
        except KeyboardInterrupt:
            console.print("stopping")
            return INTERRUPTED
        finally:
            stage.stop()
    print("demo: ok", flush=True)
    return 0


def _stay_up(console: Console, story: Story) -> None:
    console.print(Text("demo: ok. Everything stays up until Ctrl-C:"))
    console.print(
        Text(f"  hub     {story.hub_url}/v1/openapi.json (token in {story.hub_home / 'admin.token'})")
    )
    for device in story.devices:
        if device.child is not None:
            console.print(
                Text(f"  {device.name} {device.child.ready['url']}/v1 (token in {device.home / 'api.token'})")
            )
    console.print(
        Text(
            f"Try: .venv/bin/covey-hub task create --home {story.hub_home} --device fridge-1 --wait '{QUESTION}'"
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        while all(device.child is not None and device.child.is_running for device in story.devices):
            time.sleep(1)
        console.print("A device stopped; see its log in .demo/.")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo like Ctrl-C, so that its processes end with it."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())

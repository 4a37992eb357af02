"""The story that `./run demo` tells: its steps in order, and what each must show.

A step returns what was seen; one that does not hold raises `StageError`, and ends the story.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.demo.hub import TASK_TIMEOUT_S, Hub
from deploy.demo.knowing import Knowing
from deploy.demo.stage import LINK_TIMEOUT_S, Device, Stage, StageError, wait_until

QUESTION: Final = "What is the fridge's temperature, and is it in range?"
SECOND_QUESTION: Final = "Is the fridge still cold enough, and what time is it?"
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
        self.rows: list[tuple[str, bool, str]] = []
        self.hub = Hub(stage, model)
        self.devices = [Device(stage, f"fridge-{number}", model) for number in (1, 2, 3)]
        self._knowing = Knowing(self.hub, self.devices)
        self._head_at_cut = 0

    def tell(self) -> bool:
        """Run every step in order; True if all held."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("hub and broker started", self._start_hub),
            ("three devices enrolled and linked", self._enrol),
            ("a folder of manuals ingested at the hub", self._knowing.ingest),
            ("the hub answers from the manuals, with sources", self._knowing.ask_hub),
            ("the manuals held by all devices", self._knowing.subscribe),
            ("device 1 answers from the manuals, with sources", self._knowing.ask_linked),
            ("all three asked, three signed answers at the hub", self._ask_all),
            ("device 3 told a fact, and asked for it", self._knowing.tell),
            ("device 3 cut off, asked on site", self._cut_off),
            ("device 3, cut off, answers from the manuals, with sources", self._knowing.ask_cut_off),
            ("device 3, cut off, told a newer fact; knows since when", self._knowing.recall_cut_off),
            ("nothing of this reached the hub", self._check_cut_off),
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
        for line in seen.splitlines():
            self._console.print(Text(f"    {line}", "dim"))
        return held

    # --- steps ---

    def _start_hub(self) -> str:
        self.hub.start()
        return f"{self.hub.url}, Mosquitto with mutual TLS"

    def _enrol(self) -> str:
        for number, device in enumerate(self.devices, start=1):
            device.home.mkdir(mode=0o700)
            readings = Path(__file__).parent / f"fridge-{number}.csv"
            (device.home / "edge.toml").write_text(SENSOR.format(path=readings), encoding="utf-8")
            token = self.hub.json("token", "create", "--device", device.name, "--ttl", "10m")["token"]
            device.edge("enroll", "--token", token)
        for device in self.devices:
            device.start()
        for device in self.devices:
            device.wait_linked()
        return ", ".join(device.principal for device in self.devices)

    def _ask_all(self) -> str:
        selected = [word for device in self.devices for word in ("--device", device.name)]
        task = self.hub.json("task", "create", *selected, QUESTION)["id"]
        shown = self.hub.wait_task(task)
        if shown["state"] != "succeeded":
            raise StageError(f"The task ended as {shown['state']}.")
        answers = {node["principal"]: node for node in shown["nodes"] if node["kind"] == "agent"}
        for device in self.devices:
            node = answers[device.principal]
            if not any(effect["tool"] == "read_sensor" and effect["ok"] for effect in node["effects"]):
                raise StageError(f"{device.name} answered without reading its sensor.")
            self._check_signed(device)
        return "\n".join(f"{device.name}: {answers[device.principal]['result']}" for device in self.devices)

    def _cut_off(self) -> str:
        device = self.devices[2]
        device.edge("link", "stop")
        wait_until(
            "the hub to see device 3 go",
            lambda: not self.hub.device(device)["presence"]["broker_online"],
            timeout_s=LINK_TIMEOUT_S,
        )
        self._head_at_cut = self.hub.head(device)
        answer = device.edge_json("ask", QUESTION)["answer"]
        waiting = device.get("/status")["journal"]["waiting"]
        if not answer or waiting < 1:
            raise StageError("Device 3 did not answer, or did not journal its answer.")
        return f"{answer} ({waiting} records wait on the device)"

    def _check_cut_off(self) -> str:
        device = self.devices[2]
        waiting = device.get("/status")["journal"]["waiting"]
        if self.hub.head(device) != self._head_at_cut:
            raise StageError("The hub got records from a device that was cut off.")
        return f"{waiting} records wait on the device"

    def _reconnect(self) -> str:
        device = self.devices[2]
        before = self.hub.head(device)
        device.edge("link", "start")
        device.wait_drained()
        own = [(record["seq"], record["hash"]) for record in device.records()]
        at_hub = [(record["seq"], record["hash"]) for record in self.hub.records(device)]
        if own[: len(at_hub)] != at_hub or len(at_hub) <= before:
            raise StageError("The hub's copy of device 3's journal is not the same, in the same order.")
        return f"{len(at_hub) - before} records came over, hash for hash as on the device"

    def _kill(self) -> str:
        device = self.devices[1]
        task = self.hub.json("task", "create", "--device", device.name, SECOND_QUESTION)["id"]
        wait_until(
            "a finished tool call", lambda: self._finished_calls(device, task), timeout_s=TASK_TIMEOUT_S
        )
        if device.child is None:
            raise StageError("Device 2 does not run.")
        device.child.kill()
        state = self.hub.task(task)["state"]
        device.start()
        shown = self.hub.wait_task(task)
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
            device.wait_drained()
            lanes = device.edge_json("journal", "verify")["lanes"]
            counts.append(f"{device.name}: {sum(lane['records'] for lane in lanes)} records")
        report = self.hub.json("journal", "verify", "--all")
        if len(report) != len(self.devices) or not all(item["is_sound"] for item in report):
            raise StageError("The hub's copies do not verify.")
        return ", ".join(counts)

    # --- checks ---

    def _check_signed(self, device: Device) -> None:
        """The hub's copy follows hash by hash, and the device's own signatures vouch for all of it."""
        (report,) = self.hub.json("journal", "verify", device.name)
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

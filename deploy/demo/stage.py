"""The demo's processes: a hub with its broker, and devices with a directory each. Stops exactly what it started."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

READY_TIMEOUT_S: Final = 60.0
LINK_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
COMMAND_TIMEOUT_S: Final = 600.0
"""Commands that ask wait for a model, on a small machine for one of several that compute at once."""
POLL_S: Final = 0.05


class StageError(Exception):
    """Something on the stage did not do what it must; the message says what, and where its log is."""


@dataclass
class Stage:
    """Everything that runs, under one directory."""

    directory: Path
    models_dir: Path
    children: list["Child"] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str]) -> "Child":
        """Start a process and wait for its ready line (one JSON object)."""
        child = Child(name, arguments, self.directory / f"{name}.log", self._environment())
        self.children.append(child)
        child.wait_ready()
        return child

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> str:
        """Run a command to its end; returns what it printed. Raises `StageError` if it took too long, or ended with
        another code than these."""
        shown = f"`{' '.join(arguments[:4])} …`"
        try:
            done = subprocess.run(
                [sys.executable, "-m", *arguments],
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise StageError(f"{shown} did not end within {COMMAND_TIMEOUT_S:.0f} s.") from error
        if done.returncode not in codes:
            sentence = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise StageError(f"{shown} ended with code {done.returncode}: {sentence}")
        return done.stdout

    def run_json(self, *arguments: str, codes: Sequence[int] = (0,)) -> Any:
        """Run a command with `--json` and parse what it printed."""
        return json.loads(self.run(*arguments, "--json", codes=codes))

    def stop(self) -> None:
        """Stop every child that still runs, the last started first."""
        for child in reversed(self.children):
            child.stop()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COVEY_MODELS_DIR": str(self.models_dir),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }


class Child:
    """One process, in its own process group, with its log in a file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self.ready: dict[str, Any] = {}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
                text=True,
            )

    def wait_ready(self) -> None:
        """Read its ready line. Raises `StageError` if it ends or stays silent."""
        if self._process.stdout is None:
            raise StageError(f"{self.name} has no output")
        deadline = time.monotonic() + READY_TIMEOUT_S
        os.set_blocking(self._process.stdout.fileno(), False)
        text = ""
        while time.monotonic() < deadline:
            with contextlib.suppress(TypeError, BlockingIOError):
                text += self._process.stdout.read() or ""
            for line in text.splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n"):
                    self.ready = json.loads(line)
                    return
            if self._process.poll() is not None:
                break
            time.sleep(POLL_S)
        raise StageError(f"{self.name} did not become ready; see {self.log}")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no goodbye, as in a power cut."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for its whole group."""
        if self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class Device:
    """A device on the stage."""

    stage: Stage
    name: str
    model: str
    child: Child | None = None

    @property
    def home(self) -> Path:
        return self.stage.directory / self.name

    @property
    def principal(self) -> str:
        return f"main.{self.name}"

    def start(self) -> None:
        """Start its daemon."""
        arguments = [
            "edge",
            "run",
            "--home",
            str(self.home),
            "--api-port",
            "0",
            "--model",
            self.model,
            "--json",
        ]
        self.child = self.stage.start(self.name, arguments)

    def edge(self, *arguments: str) -> str:
        """Run a `covey-edge` command on this device."""
        return self.stage.run("edge", *arguments, "--home", str(self.home))

    def edge_json(self, *arguments: str) -> Any:
        """The same with `--json`."""
        return self.stage.run_json("edge", *arguments, "--home", str(self.home))

    def get(self, path: str) -> Any:
        """GET from its local API."""
        if self.child is None:
            raise StageError(f"{self.name} does not run")
        token = (self.home / "api.token").read_text(encoding="ascii").strip()
        response = httpx.get(
            self.child.ready["url"] + path,
            headers={"authorization": f"Bearer {token}"},
            timeout=10.0,
            trust_env=False,
        )
        return response.json() if response.status_code == httpx.codes.OK else None

    def records(self, *, lane: str = "journal") -> list[dict[str, Any]]:
        """Its whole log, as the device shows it."""
        records: list[dict[str, Any]] = []
        while page := self.get(f"/journal?lane={lane}&after={len(records)}&limit=1000")["records"]:
            records += page
        return records

    def wait_linked(self) -> None:
        """Raises `StageError` if it does not link."""
        wait_until(
            f"{self.name} to be linked",
            lambda: self.get("/status")["link"]["state"] == "linked",
            timeout_s=LINK_TIMEOUT_S,
        )

    def wait_drained(self) -> None:
        """Until the hub has acknowledged all of its journal."""
        self.wait_linked()
        wait_until(
            f"{self.name} to have sent everything",
            lambda: self.get("/status")["journal"]["waiting"] == 0,
            timeout_s=LINK_TIMEOUT_S,
        )


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, condition: Any, *, timeout_s: float, every_s: float = POLL_S) -> Any:
    """The first truthy value of `condition()`. Raises `StageError` naming `what` if it stays falsy."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every_s)
    raise StageError(f"Waited {timeout_s:.0f} s in vain for: {what}.")

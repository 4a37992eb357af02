"""`covey-hub up` as a real process with its own Mosquitto, and devices enrolled at it for real. Everything blocks.

    with RealHub(tmp_path / "hub") as hub:
        identity = hub.enrol("fridge-1", tmp_path / "fridge-1")
        hub.get("/v1/devices/fridge-1")

A hub may be killed and started again over the same home and ports. Its broker is its child, and dies with it.
"""

import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from edge.identity import Identity, enrol
from tests.support.ports import free_ports
from tests.support.process import ChildProcess
from tests.support.process_table import children, program_name, signal_process

ROOT: Final = Path(__file__).parents[2]
TENANT: Final = "main"
PROGRAM: Final = (sys.executable, "-m", "cloud")
READY_TIMEOUT_S: Final = 120.0
ANSWER_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 120.0
SETTINGS: Final = {"reconnect_max_s": 0.5, "sweep_interval_s": 0.5}
"""A hub that comes back sooner than it would from a broker that thousands of devices share."""


class RealHub:
    """One hub in `home`, which it keeps."""

    def __init__(
        self,
        home: Path,
        *,
        settings: Mapping[str, object] = SETTINGS,
        log_level: str = "info",
        program: Sequence[str | Path] = PROGRAM,
        command: Sequence[str | Path] | None = None,
    ) -> None:
        """`program`: what stands for `covey-hub`. `command`: what it does instead of `up`."""
        self.home = home
        self.port, self.mqtt_port = free_ports(2)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "hub.toml").write_text(
            "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        )
        if command is None:
            command = ("up", "--mqtt-port", str(self.mqtt_port))
        self.process = ChildProcess(
            [
                *(*program, "--home", home, "--log-level", log_level),
                *(*command, "--json", "--port", str(self.port)),
            ],
            log=home.with_name(f"{home.name}.log"),
            directory=ROOT,
        )
        self._http: httpx.Client | None = None

    # --- the process

    def start(self) -> Self:
        """Returns when it answers."""
        self._forget_client()  # its CA may be another one now
        self.process.start()
        self.process.wait_for_line('"event": "ready"', timeout_s=READY_TIMEOUT_S)
        return self

    def stop(self) -> int | None:
        """In order; its exit code."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL. Its broker then ends by itself."""
        self.process.kill()

    @property
    def broker_pid(self) -> int | None:
        """The Mosquitto that the hub has started, if it runs now."""
        if not self.process.is_running:
            return None
        return next((pid for pid in children(self.process.pid) if program_name(pid) == "mosquitto"), None)

    def wait_for_broker(self) -> None:
        """Until something accepts connections on the broker's port."""
        self.process.wait_for_port(self.mqtt_port, timeout_s=READY_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self if self.process.is_running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.process.__exit__(kind, error, trace)

    def close(self) -> None:
        """Stop it with its broker, whatever state both are in."""
        self._forget_client()
        if self.process.is_running:
            # A stopped process would not hear that it is to end.
            for pid in (self.broker_pid, self.process.pid):
                if pid is not None:
                    signal_process(pid, signal.SIGCONT)
        self.process.stop()

    def _forget_client(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    # --- its API

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def http(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> httpx.Client:
        """As the administrator. A client of the caller's own, for another thread or another patience."""
        token = (self.home / "admin.token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self.home / "identity" / "ca.pem"))
        return httpx.Client(
            base_url=self.url,
            verify=context,
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout_s,
            trust_env=False,
        )

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        return self._call("POST", path, body)

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        return self._call("PATCH", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        if self._http is None:
            self._http = self.http()
        answer = self._http.request(method, path, json=body)
        if answer.is_error:
            raise AssertionError(f"{method} {path} was answered with {answer.status_code}: {answer.text}")
        return answer.json()

    def device(self, name: str) -> Any:
        return self.get(f"/v1/devices/{name}")

    def refusals(self, name: str) -> dict[str, int]:
        """How often the gate refused messages on a device's topics, by reason."""
        return {item["reason"]: item["count"] for item in self.device(name)["refusals"]}

    def wait_refused(self, name: str, reason: str, count: int) -> None:
        """Until the gate has refused for `reason` so often, and not more often."""
        found = self.process.wait_until(
            lambda: max(0, self.refusals(name).get(reason, 0) - count + 1),
            f"to refuse {count} messages of {name} as {reason}",
            timeout_s=READY_TIMEOUT_S,
        )
        assert found == 1, f"{name}: {found - 1 + count} messages were refused as {reason}, not {count}"

    def token(self, device: str | None, *, ttl_s: int = 3_600) -> str:
        """A fresh enrolment token, as `covey-hub token create` prints it."""
        body = {"ttl_s": ttl_s, **({} if device is None else {"device": device})}
        return str(self.post("/v1/tokens", body)["token"])

    def enrol(self, device: str, home: Path) -> Identity:
        """What `covey-edge enroll` does, for a device in `home`."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return enrol(home / "identity", token_text=self.token(device), device=None, hub_url=None)


def edge_command(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """`covey-edge …` to its end."""
    return _command("edge", arguments)


def hub_command(hub: RealHub, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """`covey-hub …` at the hub of this home."""
    return _command("cloud", ("--home", hub.home, *arguments))


def _command(package: str, arguments: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", package, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)

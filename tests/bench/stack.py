"""Hub and devices as the processes that people run, for benches: started, enrolled, asked, stopped. Blocking.

Every process is a child in its own group with a log beside its home, and is stopped when the bench ends.
"""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloud.identity import Paths
from tests.support.ports import free_ports
from tests.support.process import ChildProcess, ProcessFailedError

TENANT: Final = "main"
READY_TIMEOUT_S: Final = 60.0
COMMAND_TIMEOUT_S: Final = 60.0
ROOT: Final = Path(__file__).parents[2]
CLOCK_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
# Installed programs have their bytecode; compiling at each start would be measured as theirs.
ENVIRONMENT: Final = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class LaneCount:
    """What one side holds of a device's journal. `dead`: records that the hub kept but could not apply."""

    records: int
    head_seq: int
    head_hash: bytes
    dead: int = 0


class HubProcess:
    """`covey-hub up`: its own Mosquitto with mutual TLS, and SQLite at synchronous=FULL."""

    def __init__(self, directory: Path, open_: ExitStack) -> None:
        self.home = directory / "hub"
        port, self.mqtt_port, self.mqtt_hub_port = free_ports(3)
        self.process = ChildProcess(
            [
                *_program("cloud"), "up", "--home", self.home, "--port", str(port),
                "--mqtt-port", str(self.mqtt_port), "--mqtt-hub-port", str(self.mqtt_hub_port), "--json",
            ],
            log=directory / "hub.log",
            environment=ENVIRONMENT,
            directory=ROOT,
        )  # fmt: skip
        open_.callback(self.process.stop)
        self.process.start()
        self.process.wait_for_line('"event": "ready"', timeout_s=READY_TIMEOUT_S)

    @property
    def paths(self) -> Paths:
        return Paths(self.home / "identity")

    def token(self, device: str) -> str:
        return _run("cloud", "token", "create", "--home", self.home, "--device", device, "--ttl", "1h")

    def journal_of(self, device: str) -> LaneCount:
        """What the hub's database holds of the device's journal, counted record by record."""
        with closing(_open_read_only(self.home / "hub.sqlite")) as db:
            row = db.execute(
                "SELECT id, head_seq, head_hash FROM lane WHERE principal = ? AND lane = 'journal'",
                (f"{TENANT}.{device}",),
            ).fetchone()
            if row is None:
                return LaneCount(0, 0, b"")
            (count,) = db.execute("SELECT count(*) FROM record WHERE lane_id = ?", row[:1]).fetchone()
            (dead,) = db.execute("SELECT count(*) FROM dead_letter WHERE lane_id = ?", row[:1]).fetchone()
            return LaneCount(count, row[1], bytes(row[2]), dead)


class DeviceProcess:
    """`covey-edge run` in its own home."""

    def __init__(
        self, directory: Path, name: str, open_: ExitStack, *, arguments: Sequence[str | Path] = ()
    ) -> None:
        self.name = name
        self.home = directory / name
        self.process = ChildProcess(
            [*_program("edge"), "run", "--home", self.home, "--api-port", "0", *arguments],
            log=directory / f"{name}.log",
            environment=ENVIRONMENT,
            directory=ROOT,
        )
        self._open = open_

    @property
    def store(self) -> Path:
        return self.home / "store.sqlite"

    def enroll(self, hub: HubProcess) -> None:
        _run("edge", "enroll", "--home", self.home, "--token", hub.token(self.name))

    def start(self) -> None:
        self._open.callback(self.process.stop)
        self.process.start()

    def wait_ready(self) -> str:
        """The local API's address."""
        return self.process.wait_for_line(r"ready (http://\S+)", timeout_s=READY_TIMEOUT_S)[1]

    def wait_linked(self) -> None:
        self.process.wait_for_line("linked: the hub answered", timeout_s=READY_TIMEOUT_S)

    @property
    def url(self) -> str:
        address: dict[str, Any] = json.loads((self.home / "api.json").read_text())
        return str(address["url"])

    @property
    def api_token(self) -> str:
        return (self.home / "api.token").read_text().strip()

    def status(self) -> dict[str, Any]:
        return self._call("/status")

    def set_link(self, enabled: bool) -> None:
        """Switch the link on or off, as `covey-edge link` does; it stays so over restarts."""
        self._call("/link", {"enabled": enabled})

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=COMMAND_TIMEOUT_S) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told

    def journal(self) -> LaneCount:
        with closing(_open_read_only(self.store)) as db:
            key, seq, hash_ = db.execute(
                "SELECT id, head_seq, head_hash FROM lane WHERE name = 'journal'"
            ).fetchone()
            (count,) = db.execute("SELECT count(*) FROM record WHERE lane_id = ?", (key,)).fetchone()
            return LaneCount(count, seq, bytes(hash_))

    def head_at(self, seq: int) -> bytes:
        """The chain hash at `seq` of the journal."""
        with closing(_open_read_only(self.store)) as db:
            (hash_,) = db.execute(
                "SELECT hash FROM record JOIN lane ON lane.id = lane_id WHERE name = 'journal' AND seq = ?",
                (seq,),
            ).fetchone()
            return bytes(hash_)

    def wait_acknowledged(self, *, timeout_s: float) -> None:
        """Until the hub has acknowledged the whole journal. Looks into the store, so the daemon is not disturbed."""
        with closing(_open_read_only(self.store)) as db:
            query = "SELECT head_seq = acked FROM lane WHERE name = 'journal'"
            self.process.wait_until(
                lambda: bool(db.execute(query).fetchone()[0]),
                "to have its whole journal acknowledged",
                timeout_s=timeout_s,
            )


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far."""
    # The name in brackets may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_S


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def _program(package: str) -> list[str]:
    return [sys.executable, "-m", package]


def _run(package: str, *arguments: str | Path) -> str:
    """A command that ends by itself; what it printed."""
    done = subprocess.run(
        [*_program(package), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ProcessFailedError(
            f"{package} {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout.strip()


def _open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)

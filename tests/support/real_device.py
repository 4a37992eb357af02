"""A device process (`device_process`) under a test's control: its home outlives its many lives. Everything blocks.

device = RealDevice("device-1", tmp_path / "device-1")
hub.enrol(device.name, device.home)
device.configure()
device.may_write(1_000)
with device.process:
    device.wait_until(lambda: device.link()["state"] == "linked", "to be linked")
"""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.device_process import LEDGER_FILE, QUOTA_FILE, read_ledger
from tests.support.process import ChildProcess
from tests.support.real_hub import READY_TIMEOUT_S, ROOT, TENANT

SETTINGS: Final = 'reconnect_max_s = 0.5\nhello_timeout_s = 2\nindex = "off"\n'
"""Impatient: tests are to be full of transfers, not of waiting for the back-off of a fleet."""
ANSWER_TIMEOUT_S: Final = 10.0


class RealDevice:
    """One device over all its lives."""

    def __init__(self, name: str, home: Path, *, control: Path | None = None) -> None:
        """`control`: where its quota, ledger and clock are, if not in its home; it must exist."""
        self.name = name
        self.home = home
        self.control = control or home
        self.process = ChildProcess(
            [
                *(sys.executable, "-m", "tests.support.device_process"),
                *("--home", home, "--control", self.control),
            ],
            log=(control or home).with_name(f"{(control or home).name}.log"),
            directory=ROOT,
        )

    @property
    def principal(self) -> str:
        return f"{TENANT}.{self.name}"

    @property
    def store(self) -> Path:
        return self.home / "store.sqlite"

    def configure(self, more: str = "") -> None:
        """`more`: further lines of `edge.toml`."""
        (self.home / "edge.toml").write_text(SETTINGS + more)

    def may_write(self, records: int) -> None:
        """Let its journal grow to so many records."""
        quota = self.control / QUOTA_FILE
        partial = quota.with_suffix(".part")
        partial.write_text(str(records))
        partial.replace(quota)

    def ledger(self) -> list[tuple[str, int, int]]:
        """Which calls (task, node, call) its tools have carried out."""
        calls = (entry["key"].split("/") for entry in read_ledger(self.control / LEDGER_FILE))
        return [(task, int(node), int(call)) for task, node, call in calls]

    def wait_ready(self) -> None:
        self.process.wait_for_line('"ready"', timeout_s=READY_TIMEOUT_S)

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        self.process.wait_until(condition, what, timeout_s=READY_TIMEOUT_S)

    def status(self) -> dict[str, Any]:
        """As `covey-edge status` has it, from the local API."""
        url = json.loads((self.home / "api.json").read_text())["url"]
        token = (self.home / "api.token").read_text().strip()
        answer = httpx.get(
            f"{url}/status",
            headers={"authorization": f"Bearer {token}"},
            timeout=ANSWER_TIMEOUT_S,
            trust_env=False,
        )
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        return status

    def link(self) -> dict[str, Any]:
        link: dict[str, Any] = self.status()["link"]
        return link

    def journal(self) -> list[bytes]:
        """Every record of its journal, from its store."""
        with closing(sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT data FROM record WHERE lane_id = (SELECT id FROM lane WHERE name = 'journal') ORDER BY seq"
            ).fetchall()
        return [bytes(data) for (data,) in rows]

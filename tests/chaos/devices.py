"""A device under attack: its link, its disk, its clock, and a copy of its card that somebody put into a second board.

Its home may be a small disk of its own; what the tests tell it and what its tools did lies beside it, on another one.
Blocking.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from shared.ids import UPWARD, Lane, LaneId
from tests.chaos.evidence import DeviceHistory
from tests.chaos.reading import device_nodes, open_nodes
from tests.chaos.rebuild import device_differences
from tests.chaos.violations import Violation
from tests.chaos.witness import Position, Witness
from tests.support.clock import set_offset
from tests.support.device_process import CLOCK_FILE, LEDGER_FILE
from tests.support.disks import BALLAST, SmallDisk
from tests.support.process import ChildProcess
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub
from tests.support.tcp_proxy import Link

DISK_BYTES: Final = 67_108_864
SETTINGS: Final = """
ping_interval_s = 5
hello_interval_s = 5
journal_keep_bytes = 150000
journal_reserve_bytes = 262144
episodes_keep = 20
metrics_max_bytes = 65536
telemetry_sample_s = 0.5
telemetry_window_s = 1.0
"""
"""A dead connection is found out in seconds, and little is kept of what is acknowledged: some hundred records."""
CLONED_RECORDS: Final = 60
"""What a clone adds to the history that it was copied with."""
NOT_COPIED: Final = shutil.ignore_patterns(BALLAST, "store.ballast", "store.lock", "api.json")


class StagedDevice:
    """One principal: a device, and at times its clone."""

    def __init__(self, directory: Path, number: int, link: Link, *, has_small_disk: bool) -> None:
        self.link = link
        self.name = f"device-{number}"
        self.quota = 0
        self.clone: RealDevice | None = None
        self._directory = directory
        self._open = ExitStack()
        self._copies = 0
        self._board = self._make(self.name)
        self._history = self.name
        """The name under which the witness knows the store in use."""
        self._put_away: list[str] = []
        self._epoch = b""
        self._epoch_before_branch: bytes | None = None
        self.disk: SmallDisk | None = None
        if has_small_disk:
            self.disk = SmallDisk(self._board.home, size_bytes=DISK_BYTES)

    def _make(self, folder: str) -> RealDevice:
        control = self._directory / folder
        control.mkdir()
        return RealDevice(self.name, control / "home", control=control)

    def prepare(self, hub: RealHub) -> None:
        """Mount, enrol, configure."""
        if self.disk is not None:
            self._open.enter_context(self.disk)
        hub.enrol(self.name, self._board.home)
        self._board.configure(SETTINGS)
        enrolment = self._board.home / "identity" / "enrolment.json"
        facts = json.loads(enrolment.read_text())
        facts["broker"] = {"host": "localhost", "port": self.link.port}
        enrolment.write_text(json.dumps(facts))

    def close(self) -> None:
        for board in (self._board, self.clone):
            if board is not None:
                board.process.stop()
        if self.disk is not None:
            # What was on the disk, for whoever wants to know what went wrong.
            shutil.copytree(self._board.home, self._board.control / "kept", ignore=NOT_COPIED)
        self._open.close()

    # --- what faults and the run do

    @property
    def principal(self) -> str:
        return self._board.principal

    @property
    def process(self) -> ChildProcess:
        return self._board.process

    @property
    def home(self) -> Path:
        return self._board.home

    def wait_ready(self) -> None:
        self._board.wait_ready()

    def may_write(self, records: int) -> None:
        self.quota = records
        self._board.may_write(records)

    def set_clock(self, offset_s: float) -> None:
        set_offset(self._board.control / CLOCK_FILE, offset_s)

    def supervise(self) -> Iterator[str]:
        """Start what has ended; what was started."""
        for what, board in (("device", self._board), ("clone", self.clone)):
            if board is not None and not board.process.is_running:
                board.process.start()
                yield what

    def has_done(self, call: tuple[str, int, int]) -> bool:
        return call in self._board.ledger()

    # --- a clone

    @property
    def is_branching(self) -> bool:
        """It is cloned, or has not heard yet what was decided about its last clone."""
        return self.clone is not None or self._epoch == self._epoch_before_branch

    def begin_clone(self, witness: Witness) -> None:
        """Copy the card of the device, which has just been killed, and put it into a second board."""
        self._copies += 1
        clone = self._make(f"{self.name}-copy-{self._copies}")
        witness.take(self._history, self._board.store, self.principal)
        shutil.copytree(self._board.home, clone.home, ignore=NOT_COPIED)
        for name in (LEDGER_FILE, CLOCK_FILE):
            if (self._board.control / name).exists():
                shutil.copy(self._board.control / name, clone.control / name)
        self.clone = clone
        witness.copy(self._history, self._clone_history)
        clone.may_write(self.quota + CLONED_RECORDS)

    def end_clone(self, witness: Witness, *, keeps_clone: bool) -> None:
        """The operator takes one of the two boards away; the other one goes on as the device."""
        assert self.clone is not None
        kept, gone = (self.clone, self._board) if keeps_clone else (self._board, self.clone)
        kept_name, gone_name = self._clone_history, self._history
        if not keeps_clone:
            kept_name, gone_name = gone_name, kept_name
        gone.process.kill()
        witness.take(gone_name, gone.store, self.principal)
        self._put_away.append(gone_name)
        self._history = kept_name
        self._board, self.clone = kept, None
        self._epoch_before_branch = self._epoch
        kept.may_write(self.quota)

    @property
    def _clone_history(self) -> str:
        return f"{self.name}-copy-{self._copies}"

    # --- what the run sees

    def take(self, witness: Witness) -> tuple[dict[LaneId, Position], list[Violation]]:
        """Let the witness write down what is new. Raises `sqlite3.OperationalError` if a store cannot be read now."""
        positions, found = witness.take(self._history, self._board.store, self.principal)
        if self.clone is not None and self.clone.store.exists():
            _, of_clone = witness.take(self._clone_history, self.clone.store, self.principal)
            found = [*found, *of_clone]
        self._epoch = next(each.lane.epoch for each in positions if each.lane.lane is Lane.JOURNAL)
        return {position.lane: position for position in positions}, found

    def unfinished(self) -> str | None:
        """What is still to be done, None if nothing is."""
        if self.clone is not None:
            return "its clone runs"
        count = open_nodes(self._board.store)
        return f"{count} nodes are open" if count else None

    def history(self, witness: Witness, scratch: Path) -> DeviceHistory:
        """Everything about it. The device stands still meanwhile."""
        positions, _ = self.take(witness)
        logs = witness.logs(self._history, self.principal)
        return DeviceHistory(
            principal=self.principal,
            written=tuple(log for log in logs if log.lane.lane in UPWARD),
            cloned=tuple(
                log
                for name in self._put_away
                for log in witness.logs(name, self.principal)
                if log.lane.lane in UPWARD
            ),
            orders=tuple(log for log in logs if log.lane.lane not in UPWARD),
            held={lane: position.head for lane, position in positions.items() if lane.lane in UPWARD},
            acked={lane: position.acked for lane, position in positions.items() if lane.lane in UPWARD},
            nodes=device_nodes(self._board.store),
            ledger=self._board.ledger(),
            blobs=witness.blobs(self._history, self.principal),
            rebuilt=device_differences(logs, self._board.store, scratch),
        )

"""The processes under attack: a hub, some devices, the network between them; who supervises them, and who takes notes.

Every process keeps its home and ports over all its lives. `mend` undoes what faults did and starts what has ended, as
systemd would, and does not wait until it is ready. What it must not know: which faults there are.
"""

import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import httpx

from shared.errors import UnavailableError
from shared.ids import Lane, LaneId
from shared.log import Entry, Head
from tests.chaos.devices import StagedDevice
from tests.chaos.evidence import DeviceHistory, History, HubDevice, HubHistory, Look, Restore
from tests.chaos.reading import (
    branch_point,
    entries_between,
    hub_heads,
    hub_tasks,
    late_results,
    read_hub_device,
)
from tests.chaos.rebuild import hub_differences
from tests.chaos.sites import Backup, Site
from tests.chaos.violations import Violation
from tests.chaos.witness import Witness
from tests.support.disks import can_mount
from tests.support.process_table import signal_process
from tests.support.tcp_proxy import Network

MakeSite = Callable[[Path, Network], Site]
UNREADABLE: Final = (UnavailableError, sqlite3.OperationalError)
"""What reading a side means that is not there now: the next look is soon."""


class Stage:
    """Use as a context manager. The first device's home is a small disk of its own, where we may make one."""

    def __init__(self, directory: Path, make_site: MakeSite, *, devices: int, random: Random) -> None:
        self._directory = directory
        self._random = random
        self._open = ExitStack()
        self.network = Network(random)
        self.site = make_site(directory, self.network)
        self.devices = [
            StagedDevice(
                directory,
                number,
                self.network.link(self.site.broker_port),
                has_small_disk=number == 1 and can_mount(),
            )
            for number in range(1, devices + 1)
        ]
        self.starts: Counter[str] = self.site.starts
        self.violations: list[Violation] = []
        self.must_keep = False
        """Whether databases that are elsewhere are copied into the directory at the end."""
        self.era = 0
        self.backup: Backup | None = None
        self.resolved = 0
        self._unresolved: set[str] = set()
        self._cloned: set[str] = set()
        self._backups = 0
        self._looks: list[Look] = []
        self._restores: list[Restore] = []
        self._undo: list[tuple[int, Callable[[], object]]] = []
        self._paused: set[int] = set()
        self._witness = Witness(
            directory / "witness.sqlite", at_hub=self._entries_at_hub, branched_at=self._branch_point
        )

    def __enter__(self) -> "Stage":
        try:
            self._open.enter_context(self.network)
            self._open.callback(self._witness.close)
            self._open.callback(lambda: self.site.close(must_keep=self.must_keep))
            self.site.start()
            for device in self.devices:
                self._open.callback(device.close)
                device.prepare(self.site.api)
            self.mend()
            for device in self.devices:
                device.wait_ready()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._open.close()

    def note(self, what: str) -> None:
        """A line in `timeline.log`, for whoever wants to know what happened before something went wrong."""
        with (self._directory / "timeline.log").open("a") as timeline:
            timeline.write(f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M:%S.%f} {what}\n")

    # --- what faults do

    def undo(self, action: Callable[[], object], *, after_cycles: int = 0) -> None:
        """Have `mend` do this; the next time, or so many times later."""
        self._undo.append((after_cycles, action))

    def pause(self, pids: Iterable[int]) -> bool:
        """SIGSTOP, until `mend`. Whether any was there."""
        paused = {pid for pid in pids if signal_process(pid, signal.SIGSTOP)}
        self._paused |= paused
        return bool(paused)

    def resume(self) -> None:
        for pid in self._paused:
            signal_process(pid, signal.SIGCONT)
        self._paused.clear()

    def back_up(self) -> bool:
        """A backup of the hub, in place of the one before. Whether it could be made.

        None between an operator's decision about a clone and the device's hearing of it: that is a case by itself.
        """
        if any(each.is_branching and each.clone is None for each in self.devices):
            return False
        self._backups += 1
        try:
            backup = self.site.back_up(f"backup_{self._backups}")
        except UNREADABLE:
            return False
        if self.backup is not None:
            self.site.forget(self.backup)
        self.backup = backup
        self.note(f"backup: {_heads(backup.heads)}")
        return True

    def restore(self) -> bool:
        """Kill the hub and put it back to its backup."""
        if self.backup is None:
            return False
        self.resume()  # of a database that stands still nobody could read what is lost
        for process in self.site.processes.values():
            if process.is_running:
                process.kill()
        try:
            lost = {lane: head.seq for lane, head in hub_heads(self.site.database).items()}
        except UNREADABLE:
            return False
        self.era += 1
        self._restores.append(Restore(kept=self.backup.heads, lost=lost, tasks=self.backup.tasks))
        self.note(f"restored from {_heads(lost)} to {_heads(self.backup.heads)}")
        self.site.restore(self.backup)
        return True

    def clone(self, device: StagedDevice) -> bool:
        """Copy a device's card. One at a time, as the hub must be asked about it."""
        if any(each.is_branching for each in self.devices):
            return False
        device.process.kill()
        try:
            device.begin_clone(self._witness)
        except sqlite3.OperationalError:
            return False
        return True

    # --- the supervisor

    def mend(self) -> None:
        """Everything goes on: what was done is undone, what has ended is started again, clones are found out."""
        waiting, self._undo = self._undo, []
        for after, action in waiting:
            if after > 0:
                self._undo.append((after - 1, action))
            else:
                action()
        self.supervise()

    def supervise(self) -> None:
        self.resume()
        self.site.supervise()
        for device in self.devices:
            for what in device.supervise():
                self.starts[what] += 1
                self.note(f"{what} of {device.name} is started")
        with suppress(httpx.HTTPError, AssertionError):  # the hub is not there now
            self._resolve_clones()

    def _resolve_clones(self) -> None:
        """The operator: of a device that was quarantined because of its clone one board goes, the other goes on.

        What the clone began may come to light log by log, so a device that ever had one may need a word again.
        """
        for device in self.devices:
            if device.clone is None and device.name in self._cloned and self._is_quarantined(device):
                self._unresolved.add(device.name)
            elif device.clone is not None and self._is_quarantined(device):
                self._cloned.add(device.name)
                keeps_clone = self._random.random() < 0.5
                device.end_clone(self._witness, keeps_clone=keeps_clone)
                self.note(f"of {device.name} the {'clone' if keeps_clone else 'device'} is kept")
                self._unresolved.add(device.name)
            if device.name in self._unresolved:
                self.site.api.post(f"/v1/devices/{device.name}/resolve")
                self._unresolved.remove(device.name)
                self.note(f"{device.name} is resolved")
                self.resolved += 1
                self._forget_backup()

    def _is_quarantined(self, device: StagedDevice) -> bool:
        return bool(self.site.api.device(device.name)["status"] == "quarantined")

    def _forget_backup(self) -> None:
        """An operator's decision is in no older backup, and nobody would take it a second time."""
        if self.backup is not None:
            self.site.forget(self.backup)
            self.backup = None

    # --- what the run sees

    def look(self) -> tuple[dict[LaneId, Head], dict[LaneId, Head]]:
        """Note where every log stands; where the journals of the devices and those at the hub end.

        Raises one of `UNREADABLE` if a side cannot be read now.
        """
        written: dict[LaneId, Head] = {}
        acked: dict[LaneId, int] = {}
        for device in self.devices:
            positions, found = device.take(self._witness)
            self.violations += found
            acked |= {
                lane: position.acked for lane, position in positions.items() if lane.lane is not Lane.ORDERS
            }
            written |= {
                lane: position.head for lane, position in positions.items() if lane.lane is Lane.JOURNAL
            }
        held = hub_heads(self.site.database)
        self._looks.append(Look(era=self.era, acked=acked, held=held))
        return written, {lane: head for lane, head in held.items() if lane.lane is Lane.JOURNAL}

    def unfinished(self) -> str | None:
        """What somebody has still to do or to send; None if nobody has. Raises what asking a side that is away does."""
        written, held = self.look()
        acked = self._looks[-1].acked
        for lane, head in written.items():
            there = held.get(lane)
            if head.seq and (there != head or acked[lane] != head.seq):
                at_hub = 0 if there is None else there.seq
                return f"{lane.principal} has {head.seq} records, {acked[lane]} acknowledged, {at_hub} at the hub"
        for device in self.devices:
            shown = self.site.api.device(device.name)
            if shown["status"] != "active":
                return f"{device.name} is {shown['status']}"
            if shown["orders_waiting"]:
                return f"{shown['orders_waiting']} orders wait for {device.name}"
            if (what := device.unfinished()) is not None:
                return f"{device.name}: {what}"
        return None

    def freeze(self) -> None:
        """Devices stand still, so that what is read of them belongs together."""
        self.pause(device.process.pid for device in self.devices if device.process.is_running)

    def read(self, promised: Iterable[tuple[str, int]]) -> History:
        """Everything that everybody has written down."""
        database = self.site.database
        differences = hub_differences(database, self._directory / "rebuilt-hub.sqlite")
        return History(
            devices=_Devices(self),
            hub=HubHistory(
                tasks=hub_tasks(database), late_results=late_results(database), rebuilt=differences
            ),
            promised=frozenset(promised),
            looks=tuple(self._looks),
            restores=tuple(self._restores),
        )

    def histories(self) -> Iterator[tuple[DeviceHistory, HubDevice | None]]:
        """One device after another."""
        for device in self.devices:
            scratch = self._directory / f"rebuilt-{device.name}.sqlite"
            scratch.unlink(missing_ok=True)
            yield (
                device.history(self._witness, scratch),
                read_hub_device(self.site.database, device.principal),
            )

    def _entries_at_hub(self, lane: LaneId, after: int, upto: int) -> list[Entry]:
        return entries_between(self.site.database, lane, after, upto)

    def _branch_point(self, lane: LaneId) -> Head | None:
        return branch_point(self.site.database, lane)


def _heads(heads: Mapping[LaneId, int]) -> str:
    return ", ".join(
        f"{lane.principal} {lane.lane} {lane.epoch.hex()[:8]} {seq}" for lane, seq in heads.items()
    )


class _Devices:
    """The devices' histories, read one at a time whenever they are gone through."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __iter__(self) -> Iterator[tuple[DeviceHistory, HubDevice | None]]:
        return self._stage.histories()

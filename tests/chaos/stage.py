"""The processes under attack, and who starts them again. Blocking.

Every process keeps its home and ports over all its lives. `mend` is the supervisor: it starts what has ended, as
systemd would, and does not wait until it is ready. What it must not know: which faults there are.
"""

import signal
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cloud.db import Database
from shared.ids import Lane
from shared.log import Head
from tests.chaos.evidence import History
from tests.chaos.history import device_heads, hub_heads, open_nodes, read_device, read_hub
from tests.support.real_device import RealDevice
from tests.support.real_hub import RealHub, signal_process


class StagedDevice(RealDevice):
    """`seen`: journal positions that were read from its store while it ran."""

    def __init__(self, directory: Path, number: int) -> None:
        super().__init__(f"device-{number}", directory / f"device-{number}")
        self.seen: set[Head] = set()


class Stage:
    """Hub, its broker and some devices under one directory. Use as a context manager."""

    def __init__(self, directory: Path, *, devices: int) -> None:
        self.hub = RealHub(directory / "hub")
        self.devices = [StagedDevice(directory, number) for number in range(1, devices + 1)]
        self.starts: Counter[str] = Counter()
        self._seen_at_hub: dict[str, set[Head]] = defaultdict(set)
        self._paused: set[int] = set()
        self._open = ExitStack()
        self._database: Database | None = None

    def __enter__(self) -> "Stage":
        try:
            self._open.callback(self.hub.close)
            self.hub.start()
            self.starts["hub"] += 1
            self._database = Database(f"sqlite:///{self.hub.home / 'hub.sqlite'}")
            self._open.callback(self._database.close)
            for device in self.devices:
                self.hub.enrol(device.name, device.home)
                device.configure()
                self._open.callback(device.process.stop)
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

    # --- what faults do

    def pause(self, pid: int | None) -> bool:
        """SIGSTOP, until `resume`. Whether it was there."""
        if pid is None or not signal_process(pid, signal.SIGSTOP):
            return False
        self._paused.add(pid)
        return True

    def resume(self) -> None:
        for pid in self._paused:
            signal_process(pid, signal.SIGCONT)
        self._paused.clear()

    def mend(self) -> None:
        """Everything goes on: what was stopped is continued, what has ended is started again."""
        self.resume()
        if not self.hub.process.is_running:
            self.hub.process.start()
            self.starts["hub"] += 1
        for device in self.devices:
            if not device.process.is_running:
                device.process.start()
                self.starts["device"] += 1

    # --- what the run sees

    @property
    def database(self) -> Database:
        assert self._database is not None, "the stage is entered first"
        return self._database

    def look(self) -> tuple[int, int]:
        """Note where every log stands; how many journal records the devices and the hub have."""
        written = 0
        for device in self.devices:
            _, head, _ = device_heads(device.store, device.principal)[Lane.JOURNAL]
            device.seen.add(head)
            written += head.seq
        arrived = 0
        for lane, head in hub_heads(self.database).items():
            if lane.lane is Lane.JOURNAL:
                self._seen_at_hub[lane.principal].add(head)
                arrived += head.seq
        return written, arrived

    def is_drained(self) -> bool:
        """Whether nobody has anything left to do or to send."""
        held = hub_heads(self.database)
        orders_of = {lane.principal: (lane, head) for lane, head in held.items() if lane.lane is Lane.ORDERS}
        for device in self.devices:
            heads = device_heads(device.store, device.principal)
            lane, head, acked = heads[Lane.JOURNAL]
            if open_nodes(device.store) or acked != head.seq or held.get(lane) != head:
                return False
            if device.principal in orders_of:
                lane, head = orders_of[device.principal]
                if heads.get(Lane.ORDERS, (None, None, 0))[:2] != (lane, head) or not self._are_orders_acked(
                    lane.principal
                ):
                    return False
        return True

    def _are_orders_acked(self, principal: str) -> bool:
        waiting = self.hub.device(principal)["orders_waiting"]
        return bool(waiting == 0)

    def read(self, promised: Sequence[str]) -> History:
        """Everything that everybody has written down."""
        return History(
            devices=tuple(
                read_device(device.store, device.principal, ledger=device.ledger(), seen=device.seen)
                for device in self.devices
            ),
            hub=read_hub(self.database, seen=self._seen_at_hub),
            promised=frozenset(promised),
        )

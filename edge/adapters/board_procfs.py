"""What Linux tells about the board in `/proc` and `/sys`: a few small files, read anew each time.

Own code and not psutil, of which nothing else is wanted: its megabyte counts on a board with 512. In a container
processor and memory are the machine's, as these files are.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.ports import Measurement

PROC: Final = Path("/proc")
SYS: Final = Path("/sys")
COUNTED_CPU_FIELDS: Final = 8
"""user nice system idle iowait irq softirq steal; guest time, which follows, is in user's already (proc(5))."""
IDLE_CPU_FIELDS: Final = (3, 4)
MILLIDEGREES: Final = 1000
PLAUSIBLE_CELSIUS: Final = (-100.0, 200.0)
"""Zones without a thermometer behind them say things like -274."""


class ProcfsBoard:
    """A `Board`. `disk` is on the file system of which the free space counts."""

    def __init__(self, *, disk: Path, proc: Path = PROC, sys: Path = SYS) -> None:
        self._disk = disk
        self._proc = proc
        self._sys = sys
        self._cpu_before: tuple[int, int] | None = None

    def measure(self) -> tuple[Measurement, ...]:
        """Processor share needs two calls: it is of the time between them."""
        return tuple(
            measured
            for each in (self._cpu, self._memory, self._process, self._disk_free, self._temperature)
            for measured in each()
        )

    def _cpu(self) -> Iterator[Measurement]:
        try:
            fields = (self._proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
            spent = [int(field) for field in fields[:COUNTED_CPU_FIELDS]]
            total, idle = sum(spent), sum(spent[field] for field in IDLE_CPU_FIELDS)
        except (OSError, ValueError, IndexError):
            return
        before, self._cpu_before = self._cpu_before, (total, idle)
        if before is not None and total > before[0]:
            share = 1 - (idle - before[1]) / (total - before[0])
            yield Measurement("cpu.share", "", round(min(max(share, 0.0), 1.0), 4))

    def _memory(self) -> Iterator[Measurement]:
        try:
            lines = (self._proc / "meminfo").read_text(encoding="ascii").splitlines()
            told = {
                name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)
            }
            total, available = told["MemTotal"], told["MemAvailable"]
        except (OSError, ValueError, KeyError, IndexError):
            return
        yield Measurement("memory.used", "B", total - available)
        yield Measurement("memory.available", "B", available)

    def _process(self) -> Iterator[Measurement]:
        try:
            pages = int((self._proc / "self" / "statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return
        yield Measurement("process.rss", "B", pages * os.sysconf("SC_PAGE_SIZE"))

    def _disk_free(self) -> Iterator[Measurement]:
        try:
            told = os.statvfs(self._disk)
        except OSError:
            return
        yield Measurement("disk.free", "B", told.f_bavail * told.f_frsize)

    def _temperature(self) -> Iterator[Measurement]:
        """The hottest zone: the one at which the board begins to slow down."""
        found = []
        for path in (
            *self._sys.glob("class/thermal/thermal_zone*/temp"),
            *self._sys.glob("class/hwmon/hwmon*/temp*_input"),
        ):
            try:
                celsius = int(path.read_text(encoding="ascii")) / MILLIDEGREES
            except (OSError, ValueError):
                continue
            if PLAUSIBLE_CELSIUS[0] < celsius < PLAUSIBLE_CELSIUS[1]:
                found.append(celsius)
        if found:
            yield Measurement("temperature", "°C", max(found))

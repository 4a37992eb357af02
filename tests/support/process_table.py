"""Who has started whom, from /proc (proc(5)); and signals to processes that may have gone."""

import os
import signal
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    everybody = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [each for each in everybody if (fields := _stat(each)) and fields[1] == str(pid)]


def program_name(pid: int) -> str:
    """What is run; empty if the process has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def signal_process(pid: int, number: signal.Signals) -> bool:
    """Whether the process was there to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    """State, ppid and what follows; empty if the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

"""What can go wrong: one entry each, chosen by the seed. A fault strikes and returns; `Stage.mend` undoes it later.

A new fault is a function and a line in `FAULTS`. It says whether it struck anything, so that what is counted happened.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

from tests.chaos.devices import StagedDevice
from tests.chaos.sites import tree
from tests.chaos.stage import Stage
from tests.support.clock import set_offset
from tests.support.disks import limit_writes
from tests.support.process import ChildProcess
from tests.support.process_table import signal_process
from tests.support.tcp_proxy import Direction, Link

Strike = Callable[[Stage, Random], bool]

CUT_AFTER_MAX_BYTES: Final = 60_000
"""Half a message: a cut falls within a packet, or a few packets later."""
LATENCY_MAX_S: Final = 0.3
JITTER_MAX_S: Final = 0.3
LATE_CYCLES: Final = 1
"""What overtaken connections still hold arrives so many cycles later."""
TOLD_THE_TIME_CYCLES: Final = 2
DISK_LEFT_MAX_BYTES: Final = 40_000
FILE_GROWTH_MAX_BYTES: Final = 60_000
DAY_S: Final = 86_400.0
DEVICE_JUMPS_S: Final = (-56 * 365 * DAY_S, -30 * DAY_S, -3_600.0, -40.0, 0.0, 40.0, 3_600.0, 30 * DAY_S)
"""The first is a board without a battery clock: it starts in 1970."""
HUB_JUMPS_S: Final = (-10 * DAY_S, -3_600.0, -40.0, 0.0, 40.0, 3_600.0, 10 * DAY_S)


# --- kill -9


def kill_device(stage: Stage, random: Random) -> bool:
    """SIGKILL to one device."""
    device = random.choice(stage.devices)
    if not device.process.is_running:
        return False
    device.process.kill()
    return True


def kill_hub(stage: Stage, random: Random) -> bool:
    """SIGKILL to the process with the API. A broker that is its child ends with it, in order."""
    process = stage.site.api.process
    if not process.is_running:
        return False
    process.kill()
    return True


def kill_worker(stage: Stage, random: Random) -> bool:
    """SIGKILL to one of several ingest workers."""
    running = [process for process in _workers(stage) if process.is_running]
    if not running:
        return False
    random.choice(running).kill()
    return True


def kill_broker(stage: Stage, random: Random) -> bool:
    """SIGKILL to Mosquitto: what it had queued and not yet saved is gone."""
    return _kill(stage.site.broker_pids())


def wipe_broker(stage: Stage, random: Random) -> bool:
    """The broker's disk is lost: queues, sessions, retained messages."""
    if not kill_broker(stage, random):
        return False
    for path in stage.site.broker_data.glob("mosquitto.db*"):
        path.unlink(missing_ok=True)
    return True


def kill_database(stage: Stage, random: Random) -> bool:
    """SIGKILL to PostgreSQL, all of it."""
    return _kill(stage.site.database_pids())


# --- SIGSTOP


def pause_device(stage: Stage, random: Random) -> bool:
    """A device stands still: its connection is open, and it hears nothing."""
    return stage.pause(tree(random.choice(stage.devices).process))


def pause_hub(stage: Stage, random: Random) -> bool:
    """The process with the API stands still, and with it whoever waits for its answer."""
    process = stage.site.api.process
    return process.is_running and stage.pause([process.pid])


def pause_worker(stage: Stage, random: Random) -> bool:
    """An ingest worker stands still, perhaps in the middle of a transaction."""
    running = [process for process in _workers(stage) if process.is_running]
    return bool(running) and stage.pause([random.choice(running).pid])


def pause_broker(stage: Stage, random: Random) -> bool:
    """The broker stands still: connections are open and nothing moves."""
    return stage.pause(stage.site.broker_pids())


def pause_database(stage: Stage, random: Random) -> bool:
    """PostgreSQL stands still, all of it."""
    return stage.pause(stage.site.database_pids())


# --- the network


def cut_connection(stage: Stage, random: Random) -> bool:
    """A connection is reset in the middle of a packet."""
    link = _link(stage, random)
    if not link.connections:
        return False
    link.cut(random.choice(list(Direction)), after_bytes=random.randint(1, CUT_AFTER_MAX_BYTES))
    stage.undo(link.cut)  # if so much was not sent meanwhile
    return True


def slow_link(stage: Stage, random: Random) -> bool:
    """Latency and jitter."""
    link = _link(stage, random)
    link.delay(latency_s=random.uniform(0, LATENCY_MAX_S), jitter_s=random.uniform(0, JITTER_MAX_S))
    stage.undo(link.release)
    return bool(link.connections)


def half_open(stage: Stage, random: Random) -> bool:
    """A device's connection is dead and neither end is told: they have to find out."""
    link = random.choice(stage.devices).link
    if not link.connections:
        return False
    link.black_hole()
    return True


def half_open_worker(stage: Stage, random: Random) -> bool:
    """As `half_open`, of a worker's connection to the broker or to the database; it is reset a little later."""
    link = _site_link(stage, random)
    if link is None or not link.connections:
        return False
    link.black_hole()
    stage.undo(link.cut, after_cycles=random.randint(0, 2))
    return True


def lose_answers(stage: Stage, random: Random) -> bool:
    """What a device sends arrives, what it should hear does not: it sends all of it again."""
    link = random.choice(stage.devices).link
    if not link.connections:
        return False
    link.black_hole(Direction.DOWN)
    stage.undo(link.cut)
    return True


def overtake(stage: Stage, random: Random) -> bool:
    """What a device had sent when it was killed arrives after it is back, and its will still later."""
    device = random.choice(stage.devices)
    if not device.link.connections or not device.process.is_running:
        return False
    device.link.hold(Direction.UP)
    device.process.kill()
    stage.undo(device.link.release, after_cycles=LATE_CYCLES)
    return True


def cut_database(stage: Stage, random: Random) -> bool:
    """A connection to the database is reset in the middle of a statement or of its answer."""
    links = [
        link for name, link in stage.site.links.items() if name.endswith("database") and link.connections
    ]
    if not links:
        return False
    link = random.choice(links)
    link.cut(random.choice(list(Direction)), after_bytes=random.randint(1, CUT_AFTER_MAX_BYTES))
    stage.undo(link.cut)
    return True


# --- disks


def fill_disk(stage: Stage, random: Random) -> bool:
    """The disk of a device is full (ENOSPC), or nearly."""
    disk = stage.devices[0].disk
    if disk is None:
        return False
    disk.fill(leaving_bytes=random.choice((0, random.randint(0, DISK_LEFT_MAX_BYTES))))
    stage.undo(disk.free)
    return True


def fail_device_writes(stage: Stage, random: Random) -> bool:
    """Writes of a device beyond some point of its files fail (EFBIG, an I/O error for SQLite), also in their middle."""
    device = random.choice(stage.devices)
    return _fail_writes(random, stage, lambda: tree(device.process), _log_size(device))


def fail_hub_writes(stage: Stage, random: Random) -> bool:
    """As `fail_device_writes`, of the hub's process that holds the database."""
    process = stage.site.api.process
    log = stage.site.api.home / "hub.sqlite-wal"
    if stage.site.database_pids() or not process.is_running or not log.exists():
        return False
    return _fail_writes(random, stage, lambda: [process.pid], log.stat().st_size)


def fail_database_writes(stage: Stage, random: Random) -> bool:
    """As `fail_device_writes`, of PostgreSQL: it panics, and recovers when it is started again."""
    return _fail_writes(random, stage, stage.site.database_pids, 0)


# --- clocks


def jump_device_clock(stage: Stage, random: Random) -> bool:
    """A device's clock jumps, forwards or backwards, and stays there.

    Weeks back, or in 1970, its certificate is not valid yet: it works on by itself, until it is told the time some
    cycles later.
    """
    device, jump_s = random.choice(stage.devices), random.choice(DEVICE_JUMPS_S)
    device.set_clock(jump_s)
    if jump_s < -DAY_S:
        stage.undo(lambda: device.set_clock(0.0), after_cycles=TOLD_THE_TIME_CYCLES)
    return True


def jump_hub_clock(stage: Stage, random: Random) -> bool:
    """The clock of one of the hub's processes jumps, and stays there."""
    clocks = stage.site.clocks
    set_offset(clocks[random.choice(sorted(clocks))], random.choice(HUB_JUMPS_S))
    return True


# --- histories


def restore_hub(stage: Stage, random: Random) -> bool:
    """The hub's database is put back to a backup."""
    return stage.restore()


def clone_device(stage: Stage, random: Random) -> bool:
    """A device's card is copied into a second board, which runs beside it until an operator takes one away."""
    return stage.clone(random.choice(stage.devices))


FAULTS: Final[Mapping[str, tuple[Strike, int]]] = MappingProxyType(
    {
        "kill_device": (kill_device, 8),
        "kill_hub": (kill_hub, 3),
        "kill_worker": (kill_worker, 4),
        "kill_broker": (kill_broker, 4),
        "wipe_broker": (wipe_broker, 2),
        "kill_database": (kill_database, 2),
        "pause_device": (pause_device, 4),
        "pause_hub": (pause_hub, 3),
        "pause_worker": (pause_worker, 4),
        "pause_broker": (pause_broker, 3),
        "pause_database": (pause_database, 3),
        "cut_connection": (cut_connection, 10),
        "slow_link": (slow_link, 8),
        "half_open": (half_open, 3),
        "half_open_worker": (half_open_worker, 2),
        "lose_answers": (lose_answers, 8),
        "overtake": (overtake, 4),
        "cut_database": (cut_database, 4),
        "fill_disk": (fill_disk, 6),
        "fail_device_writes": (fail_device_writes, 5),
        "fail_hub_writes": (fail_hub_writes, 4),
        "fail_database_writes": (fail_database_writes, 1),
        "jump_device_clock": (jump_device_clock, 6),
        "jump_hub_clock": (jump_hub_clock, 4),
        "restore_hub": (restore_hub, 2),
        "clone_device": (clone_device, 2),
    }
)
"""Each with its weight: how often it is chosen, relative to the others."""


def choose(random: Random, count: int) -> list[str]:
    """Names of faults to strike together."""
    return random.choices(list(FAULTS), weights=[weight for _, weight in FAULTS.values()], k=count)


def _kill(pids: Sequence[int]) -> bool:
    """Whether any was there."""
    return bool([pid for pid in pids if signal_process(pid, signal.SIGKILL)])


def _workers(stage: Stage) -> Sequence[ChildProcess]:
    return [process for name, process in stage.site.processes.items() if name.startswith("worker")]


def _link(stage: Stage, random: Random) -> Link:
    """Mostly a device's: there are more of them, and they are worse."""
    device = random.choice(stage.devices).link
    site = _site_link(stage, random)
    return site if site is not None and random.random() < 0.3 else device


def _site_link(stage: Stage, random: Random) -> Link | None:
    links = stage.site.links
    return links[random.choice(sorted(links))] if links else None


def _log_size(device: StagedDevice) -> int:
    log = device.home / "store.sqlite-wal"
    return log.stat().st_size if log.exists() else 0


def _fail_writes(random: Random, stage: Stage, pids: Callable[[], Sequence[int]], size: int) -> bool:
    limit = random.choice((0, size + random.randint(0, FILE_GROWTH_MAX_BYTES)))
    struck = [pid for pid in pids() if limit_writes(pid, limit)]

    def allow() -> None:
        for pid in {*struck, *pids()}:  # children that were started meanwhile have their parent's limit
            limit_writes(pid, None)

    stage.undo(allow)
    return bool(struck)

"""What can go wrong: one entry each, chosen by the seed. A fault strikes and returns; `Stage.mend` undoes it later.

A new fault is a function and a line in `FAULTS`. It says whether it struck anything, so that what is counted happened.
"""

import signal
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from tests.chaos.stage import Stage
from tests.support.real_hub import signal_process

Strike = Callable[[Stage, Random], bool]


def kill_device(stage: Stage, random: Random) -> bool:
    """SIGKILL to one device."""
    device = random.choice(stage.devices)
    if not device.process.is_running:
        return False
    device.process.kill()
    return True


def kill_hub(stage: Stage, random: Random) -> bool:
    """SIGKILL to the hub; its broker ends with it, in order."""
    if not stage.hub.process.is_running:
        return False
    stage.hub.kill()
    return True


def kill_broker(stage: Stage, random: Random) -> bool:
    """SIGKILL to Mosquitto: what it had queued and not yet saved is gone. The hub starts it again."""
    pid = stage.hub.broker_pid
    return pid is not None and signal_process(pid, signal.SIGKILL)


def wipe_broker(stage: Stage, random: Random) -> bool:
    """The broker's disk is lost: queues, sessions, retained messages."""
    if not kill_broker(stage, random):
        return False
    for path in (stage.hub.home / "broker").glob("mosquitto.db*"):
        path.unlink(missing_ok=True)
    return True


def pause_hub(stage: Stage, random: Random) -> bool:
    """The hub stands still, and with it whoever waits for its answer."""
    return stage.hub.process.is_running and stage.pause(stage.hub.process.pid)


def pause_broker(stage: Stage, random: Random) -> bool:
    """The broker stands still: connections are open and nothing moves."""
    return stage.pause(stage.hub.broker_pid)


FAULTS: Final[Mapping[str, Strike]] = MappingProxyType(
    {
        "kill_device": kill_device,
        "kill_hub": kill_hub,
        "kill_broker": kill_broker,
        "wipe_broker": wipe_broker,
        "pause_hub": pause_hub,
        "pause_broker": pause_broker,
    }
)
WEIGHTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "kill_device": 4,
        "kill_hub": 2,
        "kill_broker": 3,
        "wipe_broker": 1,
        "pause_hub": 1,
        "pause_broker": 1,
    }
)
"""How often each is chosen, relative to the others."""


def choose(random: Random, count: int) -> list[str]:
    """Names of faults that strike together."""
    return random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=count)

"""`covey-hub` with a clock that may be wrong: the real program, put together with `OffsetClock`.

    python -m tests.support.hub_process FILE ARGUMENT ...

`FILE` says by how many seconds the clock is wrong, the rest is the command line.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.__main__ import run
from tests.support.clock import OffsetClock

if TYPE_CHECKING:
    from cloud.roles import Role
    from cloud.server import Parts
    from cloud.settings import HubSettings


def main(arguments: list[str]) -> int:
    file, *rest = arguments

    @contextmanager
    def open_hub(settings: "HubSettings", role: "Role", has_own_broker: bool) -> "Iterator[Parts]":
        # As `covey-hub` does: its other commands do without.
        from cloud.ground import open_ground
        from cloud.wiring import build_hub
        from cloud.wiring_models import models_of

        clock = OffsetClock(Path(file))
        with open_ground(settings, role, has_own_broker=has_own_broker, clock=clock) as ground:
            yield build_hub(ground, None, models=models_of(settings), has_own_broker=has_own_broker)

    return run(rest, open_hub=open_hub)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

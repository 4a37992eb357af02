"""`covey-hub` with a clock that may be wrong: the real program, but for the one adapter that tells the time.

    python -m tests.support.hub_process FILE ARGUMENT ...

`FILE` says by how many seconds the clock is wrong (`tests.support.clock.OffsetClock`), the rest is the command line.
"""

import sys
from pathlib import Path

from cloud.__main__ import run
from cloud.adapters import clock_system
from tests.support.clock import OffsetClock


def main(arguments: list[str]) -> int:
    file, *rest = arguments

    class WrongClock(OffsetClock):
        """What `wiring` makes without arguments."""

        def __init__(self) -> None:
            super().__init__(Path(file))

    # Here and nowhere else: the composition root takes this class by name, and offers no other door for a clock.
    clock_system.SystemClock = WrongClock  # type: ignore[misc,assignment]
    return run(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

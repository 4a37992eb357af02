"""The device's own stop button: a file that somebody puts down, or a line of the board."""

from pathlib import Path
from typing import Final

STOP_FILE: Final = "STOP"
PRESSED: Final = b"1"


def stop_file(home: Path) -> Path:
    """While it is there, the device does nothing. `covey-edge stop` makes it, and so may any script on the board."""
    return home / STOP_FILE


def is_pressed(line: Path) -> bool:
    """Whether a GPIO line that the kernel shows as a file (`/sys/class/gpio/gpio17/value`) is high.

    A line that cannot be read counts as pressed: a torn wire must not be a licence.
    """
    try:
        with line.open("rb") as file:
            return file.read(1) == PRESSED
    except OSError:
        return True

"""The daemon's log: lines on standard error through a queue, and a level that may change while it runs.

By hand, because the standard library's queue handler comes with pickle and with handlers for sockets and mail: half a
megabyte of the 60 that the idle daemon may take.
"""

import contextlib
import logging
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Final, TextIO

NOISY: Final = ("httpx", "httpcore", "uvicorn.error", "asyncio")
"""Libraries that say at `info` what nobody asked for."""

_Lines = queue.SimpleQueue[str | None]


class _LineHandler(logging.Handler):
    """Formats at once, because what a record refers to may change; the line is written by another thread."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put(self.format(record))
        except Exception:  # noqa: BLE001  # what the arguments do when they are shown must not stop who logs them
            self.handleError(record)


@contextlib.contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Log through a queue, so that a slow disk or terminal cannot stall the loop."""
    lines: _Lines = queue.SimpleQueue()
    handler = _LineHandler(lines)
    logging.getLogger().addHandler(handler)
    set_level(level)
    writer = threading.Thread(target=_write, args=(lines, sys.stderr), name="log", daemon=True)
    writer.start()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        lines.put(None)
        writer.join()


def set_level(level: str) -> None:
    """`debug`, `info`, `warning` or `error`, from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _write(lines: _Lines, stream: TextIO) -> None:
    """Until None comes. A log that cannot be written is lost, the next line is tried again."""
    while (line := lines.get()) is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{line}\n")
            stream.flush()

"""The daemon's log: lines on standard error through a queue, and a level that may change while it runs."""

import contextlib
import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterator
from typing import Final

NOISY: Final = ("httpx", "httpcore", "uvicorn.error", "asyncio")
"""Libraries that say at `info` what nobody asked for."""


@contextlib.contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Log through a queue, so that a slow disk or terminal cannot stall the loop."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, handler)
    logging.getLogger().addHandler(logging.handlers.QueueHandler(lines))
    set_level(level)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def set_level(level: str) -> None:
    """`debug`, `info`, `warning` or `error`, from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))

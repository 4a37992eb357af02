"""The hub's end of one child process: started, asked, watched by the clock, ended. Blocks; one caller at a time."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final

from cloud.knowledge.extraction import child, frames
from cloud.knowledge.extraction.containment import Measure
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.media import Format
from shared import cbor
from shared.errors import ProtocolError, UnavailableError

START_MAX_S: Final = 60.0
READY_MAX_BYTES: Final = 4_096
END_MAX_S: Final = 5.0
_CHILD: Final = "cloud.knowledge.extraction.child"


class Ending(StrEnum):
    """Why a child gave no answer."""

    TIME = "time"
    CRASH = "crash"


class Worker:
    """One child, from its start to its end. After an `Ending` it is dead; make another."""

    def __init__(self, limits: ExtractionLimits, formats: Sequence[Format]) -> None:
        """Raises `UnavailableError` when the child does not come up."""
        self._limits = limits
        self._is_late = False
        # Nothing of ours is inherited but where Python finds its modules: no environment, no files, no folder.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-B", "-m", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            bufsize=0,
            process_group=0,  # what is typed at the hub's terminal is not for the child
        )
        ready = self._exchange(child.start_message(limits, formats), START_MAX_S, READY_MAX_BYTES)
        try:
            names = cbor.decode(ready) if isinstance(ready, bytes) else None
            self.measures = frozenset(map(Measure, names if isinstance(names, list) else ()))
        except (ProtocolError, ValueError):
            self.measures = frozenset()
        if Measure.LIMITS not in self.measures:
            self.end()
            raise UnavailableError(
                "The process that reads documents does not start; check that covey[cloud] is installed whole.",
                code="extraction_unavailable",
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: bytes) -> bytes | Ending:
        return self._exchange(message, self._limits.wall_max_s, self._limits.output_max_bytes)

    def kill(self) -> None:
        """From another thread: whoever waits for an answer gets an `Ending`."""
        self._process.kill()

    def end(self) -> None:
        """At once. May be called again."""
        self._process.kill()
        self._process.wait(END_MAX_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _exchange(self, message: bytes, max_s: float, max_bytes: int) -> bytes | Ending:
        """A child that takes its time is killed, which ends our waiting for its pipes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._is_late = False
        alarm = threading.Timer(max_s, self._kill_late)
        alarm.name = f"extraction-alarm[{self._process.pid}]"
        alarm.daemon = True
        alarm.start()
        try:
            with suppress(OSError):  # it may have given up reading, and said why
                frames.send(self._process.stdin, message)
            answer = frames.receive(self._process.stdout, max_bytes=max_bytes)
        finally:
            alarm.cancel()
        if answer is not None:
            return answer
        self.end()
        out_of_time = self._is_late or self._process.returncode == -signal.SIGPROF
        return Ending.TIME if out_of_time else Ending.CRASH

    def _kill_late(self) -> None:
        self._is_late = True
        self._process.kill()

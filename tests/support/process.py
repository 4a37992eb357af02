"""A real child process under a test's control.

In its own process group, so that all of it can be stopped; its output in a log file, printed when the process ends
(pytest shows that for a failed test); always reaped. All methods block: in an async test call them with
`await asyncio.to_thread(...)`.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.ports import accepts

POLL_S = 0.02
LOG_TAIL_CHARS = 8_000

T = TypeVar("T")


class ProcessFailedError(AssertionError):
    """The process ended, or did not do in time what was waited for. Carries the end of its log."""


class ChildProcess:
    """Start with `with ChildProcess(...)` or `start()`; may be started again after it ended."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        """`environment` is added to ours. `user` (name) needs root. The log is appended to, over all starts."""
        self._command = [os.fspath(part) for part in command]
        self._environment = dict(environment or {})
        self._directory = directory
        self._stop_signal = stop_signal
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._searched = 0
        self.log = log

    def start(self) -> Self:
        if self.is_running:
            raise RuntimeError(f"{self._name} is running already")
        self._searched = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                process_group=0,
                user=self._user,
                group=self._user,
                extra_groups=() if self._user else None,
            )
        return self

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self._name} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return None if self._process is None else self._process.poll()

    def output(self) -> str:
        """Everything it wrote so far, standard output and error together, over all starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for_line(self, pattern: str, *, timeout_s: float = 20.0) -> re.Match[str]:
        """The first match of `pattern` in a whole line written since the start and after the previous match."""

        def found() -> re.Match[str] | None:
            with self.log.open("rb") as log:
                log.seek(self._searched)
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._searched += len(line)
                    if match := re.search(pattern, line.decode(errors="replace")):
                        return match
            return None

        return self.wait_until(found, f"to write a line like {pattern!r}", timeout_s=timeout_s)

    def wait_for_port(self, port: int, *, timeout_s: float = 20.0) -> None:
        """Until something accepts connections on 127.0.0.1:`port`."""
        self.wait_until(lambda: accepts(port), f"to accept connections on port {port}", timeout_s=timeout_s)

    def wait_until(self, condition: Callable[[], T | None], what: str, *, timeout_s: float) -> T:
        """Until `condition()` is true; its value. Fails at once when the process ends before."""
        deadline = time.monotonic() + timeout_s
        while True:
            # In this order: what it did just before it ended still counts.
            has_ended = not self.is_running
            if value := condition():
                return value
            if has_ended:
                raise self._failed(f"ended with exit code {self.exit_code} while a test waited for it {what}")
            if time.monotonic() > deadline:
                raise self._failed(f"had {timeout_s:g} s {what} and did not")
            time.sleep(POLL_S)

    def wait(self, *, timeout_s: float = 20.0) -> int:
        """Until it ends by itself; its exit code."""
        if self._process is None:
            raise RuntimeError(f"{self._name} was never started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failed(f"had {timeout_s:g} s to end and did not") from None

    def stop(self, *, timeout_s: float = 10.0) -> int | None:
        """Ask it to end, then kill what is left of its group. Its exit code. May be called at any time."""
        if self._process is None:
            return None
        if self.is_running:
            self.signal(self._stop_signal)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                print(f"{self._name} did not stop within {timeout_s:g} s and was killed")
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to the whole group: a power cut. Its exit code."""
        if self._process is None:
            raise RuntimeError(f"{self._name} was never started")
        # The group may hold grandchildren although the child has ended.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its group."""
        os.kill(self.pid, number)

    def __enter__(self) -> Self:
        return self if self.is_running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        print(f"---- log of {self._name} ({self.log}), exit code {self.exit_code}\n{self._tail()}")

    @property
    def _name(self) -> str:
        return " ".join(Path(part).name for part in self._command[:3])

    def _tail(self) -> str:
        return self.output()[-LOG_TAIL_CHARS:]

    def _failed(self, what: str) -> ProcessFailedError:
        return ProcessFailedError(f"{self._name} {what}. The end of its log:\n{self._tail()}")

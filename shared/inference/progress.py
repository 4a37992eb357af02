"""How a long step tells a person what it does. The installer only knows the protocol."""

import time
from typing import Final, Protocol

LINE_INTERVAL_S: Final = 5.0


class Progress(Protocol):
    def begin(self, label: str, total_bytes: int) -> None:
        """A step of known size starts; the one before has ended."""
        ...

    def reached(self, done_bytes: int) -> None: ...

    def note(self, line: str) -> None:
        """One line that stays."""
        ...


class SilentProgress:
    def begin(self, label: str, total_bytes: int) -> None: ...

    def reached(self, done_bytes: int) -> None: ...

    def note(self, line: str) -> None: ...


class ConsoleProgress:
    """A bar on a terminal, a line every few seconds in a log. A context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._bar.add_task("", visible=False)
        self._label = ""
        self._total_bytes = 0
        self._next_line_at = 0.0

    def __enter__(self) -> "ConsoleProgress":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, label: str, total_bytes: int) -> None:
        self._label, self._total_bytes = label, total_bytes
        self._next_line_at = time.monotonic() + LINE_INTERVAL_S
        self._bar.reset(self._task, description=label, total=total_bytes, visible=True)

    def reached(self, done_bytes: int) -> None:
        self._bar.update(self._task, completed=done_bytes)
        now = time.monotonic()
        if not self._console.is_terminal and now >= self._next_line_at:
            self._next_line_at = now + LINE_INTERVAL_S
            share = 100 * done_bytes // max(1, self._total_bytes)
            self._console.print(
                f"{self._label}: {share} % of {self._total_bytes / 1e6:,.0f} MB", markup=False
            )

    def note(self, line: str) -> None:
        self._console.print(line, markup=False)

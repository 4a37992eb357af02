"""Who watches which task, in this process: publishing wakes the watchers; what they then read is their business.

`publish` may be called from any thread. Changes made by other processes do not come through here, so a watcher also
looks at the task's revision once in a while.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import CapacityError


class TaskFeed:
    """Wakes watchers. Bound to the event loop in which it was first watched; bounded by `streams_max`, and by
    `per_caller_max` for one of those who watch."""

    def __init__(self, *, streams_max: int, per_caller_max: int | None = None) -> None:
        """`per_caller_max` None: as many as all."""
        self._streams_max = streams_max
        self._per_caller_max = streams_max if per_caller_max is None else per_caller_max
        self._callers: Counter[str] = Counter()
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False

    @property
    def streams(self) -> int:
        """Open ones."""
        return self._callers.total()

    def publish(self, task_ids: set[str]) -> None:
        """These tasks changed, and the change is committed. Thread-safe; cheap when nobody watches."""
        loop = self._loop
        if loop is None or not task_ids:
            return
        try:
            loop.call_soon_threadsafe(self._wake, frozenset(task_ids))
        except RuntimeError:  # the loop has closed: nobody watches any more
            self._loop = None

    @contextmanager
    def watch(self, task_id: str, caller: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the task, and when the feed closes. In the event loop only.

        `caller`: as whose it counts. Raises `CapacityError` when `streams_max` watchers are there, or
        `per_caller_max` of the caller's.
        """
        if self._callers[caller] >= self._per_caller_max:
            raise CapacityError(
                f"You have {self._per_caller_max} event streams open already; close some.",
                bound="event_streams_per_caller_max",
                limit=self._per_caller_max,
                code="too_many_streams",
            )
        if self.streams >= self._streams_max:
            raise CapacityError(
                f"{self._streams_max} event streams are open already; close some, or raise event_streams_max.",
                bound="event_streams_max",
                limit=self._streams_max,
                code="too_many_streams",
            )
        self._loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        if self.is_closed:
            changed.set()
        self._callers[caller] += 1
        self._watchers.setdefault(task_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
            watchers = self._watchers[task_id]
            watchers.discard(changed)
            if not watchers:
                del self._watchers[task_id]

    def close(self) -> None:
        """End all streams: a server that stops would else wait for them. In the event loop only."""
        self.is_closed = True
        for watchers in self._watchers.values():
            for changed in watchers:
                changed.set()

    def _wake(self, task_ids: frozenset[str]) -> None:
        for task_id in task_ids & self._watchers.keys():
            for changed in self._watchers[task_id]:
                changed.set()

"""Who watches which task, in this process: publishing wakes the watchers; what they then read is their business.

`publish` may be called from any thread. Changes made by other processes do not come through here, so a watcher also
looks at the task's revision once in a while.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import CapacityError


class TaskFeed:
    """Wakes watchers. Bound to the event loop in which it was first watched; bounded by `streams_max`."""

    def __init__(self, *, streams_max: int) -> None:
        self._streams_max = streams_max
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False

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
    def watch(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the task, and when the feed closes. In the event loop only.

        Raises `CapacityError` when `streams_max` watchers are there.
        """
        if self._count >= self._streams_max:
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
        self._count += 1
        self._watchers.setdefault(task_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._count -= 1
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

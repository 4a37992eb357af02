"""One thread that owns one heavy thing: loads it for the first job, runs jobs in order, unloads it when idle.

`load` and `unload` are called on that thread only, so what they handle needs no locks. Must not know what it
carries. Invariants: jobs run in the order of `submit`; the thing is never unloaded while a job runs; a failed load
fails the job that needed it and the next job tries again.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


class ModelWorker(Generic[Loaded]):
    def __init__(
        self, *, name: str, load: Callable[[], Loaded], unload: Callable[[Loaded], None], idle_unload_s: float
    ) -> None:
        """`idle_unload_s` 0 means: keep it until `close`."""
        self._name = name
        self._load = load
        self._unload = unload
        self._idle_unload_s = idle_unload_s
        self._guard = threading.Lock()
        self._thread: _Thread[Loaded] | None = None
        self._ended: _Thread[Loaded] | None = None

    @property
    def loaded(self) -> bool:
        thread = self._thread
        return thread is not None and thread.loaded

    def unload_after(self, idle_unload_s: float) -> None:
        """Another idle time from now on, also for a thing that is idle already."""
        with self._guard:
            self._idle_unload_s = idle_unload_s
            if self._thread is not None:
                self._thread.idle_unload_s = idle_unload_s
                self._thread.jobs.put(lambda _: None)  # it waits by the old measure until the next job

    def submit(self, job: Callable[[Loaded], Result]) -> Future[Result]:
        """Run `job` on the thread after all jobs submitted before. Cancelling the future works until it starts."""
        future: Future[Result] = Future()

        def run(thing: Callable[[], Loaded]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(job(thing()))
            except BaseException as exc:  # noqa: BLE001  # the boundary of the thread: whoever waits decides
                future.set_exception(exc)

        with self._guard:
            if self._thread is None:
                self._thread = _Thread(
                    name=f"model[{self._name}]",
                    load=self._load,
                    unload=self._unload,
                    idle_unload_s=self._idle_unload_s,
                    after=self._ended,
                )
                self._thread.start()
            self._thread.jobs.put(run)
        return future

    async def close(self) -> None:
        """Unload after the jobs that are already submitted. The worker may be used again."""
        with self._guard:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._ended = thread
                thread.jobs.put(None)
        if thread is not None:
            await asyncio.to_thread(thread.join)


class _Thread(threading.Thread, Generic[Loaded]):
    """A daemon thread: a program that ends without `close` must not hang on a generation."""

    def __init__(
        self,
        *,
        name: str,
        load: Callable[[], Loaded],
        unload: Callable[[Loaded], None],
        idle_unload_s: float,
        after: threading.Thread | None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.jobs: queue.SimpleQueue[Callable[[Callable[[], Loaded]], None] | None] = queue.SimpleQueue()
        self._load_thing = load
        self._unload_thing = unload
        self.idle_unload_s = idle_unload_s
        self._after = after
        self._things: list[Loaded] = []

    @property
    def loaded(self) -> bool:
        return bool(self._things)

    def run(self) -> None:
        if self._after is not None:
            self._after.join()  # never two of the heavy thing at once
            self._after = None
        while True:
            try:
                job = self.jobs.get(
                    timeout=self.idle_unload_s if self._things and self.idle_unload_s else None
                )
            except queue.Empty:
                logger.info("%s: unloading after %.0f s without work", self.name, self.idle_unload_s)
                self._drop()
                continue
            if job is None:
                self._drop()
                return
            job(self._thing)
            del job  # it holds the caller's results

    def _thing(self) -> Loaded:
        if not self._things:
            self._things.append(self._load_thing())
        return self._things[0]

    def _drop(self) -> None:
        while self._things:
            self._unload_thing(self._things.pop())

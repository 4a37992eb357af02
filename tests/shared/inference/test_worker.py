"""The thread that owns a heavy thing: order, idleness, failure, reuse."""

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from shared.inference.worker import ModelWorker

LIMIT_S = 10.0


class Heavy:
    """Counts, and says on which threads it was touched."""

    def __init__(self) -> None:
        self.loads = 0
        self.failures: list[Exception] = []
        self.threads: set[str] = set()
        self.unloaded = threading.Event()
        self.alive = 0

    def load(self) -> "Heavy":
        self.threads.add(threading.current_thread().name)
        if self.failures:
            raise self.failures.pop()
        self.loads += 1
        self.alive += 1
        assert self.alive == 1, "two at once"
        return self

    def unload(self, thing: "Heavy") -> None:
        assert thing is self
        self.threads.add(threading.current_thread().name)
        self.alive -= 1
        self.unloaded.set()

    def worker(self, idle_unload_s: float = 0.0) -> "ModelWorker[Heavy]":
        return ModelWorker(name="heavy", load=self.load, unload=self.unload, idle_unload_s=idle_unload_s)


def result(future: "Future[Any]") -> Any:
    return future.result(timeout=LIMIT_S)


async def test_nothing_is_loaded_before_the_first_job() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    assert not worker.loaded
    await worker.close()
    assert heavy.loads == 0


async def test_jobs_run_in_order_on_one_thread_of_their_own() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    order: list[int] = []
    for job in [worker.submit(partial(lambda n, _: order.append(n), n)) for n in range(50)]:
        result(job)
    assert order == list(range(50))
    loaded_before = worker.loaded
    await worker.close()
    assert (loaded_before, worker.loaded) == (True, False)
    assert heavy.threads == {"model[heavy]"}
    assert heavy.loads == 1


async def test_idle_thing_is_unloaded_and_loaded_again_when_needed() -> None:
    heavy = Heavy()
    worker = heavy.worker(idle_unload_s=0.01)
    result(worker.submit(lambda _: None))
    assert await asyncio.to_thread(heavy.unloaded.wait, LIMIT_S)
    result(worker.submit(lambda _: None))
    assert heavy.loads == 2
    await worker.close()


async def test_another_idle_time_counts_at_once_also_for_a_thing_that_is_idle_already() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    worker.unload_after(3_600)
    result(worker.submit(lambda _: None))
    worker.unload_after(0.01)
    assert await asyncio.to_thread(heavy.unloaded.wait, LIMIT_S)
    await worker.close()


async def test_thing_is_not_unloaded_while_a_job_runs_longer_than_the_idle_time() -> None:
    heavy = Heavy()
    worker = heavy.worker(idle_unload_s=0.001)
    never = threading.Event()
    job = worker.submit(lambda _: (never.wait(0.05), heavy.alive))
    assert result(job)[1] == 1
    await worker.close()


async def test_failed_load_fails_its_job_and_the_next_job_tries_again() -> None:
    heavy = Heavy()
    heavy.failures = [OSError("no such file")]
    worker = heavy.worker()
    with pytest.raises(OSError, match="no such file"):
        result(worker.submit(lambda _: None))
    assert not worker.loaded
    assert result(worker.submit(lambda _: "fine")) == "fine"
    await worker.close()


async def test_failed_job_does_not_stop_the_thread() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    with pytest.raises(ZeroDivisionError):
        result(worker.submit(lambda _: 1 // 0))
    assert result(worker.submit(lambda _: 1)) == 1
    await worker.close()


async def test_job_cancelled_before_its_turn_never_runs() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    go = threading.Event()
    first = worker.submit(lambda _: go.wait(LIMIT_S))
    ran: list[bool] = []
    second = worker.submit(lambda _: ran.append(True))
    assert second.cancel()
    go.set()
    result(first)
    await worker.close()
    assert ran == []


async def test_close_lets_submitted_jobs_finish_and_the_worker_can_be_used_again() -> None:
    heavy = Heavy()
    worker = heavy.worker()
    go = threading.Event()
    before = worker.submit(lambda _: go.wait(LIMIT_S))
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0)
    after = worker.submit(lambda _: heavy.alive)  # on a new thread, which waits for the old one to unload
    go.set()
    assert result(before) is True
    await asyncio.wait_for(closing, LIMIT_S)
    assert await asyncio.wait_for(asyncio.wrap_future(after), LIMIT_S) == 1
    assert heavy.loads == 2
    await worker.close()

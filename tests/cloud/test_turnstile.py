"""Threads take turns in the order in which they came; and so do those that write to a hub's SQLite database."""

import asyncio
import threading
from pathlib import Path

import pytest

from cloud.db import Database
from cloud.turnstile import Turnstile
from shared.errors import UnavailableError
from tests.support.waiting import WAIT_S, eventually


async def test_who_comes_back_at_once_stands_at_the_end_of_the_queue() -> None:
    turnstile = Turnstile()
    order: list[str] = []

    def come(name: str) -> None:
        with turnstile.turn(WAIT_S):
            order.append(name)

    with turnstile.turn(WAIT_S):
        order.append("first")
        others = [asyncio.create_task(asyncio.to_thread(come, "second"))]
        await eventually(lambda: turnstile.waiting == 1)
        others.append(asyncio.create_task(asyncio.to_thread(come, "third")))
        await eventually(lambda: turnstile.waiting == 2)
    await asyncio.to_thread(come, "first again")
    await asyncio.gather(*others)
    assert order == ["first", "second", "third", "first again"]
    assert turnstile.waiting == 0


async def test_a_turn_that_does_not_come_in_time_is_given_up_and_costs_nobody_a_turn() -> None:
    turnstile = Turnstile()

    def come(timeout_s: float) -> None:
        with turnstile.turn(timeout_s):
            pass

    with turnstile.turn(WAIT_S):
        patient = asyncio.create_task(asyncio.to_thread(come, WAIT_S))
        await eventually(lambda: turnstile.waiting == 1)
        with pytest.raises(UnavailableError, match="try again"):
            await asyncio.to_thread(come, 0.01)
        assert turnstile.waiting == 1
    await patient
    come(0.01)


def test_a_turn_ends_with_an_error_too() -> None:
    turnstile = Turnstile()
    with pytest.raises(ValueError, match="spoiled"), turnstile.turn(WAIT_S):
        raise ValueError("spoiled")
    with turnstile.turn(0.01):
        pass


async def test_writers_of_a_sqlite_database_take_turns_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    order: list[str] = []
    may_end = threading.Event()

    def ingest() -> None:
        with database.write():
            order.append("ingest")
            assert may_end.wait(WAIT_S)
        with database.write():
            order.append("ingest again")

    def request() -> None:
        with database.write():
            order.append("request")

    first = asyncio.create_task(asyncio.to_thread(ingest))
    await eventually(lambda: order)
    second = asyncio.create_task(asyncio.to_thread(request))
    await eventually(lambda: database.writers_waiting == 1)
    may_end.set()
    await asyncio.gather(first, second)
    database.close()
    assert order == ["ingest", "request", "ingest again"]

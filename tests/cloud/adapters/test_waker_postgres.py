"""Words between the hub's processes over PostgreSQL's LISTEN and NOTIFY."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing

import pytest
from sqlalchemy import text

from cloud.adapters.waker_postgres import CHANNEL, NAMES_MAX, PostgresWaker
from cloud.db import Database
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

LISTENING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"


@pytest.fixture
def database(postgres_database: str) -> Iterator[Database]:
    with closing(Database(postgres_database)) as opened:
        yield opened


def listeners(database: Database) -> set[int]:
    """The server's processes that serve a connection which listens."""
    with database.read() as session:
        return set(session.execute(text(LISTENING)).scalars())


def execute(database: Database, statement: str) -> None:
    with database.write() as session:
        session.execute(text(statement))


@asynccontextmanager
async def listening(database: Database, waker: PostgresWaker) -> AsyncIterator[list[Collection[str]]]:
    heard: list[Collection[str]] = []
    task = asyncio.create_task(waker.listen(heard.append))
    try:
        await eventually(lambda: listeners(database))
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_others_hear_whose_orders_were_appended_and_the_sender_does_not(database: Database) -> None:
    waker, other = PostgresWaker(database), PostgresWaker(database)
    async with listening(database, waker) as heard:
        await asyncio.to_thread(waker.tell, {"acme.mine"})
        await asyncio.to_thread(other.tell, {"acme.b", "acme.a"})
        await eventually(lambda: heard)
        assert heard == [["acme.a", "acme.b"]]


async def test_many_names_come_in_several_words(database: Database) -> None:
    """PostgreSQL bounds one at 8,000 bytes; a name has at most 64."""
    names = {f"{'t' * 24}.{number:039}" for number in range(2 * NAMES_MAX + 1)}
    async with listening(database, PostgresWaker(database)) as heard:
        await asyncio.to_thread(PostgresWaker(database).tell, names)
        await eventually(lambda: len(heard) == 3)
        assert {name for word in heard for name in word} == names


async def test_what_is_none_of_ours_is_not_taken(database: Database) -> None:
    async with listening(database, PostgresWaker(database)) as heard:
        for payload in ("", "nonsense", "{}", "[1]", '{"from": 1, "orders_for": 5}'):
            execute(database, f"SELECT pg_notify('{CHANNEL}', '{payload}')")
        await asyncio.to_thread(PostgresWaker(database).tell, {"acme.a"})
        await eventually(lambda: heard)
        assert heard == [["acme.a"]]


async def test_connection_that_is_cut_is_made_again(database: Database) -> None:
    async with listening(database, PostgresWaker(database)) as heard:
        (before,) = listeners(database)
        execute(database, f"SELECT pg_terminate_backend({before})")
        await eventually(lambda: listeners(database) - {before})
        await asyncio.to_thread(PostgresWaker(database).tell, {"acme.a"})
        await eventually(lambda: heard)


async def test_nothing_to_tell_says_nothing(database: Database) -> None:
    async with listening(database, PostgresWaker(database)) as heard:
        await asyncio.to_thread(PostgresWaker(database).tell, ())
        await asyncio.to_thread(PostgresWaker(database).tell, {"acme.a"})
        await eventually(lambda: heard)
        assert heard == [["acme.a"]]

"""The throw-away server gives each test an empty database and takes it away again."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.postgres


def databases(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return set(connection.execute(text("SELECT datname FROM pg_database")).scalars())
    finally:
        engine.dispose()


def test_each_database_is_new_and_dropped_although_somebody_is_connected(
    postgres_server: PostgresServer,
) -> None:
    before = databases(postgres_server.url())
    with postgres_server.fresh_database() as first, postgres_server.fresh_database() as second:
        assert first != second
        assert {make_url(first).database, make_url(second).database} <= databases(first)
        left_open = create_engine(first).connect()
        left_open.execute(text("CREATE TABLE something (id integer)"))
    assert databases(postgres_server.url()) == before
    left_open.invalidate()
    left_open.close()


def test_fixture_gives_an_empty_database(postgres_database: str) -> None:
    engine = create_engine(postgres_database)
    with engine.connect() as connection:
        tables = connection.execute(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        ).scalar_one()
    engine.dispose()
    assert tables == 0

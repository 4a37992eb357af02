"""A hub for each test that asks for one, and a database: once SQLite, once PostgreSQL (marker `postgres`)."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from cloud.db import Database
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_postgres, migrated_sqlite
from tests.support.postgres import PostgresServer

HERE: Final = Path(__file__).parent
WHOLE_HUBS: Final = frozenset({"hub", "world"})
"""Fixtures of tests in this directory."""


@pytest.hookimpl(tryfirst=True)  # before markers select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole hub costs 0.1 s, most of it for routes: with hundreds of them the quick part would not be quick."""
    for item in items:
        if not isinstance(item, pytest.Function) or HERE not in item.path.parents:
            continue
        if not WHOLE_HUBS.isdisjoint(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock) as api:
        yield api


@pytest.fixture
def hub_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """A SQLAlchemy URL of an empty, migrated database of this test's own."""
    with migrated_postgres(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    if request.param == "sqlite":
        url = migrated_sqlite(tmp_path / "hub.sqlite")
    else:
        url = request.getfixturevalue("hub_postgres")
    with closing(Database(url)) as opened:
        yield opened

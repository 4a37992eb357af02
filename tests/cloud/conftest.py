"""A hub for each test that asks for one, and a database: once SQLite, once PostgreSQL (marker `postgres`)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud.db import Database
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_postgres, migrated_sqlite


@pytest.hookimpl(tryfirst=True)  # before markers select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole hub costs 0.1 s, most of it for routes: with hundreds of them the quick part would not be quick."""
    for item in items:
        if isinstance(item, pytest.Function) and "hub" in item.fixturenames:
            item.add_marker("slow")


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock) as api:
        yield api


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = migrated_sqlite(tmp_path / "hub.sqlite")
        else:
            url = stack.enter_context(migrated_postgres(request.getfixturevalue("postgres_server")))
        opened = Database(url)
        stack.callback(opened.close)
        yield opened

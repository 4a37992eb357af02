"""A hub for each test that asks for one, and a database: once SQLite, once PostgreSQL (marker `postgres`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import Database
from cloud.schema import migrate
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock) as api:
        yield api


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_database")
    opened = Database(url)
    migrate(opened)
    yield opened
    opened.close()

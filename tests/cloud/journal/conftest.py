"""Every test of the logs runs on SQLite, and again on PostgreSQL (marker `postgres`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import Database
from cloud.schema import migrate


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

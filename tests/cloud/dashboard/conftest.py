"""What is read is the same from SQLite and from PostgreSQL (marker `postgres`)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import Database
from cloud.schema import migrate


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database as a new hub makes it, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "hub.sqlite"
    opened = Database(f"sqlite:///{file}")
    migrate(opened)
    opened.close()
    return file


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    if request.param == "sqlite":
        shutil.copy(migrated_file, tmp_path / "hub.sqlite")
        opened = Database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    else:
        opened = Database(request.getfixturevalue("postgres_database"))
        migrate(opened)
    yield opened
    opened.close()

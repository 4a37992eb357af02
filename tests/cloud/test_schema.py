"""Migrations: from nothing they make exactly the tables that the program knows, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlmodel import SQLModel

from cloud import schema
from cloud.db import Database
from cloud.schema import migrate
from cloud.tables import TABLES
from shared.errors import ConfigError, UnavailableError


def check(url: str) -> None:
    database = Database(url)
    migrate(database)
    migrate(database)  # and again, as the next start does
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
    assert names == {table.__tablename__ for table in TABLES} == set(SQLModel.metadata.tables)
    database.close()


def test_the_versions_of_the_schema_stand_in_a_row() -> None:
    """Two that follow the same one come together when two people's work does; no hub starts on that."""
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    numbers = [script.revision for script in scripts.walk_revisions()]
    assert len(scripts.get_heads()) == 1
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.slow
def test_the_migrated_database_is_the_one_the_program_knows_on_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path / 'hub.sqlite'}")


@pytest.mark.postgres
def test_the_migrated_database_is_the_one_the_program_knows_on_postgresql(postgres_database: str) -> None:
    check(postgres_database)


def _made_by_a_newer_program(database: Database) -> None:
    migrate(database)
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    _made_by_a_newer_program(database)
    with pytest.raises(ConfigError, match="made by a newer covey-hub"):
        migrate(database)
    database.close()


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    with database.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE task (something TEXT)")
    with pytest.raises(ConfigError, match="could not be migrated"):
        migrate(database)
    assert inspect(database.engine).get_table_names() == ["task"]
    database.close()


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'hub.sqlite'}")
    with pytest.raises(UnavailableError, match="cannot be opened"):
        migrate(database)
    database.close()

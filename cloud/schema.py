"""Bringing a database to the shape that this program knows, at every start. Forward only, all of it or nothing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from cloud.db import Database
from shared.errors import ConfigError, UnavailableError

logger = logging.getLogger(__name__)

MIGRATION_LOCK = 0x636F7665_79687562
"""Key of PostgreSQL's advisory lock under which hubs that start at the same moment migrate one after another."""


def migrate(database: Database) -> frozenset[str]:
    """Where the database stood before; nothing if it was empty. Blocking.

    Raises `ConfigError` if the database was made by a newer program or is not the hub's.
    """
    try:
        with database.engine.connect() as connection:
            _lock(connection)
            before = _upgrade(connection)
            connection.commit()
            return before
    except OperationalError as error:
        raise UnavailableError(
            "The hub's database cannot be opened; see database_url, and whether the server is there."
        ) from error


@dataclass(frozen=True, slots=True)
class Revisions:
    """Where a database stands (nothing: it is empty), and where this program would bring it."""

    current: frozenset[str]
    newest: frozenset[str]
    known: frozenset[str]


def revisions(connection: Connection) -> Revisions:
    """Looks, and changes nothing."""
    with _scripts(connection) as config:
        scripts = ScriptDirectory.from_config(config)
        return Revisions(
            current=frozenset(MigrationContext.configure(connection).get_current_heads()),
            newest=frozenset(scripts.get_heads()),
            known=frozenset(script.revision for script in scripts.walk_revisions()),
        )


@contextmanager
def _scripts(connection: Connection) -> Iterator[Config]:
    with as_file(files("cloud") / "migrations") as directory:
        config = Config()
        config.set_main_option("script_location", str(directory).replace("%", "%%"))
        config.attributes["connection"] = connection
        yield config


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def _upgrade(connection: Connection) -> frozenset[str]:
    found = revisions(connection)
    with _scripts(connection) as config:
        if not found.current <= found.known:
            raise ConfigError(
                "The hub's database was made by a newer covey-hub; install that version again, or restore the backup."
            )
        if found.current == found.newest:
            return found.current
        logger.info("migrating the database from %s", ", ".join(found.current) or "nothing")
        try:
            command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise ConfigError(
                "The hub's database could not be migrated: it has other tables, or is damaged. Nothing was changed."
            ) from error
    return found.current

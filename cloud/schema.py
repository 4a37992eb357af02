"""Bringing a database to the shape that this program knows, at every start. Forward only, all of it or nothing."""

import logging
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


def migrate(database: Database) -> None:
    """Blocking. Raises `ConfigError` if the database was made by a newer program or is not the hub's."""
    try:
        with database.engine.connect() as connection:
            _lock(connection)
            _upgrade(connection)
            connection.commit()
    except OperationalError as error:
        raise UnavailableError(
            "The hub's database cannot be opened; see database_url, and whether the server is there."
        ) from error


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def _upgrade(connection: Connection) -> None:
    with as_file(files("cloud") / "migrations") as directory:
        config = Config()
        config.set_main_option("script_location", str(directory).replace("%", "%%"))
        config.attributes["connection"] = connection
        known = ScriptDirectory.from_config(config)
        current = MigrationContext.configure(connection).get_current_heads()
        revisions = {script.revision for script in known.walk_revisions()}
        if not set(current) <= revisions:
            raise ConfigError(
                "The hub's database was made by a newer covey-hub; install that version again, or restore the backup."
            )
        if set(current) == set(known.get_heads()):
            return
        logger.info("migrating the database from %s", ", ".join(current) or "nothing")
        try:
            command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise ConfigError(
                "The hub's database could not be migrated: it has other tables, or is damaged. Nothing was changed."
            ) from error

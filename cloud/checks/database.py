"""Does the database answer, is it this program's, sound, and can it be written to so that it lasts?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from sqlalchemy import URL, Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cloud.checks.subject import Subject, quoted
from cloud.db import Database
from cloud.devices.tables import Refusal
from cloud.schema import Revisions, revisions
from shared.errors import UnavailableError
from shared.findings import Finding, fail, ok

NAME: Final = "database"
WRITING: Final = "database writing"
POSTGRES_MIN: Final = 13
LOOK_MAX_S: Final = 10.0
"""How long the structure of SQLite's file is looked at."""
LOOK_EACH_STEPS: Final = 10_000
DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""PostgreSQL's settings without which a commit may be lost, and with it records that were acknowledged."""
PROBE: Final = "doctor.probe"


class _Undo(Exception):
    """Ends the transaction of the test without leaving anything."""


def check(subject: Subject) -> Iterator[Finding]:
    database = subject.database
    if database is None:
        yield _not_open(subject)
        return
    try:
        with database.engine.connect() as connection:
            yield judge_revisions(subject, revisions(connection), where=_where(database, connection))
            if database.is_sqlite:
                yield from _sqlite_damage(subject, connection)
            else:
                yield judge_postgres(*_postgres_facts(connection))
    except SQLAlchemyError as error:
        yield fail(NAME, f"The database cannot be read ({words(error)}).", _look_at(subject))
        return
    if subject.has_tables:
        yield _write_and_undo(database)


def judge_revisions(subject: Subject, found: Revisions, *, where: str) -> Finding:
    if not found.current:
        return fail(NAME, f"{where} holds no tables of a hub yet; the first start makes them.", subject.start)
    if not found.current <= found.known:
        return fail(
            NAME,
            f"{where} was made by a newer covey-hub (revision {', '.join(sorted(found.current))}).",
            "pip install --upgrade 'covey[cloud]'",
        )
    if found.current != found.newest:
        return fail(
            NAME,
            f"{where} is of revision {', '.join(sorted(found.current))}, this program needs"
            f" {', '.join(sorted(found.newest))}; the next start brings it there. Make a backup before.",
            subject.start,
        )
    return ok(NAME, f"{where} answers, revision {', '.join(sorted(found.current))}.")


def judge_postgres(version: int, settings: dict[str, str]) -> Finding:
    """`version` as `server_version_num` has it: 150004 for 15.4. `settings`: those of `DURABLE`."""
    if version // 10_000 < POSTGRES_MIN:
        return fail(NAME, f"PostgreSQL {version // 10_000} is too old; it takes {POSTGRES_MIN} or newer.")
    if off := [name for name, value in settings.items() if value == "off"]:
        return fail(
            NAME,
            f"PostgreSQL has {', '.join(off)} off: a power cut may lose records that devices were told are safe.",
            "; ".join(f'psql -c "ALTER SYSTEM SET {name} = on"' for name in off)
            + '; psql -c "SELECT pg_reload_conf()"',
        )
    return ok(NAME, f"PostgreSQL {version // 10_000} waits for the disk before a commit counts.")


def judge_damage(subject: Subject, path: Path, said: str | None) -> Finding:
    """`said`: SQLite's verdict, None if there was no time for one."""
    if said is None:
        return ok(NAME, f"{path.name} is sound as far as {LOOK_MAX_S:g} s of looking went.")
    if said != "ok":
        return fail(
            NAME,
            f"{path} is damaged ({said}): restore the backup; devices send again what they still hold.",
            subject.command("journal verify --all"),
        )
    return ok(NAME, f"{path.name} is sound in its structure.")


def words(error: SQLAlchemyError) -> str:
    """The driver's own first line: SQLAlchemy's has the statement in it too. No driver puts a password there."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _not_open(subject: Subject) -> Finding:
    path = sqlite_path(subject.settings.database)
    why = subject.database_silence or "it does not answer"
    if path is not None and not path.exists():
        if _has_worked(subject.settings.home):
            return fail(
                NAME,
                f"The database of this hub is gone: {path}. Started now, it would know none of its devices. Stop it,"
                " and restore the file from the backup.",
                f"cp BACKUP {quoted(path)}",
            )
        return fail(NAME, f"There is no database at {path} yet; the first start makes it.", subject.start)
    if path is not None:
        return fail(NAME, f"{path} cannot be opened as a database ({why}).", f"ls -l {quoted(path)}")
    return fail(
        NAME, f"The database cannot be reached ({why}): start it, or correct database_url.", _look_at(subject)
    )


def _has_worked(home: Path) -> bool:
    """Whether a hub was in use here before: its broker has kept something since."""
    return (home / "broker" / "mosquitto.db").is_file()


def _look_at(subject: Subject) -> str:
    """How a person reaches the same database; a password stays hidden."""
    try:
        url = make_url(subject.settings.database)
    except ArgumentError:
        return subject.command("doctor --database-url postgresql+psycopg://USER@HOST/NAME")
    if url.get_backend_name() == "sqlite":
        return f"ls -l {url.database}"
    plain = URL.create(
        "postgresql", username=url.username, host=url.host, port=url.port, database=url.database
    )
    return f"psql {plain.render_as_string()} -c 'SELECT 1'"


def sqlite_path(database_url: str) -> Path | None:
    """Where SQLite's file is; None for another database."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _where(database: Database, connection: Connection) -> str:
    if database.is_sqlite:
        return "The database (SQLite)"
    return f"The database {connection.engine.url.database} (PostgreSQL at {connection.engine.url.host})"


def _sqlite_damage(subject: Subject, connection: Connection) -> Iterator[Finding]:
    path = sqlite_path(subject.settings.database)
    if path is None:
        return
    deadline = monotonic() + LOOK_MAX_S
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(lambda: monotonic() > deadline, LOOK_EACH_STEPS)
    said: str | None = None
    try:
        said = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    except SQLAlchemyError:
        if monotonic() <= deadline:
            raise
    finally:
        driver.set_progress_handler(None, LOOK_EACH_STEPS)
    yield judge_damage(subject, path, said)


def _postgres_facts(connection: Connection) -> tuple[int, dict[str, str]]:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    # As a session of the hub has them: they may be set for a database or a role too.
    rows = connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"), {"names": list(DURABLE)}
    )
    return version, {str(name): str(value) for name, value in rows}


def _write_and_undo(database: Database) -> Finding:
    """A row that is taken back in the same transaction."""
    row = Refusal(principal=PROBE, reason=PROBE, count=0, last_at=datetime.now(UTC))
    try:
        with database.write() as session:
            session.add(row)
            session.flush()
            raise _Undo
    except _Undo:
        return ok(WRITING, "A row was written and taken back.")
    except UnavailableError as error:
        reason = error.__cause__
        said = words(reason) if isinstance(reason, SQLAlchemyError) else str(error)
    except SQLAlchemyError as error:
        said = words(error)
    return fail(
        WRITING, f"The database cannot be written to ({said}): see its rights, its disk, and who holds it."
    )

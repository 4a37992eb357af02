"""The device's doctor on its store: there, whole, and of a version that this program knows; while it is used, too."""

import sqlite3
from contextlib import closing
from pathlib import Path

from edge.adapters.store_sqlite.database import known_migrations, open_database
from edge.adapters.store_sqlite.inspection import StoreFacts
from edge.checks import store
from edge.checks.subject import Subject
from shared.findings import Finding, State

KNOWN = len(known_migrations())


def only(subject: Subject) -> Finding:
    (found,) = store.check(subject)
    return found


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def facts(version: int) -> StoreFacts:
    return StoreFacts(
        version=version, known=KNOWN, lanes=(), dead_letters=0, newest_ms=None, file_bytes=1_000_000
    )


def test_without_a_store_the_first_start_makes_one_and_the_doctor_does_not(alone: Subject) -> None:
    assert only(alone).state is State.OK
    assert not alone.settings.store_path.exists()


def test_a_sound_store_is_well_also_while_the_daemon_holds_it(alone: Subject) -> None:
    database = open_database(alone.settings.store_path)
    assert only(alone).state is State.OK
    database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('a', 1)"), durable=True)
    database.close()
    assert only(alone).state is State.OK


def test_a_newer_program_s_store_fails(alone: Subject) -> None:
    open_database(alone.settings.store_path).close()
    change(alone.settings.store_path, f"PRAGMA user_version = {KNOWN + 1}")
    found = only(alone)
    assert found.state is State.FAIL
    assert found.command == "pip install --upgrade 'covey[edge]'"


def test_an_older_store_is_told(alone: Subject) -> None:
    found = store.judge(alone, facts(KNOWN - 1), damage=None, is_whole=True)
    assert found.state is State.WARN
    assert found.command == alone.command("run")


def test_a_file_that_is_no_store_fails(alone: Subject) -> None:
    path = alone.settings.store_path
    path.write_bytes(b"nonsense" * 1_000)
    found = only(alone)
    assert found.state is State.FAIL
    assert found.command is not None
    assert found.command.startswith(f"mv {path} {path}.broken")


def test_a_store_without_a_version_fails(alone: Subject) -> None:
    change(alone.settings.store_path, "CREATE TABLE something (a)")
    assert only(alone).state is State.FAIL


def test_a_damaged_page_is_found(alone: Subject) -> None:
    path = alone.settings.store_path
    open_database(path).close()
    change(
        path,
        "INSERT INTO meta WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " SELECT 'key ' || i, zeroblob(40) FROM n",
    )
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    pages = bytearray(path.read_bytes())
    for page in range(len(pages) // 4_096 // 2, len(pages) // 4_096):
        pages[page * 4_096 : page * 4_096 + 512] = bytes(512)
    path.write_bytes(pages)
    found = only(alone)
    assert found.state is State.FAIL
    assert "damaged" in found.sentence or "not a sound" in found.sentence


def test_a_look_that_was_too_short_for_everything_says_so(alone: Subject) -> None:
    found = store.judge(alone, facts(KNOWN), damage=None, is_whole=False)
    assert found.state is State.OK
    assert "as far as" in found.sentence

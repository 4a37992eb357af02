"""The hub's doctor on the database: there, this program's, sound, durable, and open to writing. On both."""

from pathlib import Path

import pytest
from sqlmodel import select

from cloud.checks import database as database_check
from cloud.checks.database import NAME, WRITING
from cloud.checks.subject import Subject
from cloud.db import Database
from cloud.devices.tables import Refusal
from cloud.doctor import gathered
from cloud.schema import Revisions
from shared.findings import Finding, State
from tests.support.clock import ManualClock
from tests.support.ports import free_port


def findings(subject: Subject) -> list[Finding]:
    return list(database_check.check(subject))


def worst(subject: Subject, name: str = NAME) -> State:
    states = [each.state for each in findings(subject) if each.name == name]
    return State.FAIL if State.FAIL in states else State.OK


def execute(database: Database | None, statement: str) -> None:
    assert database is not None
    with database.write() as session:
        session.connection().exec_driver_sql(statement)


def looked_at_again(subject: Subject, clock: ManualClock) -> list[Finding]:
    """As a doctor that comes now finds it."""
    with gathered(subject.settings, clock=clock, version="1.2.3") as fresh:
        return findings(fresh)


def test_the_hub_s_own_database_answers_and_takes_a_row_of_which_nothing_stays(either: Subject) -> None:
    assert either.database is not None
    assert findings(either)[0].state is State.OK
    assert worst(either, WRITING) is State.OK
    with either.database.read() as session:
        assert session.exec(select(Refusal)).all() == []


def test_a_newer_program_s_database_fails(either: Subject, clock: ManualClock) -> None:
    execute(either.database, "UPDATE alembic_version SET version_num = '9999'")
    found = looked_at_again(either, clock)
    assert found[0].state is State.FAIL
    assert "newer covey-hub" in found[0].sentence
    assert WRITING not in {each.name for each in found}  # its tables are not ours


def test_an_older_program_s_database_is_migrated_by_the_next_start(
    either: Subject, clock: ManualClock
) -> None:
    execute(either.database, "UPDATE alembic_version SET version_num = '0001'")
    found = looked_at_again(either, clock)
    assert found[0].state is State.FAIL
    assert "0001" in found[0].sentence
    assert found[0].command == either.start


def test_an_empty_database_holds_no_hub_yet(either: Subject, clock: ManualClock) -> None:
    execute(either.database, "DROP TABLE alembic_version")
    found = looked_at_again(either, clock)
    assert "no tables of a hub yet" in found[0].sentence


def test_revisions_are_compared_as_sets(subject: Subject) -> None:
    newest = frozenset({"0004"})
    known = frozenset({"0001", "0002", "0003", "0004"})
    well = database_check.judge_revisions(subject, Revisions(newest, newest, known), where="It")
    assert well.state is State.OK
    older = database_check.judge_revisions(subject, Revisions(frozenset({"0001"}), newest, known), where="It")
    assert older.state is State.FAIL


def test_a_database_that_refuses_a_row_is_seen(either: Subject) -> None:
    assert either.database is not None
    if either.database.is_sqlite:
        execute(
            either.database,
            "CREATE TRIGGER no_rows BEFORE INSERT ON refusal BEGIN SELECT RAISE(ABORT, 'no room'); END",
        )
    else:
        name = either.database.engine.url.database
        execute(either.database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        either.database.engine.dispose()
    (found,) = [each for each in findings(either) if each.name == WRITING]
    assert found.state is State.FAIL
    assert ("no room" if either.database.is_sqlite else "read-only") in found.sentence


# --- SQLite


def test_a_file_that_is_not_there_is_told_and_not_made(
    subject: Subject, clock: ManualClock, tmp_path: Path
) -> None:
    settings = subject.settings.model_copy(update={"home": tmp_path / "none"})
    with gathered(settings, clock=clock, version="1.2.3") as fresh:
        (found,) = findings(fresh)
    assert found.state is State.FAIL
    assert found.command == f"covey-hub up --home {tmp_path / 'none'}"
    assert not (tmp_path / "none").exists()


def test_a_database_that_is_gone_is_not_made_anew(
    subject: Subject, clock: ManualClock, tmp_path: Path
) -> None:
    """A hub that starts with an empty one knows none of its devices, and all would seem well."""
    home = tmp_path / "used"
    (home / "broker").mkdir(parents=True)
    (home / "broker" / "mosquitto.db").touch()
    settings = subject.settings.model_copy(update={"home": home})
    with gathered(settings, clock=clock, version="1.2.3") as fresh:
        (found,) = findings(fresh)
    assert found.state is State.FAIL
    assert "is gone" in found.sentence
    assert found.command == f"cp BACKUP {home / 'hub.sqlite'}"


def test_a_file_that_is_no_database_fails(subject: Subject, clock: ManualClock, tmp_path: Path) -> None:
    home = tmp_path / "other"
    home.mkdir()
    (home / "hub.sqlite").write_bytes(b"nonsense" * 1_000)
    settings = subject.settings.model_copy(update={"home": home})
    with gathered(settings, clock=clock, version="1.2.3") as fresh:
        (found,) = findings(fresh)
    assert found.state is State.FAIL
    assert str(home / "hub.sqlite") in found.sentence


def test_a_damaged_page_is_found(subject: Subject, clock: ManualClock) -> None:
    assert subject.database is not None
    execute(
        subject.database,
        "INSERT INTO refusal (principal, reason, count, last_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " SELECT 'main.device-' || i, 'stale', 1, '2026-01-01' FROM n",
    )
    subject.database.close()  # the last connection writes everything into the file
    path = subject.settings.home / "hub.sqlite"
    pages = bytearray(path.read_bytes())
    # Past the schema and the indexes' roots, where the rows are.
    for page in range(len(pages) // 4_096 * 3 // 4, len(pages) // 4_096):
        pages[page * 4_096 : page * 4_096 + 512] = bytes(512)
    path.write_bytes(pages)
    damage = [each for each in looked_at_again(subject, clock) if "damaged" in each.sentence]
    assert [each.state for each in damage] == [State.FAIL]


def test_a_look_that_was_too_short_for_everything_says_so(subject: Subject) -> None:
    found = database_check.judge_damage(subject, subject.settings.home / "hub.sqlite", None)
    assert found.state is State.OK
    assert "as far as" in found.sentence


def test_a_server_that_does_not_answer_is_told_without_the_password(
    subject: Subject, clock: ManualClock
) -> None:
    url = f"postgresql+psycopg://covey:secret@127.0.0.1:{free_port()}/hub"
    settings = subject.settings.model_copy(update={"database_url": url})
    with gathered(settings, clock=clock, version="1.2.3") as fresh:
        (found,) = findings(fresh)
    assert found.state is State.FAIL
    assert "refused" in found.sentence
    assert found.command is not None
    assert found.command.startswith("psql postgresql://covey@127.0.0.1:")
    assert "secret" not in found.command + found.sentence


@pytest.mark.parametrize("url", ["nonsense", "oracle://covey@127.0.0.1/hub"])
def test_an_address_of_no_database_that_we_know_is_told(
    subject: Subject, clock: ManualClock, url: str
) -> None:
    settings = subject.settings.model_copy(update={"database_url": url})
    with gathered(settings, clock=clock, version="1.2.3") as fresh:
        (found,) = findings(fresh)
    assert found.state is State.FAIL
    assert "database_url" in found.sentence


# --- PostgreSQL


@pytest.mark.parametrize(
    ("version", "settings", "state"),
    [
        (150_004, {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}, State.OK),
        (130_000, {"fsync": "on"}, State.OK),
        (120_999, {"fsync": "on"}, State.FAIL),
        (150_004, {"fsync": "on", "synchronous_commit": "off"}, State.FAIL),
        (150_004, {"fsync": "off", "synchronous_commit": "remote_apply"}, State.FAIL),
    ],
)
def test_postgresql_is_judged_by_version_and_durability(
    version: int, settings: dict[str, str], state: State
) -> None:
    assert database_check.judge_postgres(version, settings).state is state


@pytest.mark.postgres
def test_a_server_that_does_not_wait_for_the_disk_is_seen(either: Subject) -> None:
    assert either.database is not None
    if either.database.is_sqlite:  # it always does (`cloud.db`)
        return
    (found,) = [each for each in findings(either) if each.state is State.FAIL]
    assert "fsync, full_page_writes, synchronous_commit" in found.sentence
    assert found.command is not None
    assert "ALTER SYSTEM SET fsync = on" in found.command

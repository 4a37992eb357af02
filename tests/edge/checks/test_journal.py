"""The device's doctor on its logs: forks, orders that were not understood, and how near the journal is to its limit."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.inspection import LaneFacts, StoreFacts
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.checks import journal
from edge.checks.journal import DEAD_LETTERS, FORK, JOURNAL, NEAR_SHARE
from edge.checks.subject import Subject
from edge.ports import Draft
from shared.findings import Finding, State
from shared.records import DeviceStarted

LIMIT = 10_000_000


def found_in(subject: Subject) -> dict[str, Finding]:
    return {each.name: each for each in journal.check(subject)}


def facts(*lanes: LaneFacts, journal_bytes: int = 0, dead_letters: int = 0) -> StoreFacts:
    return StoreFacts(
        version=2,
        known=2,
        lanes=lanes,
        dead_letters=dead_letters,
        newest_ms=None,
        file_bytes=journal_bytes,
        journal_bytes=journal_bytes,
    )


def limited(subject: Subject) -> Subject:
    return replace(subject, settings=subject.settings.model_copy(update={"journal_max_bytes": LIMIT}))


def test_without_a_store_there_are_no_logs(alone: Subject) -> None:
    assert found_in(alone) == {}


@pytest.fixture
def written(enrolled: Subject) -> Subject:
    """A store with three records that nobody has acknowledged."""

    async def write() -> None:
        database = await asyncio.to_thread(open_database, enrolled.settings.store_path)
        records = await asyncio.to_thread(SqliteJournal, database)
        for _ in range(3):
            started = DeviceStarted(at_ms=0, version="1.2.3", was_clean=True)
            await records.append(Draft(started), durable=True)
        await asyncio.to_thread(database.close)

    asyncio.run(write())
    return enrolled


def change(subject: Subject, statement: str) -> None:
    with closing(sqlite3.connect(subject.settings.store_path, isolation_level=None)) as db:
        db.execute(statement)


def test_a_store_as_the_daemon_writes_it_is_well(written: Subject) -> None:
    found = found_in(written)
    assert {name: each.state for name, each in found.items()} == {
        FORK: State.OK,
        DEAD_LETTERS: State.OK,
        JOURNAL: State.OK,
    }
    assert "3 records wait" in found[JOURNAL].sentence


def test_a_fork_fails_with_the_command_for_the_hub(written: Subject) -> None:
    change(written, "UPDATE lane SET forked_at = 2 WHERE name = 'journal'")
    found = found_in(written)[FORK]
    assert found.state is State.FAIL
    assert "journal after record 2" in found.sentence
    assert found.command is not None
    assert found.command.startswith("covey-hub device resolve fridge ")


def test_orders_that_were_not_understood_are_told(written: Subject) -> None:
    change(written, "INSERT INTO dead_letter SELECT id, 1, 'unknown kind' FROM lane")
    found = found_in(written)[DEAD_LETTERS]
    assert found.state is State.WARN
    assert found.command == "pip install --upgrade 'covey[edge]'"


@pytest.mark.parametrize(
    ("journal_bytes", "state"),
    [
        (int(NEAR_SHARE * LIMIT) - 1, State.OK),
        (int(NEAR_SHARE * LIMIT), State.WARN),
        (LIMIT - 1, State.WARN),
        (LIMIT, State.FAIL),
    ],
)
def test_the_journal_is_judged_at_its_limit_and_near_it(
    alone: Subject, journal_bytes: int, state: State
) -> None:
    assert journal.judge_limit(limited(alone), facts(journal_bytes=journal_bytes)).state is state


def test_the_limit_is_the_one_that_the_daemon_runs_by(alone: Subject) -> None:
    told = {"lanes": {"journal": {"max_bytes": 5}}}
    assert journal.journal_max_bytes(replace(limited(alone), daemon=told)) == 5
    assert journal.journal_max_bytes(replace(limited(alone), daemon={})) == LIMIT

"""Transactions of several processes: nobody waits for ever for one that was stopped in the middle."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import select

from cloud.db import Database
from cloud.journal.tables import BlobRow
from cloud.leader import Lease
from cloud.schema import migrate
from shared.errors import ProtocolError, UnavailableError
from tests.support.clock import START
from tests.support.hub_database import migrated_sqlite

WAIT_S = 20.0


def lock(database: Database) -> str:
    """The holder's name, once the row is ours."""
    with database.write() as session:
        return session.exec(select(Lease).with_for_update()).one().holder


@pytest.mark.postgres
def test_process_that_stops_within_a_transaction_loses_it_and_its_locks(postgres_database: str) -> None:
    with (
        closing(Database(postgres_database, idle_transaction_timeout_s=0.3)) as stopped,
        closing(Database(postgres_database)) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        migrate(stopped)
        with stopped.write() as session:
            session.add(Lease(name="leader", holder="nobody", expires_at=START))

        def stop_within() -> None:
            with stopped.write() as session:
                session.exec(select(Lease).with_for_update()).one().holder = "stopped"
                # As SIGSTOP would: it does nothing more until the other one has what it waits for.
                assert thread.submit(lock, other).result(timeout=WAIT_S) == "nobody"

        with pytest.raises(UnavailableError):
            stop_within()
        assert lock(stopped) == "nobody"  # with a new connection


@pytest.mark.postgres
def test_text_that_the_database_cannot_hold_is_the_callers_mistake(postgres_database: str) -> None:
    with closing(Database(postgres_database)) as database:
        migrate(database)
        with pytest.raises(ProtocolError, match="NUL"), database.read() as session:
            session.exec(select(Lease).where(Lease.name == "a\0")).all()


def test_a_number_that_the_database_cannot_hold_is_the_callers_mistake(tmp_path: Path) -> None:
    with closing(Database(migrated_sqlite(tmp_path / "hub.sqlite"))) as database:
        with pytest.raises(ProtocolError, match="64 bits"), database.read() as session:
            session.exec(select(Lease).where(Lease.generation == 2**63)).all()
        with pytest.raises(ProtocolError, match="64 bits"), database.write() as session:
            session.exec(select(Lease).where(Lease.generation == 2**63)).all()


def test_what_was_removed_is_in_no_file_once_the_log_is_empty(tmp_path: Path) -> None:
    with closing(Database(migrated_sqlite(tmp_path / "hub.sqlite"))) as database:
        secret = b"what was to be forgotten " * 400
        with database.write() as session:
            session.add(BlobRow(hash=bytes(32), principal="main.a", salt=bytes(16), content=secret))
        with database.write() as session:
            session.delete(session.get_one(BlobRow, bytes(32)))
        assert database.empty_log()
        assert not any(b"to be forgotten" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.slow  # it waits for whoever reads
def test_a_log_that_somebody_reads_is_emptied_later(tmp_path: Path) -> None:
    with closing(Database(migrated_sqlite(tmp_path / "hub.sqlite"))) as database:
        with database.read() as session:
            session.exec(select(BlobRow)).all()
            with database.write() as writer:
                writer.add(BlobRow(hash=bytes(32), principal="main.a", salt=bytes(16), content=b"x"))
            assert not database.empty_log()
        assert database.empty_log()

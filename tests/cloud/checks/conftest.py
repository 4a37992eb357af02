"""A hub's home as its first start leaves it, and what the doctor gathers there; where the database matters, on both."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.audit import log_seal
from cloud.audit.log_seal import seal_log
from cloud.checks.subject import Process, Subject
from cloud.db import Database
from cloud.identity import open_identity
from cloud.private_files import make_private_directory, write_private
from cloud.settings import HubSettings
from shared.enrolment import BrokerAddress
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_sqlite

RUNNING = Process(pid=4711, role="all", url="https://127.0.0.1:8443", answered="1.2.3")


def prepare(home: Path, clock: ManualClock, *, url: str = "") -> Subject:
    """`url`: of a migrated database; without, the hub has its own."""
    settings = HubSettings(home=home, database_url=url)
    make_private_directory(home)
    identity = open_identity(
        settings.identity_directory,
        hosts=settings.certificate_hosts,
        trust_domain=settings.trust_domain,
        now=clock.now(),
    )
    write_private(settings.admin_token_file, b"token\n")
    if not url:
        # The hub closes it by its umask; what SQLite puts beside it follows.
        (home / "hub.sqlite").touch(mode=0o600)
        migrated_sqlite(home / "hub.sqlite")
    database = Database(settings.database)
    seal_log(database, identity.derive(log_seal.PURPOSE))
    return Subject(
        settings=settings,
        clock=clock,
        version="1.2.3",
        identity=identity,
        database=database,
        has_tables=True,
        processes=(),
        broker=BrokerAddress(host="127.0.0.1", port=8883),
        has_own_broker=True,
    )


def running(subject: Subject) -> Subject:
    return replace(subject, processes=(RUNNING,))


@pytest.fixture
def subject(tmp_path: Path, clock: ManualClock) -> Iterator[Subject]:
    """On SQLite."""
    made = prepare(tmp_path / "hub", clock)
    yield made
    assert made.database is not None
    made.database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Subject]:
    """On SQLite, and again on PostgreSQL."""
    if request.param == "sqlite":
        made = prepare(tmp_path / "hub", clock)
    else:
        made = prepare(tmp_path / "hub", clock, url=request.getfixturevalue("hub_postgres"))
    yield made
    assert made.database is not None
    made.database.close()

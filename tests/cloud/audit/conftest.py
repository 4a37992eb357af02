"""A hub with deeds and logs: anew on both databases, and once on SQLite, exported, for whoever only spoils the file."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cloud.audit.hub_keys import AuditKeys
from cloud.audit.log_seal import seal_log
from cloud.db import Database
from tests.cloud.audit.audited import LOG_KEY, Audited, Item, a_small_hub, items_of
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_sqlite


@dataclass(frozen=True)
class Exported:
    """An export whose newest head covers all entries; `older` and `newest` are heads that an auditor kept."""

    data: bytes
    items: list[Item]
    keys: AuditKeys
    older: bytes
    newest: bytes


@pytest.fixture
def audited(database: Database, clock: ManualClock) -> Audited:
    """Without any deed."""
    seal_log(database, LOG_KEY)
    return Audited(database, clock)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    path = tmp_path_factory.mktemp("audit") / "hub.sqlite"
    migrated_sqlite(path)
    database = Database(f"sqlite:///{path}")
    seal_log(database, LOG_KEY)
    hub = a_small_hub(database, ManualClock())
    older = hub.head()
    hub.keep()
    data = hub.export()
    yield Exported(data, items_of(data), hub.keys, older, hub.head())
    database.close()

"""The hub's knowledge on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.db import Database
from tests.cloud.knowledge.world import Knowledge, knowledge_in
from tests.support.clock import ManualClock


@pytest.fixture
def knowledge(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Knowledge]:
    made = knowledge_in(database, clock, tmp_path / "library")
    with closing(made.replica.library):
        yield made

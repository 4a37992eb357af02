"""The hub's half of memory on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.db import Database
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import knowledge_in
from tests.cloud.memory.world import Learning
from tests.support.clock import ManualClock


@pytest.fixture
def learning(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Learning]:
    knowledge = knowledge_in(database, clock, tmp_path / "library")
    with closing(knowledge.replica.library):
        yield Learning(Fleet(knowledge))

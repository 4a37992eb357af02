"""Questions of devices over real knowledge, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.db import Database
from tests.cloud.knowledge.world import knowledge_in
from tests.cloud.questions.asking import Asking
from tests.support.clock import ManualClock


@pytest.fixture
def asking(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Asking]:
    knowledge = knowledge_in(database, clock, tmp_path / "library")
    with closing(knowledge.replica.library):
        yield Asking(knowledge)

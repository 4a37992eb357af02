"""Each process searches its own copy, which catches up with whatever others published."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from cloud.knowledge.replica import PLACES_MAX, Replica, claimed_directory
from shared.errors import UnavailableError
from shared.library.library import Library
from shared.retrieval.search import query_of
from tests.cloud.knowledge.world import OVEN, PUMP, Knowledge
from tests.support.vectors import MemoryVectors, vector_of

pytestmark = pytest.mark.slow


async def test_a_copy_that_was_away_catches_up_and_ranks_alike(knowledge: Knowledge, tmp_path: Path) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    with closing(Library(tmp_path / "other", mac_key=bytes(32), index=MemoryVectors())) as library:
        other = Replica(database=knowledge.database, library=library)
        assert other.refresh() == 1
        await knowledge.publish({"oven.md": OVEN})
        await knowledge.publish({"pump.md": PUMP + b"\n\nNew words."})
        assert other.refresh() == 1
        assert other.refresh() == 0
        for question in ("valve", "the oven", "new words", "degrees of the filter"):
            query = query_of(question, vector_of(question))
            theirs = library.search(query, other.names("main", ()), limit=10)
            ours = knowledge.replica.library.search(query, knowledge.replica.names("main", ()), limit=10)
            assert [(each.item.key, each.score) for each in theirs.passages] == [
                (each.item.key, each.score) for each in ours.passages
            ]


def test_each_process_has_a_folder_of_its_own(tmp_path: Path) -> None:
    with claimed_directory(tmp_path) as first:
        with claimed_directory(tmp_path) as second:
            assert first != second
        with claimed_directory(tmp_path) as again:
            assert again == second
    with claimed_directory(tmp_path) as later:
        assert later == first


def test_more_processes_than_there_are_places_are_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(PLACES_MAX):
            stack.enter_context(claimed_directory(tmp_path))
        with pytest.raises(UnavailableError, match="stop one"), claimed_directory(tmp_path):
            pass

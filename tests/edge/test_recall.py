"""Recall: the journal is the truth, the index may lose anything."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.ports import Episode
from edge.recall import FORGOTTEN_MIN, Recall, rank_by_keywords
from shared.errors import ConfigError, UnavailableError
from shared.inference.installed import InstalledEmbedder
from tests.support.vector_index import MemoryVectorIndex, WordEmbedder

AT = datetime(2026, 11, 22, tzinfo=UTC)
WARM = Episode("a/0/1", "is the fridge warm", "the fridge reads 9 °C", AT)
TIME = Episode("b/0/1", "what time is it", "it is noon", AT)
DOOR = Episode("c/0/1", "was the door open", "the door was shut", AT)


class Past:
    def __init__(self, *episodes: Episode) -> None:
        self.all = list(episodes)

    async def episodes(self, *, limit: int) -> tuple[Episode, ...]:
        return tuple(self.all[:limit])


class BrokenIndex(MemoryVectorIndex):
    async def add(self, keys: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        raise UnavailableError("The memory index cannot be used.")


async def test_vectors_find_the_nearest_episode_first() -> None:
    recall = Recall(
        episodes=Past(TIME, WARM, DOOR),
        embedder=WordEmbedder("fridge", "time", "door"),
        index=MemoryVectorIndex(),
    )
    found = await recall.search("fridge", limit=2)
    assert found.ranked_by == "vectors"
    assert found.note is None
    assert found.found[0].episode == WARM


async def test_what_the_index_lost_is_embedded_again_and_nothing_else() -> None:
    embedder, index = WordEmbedder("fridge", "time", "door"), MemoryVectorIndex()
    recall = Recall(episodes=Past(WARM, TIME), embedder=embedder, index=index)
    await recall.search("time", limit=1)
    index.lose(TIME.key)
    embedder.texts.clear()
    found = await recall.search("time", limit=1)
    assert [item.episode for item in found.found] == [TIME]
    assert embedder.texts == [f"{TIME.goal}\n{TIME.result}", "time"]


async def test_what_the_journal_no_longer_holds_is_not_remembered() -> None:
    past, index = Past(WARM, TIME), MemoryVectorIndex()
    recall = Recall(episodes=past, embedder=WordEmbedder("fridge", "time"), index=index)
    await recall.search("time", limit=5)
    past.all.remove(TIME)
    found = await recall.search("time", limit=5)
    assert [item.episode for item in found.found] == [WARM]


async def test_what_is_no_longer_remembered_takes_nobodys_place() -> None:
    old = [Episode(f"{n}/0/1", "time", "time", AT) for n in range(10)]
    past, index = Past(*old, TIME), MemoryVectorIndex()
    recall = Recall(episodes=past, embedder=WordEmbedder("fridge", "time"), index=index)
    await recall.search("time", limit=1)
    past.all = [TIME]
    found = await recall.search("time", limit=1)
    assert [item.episode for item in found.found] == [TIME]


async def test_an_index_that_is_mostly_of_the_past_is_made_anew() -> None:
    old = [Episode(f"{n}/0/1", "time", "time", AT) for n in range(FORGOTTEN_MIN + 1)]
    past, index = Past(*old), MemoryVectorIndex()
    recall = Recall(episodes=past, embedder=WordEmbedder("fridge", "time"), index=index)
    await recall.search("time", limit=1)
    past.all = [*old[1:], TIME]
    await recall.search("time", limit=1)
    assert len(await index.keys()) == FORGOTTEN_MIN + 2
    past.all = [TIME]
    await recall.search("time", limit=1)
    assert await index.keys() == {TIME.key}


async def test_a_broken_index_falls_back_to_keywords_and_says_so() -> None:
    recall = Recall(episodes=Past(WARM, TIME), embedder=WordEmbedder("fridge"), index=BrokenIndex())
    found = await recall.search("what time was it", limit=1)
    assert found.ranked_by == "keywords"
    assert found.note == "The memory index cannot be used."
    assert [item.episode for item in found.found] == [TIME]


async def test_a_missing_embedding_model_falls_back_to_keywords_and_names_the_command(tmp_path: Path) -> None:
    recall = Recall(episodes=Past(WARM), embedder=InstalledEmbedder(tmp_path), index=MemoryVectorIndex())
    found = await recall.search("fridge", limit=1)
    assert found.ranked_by == "keywords"
    assert "covey-edge model install all-minilm-l6-v2" in (found.note or "")


async def test_without_an_index_keywords_rank_and_a_rebuild_is_refused() -> None:
    recall = Recall(episodes=Past(WARM, DOOR), embedder=None, index=None)
    assert (await recall.search("doors", limit=5)).found[0].episode == DOOR
    with pytest.raises(ConfigError, match="index"):
        await recall.rebuild()


async def test_rebuild_holds_exactly_the_journal() -> None:
    index = MemoryVectorIndex()
    await index.add(["ghost"], [[1.0, 0.0]])
    recall = Recall(episodes=Past(WARM, TIME), embedder=WordEmbedder("fridge"), index=index)
    assert await recall.rebuild() == 2
    assert await index.keys() == {WARM.key, TIME.key}


@pytest.mark.parametrize("query", ['"', "a AND", "NEAR(", "col:x", "*", "", "'; DROP", "ß " * 500])
def test_a_query_is_never_syntax_to_the_keyword_index(query: str) -> None:
    assert all(item.episode in (WARM, TIME) for item in rank_by_keywords([WARM, TIME], query, limit=5))

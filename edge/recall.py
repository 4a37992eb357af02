"""Recall: finding what the device was asked and did before. By vectors where it has an index, else by keywords.

The truth is the journal; the index holds keys and vectors only, is opened when first needed, is completed before each
search, and can be rebuilt at any time. When the index cannot be used, the answer says that keywords ranked it.
"""

import logging
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

from edge.ports import Episode, Episodes, VectorIndex
from shared.errors import ConfigError, UnavailableError
from shared.inference.ports import TextEmbedder

logger = logging.getLogger(__name__)

EPISODES_MAX: Final = 10_000
"""The latest episodes that recall looks at."""
EMBED_BATCH: Final = 64
FORGOTTEN_MIN: Final = 256
"""Vectors of what is no longer remembered that an index may hold in any case."""
EMBED_MAX_CHARS: Final = 1_000

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Remembered:
    """One episode that was found. `score`: cosine similarity for vectors, BM25 for keywords; higher is better."""

    episode: Episode
    score: float


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a search found, and how it was ranked. `note` says why an index that should be there was not used."""

    found: tuple[Remembered, ...]
    ranked_by: Literal["vectors", "keywords"]
    note: str | None = None


class Recall:
    """Search over the device's episodes. Without `embedder` and `index` it ranks by keywords."""

    def __init__(
        self, *, episodes: Episodes, embedder: TextEmbedder | None, index: VectorIndex | None
    ) -> None:
        self._episodes = episodes
        self._embedder = embedder
        self._index = index

    async def search(self, query: str, *, limit: int) -> Recalled:
        """The episodes that fit `query` best."""
        episodes = await self._episodes.episodes(limit=EPISODES_MAX)
        if self._embedder is None or self._index is None:
            return Recalled(rank_by_keywords(episodes, query, limit=limit), "keywords")
        try:
            return Recalled(
                await self._by_vectors(self._embedder, self._index, episodes, query, limit), "vectors"
            )
        except (ConfigError, UnavailableError) as error:
            logger.warning("recall by keywords: %s", error)
            return Recalled(rank_by_keywords(episodes, query, limit=limit), "keywords", str(error))

    async def rebuild(self) -> int:
        """Make the index anew; returns how many episodes it holds. Raises `ConfigError` without an index."""
        if self._embedder is None or self._index is None:
            raise ConfigError("This device has no index (its setting index is off); it ranks by keywords.")
        await self._index.clear()
        episodes = await self._episodes.episodes(limit=EPISODES_MAX)
        await self._complete(self._embedder, self._index, episodes)
        return len(episodes)

    async def _by_vectors(
        self,
        embedder: TextEmbedder,
        index: VectorIndex,
        episodes: Sequence[Episode],
        query: str,
        limit: int,
    ) -> tuple[Remembered, ...]:
        forgotten = await self._complete(embedder, index, episodes)
        (vector,) = await embedder.embed([query[:EMBED_MAX_CHARS]])
        by_key = {episode.key: episode for episode in episodes}
        # What the index still holds but the journal no longer does is not remembered, and takes nobody's place.
        found = [
            Remembered(by_key[key], round(score, 6))
            for key, score in await index.nearest(vector, limit=limit + forgotten)
            if key in by_key
        ]
        return tuple(found[:limit])

    async def _complete(self, embedder: TextEmbedder, index: VectorIndex, episodes: Sequence[Episode]) -> int:
        """Bring the index up to date; returns how many keys it holds of what the journal no longer does."""
        known = await index.keys()
        forgotten = len(known - {episode.key for episode in episodes})
        if forgotten > FORGOTTEN_MIN and forgotten > len(episodes):
            # An index cannot shrink; when most of it is of the past, it is made anew.
            await index.clear()
            known, forgotten = frozenset(), 0
        missing = [episode for episode in episodes if episode.key not in known]
        for first in range(0, len(missing), EMBED_BATCH):
            some = missing[first : first + EMBED_BATCH]
            texts = [f"{episode.goal}\n{episode.result}"[:EMBED_MAX_CHARS] for episode in some]
            await index.add([episode.key for episode in some], await embedder.embed(texts))
        return forgotten


def rank_by_keywords(episodes: Sequence[Episode], query: str, *, limit: int) -> tuple[Remembered, ...]:
    """BM25 by SQLite's FTS5 over goal and result, newer first among equals. Blocks for some milliseconds."""
    words = _WORD.findall(query)
    if not words:
        return ()
    terms = " OR ".join(f'"{word}"' for word in words)
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE VIRTUAL TABLE episode USING fts5(goal, result, tokenize='porter unicode61')")
        db.executemany(
            "INSERT INTO episode (rowid, goal, result) VALUES (?, ?, ?)",
            [(number, episode.goal, episode.result) for number, episode in enumerate(episodes)],
        )
        rows = db.execute(
            "SELECT rowid, -bm25(episode) FROM episode WHERE episode MATCH ? ORDER BY bm25(episode), rowid LIMIT ?",
            (terms, limit),
        ).fetchall()
    return tuple(Remembered(episodes[number], round(score, 6)) for number, score in rows)

"""Memories that are asked: plain vector search, and the product's recall, behind one door."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.store_sqlite.memory_rows import SqliteMemory
from edge.core.remembered import NewItem
from edge.memory_seal import MemorySeal
from edge.recall import Recall
from edge.shelf import Opened, Shelf
from edge.wiring_memory import EXACT_ITEMS
from shared.clock import to_ms
from shared.inference.ports import EmbeddingModel
from shared.library.library import Library
from shared.memory.items import Episode
from shared.memory.surroundings import BEFORE_MAX_CHARS, is_leaning
from shared.retrieval.vectors import cosines, opened, quantised
from tests.bench.recall.memory.dialogues import Turn
from tests.support.device import task_id_from
from tests.support.vectors import MemoryVectors

SITTING: Final = timedelta(minutes=30)
KEY: Final = bytes(32)


class Memory(Protocol):
    async def add(self, turns: Sequence[Turn]) -> None: ...

    async def search(self, question: str, now: datetime, limit: int) -> list[int]:
        """The ids of turns, best first."""
        ...


class PlainMemory:
    """Each turn as it is, by cosine."""

    def __init__(self, embedder: EmbeddingModel) -> None:
        self._embedder = embedder
        self._ids: list[int] = []
        self._vectors: list[bytes] = []

    async def add(self, turns: Sequence[Turn]) -> None:
        self._ids += [turn.id for turn in turns]
        self._vectors += [
            quantised(each) for each in await self._embedder.embed([turn.text for turn in turns])
        ]

    async def search(self, question: str, now: datetime, limit: int) -> list[int]:
        (vector,) = await self._embedder.embed([question])
        scored = zip(cosines(quantised(vector), opened(self._vectors)).tolist(), self._ids, strict=True)
        return [id_ for _, id_ in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:limit]]


class OurMemory:
    """The product's own memory: turns as episodes in a device's store, found as the agent finds them
    (`edge.recall`)."""

    def __init__(self, directory: Path, embedder: EmbeddingModel) -> None:
        directory.mkdir(parents=True)
        self._database = open_database(directory / "store.sqlite")
        self._journal = SqliteJournal(self._database)
        self._seal = MemorySeal(lambda: KEY)
        self._shelf = Shelf(directory / "index", _opened)
        self._recall = Recall(
            store=SqliteMemory(self._database), seal=self._seal, shelf=self._shelf, embedder=embedder
        )
        self._names: dict[str, int] = {}

    def close(self) -> None:
        self._shelf.release()
        self._database.close()

    async def add(self, turns: Sequence[Turn]) -> None:
        drafts = []
        for at, turn in enumerate(turns):
            before = [
                each.text
                for each in turns[max(at - 4, 0) : at]
                if each.speaker == turn.speaker == "person" and turn.at - each.at < SITTING
            ]
            leans = bool(before) and is_leaning(turn.text)
            item = task_id_from(f"turn {turn.id}")
            self._names[item] = turn.id
            content = Episode(result="", before=before[-1][-BEFORE_MAX_CHARS:] if leans else "")
            new = NewItem(sort="episode", content=content, by="rule", cue=turn.text, since_ms=to_ms(turn.at))
            drafts.append(self._seal.written(item, new, at_ms=to_ms(turn.at)))
        await self._journal.append(*drafts, durable=False)
        await self._recall.rebuild()

    async def search(self, question: str, now: datetime, limit: int) -> list[int]:
        found = await self._recall.remember(question, now, sorts=("episode",), limit=limit)
        return [self._names[each.item.item] for each in found.found]

    async def knows(self, question: str, now: datetime) -> bool:
        """Whether what is found supports an answer, and speaks of what is asked, names and figures included."""
        return (await self._recall.remember(question, now, sorts=("episode",))).is_known


def _opened(directory: Path) -> Opened:
    # Few enough to be compared one by one, as on a device: the index is never asked.
    return Opened(Library(directory, mac_key=KEY, index=MemoryVectors(), exact_items=EXACT_ITEMS), None)

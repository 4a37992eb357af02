"""Memories that are asked: plain vector search, and the product's recall, behind one door."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from shared.clock import to_ms
from shared.inference.ports import EmbeddingModel
from shared.knowledge.pack import content_id
from shared.library.corpus import Item
from shared.library.library import Library
from shared.library.vector_index import VectorIndex
from shared.memory.hops import hop_in
from shared.memory.ranking import Candidate, Interest, described, interest_of, is_named, is_spoken_of, ranked
from shared.memory.surroundings import in_surroundings
from shared.retrieval.abstention import SUPPORT_MIN
from shared.retrieval.search import query_of
from shared.retrieval.vectors import cosines, quantised
from tests.bench.recall.memory.dialogues import Turn

CANDIDATES: Final = 100
HOPS_MAX: Final = 2
SESSION: Final = timedelta(minutes=30)
MAC_KEY: Final = bytes(32)
NAME: Final = "episodes"


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
        scored = zip(cosines(quantised(vector), self._vectors).tolist(), self._ids, strict=True)
        return [id_ for _, id_ in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:limit]]


class OurMemory:
    """A library of turns, each in its surroundings; what it finds is ranked by the question's time."""

    def __init__(self, directory: Path, embedder: EmbeddingModel, index: VectorIndex) -> None:
        self._library = Library(directory, mac_key=MAC_KEY, index=index)
        self._embedder = embedder
        self._turns: dict[int, Turn] = {}

    def close(self) -> None:
        self._library.close()

    async def add(self, turns: Sequence[Turn]) -> None:
        texts = [
            in_surroundings(
                turn.text,
                [
                    each.text
                    for each in turns[max(at - 4, 0) : at]
                    if each.speaker == turn.speaker == "person" and turn.at - each.at < SESSION
                ],
            )
            for at, turn in enumerate(turns)
        ]
        model = await self._embedder.fingerprint()
        vectors = await self._embedder.embed(texts)
        self._library.change(
            NAME,
            added=[
                _item(turn, text, model, quantised(vector))
                for turn, text, vector in zip(turns, texts, vectors, strict=True)
            ],
        )
        self._turns |= {turn.id: turn for turn in turns}

    async def search(self, question: str, now: datetime, limit: int) -> list[int]:
        hop = hop_in(question)
        found = await self._ranked(question if hop is None else hop.first, now)
        if hop is None:
            return _ids(found)[:limit]
        meant = described(found, interest_of(hop.first, now), question)
        names = list(dict.fromkeys(name for _, name in meant))[:HOPS_MAX]
        then = [_ids(await self._ranked(hop.asked_of(name), now)) for name in names]
        return _woven([_ids([each for each, _ in meant] + found), *then], limit)

    async def knows(self, question: str, now: datetime) -> bool:
        """Whether what is found supports an answer, and speaks of what is asked, names and figures included."""
        hop = hop_in(question)
        interest = interest_of(question if hop is None else hop.first, now)
        found, support = await self._found(interest)
        return support >= SUPPORT_MIN and is_named(found, interest) and is_spoken_of(found, interest)

    async def _ranked(self, question: str, now: datetime) -> list[Candidate]:
        interest = interest_of(question, now)
        found, _ = await self._found(interest)
        return ranked(found, interest)

    async def _found(self, interest: Interest) -> tuple[list[Candidate], float]:
        """With the support that they give an answer."""
        (vector,) = await self._embedder.embed([interest.text])
        found = self._library.search(query_of(interest.text, quantised(vector)), [NAME], limit=CANDIDATES)
        candidates = [
            Candidate(
                item=each.item.document,
                text=each.item.text,
                score=each.score,
                since_ms=to_ms(self._turns[int(each.item.document)].at),
            )
            for each in found.passages
        ]
        return candidates, found.support


def _ids(found: Sequence[Candidate]) -> list[int]:
    return list(dict.fromkeys(int(each.item) for each in found))


def _woven(rankings: Sequence[Sequence[int]], limit: int) -> list[int]:
    """The first of each, then the second of each."""
    longest = max(map(len, rankings))
    order = [each[at] for at in range(longest) for each in rankings if at < len(each)]
    return list(dict.fromkeys(order))[:limit]


def _item(turn: Turn, text: str, model: bytes, vector: bytes) -> Item:
    name = str(turn.id)
    return Item(
        key=hashlib.sha256(name.encode()).digest(), content=content_id((), text), model=model, headings=(), text=text,
        vector=vector, document=name, title=name, start=0, end=len(text), page=0,
    )  # fmt: skip

"""A collection in memory: the `Source` of `shared.retrieval.search`, with an exact nearest-neighbour search."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.retrieval.keyword import Impacts, Norms, impacts, norms
from shared.retrieval.postings import (
    ItemTerms,
    Postings,
    Segment,
    apply_change,
    changes,
    decode,
    item_terms,
)
from shared.retrieval.vectors import Rows, cosines, opened

T = TypeVar("T")


class MemoryCollection:
    """Items by ordinal. `missed`: chunk ids that the nearest-neighbour search does not find, as an approximate one may
    not."""

    def __init__(self, *, missed: Iterable[bytes] = ()) -> None:
        self.segments: dict[tuple[str, int], bytes] = {}
        self._items: dict[int, tuple[bytes, ItemTerms, bytes | None]] = {}
        self._missed = frozenset(missed)

    def add(
        self,
        ordinal: int,
        chunk_id: bytes,
        text: str,
        *,
        headings: Sequence[str] = (),
        vector: bytes | None = None,
    ) -> None:
        item = item_terms(headings, text)
        self._apply(added={ordinal: item}, removed={})
        self._items[ordinal] = (chunk_id, item, vector)

    def remove(self, ordinal: int) -> None:
        _, item, _ = self._items.pop(ordinal)
        self._apply(added={}, removed={ordinal: item})

    def _apply(self, *, added: Mapping[int, ItemTerms], removed: Mapping[int, ItemTerms]) -> None:
        for key, change in changes(added=added, removed=removed).items():
            data = apply_change(self.segments.pop(key, b""), change)
            if data:
                self.segments[key] = data

    @property
    def norms(self) -> Norms:
        size = max(self._items, default=-1) + 1
        headings, bodies = np.zeros(size, np.uint32), np.zeros(size, np.uint32)
        for ordinal, (_, item, _) in self._items.items():
            headings[ordinal], bodies[ordinal] = item.heading_length, item.body_length
        return norms(headings, bodies, items=len(self._items))

    def impacts(self, terms: Sequence[str]) -> dict[str, Impacts]:
        norms = self.norms
        return {term: impacts(postings, norms) for term, postings in self.postings(terms).items()}

    def postings(self, terms: Sequence[str]) -> dict[str, Postings]:
        wanted = set(terms)
        found: dict[str, list[Segment]] = {}
        for (term, number), data in self.segments.items():
            if term in wanted:
                found.setdefault(term, []).append((number, data))
        return {term: decode(segments) for term, segments in found.items()}

    def nearest_while(self, vector: bytes, limit: int, work: Callable[[], T]) -> tuple[NDArray[np.int64], T]:
        return np.array(self.nearest(vector, limit), np.int64), work()

    def nearest(self, vector: bytes, limit: int) -> list[int]:
        known = [
            (ordinal, stored)
            for ordinal, (chunk_id, _, stored) in self._items.items()
            if stored is not None and chunk_id not in self._missed
        ]
        order = np.argsort(-cosines(vector, opened([stored for _, stored in known])), kind="stable")[:limit]
        return [known[at][0] for at in order.tolist()]

    def vectors(self, ordinals: NDArray[np.int64]) -> tuple[Rows, NDArray[np.bool_]]:
        stored = [self._items[ordinal][2] for ordinal in ordinals.tolist()]
        width = max((len(vector) for vector in stored if vector is not None), default=0)
        rows = opened([bytes(width) if vector is None else vector for vector in stored])
        return rows, np.array([vector is not None for vector in stored], np.bool_)

    def chunk_ids(self, ordinals: Sequence[int]) -> list[bytes]:
        return [self._items[ordinal][0] for ordinal in ordinals]

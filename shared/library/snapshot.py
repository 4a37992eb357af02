"""A corpus as a search sees it: `shared.retrieval.search.Source` over the file and the vector index.

What every query needs (lengths, keys, vectors) is held in arrays, made anew when the corpus has changed; postings are
read as they are asked for, in the caller's transaction, so that a search sees one state of the corpus throughout.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import UnavailableError
from shared.library.corpus import ordinal_of, vector_id
from shared.library.vector_index import VectorIndex
from shared.retrieval.keyword import Norms, norms
from shared.retrieval.postings import Segment
from shared.retrieval.vectors import unit

KEY_BYTES: Final = 32
"""Every key is a SHA-256."""


class Snapshot:
    """One state of one corpus. `index` None: by keywords alone. `is_exact`: all vectors are looked at instead."""

    def __init__(
        self, db: sqlite3.Connection, corpus: int, index: VectorIndex | None, *, is_exact: bool = False
    ) -> None:
        """Within a transaction of `db`, which every later call must be in as well, at the same state."""
        self._db = db
        self._corpus = corpus
        self._index = index
        self._is_exact = is_exact
        self._name, self.generation = db.execute(
            "SELECT name, generation FROM corpus WHERE id = ?", (corpus,)
        ).fetchone()
        rows = db.execute(
            "SELECT ordinal, key, item.model, heading_length, body_length, vector FROM item"
            " JOIN content ON content.id = item.content AND content.model = item.model WHERE corpus = ?",
            (corpus,),
        ).fetchall()
        size = max((row[0] for row in rows), default=-1) + 1
        headings, bodies = np.zeros(size, np.uint32), np.zeros(size, np.uint32)
        self._keys: NDArray[np.uint8] = np.zeros((size, KEY_BYTES), np.uint8)
        width = max((len(row[5]) for row in rows), default=0)
        self._vectors: NDArray[np.int8] = np.zeros((size, width), np.int8)
        self._ids: set[str] = set()
        self._has_vector = np.zeros(size, np.bool_)
        for ordinal, key, model, heading_length, body_length, vector in rows:
            headings[ordinal], bodies[ordinal] = heading_length, body_length
            self._ids.add(vector_id(ordinal, key, model))
            self._keys[ordinal] = np.frombuffer(key, np.uint8)
            if len(vector) == width and width:
                self._vectors[ordinal] = np.frombuffer(vector, np.int8)
                self._has_vector[ordinal] = True
        self.items = len(rows)
        self._norms = norms(headings, bodies, items=len(rows))
        self.problem: str | None = None
        """Why the last search went without the vector index."""

    @property
    def norms(self) -> Norms:
        return self._norms

    @property
    def has_vectors(self) -> bool:
        return bool(self._has_vector.any())

    @property
    def width(self) -> int:
        """Dimensions of the vectors, 0 if there are none."""
        return int(self._vectors.shape[1])

    def postings(self, terms: Sequence[str]) -> Mapping[str, Sequence[Segment]]:
        found: dict[str, list[Segment]] = {}
        marks = ", ".join("?" * len(terms))
        for term, segment, data in self._db.execute(
            f"SELECT term, segment, data FROM posting WHERE corpus = ? AND term IN ({marks})",  # noqa: S608 - marks
            (self._corpus, *terms),
        ):
            found.setdefault(term, []).append((segment, data))
        return found

    def nearest(self, vector: bytes, limit: int) -> Sequence[int]:
        """What the index holds of another state is left out."""
        if self._is_exact:
            return self._nearest_of_all(vector, limit)
        assert self._index is not None
        try:
            ids = self._index.nearest(self._name, unit(vector), limit)
        except UnavailableError as error:
            self.problem = str(error)
            return ()
        self.problem = None
        return [ordinal_of(each) for each in ids if each in self._ids]

    def _nearest_of_all(self, vector: bytes, limit: int) -> Sequence[int]:
        known = np.flatnonzero(self._has_vector)
        scores = self._vectors[known].astype(np.float32) @ np.frombuffer(vector, np.int8).astype(np.float32)
        lengths = np.linalg.norm(self._vectors[known].astype(np.float32), axis=1)
        scores /= np.maximum(lengths, 1.0)
        if len(known) > limit:
            known = known[np.argpartition(-scores, limit)[:limit]]
        return [int(each) for each in known]

    def vectors(self, ordinals: Sequence[int]) -> Sequence[bytes | None]:
        return [self._vectors[at].tobytes() if self._has_vector[at] else None for at in ordinals]

    def chunk_ids(self, ordinals: Sequence[int]) -> Sequence[bytes]:
        return [self._keys[at].tobytes() for at in ordinals]

"""A corpus as a search sees it: `shared.retrieval.search.Source` over the file and the vector index.

What every query needs (lengths, keys, vectors) is held in arrays, made anew when the corpus has changed; postings are
read as they are asked for, in the caller's transaction, so that a search sees one state of the corpus throughout, and
what those of common terms come to is kept.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import UnavailableError
from shared.library.corpus import ordinals_of
from shared.library.hot_impacts import HotImpacts
from shared.library.scan import SignScan
from shared.library.vector_index import VectorIndex
from shared.retrieval.keyword import NOTHING, Impacts, Norms, Ordinals, impacts, norms
from shared.retrieval.postings import Segment, decode
from shared.retrieval.vectors import Rows, opened, units

T = TypeVar("T")
KEY_BYTES: Final = 32
"""Every key is a SHA-256."""
BESIDE_MIN_ITEMS: Final = 30_000
"""Of fewer the postings are read in less time than it takes to hand that to another thread."""
LOAD_ROWS: Final = 2_000
"""Rows that are in memory twice while the arrays are filled."""
HOT_MIN_BYTES: Final = 4 * 2**20
HOT_BYTES_PER_ITEM: Final = 512
"""What impacts may take that are kept: those of 128 words that are in every item, or of thousands that are in few. A
third more than the vectors take; all there are of some thousand items. An open HNSW graph takes four times as much."""


@dataclass(frozen=True, slots=True)
class State:
    """Which state of a corpus it is: its row. `number` 0: it has no revisions."""

    corpus: int
    name: str
    generation: int
    number: int
    root: bytes
    model: bytes
    labels: str
    """A JSON array."""


def state_of(db: sqlite3.Connection, name: str) -> State | None:
    row = db.execute(
        "SELECT id, name, generation, number, root, model, labels FROM corpus WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else State(*row)


class Snapshot:
    """One state of one corpus. `index` None: by keywords alone. `is_exact`: all vectors are looked at instead
    (`SignScan`)."""

    def __init__(
        self,
        db: sqlite3.Connection,
        state: State,
        index: VectorIndex | None,
        beside: Executor,
        *,
        is_exact: bool = False,
    ) -> None:
        """Within a transaction of `db`, which every later call must be in as well, at the same state. `beside`: the
        thread that reads postings while vectors are compared."""
        self._beside = beside
        self.state = state
        self._db = db
        self._index = index
        last, self.items = db.execute(
            "SELECT max(ordinal), count(*) FROM item WHERE corpus = ?", (state.corpus,)
        ).fetchone()
        size = 0 if last is None else last + 1
        self._keys: NDArray[np.uint8] = np.zeros((size, KEY_BYTES), np.uint8)
        self._vectors: Rows = np.zeros((size, 0), np.int8)
        self._has_vector = np.zeros(size, np.bool_)
        self._norms = self._load(size)
        self._scan = SignScan(self._vectors, self._has_vector) if is_exact else None
        self._hot = HotImpacts(max(HOT_MIN_BYTES, HOT_BYTES_PER_ITEM * self.items))
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

    def impacts(self, terms: Sequence[str]) -> Mapping[str, Impacts]:
        found = self._hot.among(terms)
        missing = [term for term in terms if term not in found]
        segments: dict[str, list[Segment]] = {}
        if missing:
            marks = ", ".join("?" * len(missing))
            for term, segment, data in self._db.execute(
                f"SELECT term, segment, data FROM posting WHERE corpus = ? AND term IN ({marks})",  # noqa: S608 - marks
                (self.state.corpus, *missing),
            ):
                segments.setdefault(term, []).append((segment, data))
        for term, parts in segments.items():
            found[term] = impacts(decode(parts), self._norms)
            self._hot.keep(term, found[term])
        return found

    def nearest_while(self, vector: bytes, limit: int, work: Callable[[], T]) -> tuple[Ordinals, T]:
        if self.items < BESIDE_MIN_ITEMS:
            return self._nearest(vector, limit), work()
        # In this order: vectors are compared without Python's lock, which the other thread gets by that.
        done = self._beside.submit(work)
        try:
            near = self._nearest(vector, limit)
        finally:
            wait([done])  # whatever happens: the transaction is the caller's
        return near, done.result()

    def _nearest(self, vector: bytes, limit: int) -> Ordinals:
        """What the index holds of another state can be a candidate too, as what stands in its place now."""
        if self._scan is not None:
            return self._scan.nearest(vector, limit)
        assert self._index is not None
        try:
            ids = self._index.nearest(self.state.name, units(opened([vector]))[0], limit)
        except UnavailableError as error:
            self.problem = str(error)
            return NOTHING
        self.problem = None
        found = np.array(ordinals_of(ids), np.int64)
        found = found[found < len(self._has_vector)]
        return found[self._has_vector[found]]

    def vectors(self, ordinals: Ordinals) -> tuple[Rows, NDArray[np.bool_]]:
        return self._vectors[ordinals], self._has_vector[ordinals]

    def chunk_ids(self, ordinals: Sequence[int]) -> Sequence[bytes]:
        return [self._keys[at].tobytes() for at in ordinals]

    def _load(self, size: int) -> Norms:
        headings, bodies = np.zeros(size, np.uint32), np.zeros(size, np.uint32)
        rows = self._db.execute(
            "SELECT ordinal, key, heading_length, body_length, vector FROM item"
            " JOIN content ON content.id = item.content AND content.model = item.model WHERE corpus = ?",
            (self.state.corpus,),
        )
        while some := rows.fetchmany(LOAD_ROWS):
            ordinals = np.array([row[0] for row in some], np.int64)
            self._keys[ordinals] = np.frombuffer(b"".join(row[1] for row in some), np.uint8).reshape(
                -1, KEY_BYTES
            )
            headings[ordinals], bodies[ordinals] = [row[2] for row in some], [row[3] for row in some]
            self._load_vectors({row[0]: row[4] for row in some if row[4]})
        return norms(headings, bodies, items=self.items)

    def _load_vectors(self, vectors: Mapping[int, bytes]) -> None:
        """Those of the greatest width count."""
        width = max(map(len, vectors.values()), default=0)
        if width > self.width:
            self._vectors = np.zeros((len(self._has_vector), width), np.int8)
            self._has_vector[:] = False
        wide = [ordinal for ordinal, vector in vectors.items() if len(vector) == self.width]
        if wide:
            self._vectors[wide] = opened([vectors[ordinal] for ordinal in wide])
            self._has_vector[wide] = True

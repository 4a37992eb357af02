"""A vector index in memory, exact, which can break; and vectors that tell texts apart without a model."""

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.errors import UnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH = 32


def vector_of(text: str) -> bytes:
    """Signed bytes that depend on the words: texts with words in common are near."""
    sums = [0.0] * WIDTH
    for word in text.lower().split():
        digest = hashlib.sha256(word.encode()).digest()
        for at in range(WIDTH):
            sums[at] += digest[at] - 127.5
    peak = max((abs(value) for value in sums), default=0.0) or 1.0
    return bytes(round(value / peak * 127) & 0xFF for value in sums)


class MemoryVectors:
    """`shared.library.vector_index.VectorIndex`."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Sequence[float]]] = {}
        self.is_broken = False
        self.releases = 0

    def ids(self, corpus: str) -> frozenset[str]:
        return frozenset(self._of(corpus))

    def add(self, corpus: str, ids: Sequence[str], vectors: "NDArray[np.float32]") -> None:
        self._of(corpus).update(zip(ids, vectors.tolist(), strict=True))

    def remove(self, corpus: str, ids: Sequence[str]) -> None:
        for each in ids:
            self._of(corpus).pop(each, None)

    def nearest(self, corpus: str, vector: "NDArray[np.float32]", limit: int) -> list[str]:
        wanted = vector.tolist()

        def cosine(other: Sequence[float]) -> float:
            return math.fsum(a * b for a, b in zip(wanted, other, strict=True))

        held = self._of(corpus)
        return sorted(held, key=lambda each: (-cosine(held[each]), each))[:limit]

    def drop(self, corpus: str) -> None:
        self._of(corpus)
        self.held.pop(corpus, None)

    def wipe(self) -> None:
        """As if its files were removed."""
        self.held.clear()
        self.is_broken = False

    def release(self) -> None:
        self.releases += 1

    def _of(self, corpus: str) -> dict[str, Sequence[float]]:
        if self.is_broken:
            raise UnavailableError("The vector index cannot be used (Broken).")
        return self.held.setdefault(corpus, {})

"""The door to an index of vectors. What it holds can always be made again; it may lose anything at any time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class VectorIndex(Protocol):
    """Vectors by corpus and id. Blocks; used from one thread at a time. Every method raises `UnavailableError` if the
    index cannot be used, and may be called again afterwards."""

    def ids(self, corpus: str) -> frozenset[str]:
        """What it holds of a corpus."""
        ...

    def add(self, corpus: str, ids: Sequence[str], vectors: "NDArray[np.float32]") -> None:
        """Unit vectors, one row an id; an id that is there gets the new one."""
        ...

    def remove(self, corpus: str, ids: Sequence[str]) -> None:
        """Ids that are not there do not matter."""
        ...

    def nearest(self, corpus: str, vector: "NDArray[np.float32]", limit: int) -> list[str]:
        """At most `limit` ids, nearest first by cosine. Approximate: one may be missing."""
        ...

    def drop(self, corpus: str) -> None:
        """Forget a corpus."""
        ...

    def release(self) -> None:
        """Give memory back until the next call."""
        ...

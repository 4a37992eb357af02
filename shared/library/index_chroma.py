"""`VectorIndex` over an embedded Chroma, or a Chroma server. Imported and opened when first used: it costs 190 MB.

Chroma is known to lose what it had not flushed and to fail after a hard stop; that is why it holds nothing that cannot
be made again, and why a broken one is reported, removed and made anew.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from shared.errors import UnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

PAGE: Final = 1_000
"""Vectors that one call carries."""
NEIGHBOURS: Final = 24
EF_CONSTRUCTION: Final = 200
EF_SEARCH: Final = 160
"""How far HNSW looks (Malkov and Yashunin, 2016). More than Chroma's defaults: both sides should miss nothing near."""

T = TypeVar("T")


class ChromaIndex:
    """In `directory`; or, with `url` (http://host:port), on a server."""

    def __init__(self, directory: Path, *, url: str = "") -> None:
        self._directory = directory
        self._url = url
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    def ids(self, corpus: str) -> frozenset[str]:
        return self._guarded(lambda: frozenset(self._open(corpus).get(include=[])["ids"]))

    def add(self, corpus: str, ids: Sequence[str], vectors: "NDArray[np.float32]") -> None:
        def add() -> None:
            collection = self._open(corpus)
            for first in range(0, len(ids), PAGE):
                some = slice(first, first + PAGE)
                collection.upsert(ids=list(ids[some]), embeddings=vectors[some])

        self._guarded(add)

    def remove(self, corpus: str, ids: Sequence[str]) -> None:
        def remove() -> None:
            collection = self._open(corpus)
            for first in range(0, len(ids), PAGE):
                collection.delete(ids=list(ids[first : first + PAGE]))

        self._guarded(remove)

    def nearest(self, corpus: str, vector: "NDArray[np.float32]", limit: int) -> list[str]:
        def nearest() -> list[str]:
            found = self._open(corpus).query(query_embeddings=[vector], n_results=limit, include=[])
            return list(found["ids"][0])

        return self._guarded(nearest)

    def drop(self, corpus: str) -> None:
        def drop() -> None:
            self._connect()
            name = _name(corpus)
            if any(each.name == name for each in self._client.list_collections()):
                self._client.delete_collection(name)

        self._collections.pop(corpus, None)
        self._guarded(drop)

    def release(self) -> None:
        if self._client is not None:
            self._collections = {}
            close = getattr(self._client, "close", None)
            if close is not None:
                close()
            self._client = None

    def wipe(self) -> None:
        """Remove the files of an embedded index that is broken. A server's collections are dropped one by one."""
        self.release()
        if not self._url:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (
            Exception
        ) as error:  # chromadb raises whatever its Rust core, its SQLite and its HTTP client raise
            self._collections = {}
            self._client = None
            raise UnavailableError(f"The vector index cannot be used ({type(error).__name__}).") from error

    def _open(self, corpus: str) -> Any:
        collection = self._collections.get(corpus)
        if collection is None:
            self._connect()
            # No embedding function: its default would download a model; the vectors are ours.
            collection = self._client.get_or_create_collection(
                _name(corpus),
                embedding_function=None,
                configuration={
                    "hnsw": {
                        "space": "cosine", "max_neighbors": NEIGHBOURS, "ef_construction": EF_CONSTRUCTION,
                        "ef_search": EF_SEARCH,
                    }
                },
            )  # fmt: skip
            self._collections[corpus] = collection
        return collection

    def _connect(self) -> None:
        if self._client is not None:
            return
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        if self._url:
            parts = urlsplit(self._url)
            self._client = chromadb.HttpClient(
                host=parts.hostname or "",
                port=parts.port or 8000,
                ssl=parts.scheme == "https",
                settings=settings,
            )
        else:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._client = chromadb.PersistentClient(str(self._directory), settings)


def _name(corpus: str) -> str:
    """Chroma takes few characters in a name, and ours may have others."""
    return "covey-" + hashlib.sha256(corpus.encode()).hexdigest()[:32]

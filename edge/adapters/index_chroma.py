"""`VectorIndex` over an embedded Chroma. Chroma is imported and opened when first used: it costs 190 MB.

Chroma is known to lose what it had not flushed and to fail after a hard stop; that is why it holds nothing that
cannot be made again, and why a broken one is reported with the command that rebuilds it.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

COLLECTION: Final = "episodes"
PAGE: Final = 1_000

T = TypeVar("T")


class ChromaIndex:
    """One collection in `directory`, used from one thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chroma")
        self._client: Any = None
        self._collection: Any = None

    async def keys(self) -> frozenset[str]:
        return await self._run(lambda collection: frozenset(collection.get(include=[])["ids"]))

    async def add(self, keys: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        def add(collection: Any) -> None:
            for first in range(0, len(keys), PAGE):
                some = slice(first, first + PAGE)
                collection.upsert(ids=list(keys[some]), embeddings=[list(vector) for vector in vectors[some]])

        await self._run(add)

    async def nearest(self, vector: Sequence[float], *, limit: int) -> tuple[tuple[str, float], ...]:
        def nearest(collection: Any) -> tuple[tuple[str, float], ...]:
            count = min(limit, collection.count())
            if count == 0:
                return ()
            found = collection.query(query_embeddings=[list(vector)], n_results=count, include=["distances"])
            return tuple(
                (key, 1.0 - distance)
                for key, distance in zip(found["ids"][0], found["distances"][0], strict=True)
            )

        return await self._run(nearest)

    async def clear(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._remove)

    def close(self) -> None:
        """End the thread. The index may not be used afterwards."""
        self._thread.shutdown()

    async def _run(self, work: Callable[[Any], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[Any], T]) -> T:
        try:
            if self._collection is None:
                self._open()
            return work(self._collection)
        except Exception as error:  # chromadb raises whatever its Rust core and its SQLite raise
            self._collection = None
            raise UnavailableError(
                "The memory index cannot be used; `covey-edge memory rebuild` makes it anew."
            ) from error

    def _open(self) -> None:
        import chromadb
        from chromadb.config import Settings

        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._client = chromadb.PersistentClient(str(self._directory), Settings(anonymized_telemetry=False))
        # No embedding function: its default would download a model; the vectors are ours.
        self._collection = self._client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def _remove(self) -> None:
        """Empty a healthy index through Chroma; of a broken one the files are removed."""
        try:
            if self._collection is None:
                self._open()
            self._client.delete_collection(COLLECTION)
        except Exception:
            logger.warning("the memory index is broken; its files are removed", exc_info=True)
            shutil.rmtree(self._directory, ignore_errors=True)
        finally:
            self._collection = self._client = None

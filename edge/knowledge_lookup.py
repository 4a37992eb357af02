"""Searching the collections that the device holds, with or without a link.

Vectors take part only if this device's embedding model is the collections' own; else keywords find alone, and that is
said. Must not know how collections come here.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edge.shelf import Shelf
from shared.errors import ConfigError, CoveyError, RefusedError
from shared.inference.ports import EmbeddingModel
from shared.memory.shelves import scope_of

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.library.library import Findings, Library
    from shared.retrieval.search import Query

NO_INDEX: Final = "By keywords alone: this device has no vector index (setting index)."
OTHER_MODEL: Final = (
    "By keywords alone: the collection was embedded with another model than this device's; install the hub's"
    " embedding model here."
)
QUESTION_MAX_CHARS: Final = 4_000


class KnowledgeLookup:
    """`embedder` None: by keywords alone, by choice. `names`: the collections that may be answered from now."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        names: Callable[[], Sequence[str]],
        embedder: EmbeddingModel | None,
    ) -> None:
        self._shelf = shelf
        self._names = names
        self._embedder = embedder

    @property
    def is_possible(self) -> bool:
        """Whether anything is held."""
        return bool(self._names())

    def names(self, collections: Sequence[str] = (), *, unread: Collection[str] = ()) -> list[str]:
        """Those of the collections, or of all that are held, that are of no scope in `unread`."""
        return [each for each in collections or self._names() if scope_of(each) not in unread]

    def shared_scopes(self, collections: Sequence[str] = ()) -> list[str]:
        """The scopes, beside the device's own, of what would be read: what others have shared with this device."""
        return sorted({scope_of(each) for each in self.names(collections)} - {"device"})

    async def search(
        self, question: str, collections: Sequence[str] = (), *, limit: int, unread: Collection[str] = ()
    ) -> "Findings":
        """The best of these collections, or of all that are held, but for those of a scope in `unread`.

        Raises `RefusedError` (code `collection_unknown`, `knowledge_none`) and what opening the library raises.
        """
        held = self.names(unread=unread)
        if unknown := [each for each in collections if each not in held]:
            raise RefusedError(
                f"This device does not hold {unknown[0]}; `covey-edge knowledge list` shows what it holds.",
                code="collection_unknown",
            )
        if not held:
            raise RefusedError(
                "This device holds no knowledge: name collections in its setting knowledge.",
                code="knowledge_none",
            )
        chosen = list(collections) or held
        query, note = await self._query(question[:QUESTION_MAX_CHARS], chosen)
        found = await asyncio.to_thread(self._found, query, chosen, limit)
        return found if note is None else replace(found, note=note)

    async def verify(self) -> list[str]:
        """What is not as this program wrote it, one sentence each."""

        def verify() -> list[str]:
            with self._shelf.library() as library:
                return library.verify()

        return await asyncio.to_thread(verify) if self._shelf.is_there else []

    async def _query(self, question: str, names: Sequence[str]) -> "tuple[Query, str | None]":
        from shared.retrieval.search import query_of
        from shared.retrieval.vectors import quantised

        if self._embedder is None:
            return query_of(question), NO_INDEX
        try:
            models = await asyncio.to_thread(self._models, names)
            if models - {await self._embedder.fingerprint()}:
                return query_of(question), OTHER_MODEL
            (vector,) = await self._embedder.embed([question])
        except ConfigError as error:
            return query_of(question), f"By keywords alone: {error}"
        return query_of(question, quantised(vector)), None

    def _models(self, names: Sequence[str]) -> set[bytes]:
        with self._shelf.library() as library:
            return {each.model for each in library.held() if each.name in names}

    def _found(self, query: "Query", names: Sequence[str], limit: int) -> "Findings":
        def search(library: "Library") -> "Findings":
            return library.search(query, names, limit=limit)

        if query.vector is None:
            with self._shelf.library() as library:
                return search(library)
        with self._shelf.searched() as library:
            found = search(library)
        problem = self._shelf.index_problem
        return found if problem is None or found.note is not None else replace(found, note=problem)


def said_of(error: CoveyError) -> str:
    """Why something could not be looked up, for who goes on without."""
    return f"The device's knowledge cannot be searched now ({error})"

"""Searching and answering at the hub: the question's embedding, this process's replica, the hub's model."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from cloud.knowledge.replica import Replica, name_of
from shared.errors import ConfigError
from shared.inference.ports import LanguageModel
from shared.knowledge.answer import Supported
from shared.library.answering import PASSAGES, Answered, answered
from shared.library.library import Findings
from shared.retrieval.search import Query, query_of


class QueryEmbedder(Protocol):
    async def fingerprint(self) -> bytes: ...

    async def vector(self, text: str) -> bytes:
        """Signed bytes. Raises `ConfigError` if the embedding model is not installed."""
        ...


class Answers:
    """`model` None: answers are the best sentences as they stand."""

    def __init__(self, *, replica: Replica, embedder: QueryEmbedder, model: LanguageModel | None) -> None:
        self._replica = replica
        self._embedder = embedder
        self._model = model

    async def missing(self, tenant: str, collections: Sequence[str]) -> list[str]:
        """Those of the collections that are not searched here yet."""
        held = await asyncio.to_thread(self._replica.library.held)
        here = {each.name for each in held}
        return [each for each in collections if name_of(tenant, each) not in here]

    async def search(self, tenant: str, question: str, collections: Sequence[str], *, limit: int) -> Findings:
        """Raises `RefusedError` (code `collection_unknown`)."""
        names = await asyncio.to_thread(self._replica.names, tenant, collections)
        query, model, note = await self._query(question)
        found = await asyncio.to_thread(self._replica.library.search, query, names, limit=limit, model=model)
        if note is None:
            return found
        return replace(found, note=note)

    async def ask(
        self, tenant: str, question: str, collections: Sequence[str]
    ) -> AsyncGenerator[Supported | Answered, None]:
        """Sentences as they are known to be supported, and the end. Raises as `search`, before the first."""
        found = await self.search(tenant, question, collections, limit=PASSAGES)
        async with aclosing(answered(question, found, self._model)) as stream:
            async for item in stream:
                yield item

    async def _query(self, question: str) -> tuple[Query, bytes | None, str | None]:
        """The question, the model that its vector is of, and why it has none."""
        try:
            vector = await self._embedder.vector(question)
            return query_of(question, vector), await self._embedder.fingerprint(), None
        except ConfigError as error:
            return query_of(question), None, str(error)

"""Searching and answering at the hub: the question's embedding, this process's replica, the hub's model.

What may be answered is `shared.knowledge.answer`'s: this host only runs the model and passes on what is supported.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cloud.knowledge.replica import Replica
from shared.errors import ConfigError, CoveyError
from shared.inference.ports import Generation, LanguageModel, Message, TextDelta
from shared.knowledge.answer import (
    SUPPORT_TRY,
    SYSTEM,
    Answer,
    Draft,
    Quote,
    Supported,
    extract,
    fitting,
    prompt,
)
from shared.library.library import Findings, Passage
from shared.retrieval.abstention import SUPPORT_MIN
from shared.retrieval.citations import Citation
from shared.retrieval.search import Query, query_of

logger = logging.getLogger(__name__)

PASSAGES: Final = 6
ANSWER_MAX_TOKENS: Final = 220
PROMPT_SHARE: Final = 0.6
"""Of the model's context for the quotes; the rest is for the question and the answer."""
CHARS_PER_TOKEN: Final = 3.0
"""A cautious reckoning, for models whose tokenizer is elsewhere."""


class QueryEmbedder(Protocol):
    async def vector(self, text: str) -> bytes:
        """Signed bytes. Raises `ConfigError` if the embedding model is not installed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A passage that an answer rests on. `number` as in its text."""

    number: int
    passage: Passage
    citation: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The end of an answer. `by`: the model's name, or `quotes` if there was none. `note`: what went otherwise."""

    answer: Answer
    cited: tuple[Cited, ...]
    by: str
    note: str | None


class Answers:
    """`model` None: answers are the best sentences as they stand."""

    def __init__(self, *, replica: Replica, embedder: QueryEmbedder, model: LanguageModel | None) -> None:
        self._replica = replica
        self._embedder = embedder
        self._model = model

    async def search(self, tenant: str, question: str, collections: Sequence[str], *, limit: int) -> Findings:
        """Raises `RefusedError` (code `collection_unknown`)."""
        names = await asyncio.to_thread(self._replica.names, tenant, collections)
        query, note = await self._query(question)
        found = await asyncio.to_thread(self._replica.library.search, query, names, limit=limit)
        if note is None:
            return found
        return replace(found, note=note)

    async def ask(
        self, tenant: str, question: str, collections: Sequence[str]
    ) -> AsyncGenerator[Supported | Answered, None]:
        """Sentences as they are known to be supported, and the end. Raises as `search`, before the first."""
        found = await self.search(tenant, question, collections, limit=PASSAGES)
        wanted = SUPPORT_MIN if self._model is None else SUPPORT_TRY
        passages = found.passages if found.support >= wanted else ()
        quotes = [
            Quote(number=number, text=passage.item.text, source=citation_of(passage).line)
            for number, passage in enumerate(passages, start=1)
        ]
        by, note, answer = "quotes", found.note, Answer(sentences=(), dropped=0)
        if quotes and self._model is not None:
            by = self._model.name
            draft = Draft(question, self._fitting(quotes, self._model))
            try:
                async with aclosing(self._generated(self._model, draft)) as stream:
                    async for sentence in stream:
                        yield sentence
                rest, answer = draft.finish()
                for sentence in rest:
                    yield sentence
            except CoveyError as error:
                logger.warning("answering by quotes alone: %s", error)
                by, note = "quotes", str(error)
        if quotes and by == "quotes" and found.is_supported:
            answer = extract(question, quotes)
            for sentence in answer.sentences:
                yield sentence
        cited = tuple(
            Cited(number=number, passage=passages[number - 1], citation=citation_of(passages[number - 1]))
            for number in answer.cited
        )
        yield Answered(answer=answer, cited=cited, by=by, note=note)

    async def _query(self, question: str) -> tuple[Query, str | None]:
        try:
            return query_of(question, await self._embedder.vector(question)), None
        except ConfigError as error:
            return query_of(question), str(error)

    async def _generated(self, model: LanguageModel, draft: Draft) -> AsyncGenerator[Supported, None]:
        generation = Generation(
            messages=(
                Message("system", SYSTEM),
                Message("user", prompt(draft.question, draft.quotes)),
            ),
            max_tokens=ANSWER_MAX_TOKENS,
        )
        async with aclosing(model.generate(generation)) as stream:
            async for item in stream:
                if isinstance(item, TextDelta):
                    for sentence in draft.push(item.text):
                        yield sentence

    @staticmethod
    def _fitting(quotes: Sequence[Quote], model: LanguageModel) -> list[Quote]:
        return fitting(
            quotes,
            tokens=int(model.context_tokens * PROMPT_SHARE),
            count_tokens=lambda text: int(len(text) / CHARS_PER_TOKEN) + 1,
        )


def citation_of(passage: Passage) -> Citation:
    """`collection` without the tenant before it."""
    item = passage.item
    return Citation(
        collection=passage.collection.rpartition("/")[2],
        document=item.document,
        title=item.title,
        headings=item.headings,
        page=item.page or None,
        start=item.start,
        end=item.end,
        revision=passage.root,
    )

"""From what was found to an answer that cites it: the same on the hub and on a device.

What may be answered is `shared.knowledge.answer`'s; this host only runs the model and passes on what is supported.
Nothing is supported: nothing is answered. The model is away, or says nothing that may be shown: the best sentences as
they stand.
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from shared.errors import CoveyError
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

logger = logging.getLogger(__name__)

PASSAGES: Final = 6
"""To search for, when an answer is to be made of them."""
ANSWER_MAX_TOKENS: Final = 220
PROMPT_SHARE: Final = 0.6
"""Of the model's context for the quotes; the rest is for the question and the answer."""
CHARS_PER_TOKEN: Final = 3.0
"""A cautious reckoning, for models whose tokenizer is elsewhere."""
BY_QUOTES: Final = "quotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A passage that an answer rests on. `number` as in its text."""

    number: int
    passage: Passage
    citation: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The end of an answer. `by`: the model's name, or `quotes` if there was none or none of its words
    may be shown. `note`: what went otherwise."""

    answer: Answer
    cited: tuple[Cited, ...]
    by: str
    note: str | None


async def answered(
    question: str, found: Findings, model: LanguageModel | None
) -> AsyncGenerator[Supported | Answered, None]:
    """Sentences as they are known to be supported, and the end. `model` None: by quotes alone."""
    passages = found.passages if found.support >= (SUPPORT_MIN if model is None else SUPPORT_TRY) else ()
    quotes = quotes_of(passages)
    by, note, answer = BY_QUOTES, found.note, Answer(sentences=(), dropped=0)
    if quotes and model is not None:
        by = model.name
        draft = draft_of(question, quotes, context_tokens=model.context_tokens, is_sound=found.is_supported)
        try:
            async with aclosing(_generated(model, draft)) as stream:
                async for sentence in stream:
                    yield sentence
            rest, answer = draft.finish()
            by = BY_QUOTES if answer.is_quoted else by
            for sentence in rest:
                yield sentence
        except CoveyError as error:
            logger.warning("answering by quotes alone: %s", error)
            by, note = BY_QUOTES, str(error)
    if quotes and not answer.is_known and by == BY_QUOTES and found.is_supported:
        answer = extract(question, quotes)
        for sentence in answer.sentences:
            yield sentence
    cited = tuple(
        Cited(number=number, passage=passages[number - 1], citation=citation_of(passages[number - 1]))
        for number in answer.cited
    )
    yield Answered(answer=answer, cited=cited, by=by, note=note)


def quotes_of(passages: Sequence[Passage]) -> list[Quote]:
    """Numbered from 1, in their order."""
    return [
        Quote(number=number, text=passage.item.text, source=citation_of(passage).line)
        for number, passage in enumerate(passages, start=1)
    ]


def draft_of(question: str, quotes: Sequence[Quote], *, context_tokens: int, is_sound: bool = False) -> Draft:
    """What a model of that context is asked with, and its answer is judged by."""
    return Draft(
        question,
        fitting(
            quotes,
            tokens=int(context_tokens * PROMPT_SHARE),
            count_tokens=lambda text: int(len(text) / CHARS_PER_TOKEN) + 1,
        ),
        is_sound=is_sound,
    )


def generation_of(draft: Draft, *, max_tokens: int = ANSWER_MAX_TOKENS) -> Generation:
    """What the model is asked."""
    return Generation(
        messages=(
            Message("system", SYSTEM),
            Message("user", prompt(draft.question, draft.quotes)),
        ),
        max_tokens=max_tokens,
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


async def _generated(model: LanguageModel, draft: Draft) -> AsyncGenerator[Supported, None]:
    async with aclosing(model.generate(generation_of(draft))) as stream:
        async for item in stream:
            if isinstance(item, TextDelta):
                for sentence in draft.push(item.text):
                    yield sentence
                if draft.is_spent:
                    return

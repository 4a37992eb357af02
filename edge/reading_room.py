"""The device's documents, for people, under the rules: whether they may be read, and what of them may be told.

A passage bears the labels of its collection; one that may not be told is left out before a model is asked anything,
and what a model words from the others passes as every answer does."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.judge import ANSWER, Judge
from edge.knowledge_lookup import KnowledgeLookup
from edge.lookup import Lookup, refusal, text_of
from shared.errors import RefusedError
from shared.inference.ports import LanguageModel
from shared.memory.shelves import SHARED
from shared.policy.decisions import Allow, Asker, Deny, NeedsApproval, Transform
from shared.policy.flow import TaskFlow
from shared.policy.labels import UNTRUSTED

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.knowledge.answer import Supported
    from shared.library.answering import Answered
    from shared.library.library import Findings, Passage


class ReadingRoom:
    """`lookup`: who is asked whether anything may be read at all."""

    def __init__(
        self, *, knowledge: KnowledgeLookup, lookup: Lookup, judge: Judge, model: LanguageModel
    ) -> None:
        self._knowledge = knowledge
        self._lookup = lookup
        self._judge = judge
        self._model = model

    async def search(self, query: str, collections: Sequence[str] = (), *, limit: int) -> "Findings":
        """What fits best and may be told. Raises `RefusedError` (code `policy`, `stopped`), and as
        `KnowledgeLookup.search`."""
        await self._lookup.may_read(query)
        unread = await self._unread(query, collections)
        found = await self._knowledge.search(query, collections, limit=limit, unread=unread)
        passages = [told for each in found.passages if (told := await self._told(query, each)) is not None]
        if len(passages) == len(found.passages):
            return replace(found, passages=tuple(passages))
        withheld = f"{len(found.passages) - len(passages)} of what was found may not be told here."
        note = f"{found.note} {withheld}" if found.note else withheld
        return replace(found, passages=tuple(passages), support=found.support if passages else 0.0, note=note)

    async def _unread(self, query: str, collections: Sequence[str]) -> set[str]:
        """The scopes of what others have shared that may not be read, or that nobody asked about because they came
        meanwhile. Raises `RefusedError` (code `policy`) if one of the named collections is of a scope that may not, or
        nothing else is held."""
        unread: set[str] = set(SHARED)
        refused = None
        for scope in self._knowledge.shared_scopes(collections):
            try:
                await self._lookup.may_read(query, scope=scope)
                unread.remove(scope)
            except RefusedError as error:
                refused = error
        if refused is not None and (collections or not self._knowledge.names(unread=unread)):
            raise refused
        return unread

    async def ask(
        self, question: str, collections: Sequence[str] = ()
    ) -> "AsyncGenerator[Supported | Answered, None]":
        """Sentences that are supported and may be told, and the end. Where a rule reads what answers say, they come
        when the
        answer is whole. Raises as `search`, before the first."""
        from shared.library.answering import PASSAGES, Answered, answered

        found = await self.search(question, collections, limit=PASSAGES)
        labels = sorted({UNTRUSTED, *(label for each in found.passages for label in each.labels)})
        flow = await self._judge.conversation(Asker(), [(question, ()), ("", labels)])
        holds_back = self._judge.reads_answers
        async with aclosing(answered(question, found, self._model)) as stream:
            async for item in stream:
                if not isinstance(item, Answered):
                    if not holds_back:
                        yield item
                    continue
                end = await self._passed(item, flow) if holds_back else item
                for sentence in end.answer.sentences if holds_back else ():
                    yield sentence
                yield end

    async def _told(self, query: str, passage: "Passage") -> "Passage | None":
        text = passage.item.text
        flow = await self._judge.conversation(Asker(), [(query, ()), (text, (UNTRUSTED, *passage.labels))])
        decision = await self._judge.may(ANSWER, {"text": text}, flow)
        if not isinstance(decision, Allow | Transform):
            return None
        return replace(passage, item=replace(passage.item, text=text_of(decision)))

    async def _passed(self, end: "Answered", flow: TaskFlow) -> "Answered":
        """The answer as the rules let it through. Raises `RefusedError` (code `policy`)."""
        whole = await self._judge.may(ANSWER, {"text": end.answer.text}, flow)
        if isinstance(whole, Deny | NeedsApproval):
            raise refusal(whole)
        sentences = []
        for each in end.answer.sentences:
            decision = await self._judge.may(ANSWER, {"text": each.text}, flow)
            if isinstance(decision, Allow | Transform):
                sentences.append(replace(each, text=text_of(decision)))
        return replace(end, answer=replace(end.answer, sentences=tuple(sentences)))

"""Asks the hub as a call of a node: the question is in the journal before anything is waited for (rule P31).

A call asks once, whatever happens to the daemon meanwhile: on a retry the question that is there counts. Without a link
nobody waits; the question goes with the journal, and its answer finds whoever asked later (`edge.later_answers`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.blobs import make_blob
from edge.ports import Draft, HubQuestion, HubQuestions, Journal
from edge.tools import Occasion
from shared.clock import Clock, to_ms
from shared.records import HubAsked


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationSettings:
    """`mode`: `off`, or ask what is not answered here. `wait_s`: how long for the answer, while there is a link."""

    mode: Literal["off", "unanswered"]
    wait_s: float


class Escalation:
    """`changed()` tells it that orders came, or that the link did or went."""

    def __init__(
        self,
        *,
        questions: HubQuestions,
        journal: Journal,
        clock: Clock,
        is_enrolled: bool,
        is_linked: Callable[[], bool],
        settings: EscalationSettings,
    ) -> None:
        self._questions = questions
        self._journal = journal
        self._clock = clock
        self._is_enrolled = is_enrolled
        self._is_linked = is_linked
        self._settings = settings
        self._changed = asyncio.Event()

    def reconfigure(self, settings: EscalationSettings) -> None:
        """From the next question on."""
        self._settings = settings

    def changed(self) -> None:
        self._changed.set()

    @property
    def is_possible(self) -> bool:
        """Whether there is a hub that may be asked at all. The rules say whether this question may go to it."""
        return self._is_enrolled and self._settings.mode == "unanswered"

    async def ask(self, text: str, occasion: Occasion) -> HubQuestion | None:
        """The question with its answer; None: none came in time. Raises what the journal raises."""
        known = await self._question(occasion)
        if known is not None and known.answer is not None:
            return known
        if known is None or not known.seq:
            await self._append(text, occasion)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.wait_s):
                await self._wait(occasion)
        found = await self._question(occasion)
        return None if found is None or found.answer is None else found

    async def _wait(self, occasion: Occasion) -> None:
        """Until the answer is there, or nobody can bring it."""
        while True:
            self._changed.clear()
            found = await self._question(occasion)
            if not self._is_linked() or (found is not None and found.answer is not None):
                return
            await self._changed.wait()

    async def _question(self, occasion: Occasion) -> HubQuestion | None:
        return await self._questions.question(occasion.task, occasion.node, occasion.call)

    async def _append(self, text: str, occasion: Occasion) -> None:
        question = make_blob(text.encode(errors="replace"))
        record = HubAsked(
            at_ms=to_ms(self._clock.now()),
            causes=(occasion.intent,),
            labels=occasion.labels,
            task=occasion.task,
            node=occasion.node,
            call=occasion.call,
            question=question.ref(),
            unread=occasion.unread,
        )
        await self._journal.append(Draft(record, (question,)), durable=True)

"""Brings answers of the hub that came after their work had ended to whoever had asked (rule P31).

What is told passes the rules as every answer does, with the labels that the hub's order gave it, and is in the journal
as `node.amended`: so the local API, the device's page and the hub show it beside the end, which stays what it was. What
is to be done follows from the store, so a daemon that was killed, or off, goes on where it stopped. What is told is
remembered with the same append.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from edge.asker import asker_of
from edge.blobs import make_blob
from edge.core.escalating import NO_ANSWER, read, told_of
from edge.judge import ANSWER, Judge, Place
from edge.ports import Draft, HubQuestion, HubQuestions, Journal, NodeView, Work
from shared.blobs import BlobRef
from shared.clock import Clock, from_ms, to_ms
from shared.policy.decisions import Allow, Deny, NeedsApproval, Transform
from shared.policy.labels import UNTRUSTED
from shared.records import NodeAmended, NodeMoved
from shared.tasks.states import TERMINAL

logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
SHOWN_MAX: Final = 20
Remember = Callable[[NodeView, str, str | None, str, Sequence[str]], Awaitable[tuple[Draft, ...]]]
"""Of ended work, its goal, who asked, the later answer and its labels: what to append so that it is remembered."""
WITHHELD: Final = "The hub has answered this, and its answer may not be told here."


class LaterAnswers:
    """`changed()` tells it that orders came or the device was released; it hears of ended nodes as a witness."""

    def __init__(
        self,
        *,
        questions: HubQuestions,
        work: Work,
        journal: Journal,
        judge: Judge,
        clock: Clock,
        remember: Remember,
    ) -> None:
        self._questions = questions
        self._work = work
        self._journal = journal
        self._judge = judge
        self._clock = clock
        self._remember = remember
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    def witness(self, _seq: int, draft: Draft) -> None:
        """An answer may have come while its node still ran."""
        if isinstance(draft.record, NodeMoved) and draft.record.state in TERMINAL:
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled. Raises what the store raises."""
        while True:
            self._changed.clear()
            while await self.look():
                pass
            await self._changed.wait()

    async def look(self) -> int:
        """Tell what can be told now; how many answers that was."""
        told = 0
        for question in await self._questions.late(AT_ONCE):
            node = await self._work.node(question.task, question.node)
            if node is not None and not await self._tell(question, node):
                return 0  # the device is stopped: it is told when it goes on
            told += node is not None
        return told

    # --- for people

    async def of(self, task: str) -> list[dict[str, Any]]:
        """What a task asked the hub, and what came of it, as plain JSON values."""
        return [_shown(each) for each in await self._questions.questions_of(task)]

    async def recent(self) -> list[dict[str, Any]]:
        """What was asked last, newest first, with the requests that it came from."""
        shown = []
        for question in await self._questions.questions(SHOWN_MAX):
            node = await self._work.node(question.task, question.node)
            goal = None if node is None else await self._text(node.goal)
            shown.append({"task": question.task, "goal": goal, **_shown(question)})
        return shown

    # --- one answer

    async def _tell(self, question: HubQuestion, node: NodeView) -> bool:
        assert question.answer is not None
        assert question.order is not None
        answer = read(question.answer, is_known=question.is_known)
        text = NO_ANSWER if answer is None else told_of(answer)
        labels = (UNTRUSTED, *question.labels)
        who, goal = await self._text(node.asker), await self._text(node.goal)
        flow = await self._judge.conversation(
            asker_of(node, who), [(goal or "", node.labels), (text, labels)]
        )
        causes = (question.order,)
        place = Place(task=node.task, node=node.node, call=None, causes=causes)
        judgement = await self._judge.ask_about(ANSWER, {"text": text}, flow, place=place)
        if judgement.is_stopped:
            return False
        shown = self._judge.shown_labels(flow)
        remembered: tuple[Draft, ...] = ()
        match judgement.decision:
            case Allow() | Transform() as allowed:
                text = str(allowed.call.values()["text"])
                if answer is not None and goal:
                    remembered = await self._remember(node, goal, who, text, labels)
            case Deny(sentence=sentence, hint=hint):
                text, shown = f"{WITHHELD} {sentence} {hint}".strip(), ()
            case NeedsApproval(sentence=sentence):
                text, shown = f"{WITHHELD} {sentence}", ()
        result = make_blob(text.encode())
        record = NodeAmended(
            at_ms=to_ms(self._clock.now()),
            causes=causes,
            labels=shown,
            task=node.task,
            node=node.node,
            call=question.call,
            result=result.ref(),
        )
        await self._journal.append(judgement.draft, Draft(record, (result,)), *remembered, durable=True)
        logger.info("task %s has a later answer of the hub", node.task)
        return True

    async def _text(self, ref: BlobRef | None) -> str | None:
        blob = None if ref is None else await self._journal.blob(ref)
        return None if blob is None else blob.text()


def _shown(question: HubQuestion) -> dict[str, Any]:
    has_come = question.answer is not None
    return {
        "node": question.node,
        "call": question.call,
        "asked_at": from_ms(question.asked_ms).isoformat(timespec="seconds"),
        "state": "waiting" if not has_come else "told" if question.is_told else "answered",
        "is_known": question.is_known if has_come else None,
        "later": None
        if question.told is None or question.told_ms is None
        else {
            "text": question.told,
            "labels": list(question.told_labels),
            "at": from_ms(question.told_ms).isoformat(timespec="seconds"),
        },
    }

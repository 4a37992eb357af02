"""What is remembered of an answer that came after its work had ended: the episode tells it from then on, and what was
answered before it is found no more (rules P30, P31).

The rules are asked as for everything that is remembered (`memory.write`), and it bears the labels of the answer. Must
not write: whoever tells the later answer appends these drafts with it, so that both are in the journal, or none.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from edge.asker import asker_of
from edge.core.reading import WRITE
from edge.core.remembered import Change, NewItem, Remembered
from edge.core.remembering import ITEM_MAX_BYTES
from edge.judge import Judge, Place
from edge.memory_seal import MemorySeal
from edge.ports import Draft, MemoryStore, NodeView
from edge.recall import Recall
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, UnavailableError
from shared.escalation import ESCALATE
from shared.memory.items import Episode
from shared.policy.decisions import Allow, Transform
from shared.policy.flow import TaskFlow

logger = logging.getLogger(__name__)

SCOPE: Final = "device"


class Afterthought:
    """The memory, for who tells later answers. `catch_up` remembers what has just ended."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        recall: Recall,
        seal: MemorySeal,
        judge: Judge,
        clock: Clock,
        new_id: Callable[[], str],
        catch_up: Callable[[], Awaitable[object]],
    ) -> None:
        self._store = store
        self._recall = recall
        self._seal = seal
        self._judge = judge
        self._clock = clock
        self._new_id = new_id
        self._catch_up = catch_up

    async def drafts(
        self, node: NodeView, goal: str, who: str | None, text: str, labels: Sequence[str]
    ) -> tuple[Draft, ...]:
        """What to append with the later answer `text` to `goal`, which bears `labels`: the decision, and what it lets
        through. `who`: as `node.asker` says it."""
        try:
            await self._catch_up()  # else what was answered before might be remembered after it
        except (CapacityError, UnavailableError) as error:
            logger.info("what has just ended is not remembered yet: %s", error)
        flow = await self._judge.conversation(asker_of(node, who), [(goal, node.labels), (text, labels)])
        place = Place(task=node.task, node=node.node, call=None, causes=(node.cause,))
        judgement = await self._judge.ask_about(WRITE, {"scope": SCOPE, "text": text}, flow, place=place)
        cue = await self._passed(goal, flow)
        if judgement.call is None or cue is None:
            return (judgement.draft,)
        told = str(judgement.call.values()["text"])
        rows = await self._store.of_work(node.task, node.node)
        earlier = [
            each
            for each in await self._recall.genuine(rows)
            if isinstance(each.content, Episode) and each.until_ms is None
        ]
        new = self._episode(node, cue, told, self._judge.shown_labels(flow), earlier)
        if len(new.cue.encode()) + len(new.content.encode()) > ITEM_MAX_BYTES:
            return (judgement.draft,)
        at_ms = to_ms(self._clock.now())
        item = self._new_id()
        change = Change(until_ms=at_ms, reason="outdated", other=item)
        return (
            judgement.draft,
            self._seal.written(item, new, at_ms=at_ms),
            *(self._seal.changed(each.item, change, at_ms=at_ms) for each in earlier),
        )

    def _episode(
        self, node: NodeView, cue: str, told: str, labels: tuple[str, ...], earlier: Sequence[Remembered]
    ) -> NewItem:
        content = Episode(result=told, tools=(ESCALATE,))
        since_ms = None
        for each in earlier:
            assert isinstance(each.content, Episode)
            content = Episode(
                result=told,
                tools=tuple(dict.fromkeys((*each.content.tools, ESCALATE))),
                before=each.content.before,
            )
            since_ms = each.since_ms
        return NewItem(
            sort="episode",
            content=content,
            by="rule",
            cue=cue,
            labels=labels,
            since_ms=since_ms,
            task=node.task,
            node=node.node,
        )

    async def _passed(self, text: str, flow: TaskFlow) -> str | None:
        decision = await self._judge.may(WRITE, {"scope": SCOPE, "text": text}, flow)
        return str(decision.call.values()["text"]) if isinstance(decision, Allow | Transform) else None

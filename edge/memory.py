"""The device's memory: what is remembered of finished work and of what people say, under the rules, each as a record.

Nothing is written that the rules (`memory.write`) do not let through, and everything keeps the labels of what it
came from. What was remembered is ended and not overwritten. Keeping within bounds is done here too (`tend`), by
records as well."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from edge.core.kept import Kept
from edge.core.reading import WRITE
from edge.core.remembered import Change, NewItem, Remembered
from edge.core.remembering import (
    ITEM_MAX_BYTES,
    Now,
    Used,
    answer_of,
    episode_of,
    procedure_of,
)
from edge.judge import ANSWER, Judge, Place
from edge.lookup import refusal
from edge.memory_seal import MemorySeal
from edge.ports import Draft, EndedWork, Journal, MemoryStore, NodeView, Room, Work
from edge.recall import Recall
from edge.shelf import Shelf
from edge.tending import Tending
from shared.blobs import BlobRef
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, RefusedError, UnavailableError
from shared.memory.facts import Standing, placed
from shared.memory.items import Answer, Author, Fact, Procedure, Scope, sentence_of
from shared.policy.decisions import Allow, Asker, Transform
from shared.policy.flow import TaskFlow
from shared.policy.labels import UNTRUSTED
from shared.records import MAX_LABELS

logger = logging.getLogger(__name__)

THINK_ITEMS: Final = 50
"""Pieces of work that are thought about in one go."""
RETRY_S: Final = 30.0
"""After something went wrong: a full disk, a model that is away."""
TEND_S: Final = 3_600.0
SITTING_MS: Final = 30 * 60_000
"""What is asked within so long of the question before may lean on it."""
IDLE_S: Final = 300.0
"""After which an index that nobody uses is closed."""


class Memory:
    """The part `memory` of the daemon."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        journal: Journal,
        work: Work,
        judge: Judge,
        seal: MemorySeal,
        recall: Recall,
        shelf: Shelf,
        tending: Tending,
        clock: Clock,
        new_id: Callable[[], str],
        now: Callable[[], Now],
        is_stopped: Callable[[], bool],
        room: Room,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        """`now`: what answers rest on, as it is now."""
        self.think_items = THINK_ITEMS
        self.has_items = False
        """Whether anything is remembered, as far as is known."""
        self._shelf = shelf
        self._tending = tending
        self._monotonic_s = monotonic_s
        self._tended_s: float | None = None
        self._store = store
        self._journal = journal
        self._work = work
        self._judge = judge
        self._seal = seal
        self._recall = recall
        self._clock = clock
        self._new_id = new_id
        self._now = now
        self._is_stopped = is_stopped
        self._room = room
        self._has_changed = asyncio.Event()
        self._thinking = asyncio.Lock()
        self._writing = asyncio.Lock()

    def changed(self) -> None:
        """There may be finished work."""
        self._has_changed.set()

    async def run(self) -> None:
        """Think about finished work, and keep what is remembered within its bounds, until cancelled."""
        while True:
            self._has_changed.clear()
            wait_s = TEND_S
            try:
                await self.think()
                await self._tend_if_due()
            except (CapacityError, UnavailableError) as error:
                logger.warning("nothing is remembered for now: %s", error)
                wait_s = RETRY_S
            if self._shelf.is_open:
                wait_s = min(wait_s, IDLE_S)
                if self._shelf.idle_s >= IDLE_S:
                    await asyncio.to_thread(self._shelf.release)
            try:
                async with asyncio.timeout(wait_s):
                    await self._has_changed.wait()
            except TimeoutError:
                pass

    async def _tend_if_due(self) -> None:
        """Once an hour, and for the first time an hour after the start: boards that start often have better to do."""
        now_s = self._monotonic_s()
        if self._tended_s is None:
            self._tended_s = now_s
        if now_s - self._tended_s >= TEND_S:
            self._tended_s = now_s
            await self._tending.tend()

    async def think(self) -> int:
        """Remember what has ended since the last time; returns how many pieces of work.

        Raises `CapacityError` while the journal is full: what is left of it is for finishing what was begun.
        """
        count = 0
        self.has_items = self.has_items or bool(await self._store.counts())
        async with self._thinking:
            while not self._is_stopped() and (ended := await self._store.ended(THINK_ITEMS)):
                for each in ended:
                    await self._room.admit()
                    await self._think_about(each)
                count += len(ended)
                self.has_items = True
        return count

    # --- what people and the agent say

    async def add(
        self,
        fact: Fact,
        *,
        by: Author,
        labels: Sequence[str] = (),
        scope: Scope = "device",
        since_ms: int | None = None,
        place: tuple[str, int] | None = None,
        causes: tuple[int, ...] = (),
    ) -> Kept:
        """Remember a fact that the rules have let through; what it ends is ended with it.

        Raises `CapacityError` and `UnavailableError` as the journal does; then nothing is remembered.
        """
        at_ms = to_ms(self._clock.now())
        async with self._writing:
            known = [
                each
                for each in await self._recall.alike("fact", fact.key)
                if each.standing.fact.names == fact.names
            ]
            standing = [each.standing for each in known if each.reason in (None, "superseded")]
            new = Standing(
                item=self._new_id(),
                fact=fact,
                since_ms=at_ms if since_ms is None else since_ms,
                until_ms=None,
                labels=tuple(labels),
            )
            found = placed(new, standing)
            ended = {item for item, _ in found.closes}
            others = [
                each
                for each in standing
                if each.until_ms is None
                and (each.item in ended if found.outcome == "supersedes" else each.fact.value != fact.value)
            ]
            before = tuple(each.fact.value for each in others)
            known_as = tuple(sorted({label for each in others for label in each.labels}))
            if found.outcome == "repeated":
                same = next(each for each in known if each.item == found.repeats)
                return Kept(
                    item=same.item, outcome=found.outcome, fact=fact, before=(), labels=tuple(same.labels)
                )
            task, node = (None, None) if place is None else place
            item = NewItem(
                sort="fact",
                content=fact,
                by=by,
                scope=scope,
                labels=tuple(labels),
                since_ms=since_ms,
                task=task,
                node=node,
            )
            drafts = [self._seal.written(new.item, item, at_ms=at_ms, causes=causes)]
            for closed, until_ms in found.closes:
                change = Change(until_ms=until_ms, reason="superseded", other=new.item)
                drafts.append(self._seal.changed(closed, change, at_ms=at_ms))
            if found.until_ms is not None:
                change = Change(until_ms=found.until_ms, reason="superseded", other=found.followed_by)
                drafts.append(self._seal.changed(new.item, change, at_ms=at_ms))
            await self._journal.append(*drafts, durable=True)
            self.has_items = True
        return Kept(item=new.item, outcome=found.outcome, fact=fact, before=before, labels=known_as)

    async def said(
        self, fact: Fact, *, who: str = "", scope: Scope = "device", since_ms: int | None = None
    ) -> Kept:
        """Remember what a person says, if the rules let it. Raises `RefusedError` (code `policy`, `stopped`) if not."""
        text = fact.said or sentence_of(fact)
        flow = await self._judge.conversation(Asker(who=who), [(text, ())])
        judgement = await self._judge.ask_about(WRITE, {"scope": scope, "text": text}, flow)
        await self._journal.append(judgement.draft, durable=False)
        if judgement.call is None:
            raise refusal(judgement.decision)
        let_through = str(judgement.call.values()["text"])
        if let_through != text:
            from shared.memory.statements import fact_in

            fact = fact_in(let_through)
        kept = await self.add(
            fact, by="person", labels=self._judge.shown_labels(flow), scope=scope, since_ms=since_ms
        )
        flow.seen(kept.sentence, kept.labels, at=self._clock.now())
        told = await self._judge.may(ANSWER, {"text": kept.sentence}, flow)
        if isinstance(told, Allow):
            return kept
        # What was known before may not be told to whoever says something else now.
        return replace(kept, outcome="new", before=())

    async def end(self, item: str, reason: str = "withdrawn") -> None:
        """An item holds no longer. Raises `RefusedError` (code `unknown_item`) for one that is not there."""
        found = await self._recall.genuine(await self._store.named([item]))
        if not found:
            raise RefusedError(f"There is no item {item[:40]} in this memory.", code="unknown_item")
        await self._change(found[0], until_ms=to_ms(self._clock.now()), reason=reason)

    # --- finished work

    async def _think_about(self, ended: EndedWork) -> None:
        node = await self._work.node(ended.task, ended.node)
        if node is None:
            return
        labels = (UNTRUSTED,) if ended.result_labels is None else ended.result_labels
        flow = await self._judge.conversation(
            Asker(kind="hub" if ended.origin == "hub" else "local"),
            [(ended.goal, ended.labels), (ended.result, labels)],
        )
        place = Place(task=ended.task, node=ended.node, call=None, causes=(node.cause,))
        arguments = {"scope": "device", "text": ended.result}
        judgement = await self._judge.ask_about(WRITE, arguments, flow, place=place)
        goal = await self._passed(ended.goal, flow)
        drafts = [judgement.draft]
        if judgement.call is not None and goal is not None:
            result = str(judgement.call.values()["text"])
            shown = self._judge.shown_labels(flow)
            drafts += await self._drafts(ended, node, goal, result, shown)
        try:
            await self._journal.append(*drafts, durable=False)
        except CapacityError as error:
            if error.bound not in ("BLOB_MAX_BYTES", "RECORD_MAX_BYTES"):
                raise
            await self._journal.append(
                judgement.draft, durable=False
            )  # too much for one record: not remembered

    async def _passed(self, text: str, flow: TaskFlow) -> str | None:
        decision = await self._judge.may(WRITE, {"scope": "device", "text": text}, flow)
        return str(decision.call.values()["text"]) if isinstance(decision, Allow | Transform) else None

    async def _drafts(
        self, ended: EndedWork, node: NodeView, goal: str, result: str, labels: tuple[str, ...]
    ) -> list[Draft]:
        at_ms = to_ms(self._clock.now())
        used, has_written = await self._used(ended)
        before, known_as = await self._before(ended)
        episode = episode_of(goal, result, used, before)
        # What stands in it from the episode before bears what that one does.
        borne = tuple(sorted({*labels, *known_as})) if episode.before else labels
        if len(borne) > MAX_LABELS:
            episode, borne = replace(episode, before=""), labels
        drafts: list[Draft] = []

        def write(new: NewItem) -> None:
            if len(new.cue.encode()) + len(new.content.encode()) <= ITEM_MAX_BYTES:
                drafts.append(self._seal.written(self._new_id(), new, at_ms=at_ms))

        if has_written:
            return []  # what it was about is a fact already
        common: dict[str, Any] = {"by": "rule", "cue": goal}
        place: dict[str, Any] = {"task": ended.task, "node": ended.node}
        write(
            NewItem(
                sort="episode",
                content=episode,
                labels=borne,
                since_ms=ended.at_ms,
                **common,
                **place,
            )
        )
        procedure = procedure_of(used)
        if procedure is not None:
            drafts += await self._worked(
                procedure, NewItem(sort="procedure", content=procedure, labels=labels, **common), at_ms
            )
        if result == ended.result and goal == ended.goal:
            answer = answer_of(goal, result, used, self._now())
            if answer is not None:
                drafts += await self._outdated(goal, answer, at_ms)
                write(NewItem(sort="answer", content=answer, labels=labels, **common))
        return drafts

    async def _before(self, ended: EndedWork) -> tuple[str, tuple[str, ...]]:
        """What was asked last before this, if that was in the same sitting, and the labels of that episode."""
        rows = await self._store.items(sorts=("episode",), newest_first=True, limit=1)
        found = [
            each for each in await self._recall.genuine(rows) if 0 <= ended.at_ms - each.since_ms < SITTING_MS
        ]
        return (found[0].cue, found[0].labels) if found else ("", ())

    async def _worked(self, procedure: Procedure, new: NewItem, at_ms: int) -> list[Draft]:
        """One more success of a procedure that is known, or a new one."""
        key = _key_of(procedure)
        known = await self._recall.alike("procedure", key)
        same = next((each for each in known if each.until_ms is None), None)
        if same is None:
            item = self._new_id()
            change = Change(successes=1)
            return [self._seal.written(item, new, at_ms=at_ms), self._seal.changed(item, change, at_ms=at_ms)]
        change = Change(successes=same.successes + 1, failures=same.failures)
        return [self._seal.changed(same.item, change, at_ms=at_ms)]

    async def _outdated(self, goal: str, answer: Answer, at_ms: int) -> list[Draft]:
        """What was answered to these very words before is no longer the answer to them."""
        from shared.memory.items import key_of

        known = await self._recall.alike("answer", key_of(goal, answer))
        return [
            self._seal.changed(each.item, Change(until_ms=at_ms, reason="outdated"), at_ms=at_ms)
            for each in known
            if each.until_ms is None
        ]

    async def _used(self, ended: EndedWork) -> tuple[list[Used], bool]:
        """The tools that the work used, and whether it was to remember something."""
        used: list[Used] = []
        has_written = False
        for effect in await self._work.effects(ended.task, ended.node):
            if effect.kind != "tool" or not effect.ok or effect.result is None or effect.argument is None:
                continue
            has_written |= effect.name == WRITE
            arguments = await self._text(effect.argument)
            result = await self._text(effect.result)
            if arguments is not None and result is not None:
                used.append(Used(tool=effect.name, arguments=json.loads(arguments), result=result))
        return used, has_written

    async def _text(self, ref: BlobRef) -> str | None:
        blob = await self._journal.blob(ref)
        return None if blob is None else blob.text()

    async def _change(
        self, item: Remembered, *, until_ms: int, reason: str, other: str | None = None
    ) -> None:
        change = Change(
            until_ms=until_ms, reason=reason, other=other, successes=item.successes, failures=item.failures
        )
        await self._journal.append(
            self._seal.changed(item.item, change, at_ms=to_ms(self._clock.now())), durable=False
        )


def _key_of(procedure: Procedure) -> str:
    from shared.memory.items import key_of

    return key_of("", procedure)

"""The agent: takes open nodes from the journal's projection, runs each to its end, one at a time.

What to do next is `core.turn.next_step`'s decision over what the journal says happened; this module reads that
history, performs the step and writes its outcome. A person waiting on site comes before work from the hub.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

from edge.asker import asker_of, encode_asker, pieces_of
from edge.blobs import make_blob
from edge.core.reading import WRITE, Teller
from edge.core.turn import (
    Agent,
    AskModel,
    AskWhether,
    End,
    ModelSpoke,
    Past,
    ToolUsed,
    UseTool,
    next_step,
)
from edge.dispatch import Dispatcher
from edge.judge import ANSWER, Judge, Place, Seen, StoppedError
from edge.ports import JOURNAL_BOUND, Draft, EffectView, Journal, NodeView, Room, Work
from shared.blobs import BLOB_MAX_BYTES, Blob, BlobRef
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, CoveyError, UnavailableError
from shared.inference.ports import Finished, Generation, LanguageModel, TextDelta
from shared.policy.decisions import Allow, Deny, NeedsApproval, Transform
from shared.policy.flow import TaskFlow
from shared.policy.pieces import Piece
from shared.records import (
    JOURNAL_FULL,
    ForeignCause,
    ModelCalled,
    NodeMoved,
    QuestionAnswered,
    QuestionAsked,
    TaskCreated,
)
from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL, NodeState

logger = logging.getLogger(__name__)

PROMPT_SHARE_BYTES: Final = BLOB_MAX_BYTES * 3 // 4
"""A longer prompt is not kept beside its model call: prompt and output share the content of one record."""
OUTPUT_SHARE_BYTES: Final = BLOB_MAX_BYTES - PROMPT_SHARE_BYTES
RETRY_AFTER: Final = timedelta(seconds=30)
"""How long a node waits after the model or the store was unavailable."""
STORE_RETRY_S: Final = 5.0
CODE_MAX_CHARS: Final = 64
TOLD_MAX: Final = 64
"""Answers that are kept in memory as the person who asked was told them."""
APPROVAL: Final = "approval"
"""Why a node waits: people have to agree to what it wants to do."""
PASSING_BOUNDS: Final = ("disk", "QUEUE_MAX", JOURNAL_BOUND)
"""Bounds that may be free again later; reaching any other ends the node."""

_NO_CODE: Final = re.compile(r"[^a-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Ended:
    """A node came to its end."""

    state: NodeState
    reason: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A node waits: somebody must say whether call `call` of `tool` happened."""

    call: int
    tool: str


@dataclass(frozen=True, slots=True)
class AwaitsApproval:
    """A node waits: people in these roles must agree to the call `call` of `tool`."""

    call: int
    tool: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What the node was doing failed and will be done again later; text that came so far counts for nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class LacksRoom:
    """The node goes on when the store can take what it does: who waits for an answer need not wait so long."""

    error: CapacityError


Progress = TextDelta | Ended | Asked | AwaitsApproval | Interrupted | LacksRoom


class AgentRunner:
    """Runs nodes. `changed()` tells it that there may be work; `run()` works until cancelled."""

    def __init__(
        self,
        *,
        device: str,
        model: LanguageModel,
        dispatcher: Dispatcher,
        judge: Judge,
        is_stopped: Callable[[], bool],
        journal: Journal,
        work: Work,
        room: Room,
        clock: Clock,
        new_id: Callable[[], str],
        limits: Limits,
        answer_max_tokens: int,
        tasks_max_open: int,
        is_of_another_time: Callable[[str], bool] = lambda _request: False,
        looks_up: Callable[[str, bool], bool] = lambda _request, is_due: not is_due,
    ) -> None:
        self._device = device
        self._model = model
        self._dispatcher = dispatcher
        self._judge = judge
        self._is_stopped = is_stopped
        self._journal = journal
        self._work = work
        self._room = room
        self._clock = clock
        self._new_id = new_id
        self._limits = limits
        self._answer_max_tokens = answer_max_tokens
        self._tasks_max_open = tasks_max_open
        self._is_of_another_time = is_of_another_time
        self._looks_up = looks_up
        self._wake = asyncio.Event()
        self._current: tuple[str, int] | None = None
        self._current_work: asyncio.Task[None] | None = None
        self._watchers: dict[str, list[asyncio.Queue[Progress]]] = {}
        self._retry_at: dict[tuple[str, int], datetime] = {}
        self._stopping: set[str] = set()
        self._problem = ""
        self._waits_for_store = False
        self._approvals_due: datetime | None = None
        self._told: OrderedDict[str, str] = OrderedDict()

    def reconfigure(self, *, limits: Limits, answer_max_tokens: int, tasks_max_open: int) -> None:
        """Other bounds from now on: for work that begins, and for answers that are not being given yet."""
        self._limits = limits
        self._answer_max_tokens = answer_max_tokens
        self._tasks_max_open = tasks_max_open

    @property
    def problem(self) -> str | None:
        """Why work waits, if it waits for the model or the store."""
        return self._problem if self._retry_at or self._waits_for_store else None

    @property
    def current_task(self) -> str | None:
        """The task being worked on now."""
        return None if self._current is None else self._current[0]

    def changed(self) -> None:
        """The projection of work may have changed."""
        self._wake.set()

    async def submit(
        self,
        goal: str,
        *,
        limits: Limits | None = None,
        who: str = "",
        labels: Sequence[str] = (),
        pieces: Sequence[Piece] = (),
    ) -> str:
        """Begin a task on this device; returns its id once it is safe on the disk.

        `who`: for whom, by the word of whoever holds the local API's token; rules read it as `asked_by.who`.
        `labels`: what the request bears; `pieces`: all of it in order, if its parts bear different ones.

        Raises `CapacityError` if too many tasks are open, or the journal or the disk is full.
        """
        await self._room.admit()
        if len(await self._work.open_nodes()) >= self._tasks_max_open:
            raise CapacityError(
                f"This device already has {self._tasks_max_open} open tasks; wait or cancel some.",
                bound="tasks_max_open",
                limit=self._tasks_max_open,
            )
        task = self._new_id()
        blob = make_blob(goal.encode())
        told = encode_asker(who, pieces)
        asker = None if told is None else make_blob(told)
        record = TaskCreated(
            at_ms=self._now_ms(),
            labels=tuple(labels),
            task=task,
            goal=blob.ref(),
            limits=limits or self._limits,
            asker=None if asker is None else asker.ref(),
        )
        await self._journal.append(Draft(record, (blob,) if asker is None else (blob, asker)), durable=True)
        self.changed()
        return task

    @contextlib.asynccontextmanager
    async def watch(self, task: str) -> AsyncIterator[AsyncIterator[Progress]]:
        """What happens to root node 0 of `task` from now on; ends after `Ended`."""
        queue: asyncio.Queue[Progress] = asyncio.Queue()
        self._watchers.setdefault(task, []).append(queue)
        try:
            yield self._progress(task, queue)
        finally:
            self._watchers[task].remove(queue)
            if not self._watchers[task]:
                del self._watchers[task]

    async def cancel(self, task: str, *, reason: str = "asked") -> bool:
        """End an open local task as cancelled; False if it is not open."""
        node = await self._work.node(task, 0)
        if node is None or node.state in TERMINAL:
            return False
        # Until the end is in the journal the node is still open there, and would be taken up again.
        self._stopping.add(task)
        try:
            await self._stop_current(task)
            return await self._end_if_open(node, End(NodeState.CANCELLED, "", reason))
        finally:
            self._stopping.discard(task)
            self.changed()

    async def answer(self, task: str, node: int, call: int, *, happened: bool) -> bool:
        """A person says whether an interrupted effect happened; False if nobody asked."""
        effect = next((e for e in await self._work.effects(task, node) if e.call == call), None)
        if effect is None or not effect.is_asked or effect.happened is not None:
            return False
        record = QuestionAnswered(at_ms=self._now_ms(), task=task, node=node, call=call, happened=happened)
        await self._journal.append(Draft(record), durable=True)
        self.changed()
        return True

    async def run(self) -> None:
        """Work until cancelled. An interrupted node stays as it is in the journal and goes on at the next start."""
        while True:
            self._wake.clear()
            try:
                node = await self._next_node()
                if node is not None:
                    await self._run_one(node)
                    continue
                self._waits_for_store = False
                wait_s = self._idle_s()
            except (CapacityError, UnavailableError) as error:
                # The store cannot take the outcome now (disk full, disk busy): nothing is claimed, we try again.
                logger.warning("work waits: %s", error)
                self._problem, self._waits_for_store = str(error), True
                if isinstance(error, CapacityError):
                    for task in list(self._watchers):
                        self._publish(task, LacksRoom(error))
                wait_s = STORE_RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _run_one(self, node: NodeView) -> None:
        self._current = (node.task, node.node)
        self._current_work = asyncio.create_task(self._work_on(node), name=f"node[{node.task}/{node.node}]")
        guard = asyncio.create_task(self._watch_for_cancel(node), name=f"cancel[{node.task}/{node.node}]")
        try:
            await asyncio.wait({self._current_work})
            if not self._current_work.cancelled() and (error := self._current_work.exception()) is not None:
                await self._on_error(node, error)
        finally:
            guard.cancel()
            self._current_work.cancel()
            await asyncio.gather(guard, self._current_work, return_exceptions=True)
            self._current = None
            self._current_work = None

    async def _watch_for_cancel(self, node: NodeView) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            fresh = await self._work.node(node.task, node.node)
            is_cancelled = fresh is not None and fresh.cancel is not None
            if (is_cancelled or self._is_stopped()) and self._current_work is not None:
                # The main loop then finds the node open and cancelled, and ends it; of a stopped device it stays open.
                self._current_work.cancel()
                return

    async def _stop_current(self, task: str) -> None:
        work = self._current_work
        if work is not None and self._current is not None and self._current[0] == task:
            work.cancel()
            await asyncio.wait({work})

    async def _on_error(self, node: NodeView, error: BaseException) -> None:
        """A node that cannot go on: later, if what failed may come back; else it has failed."""
        if isinstance(error, StoppedError):
            return  # it stays open, and goes on when the device does
        if isinstance(error, CapacityError) and error.bound not in PASSING_BOUNDS:
            await self._end(node, End(NodeState.FAILED, str(error), error.bound))
        elif isinstance(error, UnavailableError | CapacityError):
            logger.warning("task %s waits: %s", node.task, error)
            self._problem = str(error)
            self._retry_at[(node.task, node.node)] = self._clock.now() + RETRY_AFTER
            self._publish(node.task, Interrupted(str(error)))
            if isinstance(error, CapacityError):
                self._publish(node.task, LacksRoom(error))
        elif isinstance(error, CoveyError):
            await self._end(node, End(NodeState.FAILED, str(error), error.code))
        else:
            logger.error("task %s failed", node.task, exc_info=error)
            await self._end(
                node, End(NodeState.FAILED, "The agent failed; see the device's log.", "internal")
            )

    async def _next_node(self) -> NodeView | None:
        now = self._clock.now()
        ready = []
        self._approvals_due = None
        nodes = await self._work.open_nodes()
        waiting = self._retry_at.keys() & {(node.task, node.node) for node in nodes}
        self._retry_at = {key: self._retry_at[key] for key in waiting}
        for node in nodes:
            if node.cancel is not None:
                await self._end(node, End(NodeState.CANCELLED, "", node.cancel))
            elif node.deadline is not None and now >= node.deadline and node.state is NodeState.OFFERED:
                await self._end(node, End(NodeState.EXPIRED, "", "deadline"))
            elif node.state is NodeState.OFFERED and self._room.is_full:
                # What was asked for here waits until there is room; what was begun goes on, from a reserve.
                if node.origin == "hub":
                    await self._end(node, End(NodeState.REJECTED, "", JOURNAL_FULL))
            elif self._is_due(node, now) and await self._is_ready(node):
                ready.append(node)
        ready = [] if self._is_stopped() else [node for node in ready if node.task not in self._stopping]
        return min(ready, key=lambda node: node.origin != "local", default=None)

    def _is_due(self, node: NodeView, now: datetime) -> bool:
        wait = self._retry_at.get((node.task, node.node), now) - now
        # More than the whole wait is left: the clock was set back, and would keep the node for as long as it was wrong.
        return wait <= timedelta(0) or wait > RETRY_AFTER

    async def _is_ready(self, node: NodeView) -> bool:
        if node.state is not NodeState.WAITING:
            return True
        if node.reason == APPROVAL:
            due = await self._judge.waits_until(node.task, node.node)
            if due is not None:
                self._approvals_due = min(due, self._approvals_due or due)
            return due is None
        effects = await self._work.effects(node.task, node.node)
        return not effects or effects[-1].result is not None or effects[-1].happened is not None

    def _idle_s(self) -> float | None:
        due = [*self._retry_at.values(), *(() if self._approvals_due is None else (self._approvals_due,))]
        if not due:
            return None
        wait = min(due) - self._clock.now()
        return float(max(0.1, min(wait, RETRY_AFTER).total_seconds()))

    # --- one node ---

    async def _work_on(self, node: NodeView) -> None:
        self._retry_at.pop((node.task, node.node), None)
        fresh = await self._work.node(node.task, node.node)
        if fresh is None or fresh.state in TERMINAL:
            return
        node = fresh
        if node.state is not NodeState.RUNNING:
            await self._move(node, NodeState.RUNNING)
            node = await self._work.node(node.task, node.node) or node
        goal = await self._text(node.goal)
        agent = Agent(
            device=self._device,
            tools=self._dispatcher.specs,
            context_tokens=self._model.context_tokens,
            answer_max_tokens=self._answer_max_tokens,
            limits=node.limits,
            is_of_another_time=self._is_of_another_time,
            looks_up=self._looks_up,
        )
        started = node.started or self._clock.now()
        # Never more than the limit: a clock that was set back since must not give the node more time.
        left_s = min(node.limits.wall_s, node.limits.wall_s - (self._clock.now() - started).total_seconds())
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._turn_until_end(agent, node, goal)
        except TimeoutError:
            reason = f"Stopped after {node.limits.wall_s} s."
            await self._end(node, End(NodeState.TIMED_OUT, reason, "wall_s"))

    async def _turn_until_end(self, agent: Agent, node: NodeView, goal: str) -> None:
        while True:
            effects = await self._work.effects(node.task, node.node)
            if effects and effects[-1].result is None and effects[-1].happened is True:
                await self._confirm(node, effects[-1])
                continue
            past = await self._past(effects)
            decision = next_step(agent, goal, past)
            causes: tuple[int | ForeignCause, ...] = (
                (effects[-1].result_seq or effects[-1].intent_seq or 1,) if effects else (node.cause,)
            )
            match decision:
                case AskModel(purpose, generation, teller, after):
                    streams = purpose == "answer" and await self._judge.may_stream(
                        node.task, await self._flow(node, goal, effects, past)
                    )
                    await self._ask_model(
                        node, len(effects), purpose, generation, causes, streams=streams, teller=teller
                    )
                    if streams and after:
                        self._publish(node.task, TextDelta(f"\n\n{after}"))
                case UseTool(tool, arguments, is_retry):
                    call = effects[-1].call if is_retry else len(effects)
                    outcome = await self._dispatcher.call(
                        task=node.task,
                        node=node.node,
                        call=call,
                        tool=tool,
                        arguments=arguments,
                        causes=causes,
                        # What is remembered, and that it is, follows from what is asked last and from nothing else.
                        flow=await self._flow(node, goal, effects, past, is_of_last=tool == WRITE),
                    )
                    if outcome is None:
                        await self._move(node, NodeState.WAITING, reason=APPROVAL)
                        self._publish(node.task, AwaitsApproval(call, tool))
                        return
                case AskWhether(tool):
                    await self._ask_whether(node, effects[-1], tool)
                    return
                case End():
                    flow = await self._flow(node, goal, effects, past)
                    place = Place(task=node.task, node=node.node, call=None, causes=causes)
                    end, judged = await self._let_out(decision, flow, place)
                    if node.origin == "local" and end.state is NodeState.SUCCEEDED:
                        told = await self._judge.restored(node.task, end.text, flow)
                        if told != end.text:
                            self._keep_told(node.task, told)
                    labels = self._judge.shown_labels(flow)
                    await self._end(node, end, causes=causes, labels=labels, judged=judged)
                    return
                case _:
                    assert_never(decision)

    async def _flow(
        self,
        node: NodeView,
        goal: str,
        effects: Sequence[EffectView],
        past: Sequence[Past],
        *,
        is_of_last: bool = False,
    ) -> TaskFlow:
        """What the node has seen so far, as the rules weigh it; `is_of_last`: without what was said before."""
        said = None if node.asker is None else await self._text(node.asker)
        pieces = pieces_of(goal, node.labels, said)
        seen = [
            Seen(
                tool=item.tool,
                arguments=item.arguments,
                result=item.result,
                ok=item.ok,
                at=effect.result_at,
                labels=effect.labels,
                is_refused=effect.intent_seq is None,
            )
            for effect, item in zip(effects, past, strict=True)
            if isinstance(item, ToolUsed)
        ]
        return await self._judge.flow_of(
            task=node.task,
            node=node.node,
            asker=asker_of(node, said),
            request=pieces[:1] if is_of_last else [*pieces, ("", node.labels)],
            tokens=sum(effect.output_tokens for effect in effects),
            started=node.started or self._clock.now(),
            past=seen,
        )

    async def _let_out(self, end: End, flow: TaskFlow, place: Place) -> tuple[End, Draft | None]:
        """What a person is told passes the rules as everything else that leaves the agent does; with the decision."""
        if end.state is not NodeState.SUCCEEDED:
            return end, None
        judgement = await self._judge.ask_about(ANSWER, {"text": end.text}, flow, place=place)
        if judgement.is_stopped:
            raise StoppedError("This device has been stopped.")
        draft = judgement.draft
        match judgement.decision:
            case Allow():
                return end, draft
            case Transform(call=call):
                return End(end.state, str(call.values()["text"]), end.reason), draft
            case Deny(sentence=sentence, hint=hint):
                return End(NodeState.FAILED, f"{sentence} {hint}".strip(), "policy"), draft
            case NeedsApproval(sentence=sentence):
                return End(NodeState.FAILED, sentence, "policy"), draft

    async def _ask_model(
        self,
        node: NodeView,
        call: int,
        purpose: Literal["act", "answer"],
        generation: Generation,
        causes: tuple[int | ForeignCause, ...],
        *,
        streams: bool,
        teller: Teller | None,
    ) -> None:
        """`streams`: what is generated may be shown before the rules have seen all of it; `teller`: what of it."""
        parts: list[str] = []
        finished: Finished | None = None
        async with contextlib.aclosing(self._model.generate(generation)) as stream:
            async for item in stream:
                if isinstance(item, Finished):
                    finished = item
                else:
                    parts.append(item.text)
                    shown = item.text if teller is None else teller.push(item.text)
                    if streams and shown:
                        self._publish(node.task, TextDelta(shown))
                    if teller is not None and teller.is_spent:
                        break  # it only goes round in circles: its record says that it was cancelled
        if finished is None and (teller is None or not teller.is_spent):
            raise UnavailableError("The model stopped without finishing.")
        if streams and teller is not None and (rest := teller.finish()):
            self._publish(node.task, TextDelta(rest))
        await self._journal.append(
            model_called(
                at_ms=self._now_ms(),
                model=self._model.name,
                purpose=purpose,
                generation=generation,
                text="".join(parts).strip(),
                finished=finished,
                causes=causes,
                place=(node.task, node.node, call),
            ),
            durable=False,
        )

    async def _ask_whether(self, node: NodeView, effect: EffectView, tool: str) -> None:
        drafts = []
        if not effect.is_asked:
            drafts.append(
                Draft(
                    QuestionAsked(
                        at_ms=self._now_ms(),
                        causes=() if effect.intent_seq is None else (effect.intent_seq,),
                        task=node.task,
                        node=node.node,
                        call=effect.call,
                        tool=tool,
                    )
                )
            )
        moved = NodeMoved(
            at_ms=self._now_ms(),
            causes=(node.cause,),
            task=node.task,
            node=node.node,
            attempt=node.attempt,
            state=NodeState.WAITING,
            reason="did_it_happen",
        )
        await self._journal.append(*drafts, Draft(moved), durable=True)
        self._publish(node.task, Asked(effect.call, tool))

    async def _confirm(self, node: NodeView, effect: EffectView) -> None:
        await self._dispatcher.record_result(
            task=node.task,
            node=node.node,
            call=effect.call,
            tool=effect.name,
            ok=True,
            content={"note": "This was interrupted; a person confirmed that it happened."},
            ms=0.0,
            intent=effect.intent_seq or 1,
        )

    async def _past(self, effects: Sequence[EffectView]) -> list[Past]:
        past: list[Past] = []
        for effect in effects:
            text = None if effect.result is None else await self._text(effect.result)
            if effect.kind == "model":
                purpose: Literal["act", "answer"] = "answer" if effect.name == "answer" else "act"
                past.append(ModelSpoke(purpose, text or "", effect.output_tokens))
            else:
                arguments = "{}" if effect.argument is None else await self._text(effect.argument)
                past.append(
                    ToolUsed(
                        tool=effect.name,
                        arguments=json.loads(arguments),
                        result=text,
                        ok=bool(effect.ok),
                        is_idempotent=effect.is_idempotent,
                        happened=effect.happened,
                    )
                )
        return past

    async def _text(self, ref: BlobRef) -> str:
        blob = await self._journal.blob(ref)
        if blob is None:
            raise CoveyError(
                "Content that this task needs is no longer on the device.", code="content_missing"
            )
        return blob.text()

    async def _move(self, node: NodeView, state: NodeState, *, reason: str | None = None) -> None:
        record = NodeMoved(
            at_ms=self._now_ms(),
            causes=(node.cause,),
            task=node.task,
            node=node.node,
            attempt=node.attempt,
            state=state,
            reason=reason,
        )
        await self._journal.append(Draft(record), durable=False)

    async def _end_if_open(self, node: NodeView, end: End) -> bool:
        fresh = await self._work.node(node.task, node.node)
        if fresh is None or fresh.state in TERMINAL:
            return False
        await self._end(fresh, end)
        return True

    async def _end(
        self,
        node: NodeView,
        end: End,
        *,
        causes: tuple[int | ForeignCause, ...] | None = None,
        labels: tuple[str, ...] | None = None,
        judged: Draft | None = None,
    ) -> None:
        """`labels`: of what is told; None: it is the daemon's own words, and says nothing of what the node saw.

        `judged`: what the rules said of it, written with it.
        """
        blob: Blob | None = make_blob(end.text.encode()[:BLOB_MAX_BYTES]) if end.text else None
        record = NodeMoved(
            at_ms=self._now_ms(),
            causes=(node.cause,) if causes is None else causes,
            labels=labels or (),
            is_labelled=True,
            task=node.task,
            node=node.node,
            attempt=node.attempt,
            state=end.state,
            reason=None if end.reason is None else _as_code(end.reason),
            result=None if blob is None else blob.ref(),
        )
        end_draft = Draft(record, () if blob is None else (blob,))
        await self._journal.append(*(() if judged is None else (judged,)), end_draft, durable=True)
        self._judge.forget(node.task)
        self._publish(node.task, Ended(end.state, end.reason, self.told(node.task, end.text)))

    # --- watching ---

    def told(self, task: str, text: str) -> str:
        """What the person on site who asked is told where the journal says `text`."""
        return self._told.get(task, text)

    def _keep_told(self, task: str, text: str) -> None:
        self._told[task] = text
        while len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)

    def _publish(self, task: str, progress: Progress) -> None:
        for queue in self._watchers.get(task, ()):
            queue.put_nowait(progress)

    async def _progress(self, task: str, queue: asyncio.Queue[Progress]) -> AsyncIterator[Progress]:
        node = await self._work.node(task, 0)
        if node is not None and node.state in TERMINAL and queue.empty():
            text = "" if node.result is None else await self._text(node.result)
            yield Ended(node.state, node.reason, self.told(task, text))
            return
        while True:
            progress = await queue.get()
            yield progress
            if isinstance(progress, Ended):
                return

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())


def _as_code(reason: str) -> str:
    """`reason` as records take it: the name of a bound or a foreign code must not keep a node from ending."""
    code = _NO_CODE.sub("_", reason.lower())[:CODE_MAX_CHARS].lstrip("_.-")
    return code or "failed"


def model_called(
    *,
    at_ms: int,
    model: str,
    purpose: Literal["act", "answer", "chat"],
    generation: Generation,
    text: str,
    finished: Finished | None,
    causes: tuple[int | ForeignCause, ...] = (),
    place: tuple[str, int, int] | None = None,
) -> Draft:
    """The record of one generation with its content. Without `finished` it was cancelled."""
    prompt = json.dumps(
        [{"role": message.role, "content": message.content} for message in generation.messages],
        ensure_ascii=False,
    ).encode()
    # A server's model may emit half of a surrogate pair, which is no UTF-8.
    spoken = text.encode(errors="replace")
    output = make_blob(spoken[:OUTPUT_SHARE_BYTES])
    kept = make_blob(prompt) if len(prompt) <= PROMPT_SHARE_BYTES else None
    labels = (
        *(() if kept is not None else ("prompt_not_kept",)),
        *(() if len(spoken) <= OUTPUT_SHARE_BYTES else ("output_cut",)),
    )
    task, node, call = place or (None, None, None)
    record = ModelCalled(
        at_ms=at_ms,
        causes=causes,
        labels=labels,
        model=model,
        purpose=purpose,
        finish="cancelled" if finished is None else finished.finish,
        prompt_tokens=0 if finished is None else finished.prompt_tokens,
        cached_tokens=0 if finished is None else finished.cached_tokens,
        output_tokens=0 if finished is None else finished.output_tokens,
        first_token_ms=0.0 if finished is None else round(finished.first_token_ms, 3),
        total_ms=0.0 if finished is None else round(finished.total_ms, 3),
        task=task,
        node=node,
        call=call,
        prompt=None if kept is None else kept.ref(),
        output=output.ref(),
    )
    return Draft(record, (output,) if kept is None else (kept, output))

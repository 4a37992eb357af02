"""Traces of what the fleet does: when a node reaches its end, its records become spans and are handed over.

What a device ended is told from its own log, as the device itself would tell it (`shared.traces`); what the hub ended,
and maps, from their rows. Each process tells what it took in itself. A trace is worth less than the work: what cannot
be told in time is skipped and counted.
"""

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

from cloud.db import Database
from cloud.ingest.applied import EndedNode
from cloud.journal.repository import blobs_by_hash
from cloud.ports import Traces
from cloud.tasks import repository
from cloud.tasks.tables import Node, Task
from shared.clock import to_ms
from shared.errors import UnavailableError
from shared.ids import Principal
from shared.records import NodeMoved, parse_record
from shared.spans import Span
from shared.tasks.states import BY_VALUE, TERMINAL, NodeState
from shared.traces import NS_PER_MS, ROOT, NodeStory, Performer, node_span

logger = logging.getLogger(__name__)

WAITING_MAX: Final = 1_000
"""Ended nodes and changed tasks that wait for being told."""
TOLD_MAX: Final = 10_000
"""Nodes that are remembered as told."""
PAGE_RECORDS: Final = 256
PAGES_MAX: Final = 8
"""How far back a node's records are looked for."""
HUB_REASONS: Final = frozenset({"deadline", "attempts_exhausted", "goal_forgotten", "store_lost"})
"""With these the hub itself ends a node that a device holds."""

_Place = tuple[str, int, int]


class HubTracer:
    """The part `traces` of the hub. `nodes_ended` and `tasks_changed` may be called from any thread."""

    def __init__(self, *, database: Database, traces: Traces, with_content: bool) -> None:
        self._database = database
        self._traces = traces
        self._with_content = with_content
        self._waiting: deque[EndedNode | str] = deque()
        self._told: OrderedDict[_Place, None] = OrderedDict()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._skipped = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Spans `exported` and `dropped`; nodes and tasks `skipped`."""
        return {**self._traces.counts, "skipped": self._skipped}

    def nodes_ended(self, ended: Collection[EndedNode]) -> None:
        """Devices ended these nodes, and that is committed."""
        self._put(ended)

    def tasks_changed(self, tasks: Collection[str]) -> None:
        """The hub changed these tasks, and that is committed."""
        self._put(tasks)

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.to_thread(self.tell)

    def tell(self) -> None:
        """Tell all that waits. Blocking."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                item = self._waiting.popleft()
            try:
                with self._database.read() as session:
                    spans = (
                        self._of_task(session, item)
                        if isinstance(item, str)
                        else self._of_node(session, item)
                    )
                    self._traces.offer(list(spans))
            except UnavailableError as error:
                self._skipped += 1
                logger.debug("no trace: %s", error)

    def _put(self, items: Collection[EndedNode | str]) -> None:
        with self._lock:
            for item in items:
                if isinstance(item, str) and item in self._waiting:
                    continue
                if len(self._waiting) >= WAITING_MAX:
                    self._skipped += 1
                else:
                    self._waiting.append(item)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def _of_node(self, session: Session, ended: EndedNode) -> Iterator[Span]:
        story, moved = _read_story(session, ended)
        if story is None or moved is None:
            return
        self._remember((moved.task, moved.node, moved.attempt))
        task = session.get(Task, moved.task)
        texts: dict[bytes, str] | None = None
        goal = None
        if self._with_content and task is not None:
            found = blobs_by_hash(session, [task.goal_hash, *(ref.hash for ref in story.contents())])
            texts = {hash_: blob.text() for hash_, blob in found.items()}
            goal = found[task.goal_hash].ref() if task.goal_hash in found else None
        yield from story.spans(_performer(ended.principal), goal=goal, content=texts)
        root = session.get(Node, (moved.task, ROOT)) if moved.node != ROOT else None
        if task is not None and root is not None:
            yield from self._of_hub(task, [root])

    def _of_task(self, session: Session, task_id: str) -> Iterator[Span]:
        task = session.get(Task, task_id)
        if task is not None:
            yield from self._of_hub(task, repository.nodes_of(session, task_id))

    def _of_hub(self, task: Task, nodes: Iterable[Node]) -> Iterator[Span]:
        """Of these what nobody but the hub ended, and was not told yet."""
        for node in nodes:
            place = (node.task_id, node.node, node.attempt)
            if BY_VALUE[node.state] in TERMINAL and _is_hubs(node) and place not in self._told:
                self._remember(place)
                yield _node(task, node)

    def _remember(self, place: _Place) -> None:
        self._told[place] = None
        self._told.move_to_end(place)
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)


def _read_story(session: Session, ended: EndedNode) -> tuple[NodeStory | None, NodeMoved | None]:
    story: NodeStory | None = None
    moved: NodeMoved | None = None
    upto = ended.seq
    for _ in range(PAGES_MAX):
        page = session.execute(
            text(
                "SELECT seq, data FROM record WHERE lane_id = :lane AND seq <= :upto ORDER BY seq DESC LIMIT :limit"
            ).bindparams(lane=ended.lane_id, upto=upto, limit=PAGE_RECORDS)
        ).all()
        for seq, data in page:
            record = parse_record(bytes(data))
            if story is None:
                if seq != ended.seq or not isinstance(record, NodeMoved):
                    return None, None  # trimmed, or rolled back and written anew
                story, moved = NodeStory(record), record
            story.add(record)
            upto = seq - 1
            if story.is_complete:
                return story, moved
        if len(page) < PAGE_RECORDS:
            break
    return story, moved


def _is_hubs(node: Node) -> bool:
    is_ours = node.kind == repository.MAP or node.principal is None or node.reason in HUB_REASONS
    return is_ours or node.state == NodeState.EXPIRED


def _node(task: Task, node: Node) -> Span:
    is_map = node.kind == repository.MAP or node.principal is None
    return node_span(
        task=task.id,
        node=node.node,
        # A map has one attempt; the nodes below name it as their parent by that.
        attempt=1 if node.kind == repository.MAP else node.attempt,
        state=BY_VALUE[node.state],
        reason=node.reason,
        start_ns=to_ms(task.created_at) * NS_PER_MS,
        end_ns=to_ms(node.updated_at) * NS_PER_MS,
        performer=None if is_map else _performer(str(node.principal)),
    )


def _performer(principal: str) -> Performer:
    return Performer(name=Principal.parse(principal).device, id=principal)

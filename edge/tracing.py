"""Traces of what this device does: when a node ends, its records become spans and are handed over.

The records are read back from the journal, so a node that was interrupted by a restart is told whole. Content is read
only if it is to be told. A trace is worth less than the work: what cannot be told in time is skipped and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

from edge.ports import Draft, Journal, Traces, Work
from shared.errors import CapacityError, UnavailableError
from shared.ids import Lane
from shared.log import Entry
from shared.records import NodeMoved, parse_record
from shared.tasks.states import TERMINAL
from shared.traces import NodeStory, Performer

logger = logging.getLogger(__name__)

ENDED_MAX: Final = 256
"""Nodes that wait for being told."""
PAGE_RECORDS: Final = 256
PAGES_MAX: Final = 8
"""How far back a node's records are looked for."""


class Log(Protocol):
    """Reading the journal page by page."""

    async def tail(self, name: Lane, *, after: int, limit: int) -> tuple[Entry, ...]: ...


class Tracer:
    """The part `traces` of the daemon. `witness` hears of every record (`edge.observed`)."""

    def __init__(
        self,
        *,
        traces: Traces,
        log: Log,
        journal: Journal,
        work: Work,
        performer: Performer,
        with_content: bool,
    ) -> None:
        self._traces = traces
        self._log = log
        self._journal = journal
        self._work = work
        self._performer = performer
        self._with_content = with_content
        self._ended: deque[tuple[int, NodeMoved]] = deque()
        self._wake = asyncio.Event()
        self._skipped = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Spans `exported` and `dropped`; nodes `skipped`, of which no spans were made."""
        return {**self._traces.counts, "skipped": self._skipped}

    def witness(self, seq: int, draft: Draft) -> None:
        """A record was committed to the journal."""
        record = draft.record
        if not isinstance(record, NodeMoved) or record.state not in TERMINAL:
            return
        if len(self._ended) >= ENDED_MAX:
            self._skipped += 1
            return
        self._ended.append((seq, record))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ended:
                seq, ended = self._ended.popleft()
                try:
                    await self._tell(seq, ended)
                except (CapacityError, UnavailableError) as error:
                    self._skipped += 1
                    logger.debug("no trace of task %s: %s", ended.task, error)

    async def _tell(self, seq: int, ended: NodeMoved) -> None:
        story = await self._story(seq, ended)
        if not self._with_content:
            self._traces.offer(story.spans(self._performer))
            return
        node = await self._work.node(ended.task, ended.node)
        goal = None if node is None else node.goal
        texts: dict[bytes, str] = {}
        for ref in story.contents(goal):
            if (blob := await self._journal.blob(ref)) is not None:
                texts[ref.hash] = blob.text()
        self._traces.offer(story.spans(self._performer, goal=goal, content=texts))

    async def _story(self, seq: int, ended: NodeMoved) -> NodeStory:
        story = NodeStory(ended)
        upto = seq
        for _ in range(PAGES_MAX):
            after = max(0, upto - PAGE_RECORDS)
            entries = await self._log.tail(Lane.JOURNAL, after=after, limit=upto - after)
            # Where records were trimmed, a page reaches beyond what was asked for.
            for entry in reversed([entry for entry in entries if entry.seq <= upto]):
                story.add(parse_record(entry.record))
                if story.is_complete:
                    return story
            if after == 0:
                return story
            upto = after
        return story

"""What the routes of the local API stand on. Must not know HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edge.agent import AgentRunner
from edge.judge import Judge
from edge.knowledge import Knowledge
from edge.knowledge_lookup import KnowledgeLookup
from edge.later_answers import LaterAnswers
from edge.mind import Mind
from edge.oversight import Oversight
from edge.ports import Journal, Room, Work
from edge.reading_room import ReadingRoom
from edge.settings import EdgeSettings
from shared.clock import Clock
from shared.ids import Lane
from shared.inference.ports import LanguageModel
from shared.log import Entry


class Log(Protocol):
    """Reading the journal page by page."""

    async def tail(self, name: Lane, *, after: int, limit: int) -> tuple[Entry, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the routes need."""

    settings: EdgeSettings
    token: str
    runner: AgentRunner
    model: LanguageModel
    journal: Journal
    log: Log
    work: Work
    room: Room
    mind: Mind
    knowledge: Knowledge
    knowledge_lookup: KnowledgeLookup
    reading_room: ReadingRoom
    later_answers: LaterAnswers
    judge: Judge
    clock: Clock
    new_id: Callable[[], str]
    status: Callable[[], Awaitable[dict[str, Any]]]
    twin: Callable[[], Awaitable[dict[str, Any]]]
    metrics: Callable[[], Awaitable[str]]
    set_link: Callable[[bool], None]
    refresh_secrets: Callable[[], Awaitable[None]]
    oversight: Oversight

"""The memory's part of the composition root."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.memory_rows import SqliteMemory, read_counts
from edge.adapters.store_sqlite.metric_rows import SqliteMeasured
from edge.core.remembering import Now, shown
from edge.forgetting import Forgetting
from edge.judge import Judge
from edge.knowledge_lookup import KnowledgeLookup
from edge.lookup import Lookup
from edge.memory import Memory
from edge.memory_seal import MemorySeal
from edge.mind import Mind
from edge.ports import Journal, Measurement, MemoryStore, Room, Work
from edge.recall import Recall
from edge.settings import EdgeSettings
from edge.shelf import Shelf
from edge.tending import Bounds, Tending
from edge.tools import AnyTool, Occasion, memory_tools
from shared.clock import Clock
from shared.inference.ports import EmbeddingModel

if TYPE_CHECKING:
    from edge.looking_up import LookingUp

RECOLLECTED: Final = 64
"""Latest answers among which one is looked for that the process does not know of."""
EXACT_ITEMS: Final = 2_000
"""Up to as many items of a sort are compared one by one, and take no Chroma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the memory stands on."""

    settings: EdgeSettings
    database: Database
    journal: Journal
    work: Work
    clock: Clock
    new_id: Callable[[], str]
    key: Callable[[], bytes]
    shelf: Shelf
    library: Shelf
    embedder: EmbeddingModel | None
    local: Callable[[datetime], datetime]


def build_recall(
    base: Base, on_refused: Callable[[Sequence[str]], Awaitable[None]]
) -> tuple[SqliteMemory, MemorySeal, Recall]:
    """What finding rests on."""
    store, seal = SqliteMemory(base.database), MemorySeal(base.key)
    recall = Recall(store=store, seal=seal, shelf=base.shelf, embedder=base.embedder, on_refused=on_refused)
    return store, seal, recall


async def latest_answers(store: MemoryStore, recall: Recall) -> Sequence[tuple[str, Sequence[str]]]:
    """What was told last, as far as it is remembered, with its labels."""
    rows = await store.items(sorts=("episode",), newest_first=True, limit=RECOLLECTED)
    return [(each.text, each.labels) for each in await recall.genuine(rows)]


class Attic:
    """Looking up and remembering, for the agent's tools. What it takes is imported when it is first used."""

    def __init__(
        self,
        *,
        base: Base,
        store: MemoryStore,
        recall: Recall,
        knowledge: KnowledgeLookup,
        latest: Callable[[], Mapping[str, Measurement]],
        sensor_labels: Callable[[], Sequence[str]],
        now: Callable[[], Now],
    ) -> None:
        self._base = base
        self._store = store
        self._recall = recall
        self._knowledge = knowledge
        self._latest = latest
        self._sensor_labels = sensor_labels
        self._now = now
        self._made: LookingUp | None = None
        self.memory: Memory | None = None

    @property
    def tools(self) -> tuple[AnyTool, ...]:
        return memory_tools(self.look_up, self.remember, self._knowledge.shared_scopes)

    async def look_up(self, request: str, unread: Collection[str] = ()) -> dict[str, object]:
        return await self._looking_up.look_up(request, unread)

    async def remember(self, text: str, scope: str, occasion: Occasion) -> tuple[str, Sequence[str]]:
        from shared.memory.items import SCOPES, Scope
        from shared.memory.statements import fact_in

        assert self.memory is not None, "it is wired before a tool is called"
        chosen: Scope = next((each for each in SCOPES if each == scope), "device")
        place = (occasion.task, occasion.node)
        kept = await self.memory.add(
            fact_in(text),
            by="person",
            labels=occasion.labels,
            scope=chosen,
            place=place,
            causes=(occasion.intent,),
        )
        return kept.sentence, kept.labels

    def is_of_another_time(self, request: str) -> bool:
        return self._looking_up.is_of_another_time(request)

    def looks_up(self, request: str, is_due: bool) -> bool:
        """Whether there is anything that could tell of it. `is_due`: it names what a tool reads now."""
        if self.memory is not None and self.memory.has_items:
            return not is_due or not self._looking_up.asks_to_measure(request)
        if bool(self._base.settings.sensors) and self.is_of_another_time(request):
            return True
        if self._looking_up.names_no_day(request):
            return True
        return self._knowledge.is_possible and not is_due

    @property
    def _looking_up(self) -> "LookingUp":
        if self._made is None:
            from edge.core.telling import Series
            from edge.looking_up import LookingUp

            sensors = self._base.settings.sensors
            self._made = LookingUp(
                recall=self._recall,
                store=self._store,
                knowledge=self._knowledge,
                measured=SqliteMeasured(self._base.database),
                sensors=[Series(name=each.name, quantity=each.quantity, unit=each.unit) for each in sensors],
                sensor_labels=self._sensor_labels,
                shown=self._shown,
                now=self._now,
                clock=self._base.clock,
                local=self._base.local,
            )
        return self._made

    def _shown(self) -> dict[str, str]:
        """What each sensor showed last."""
        return {
            name.removeprefix("sensor."): shown(each.value, each.unit)
            for name, each in self._latest().items()
            if name.startswith("sensor.")
        }


def build_mind(
    base: Base,
    *,
    store: SqliteMemory,
    seal: MemorySeal,
    recall: Recall,
    judge: Judge,
    now: Callable[[], Now],
    is_stopped: Callable[[], bool],
    room: Room,
    taken: Callable[[], EdgeSettings],
) -> Mind:
    """`taken`: the settings as they are now, the hub's included."""

    def bounds() -> Bounds:
        settings = taken()
        caps = {
            "episode": settings.memory_episodes_max,
            "fact": settings.memory_facts_max,
            "procedure": settings.memory_procedures_max,
            "answer": settings.memory_answers_max,
        }
        return Bounds(caps=caps, keep=timedelta(seconds=settings.memory_keep_s))

    tending = Tending(
        store=store,
        journal=base.journal,
        seal=seal,
        recall=recall,
        clock=base.clock,
        new_id=base.new_id,
        bounds=bounds,
    )
    memory = Memory(
        store=store,
        journal=base.journal,
        work=base.work,
        judge=judge,
        seal=seal,
        recall=recall,
        shelf=base.shelf,
        tending=tending,
        clock=base.clock,
        new_id=base.new_id,
        now=now,
        is_stopped=is_stopped,
        room=room,
    )
    memory.has_items = bool(base.database.read_blocking(read_counts))
    return Mind(
        store=store,
        memory=memory,
        recall=recall,
        lookup=Lookup(
            judge=judge,
            recall=recall,
            store=store,
            journal=base.journal,
            catch_up=memory.think,
            now=lambda: base.local(base.clock.now()),
        ),
        forgetting=Forgetting(
            home=base.settings.home,
            store=store,
            journal=base.journal,
            recall=recall,
            recall_shelf=base.shelf,
            library=base.library,
            clock=base.clock,
            new_id=base.new_id,
        ),
        tending=tending,
        shelf=base.shelf,
        bounds=bounds,
        has_index=base.embedder is not None,
    )

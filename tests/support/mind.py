"""A memory over a real store, without a daemon around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.core.remembering import Now
from edge.judge import Judge
from edge.mind import Mind
from edge.ports import Measurement
from edge.settings import EdgeSettings
from edge.shelf import Opened, Shelf
from edge.wiring_memory import Attic, Base, build_mind, build_recall
from shared.inference.ports import EmbeddingModel
from shared.library.library import Library
from shared.library.vector_index import VectorIndex
from tests.support.clock import ManualClock
from tests.support.device import task_id_from
from tests.support.no_knowledge import no_knowledge
from tests.support.retention import OpenRoom
from tests.support.rules import open_judge

KEY = bytes(range(32))
SIZE_EXACT = 2_000


@dataclass
class World:
    """A mind and what it stands on. `now`, `latest`, `sensor_labels`: settable by tests. `refused`: what it said."""

    mind: Mind
    attic: Attic
    journal: SqliteJournal
    database: Database
    clock: ManualClock
    home: Path
    now: Now
    latest: dict[str, Measurement] = field(default_factory=dict)
    sensor_labels: tuple[str, ...] = ()
    refused: list[str] = field(default_factory=list)


def mind_over(
    directory: Path,
    journal: SqliteJournal,
    *,
    clock: ManualClock | None = None,
    judge: Judge | None = None,
    embedder: EmbeddingModel | None = None,
    vectors: Callable[[Path], VectorIndex] | None = None,
    key: bytes = KEY,
    exact_items: int = SIZE_EXACT,
    **settings: Any,
) -> World:
    """`settings`: of the device. Work that ends in `journal` is thought about when `memory.think` is called."""
    clock = clock or ManualClock()
    judge = judge or open_judge(clock)
    numbers = count(1)
    device = EdgeSettings(home=directory, models_dir=directory, **settings)
    database = journal._database  # the one store that both stand on

    def open_library(path: Path) -> Opened:
        index = None if vectors is None else vectors(path / "vectors")
        return Opened(
            Library(path, mac_key=key, index=index, exact_items=exact_items), getattr(index, "wipe", None)
        )

    _, knowledge = no_knowledge(directory, journal=journal, clock=clock)
    base = Base(
        settings=device,
        database=database,
        journal=journal,
        work=journal,
        clock=clock,
        new_id=lambda: task_id_from(f"item {next(numbers)}"),
        key=lambda: key,
        shelf=Shelf(directory / "index", open_library),
        library=Shelf(directory / "knowledge", open_library),
        embedder=embedder,
        local=lambda moment: moment.astimezone(UTC),
    )
    refused: list[str] = []

    async def on_refused(items: Sequence[str]) -> None:
        refused.extend(items)

    store, seal, recall = build_recall(base, on_refused)
    world: World

    attic = Attic(
        base=base,
        store=store,
        recall=recall,
        knowledge=knowledge,
        latest=lambda: world.latest,
        sensor_labels=lambda: world.sensor_labels,
        now=lambda: world.now,
    )
    mind = build_mind(
        base,
        store=store,
        seal=seal,
        recall=recall,
        judge=judge,
        now=lambda: world.now,
        is_stopped=lambda: False,
        room=OpenRoom(),
        taken=lambda: device,
    )
    attic.memory = mind.memory
    world = World(
        mind=mind,
        attic=attic,
        journal=journal,
        database=database,
        clock=clock,
        home=directory,
        now=Now(knowledge={}, rules="", model="scripted"),
        refused=refused,
    )
    return world


def at(text: str) -> datetime:
    """An ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

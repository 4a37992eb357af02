"""A device that holds no collections, for tests of everything else."""

from pathlib import Path
from typing import Never

from edge.knowledge import Knowledge
from edge.knowledge_lookup import KnowledgeLookup
from edge.ports import Journal, KnowledgeOffer
from edge.shelf import Shelf
from shared.clock import Clock


class NoOffers:
    async def offers(self) -> tuple[KnowledgeOffer, ...]:
        return ()


def no_knowledge(directory: Path, *, journal: Journal, clock: Clock) -> tuple[Knowledge, KnowledgeLookup]:
    def open_library(_: Path) -> Never:
        raise AssertionError("nothing is held")

    shelf = Shelf(directory / "knowledge", open_library)
    knowledge = Knowledge(
        offers=NoOffers(),
        journal=journal,
        clock=clock,
        shelf=shelf,
        wanted=lambda: None,
        tenant=None,
        embedder=None,
        fetching=None,
    )
    return knowledge, KnowledgeLookup(shelf=shelf, names=lambda: (), embedder=None)

"""All that a device remembers with, for whoever serves it. Must not know how it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.forgetting import Forgetting
from edge.lookup import Lookup
from edge.memory import Memory
from edge.ports import MemoryStore
from edge.recall import Recall
from edge.shelf import Shelf
from edge.tending import Bounds, Tending
from shared.memory.items import SORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mind:
    """What a daemon remembers with."""

    store: MemoryStore
    memory: Memory
    recall: Recall
    lookup: Lookup
    forgetting: Forgetting
    tending: Tending
    shelf: Shelf
    bounds: Callable[[], Bounds]
    has_index: bool

    async def stats(self) -> dict[str, Any]:
        """How much is remembered."""
        counts = await self.store.counts()
        caps = self.bounds().caps
        sorts = {
            sort: {
                "holding": counts.get(sort, (0, 0))[0],
                "ended": counts.get(sort, (0, 0))[1],
                "max": caps[sort],
            }
            for sort in SORTS
        }
        return {
            "sorts": sorts,
            "waiting": len(await self.store.ended(self.memory.think_items)),
            "found_by": "by meaning and words" if self.has_index else "by words alone (setting index)",
        }

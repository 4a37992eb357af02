"""What one device learned reaches the others as knowledge, with where it comes from, and leaves them again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.memory import service
from cloud.memory.forgetting import Forgetter
from cloud.memory.keeper import Keeper
from cloud.memory.schemas import ItemView
from cloud.memory.shelves import Room
from shared.errors import RefusedError
from shared.memory.items import Fact
from tests.fleet.in_memory import TENANT, MemoryDevice, eventually
from tests.fleet.test_knowledge import World, world_in
from tests.support.model import ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

SHELF = "fleet-memory"
LIMIT = Fact(subject="fridge", relation="limit", value="8 degrees")


class Review:
    """The hub's half of memory over a fleet, and a person who lets in what waits."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._keeper = Keeper(
            database=world.fleet.database,
            clock=world.fleet.clock,
            forgetter=Forgetter(
                database=world.fleet.database,
                clock=world.fleet.clock,
                digest_key=bytes(32),
                on_ordered=world.fleet.wake,
            ),
            room=Room(documents_max=10, waiting_max_bytes=1_000_000),
            publish_after=timedelta(),
            on_asked=lambda: None,
        )

    def items(self) -> list[ItemView]:
        clock = self.world.fleet.clock
        with self.world.fleet.database.read() as session:
            page = service.page(session, TENANT, state=None, before=None, limit=10, now=clock.now())
            return page.items

    def approve(self, item: str) -> None:
        clock = self.world.fleet.clock
        with self.world.fleet.database.write() as session:
            row = service.get(session, TENANT, item, for_change=True)
            service.approve(session, row, by="ada", publish_after=timedelta(), now=clock.now())

    async def work(self) -> None:
        """What the leader, the librarian and the courier do by themselves."""
        for _ in range(2):
            await asyncio.to_thread(self._keeper.work, self.world.fleet.database)
            await self.world.knowledge.librarian.work()
        self.world.round()

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        async def reached() -> bool:
            await self.work()
            return await condition()

        await eventually(what, reached)


async def found(device: MemoryDevice) -> list[str]:
    try:
        findings = await device.daemon.knowledge_lookup.search("fridge limit", limit=5)
    except RefusedError:  # it holds nothing yet
        return []
    return [each.item.text for each in findings.passages]


async def test_a_fact_of_one_device_is_cited_by_another_that_is_cut_off_until_it_is_superseded(
    tmp_path: Path,
) -> None:
    """P30"""
    async with (
        world_in(tmp_path) as world,
        world.fleet.device("fridge-1", ScriptedModel()) as author,
        world.device(knowledge=(SHELF,)) as reader,
    ):
        review = Review(world)
        kept = await author.daemon.mind.memory.add(LIMIT, by="person", scope="fleet")
        (item,) = await eventually("the proposal", lambda: _items(review))
        assert (item.device, item.item, item.state) == ("fridge-1", kept.item, "proposed")
        assert item.text == "fridge, limit: 8 degrees"
        review.approve(item.id)

        async def has_it() -> bool:
            return any("8 degrees" in each for each in await found(reader))

        await review.until("the fact to reach the other device", has_it)
        reader.link.cut()
        findings = await reader.daemon.knowledge_lookup.search("fridge limit", limit=5)
        passage = next(each for each in findings.passages if "8 degrees" in each.item.text)
        assert passage.item.headings[-1].startswith("From fridge-1, 2026-01-01 12:00 UTC")
        assert passage.item.document.startswith("fridge-1 2026-01-01 ")

        reader.link.mend()
        world.fleet.clock.advance(seconds=60)
        await author.daemon.mind.memory.add(
            Fact(subject="fridge", relation="limit", value="7 degrees"), by="person", scope="fleet"
        )

        async def lost_it() -> bool:
            return not any("8 degrees" in each for each in await found(reader))

        await review.until("the fact to leave the other device", lost_it)
        states = {each.value: each.state for each in review.items()}
        assert states == {"8 degrees": "ended", "7 degrees": "proposed"}


async def _items(review: Review) -> list[ItemView]:
    return await asyncio.to_thread(review.items)

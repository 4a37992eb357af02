"""What a site or the fleet has shared is read by a device only if its rules, asked about that scope, let it."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from cloud.governance.explanation import explain
from cloud.governance.simulation import simulate
from edge.dispatch import Dispatcher
from edge.knowledge_lookup import KnowledgeLookup
from edge.reading_room import ReadingRoom
from edge.shelf import Shelf
from edge.tools import memory_tools
from shared.errors import RefusedError
from shared.memory.shelves import FLEET_MEMORY
from shared.records import MemoryWritten, PolicyDecided
from tests.cloud.knowledge.world import NAME, OVEN, PUMP
from tests.edge.api.test_knowledge import call
from tests.fleet.in_memory import TENANT, MemoryDevice, eventually
from tests.fleet.test_knowledge import World, answer_of, world_in
from tests.support.device import task_id_from
from tests.support.model import ScriptedModel
from tests.support.rules import open_flow, open_judge, permissive
from tests.support.store import records

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

QUESTION = "How many degrees does the oven reach?"
ANSWER = "The oven reaches 250 degrees."
FORBIDS_FLEET = """
@id("own") @reason("What others found out is not read here.")
forbid (principal, action == Action::"memory.read", resource == Scope::"fleet");
"""
FORBIDS_OTHERS = """
@id("own") forbid (principal, action == Action::"memory.read", resource) unless { resource == Scope::"device" };
"""


FORBIDS_FLEET_OFFLINE = """
@id("own") forbid (principal, action == Action::"memory.read", resource == Scope::"fleet")
when { context.device.offline_s > 60 };
"""
ACT = '{"action": "answer", "arguments": {}}'


@asynccontextmanager
async def device_in(world: World, rules: str, *words: str) -> AsyncIterator[MemoryDevice]:
    """It holds a manual about pumps, and what the fleet knows about ovens. `words`: of its model."""
    world.knowledge.create(FLEET_MEMORY, tenant=TENANT)
    async with world.device(
        model=ScriptedModel(*words), also_rules=rules, knowledge=(NAME, FLEET_MEMORY)
    ) as device:
        await world.publish(pump=PUMP)
        await world.knowledge.publish({"oven.md": OVEN}, FLEET_MEMORY, tenant=TENANT)

        async def is_held() -> bool:
            world.round()
            return set(device.daemon.knowledge.names) == {NAME, FLEET_MEMORY}

        await eventually("both collections to be held", is_held)
        yield device


async def reads_of(device: MemoryDevice) -> list[PolicyDecided]:
    return [
        each
        for each in await records(device.journal)
        if isinstance(each, PolicyDecided) and each.action == "memory.read"
    ]


async def _remembers_answer(device: MemoryDevice) -> bool:
    return any(
        isinstance(each, MemoryWritten) and each.sort == "answer" for each in await records(device.journal)
    )


async def test_the_agent_answers_from_what_the_fleet_knows(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, device_in(world, "", ANSWER) as device:
        _, end = await answer_of(device, QUESTION)
        assert ANSWER in end.text
        assert [(each.decision, each.call) for each in await reads_of(device)] == [
            ("allow", 0),
            ("allow", None),
        ]


@pytest.mark.parametrize("rules", [FORBIDS_FLEET, FORBIDS_OTHERS], ids=["the fleet's", "others'"])
async def test_the_agent_does_not_know_what_it_may_not_read(tmp_path: Path, rules: str) -> None:
    manual = "Close valve V2 before cleaning the pump."
    async with world_in(tmp_path) as world, device_in(world, rules, ACT, "Who knows?", manual) as device:
        _, end = await answer_of(device, QUESTION)
        assert end.text == "Who knows?"
        own, others = await reads_of(device)
        assert (own.decision, others.decision, others.rules, others.task) == (
            "allow",
            "deny",
            ("own",),
            own.task,
        )
        _, end = await answer_of(device, "Which valve is closed before cleaning the pump?")
        assert manual in end.text


async def test_an_answer_from_before_is_not_given_where_its_source_may_not_be_read_now(
    tmp_path: Path,
) -> None:
    async with (
        world_in(tmp_path) as world,
        device_in(world, FORBIDS_FLEET_OFFLINE, ANSWER, ACT, "Who knows?") as device,
    ):
        _, end = await answer_of(device, QUESTION)
        assert ANSWER in end.text
        await eventually("the answer to be remembered", lambda: _remembers_answer(device))
        _, end = await answer_of(device, QUESTION)  # no model is asked again
        assert ANSWER in end.text
        device.link.cut()
        world.fleet.clock.advance(seconds=120)
        _, end = await answer_of(device, QUESTION)
        assert end.text == "Who knows?"


async def test_a_candidate_that_keeps_a_scope_back_is_told_what_was_read_from_it(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, device_in(world, "", ANSWER) as device:
        await answer_of(device, QUESTION)
        await eventually("the journal to be at the hub", device.is_drained)
        since = world.fleet.clock.now() - timedelta(days=1)
        with world.fleet.database.read() as session:
            same = simulate(session, permissive([]), tenant=TENANT, since=since)
            other = simulate(session, permissive([], also=FORBIDS_FLEET), tenant=TENANT, since=since)
            assert (same.unknown, same.flipped, other.unknown) == (0, 0, 0)
            (flip,) = other.flips
            assert (flip.tool, flip.was, flip.would, flip.rule) == ("memory.read", "allow", "deny", "own")
            view = explain(session, device.principal, flip.examples[0].seq, None)
            assert view.arguments == {"scope": "fleet", "query": QUESTION}


async def test_people_find_no_more_than_the_rules_let_be_read(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, device_in(world, FORBIDS_FLEET, ANSWER) as device:
        found = (await call(device, "POST", "/knowledge/search", {"query": "oven valve"})).json()
        assert {each["collection"] for each in found["passages"]} == {NAME}
        named = {"query": QUESTION, "collections": [FLEET_MEMORY]}
        refused = await call(device, "POST", "/knowledge/search", named)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "policy")
        assert "What others found out" in refused.json()["error"]["message"]
        answer = (await call(device, "POST", "/knowledge/ask", {"question": QUESTION})).json()
        assert not answer["is_known"]


async def test_what_came_while_the_rules_were_asked_is_not_read(tmp_path: Path) -> None:
    """Nobody has asked them about it."""

    def coming() -> KnowledgeLookup:
        held = iter([(), *[(FLEET_MEMORY,)] * 9])
        return KnowledgeLookup(
            shelf=Shelf(tmp_path / "none", _not_opened), names=lambda: next(held), embedder=None
        )

    told: list[tuple[str, ...]] = []

    async def look_up(_request: str, unread: Collection[str]) -> dict[str, object]:
        told.append(tuple(unread))
        return {}

    async def remember(*_: object) -> NoReturn:
        raise AssertionError("nothing is remembered")

    async with world_in(tmp_path) as world, world.device() as device:
        judge = open_judge(world.fleet.clock)
        room = ReadingRoom(
            knowledge=coming(), lookup=device.daemon.mind.lookup, judge=judge, model=ScriptedModel()
        )
        with pytest.raises(RefusedError, match="holds no knowledge"):
            await room.search(QUESTION, limit=5)
        tools = memory_tools(look_up, remember, coming().shared_scopes)
        dispatcher = Dispatcher(tools=tools, journal=device.journal, clock=world.fleet.clock, judge=judge)
        task = task_id_from("task")
        await dispatcher.call(
            task=task, node=0, call=0, tool="memory.read", arguments={"scope": "device", "query": QUESTION},
            causes=(), flow=open_flow(task),
        )  # fmt: skip
        assert told == [("fleet", "site")]


def _not_opened(_directory: Path) -> NoReturn:
    raise AssertionError("nothing may be read")

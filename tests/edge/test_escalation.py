"""The tool that asks the hub, over a real store: one question a call, and no waiting for nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from edge.adapters.store_sqlite.database import Database, open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.store_sqlite.memory_rows import SqliteMemory
from edge.adapters.store_sqlite.trimming import drop_node
from edge.blobs import make_blob
from edge.escalation import Escalation, EscalationSettings
from edge.ports import Draft
from edge.tools import Occasion, escalate_tool
from shared.errors import RefusedError
from shared.escalation import HubAnswer, encode_answer
from shared.ids import Lane
from shared.records import HubAnswered, HubAsked, MemoryForgotten, NodeAmended
from tests.support.clock import ManualClock
from tests.support.device import signer_from, task_id_from
from tests.support.hub import ScriptedHub
from tests.support.store import PRINCIPAL, Order, rebuild, records
from tests.support.work import done

TASK: Final = task_id_from("a task")
OCCASION: Final = Occasion(task=TASK, node=0, call=1, intent=3, labels=("internal",))
ANSWER: Final = encode_answer(HubAnswer(text="Close V2.", by="quotes"))


class World:
    """The tool over a store. `is_linked` is the test's to change."""

    def __init__(self, database: Database, *, wait_s: float) -> None:
        self.database = database
        self.journal = SqliteJournal(database, principal=PRINCIPAL)
        self.store = SqliteMemory(database)
        self.hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
        self.is_linked = True
        self.escalation = Escalation(
            questions=self.store,
            journal=self.journal,
            clock=ManualClock(),
            is_enrolled=True,
            is_linked=lambda: self.is_linked,
            settings=EscalationSettings(mode="unanswered", wait_s=wait_s),
        )
        self.tool = escalate_tool(self.escalation.ask, lambda: self.escalation.is_possible)

    async def call(self, text: Any = "Which valve?", occasion: Occasion = OCCASION) -> dict[str, object]:
        return await self.tool.call({"text": text}, occasion)

    async def asked(self) -> list[HubAsked]:
        return [each for each in await records(self.journal) if isinstance(each, HubAsked)]

    async def hub_answers(self, *, is_known: bool = True, data: bytes = ANSWER) -> HubAnswered:
        blob = make_blob(data)
        order = HubAnswered(
            at_ms=1, task=TASK, node=0, call=1, is_known=is_known, answer=blob.ref(), labels=("untrusted",)
        )
        self.hub.order(order, blob)
        await self.journal.receive(self.hub.batch_of_orders())
        self.escalation.changed()
        return order


@asynccontextmanager
async def world_in(directory: Path, *, wait_s: float = 20.0) -> AsyncIterator[World]:
    database = await asyncio.to_thread(open_database, directory / "store.sqlite")
    try:
        yield World(database, wait_s=wait_s)
    finally:
        await asyncio.to_thread(database.close)


async def test_the_question_is_on_the_disk_with_its_cause_and_labels_before_anybody_waits(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        waiting = asyncio.create_task(world.call())
        while not await world.asked():  # noqa: ASYNC110  # the store is on another thread
            await asyncio.sleep(0)
        (record,) = await world.asked()
        assert (record.task, record.node, record.call) == (TASK, 0, 1)
        assert (record.causes, record.labels) == ((3,), ("internal",))
        await world.hub_answers()
        result = await waiting
        assert (result["state"], result["labels"]) == ("answered", ["untrusted"])


async def test_without_a_link_nobody_waits(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.is_linked = False
        assert (await world.call())["state"] == "queued"
        assert len(await world.asked()) == 1


async def test_a_link_that_goes_ends_the_wait(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        waiting = asyncio.create_task(world.call())
        while not await world.asked():  # noqa: ASYNC110
            await asyncio.sleep(0)
        world.is_linked = False
        world.escalation.changed()
        assert (await waiting)["state"] == "queued"


async def test_the_wait_has_an_end(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        assert (await world.call())["state"] == "queued"


async def test_a_call_that_is_tried_again_asks_nothing_twice(tmp_path: Path) -> None:
    """P31"""
    async with world_in(tmp_path, wait_s=0) as world:
        await world.call()
        await world.call()
        assert len(await world.asked()) == 1
        await world.hub_answers()
        assert (await world.call())["state"] == "answered"
        assert len(await world.asked()) == 1


async def test_the_first_answer_counts(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        await world.call()
        await world.hub_answers()
        await world.hub_answers(data=encode_answer(HubAnswer(text="Open V9.", by="quotes")))
        assert (await world.call())["summary"] == "Close V2."


@pytest.mark.parametrize("text", [None, 4, "", " \n"])
async def test_what_is_no_text_is_not_asked(tmp_path: Path, text: object) -> None:
    async with world_in(tmp_path) as world:
        with pytest.raises(RefusedError):
            await world.call(text)
        assert await world.asked() == []


async def test_it_is_there_only_while_it_is_turned_on(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        assert world.tool.is_there()
        world.escalation.reconfigure(EscalationSettings(mode="off", wait_s=1))
        assert not world.tool.is_there()


async def test_what_is_forgotten_is_gone_from_questions_too(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        await world.call()
        order = await world.hub_answers()
        told = make_blob(b"Close V2, says the hub.")
        amended = NodeAmended(at_ms=1, task=TASK, node=0, call=1, result=told.ref())
        await world.journal.append(Draft(amended, (told,)), durable=True)
        _, contents, _ = await world.store.mentions(b"V2")
        assert {order.answer.hash, told.ref().hash} <= set(contents)
        forgotten = MemoryForgotten(at_ms=1, request=task_id_from("forget"), contents=contents, is_last=True)
        await world.journal.append(Draft(forgotten), durable=True)
        (question,) = await world.store.questions_of(TASK)
        assert (question.answer, question.told, question.is_told) == (b"", None, True)
        assert await world.store.mentions(b"V2") == ((), (), 0)


async def test_an_answer_is_late_only_once_its_work_has_ended(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        *open_, end = done(TASK)
        await world.journal.append(*open_, durable=True)
        await world.call()
        await world.hub_answers()
        assert await world.store.late(10) == ()
        await world.journal.append(end, durable=True)
        (late,) = await world.store.late(10)
        assert (late.task, late.call, late.is_told) == (TASK, 1, False)
        assert late.order is not None
        assert late.order.lane == Lane.ORDERS.value


async def test_an_answer_without_its_content_ends_the_wait(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        waiting = asyncio.create_task(world.call())
        while not await world.asked():  # noqa: ASYNC110
            await asyncio.sleep(0)
        order = HubAnswered(at_ms=1, task=TASK, node=0, call=1, is_known=True, answer=make_blob(ANSWER).ref())
        world.hub.order(order)
        await world.journal.receive(world.hub.batch_of_orders())
        world.escalation.changed()
        assert (await waiting)["state"] == "unknown"


async def test_what_was_asked_goes_with_its_work(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        await world.journal.append(*done(TASK), durable=True)
        await world.call()
        await world.hub_answers()
        await world.database.write(lambda db: drop_node(db, TASK, 0), durable=True)
        assert await world.store.questions_of(TASK) == ()


async def test_both_logs_tell_the_same_whichever_is_read_first(tmp_path: Path) -> None:
    async with world_in(tmp_path, wait_s=0) as world:
        await world.call()
        await world.hub_answers()
        await world.journal.append(*done(TASK), durable=True)
        told = make_blob(b"Close V2, says the hub.")
        amended = NodeAmended(at_ms=9, task=TASK, node=0, call=1, result=told.ref(), labels=("untrusted",))
        await world.journal.append(Draft(amended, (told,)), durable=True)
        orders: tuple[Order, ...] = ("journal first", "orders first")
        both = [rebuild(world.database, tmp_path / name, name)["hub_question"] for name in orders]
        assert both[0] == both[1]
        assert len(both[0]) == 1

"""A device asks the hub what it cannot answer: at once, later, or not at all, as link and rules have it (rule P31)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from cloud.journal.service import append_order
from cloud.knowledge import service
from cloud.knowledge.answers import Answers
from cloud.knowledge.schemas import Audience, ChangeCollection
from cloud.policy.compiler import compile_package
from cloud.policy.sources import Sources, parse_yaml
from cloud.questions import repository
from cloud.questions.clerk import Clerk
from cloud.questions.limits import QuestionLimits
from edge.agent import Ended
from edge.core.escalating import DOES_NOT_KNOW, NO_ANSWER, WILL_COME
from edge.core.turn import BACKGROUND
from edge.later_answers import WITHHELD
from shared.blobs import Blob
from shared.ids import Lane
from shared.inference.ports import TextDelta
from shared.memory.shelves import FLEET_MEMORY
from shared.policy.bundle import pack
from shared.records import HubAnswered, HubAsked, NodeAmended, NodeMoved, PolicyDecided, ToolResult
from shared.tasks.states import NodeState
from tests.cloud.knowledge.world import NAME, OVEN, PUMP, Knowledge, knowledge_in
from tests.cloud.questions.asking import OpenAnswers
from tests.fleet.in_memory import SENSOR, TENANT, MemoryDevice, MemoryFleet, eventually, use
from tests.fleet.test_knowledge import world_in
from tests.support.agent import end_of, progress_of
from tests.support.model import ScriptedModel
from tests.support.rules import TRUST
from tests.support.store import records

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

QUESTION: Final = "Which valve is closed before cleaning the pump?"
VALVE: Final = "Close valve V2 before cleaning the pump. [1]"
FROM_HUB: Final = "This answer came from the hub (quotes)."
GUESS: Final = "I guess V9."
GUESSES: Final = (use("answer"), GUESS)
"""What a model says that is asked."""
LONG_S: Final = 50.0
ASKS: Final[dict[str, Any]] = {"escalate": "unanswered", "escalate_wait_s": LONG_S}
AT_ONCE: Final[dict[str, Any]] = {"escalate": "unanswered", "escalate_wait_s": 0}
PACKAGE: Final = """
name: asking
version: {version}
lease: 1d
labels: {{internal: {{kind: confidentiality}}, patient: {{kind: confidentiality}}}}
actions: {{model.escalate: {{sink: {{for: [internal]}}}}}}
"""
READS: Final = """
@id("read") permit (principal, action in Action::"reads", resource);
@id("answer") permit (principal, action == Action::"message.person", resource);
"""
ASKING: Final = """
@id("ask-hub") permit (principal, action == Action::"model.escalate", resource);
"""
NOT_INTERNAL: Final = """
@id("not-here") @reason("Internal words stay off this screen.")
forbid (principal, action == Action::"message.person", resource) when { context.labels.contains("internal") };
"""


@dataclass
class Asked:
    """A hub with knowledge, a clerk that answers when a test says so, and devices."""

    fleet: MemoryFleet
    knowledge: Knowledge

    def __post_init__(self) -> None:
        answers = Answers(replica=self.knowledge.replica, embedder=self.knowledge.embeddings, model=None)
        self.desk = OpenAnswers(answers)

    async def publish(self, *labels: str) -> None:
        self.knowledge.create(tenant=TENANT, labels=labels)
        await self.knowledge.publish({"pump.md": PUMP, "oven.md": OVEN}, tenant=TENANT)

    async def answer(self) -> None:
        """As the background of a process with the API does it."""
        clerk = Clerk(
            database=self.fleet.database,
            clock=self.fleet.clock,
            answering=self.desk,
            limits=QuestionLimits(),
            on_ordered=self.fleet.wake,
        )
        await clerk.work()

    async def answered(self) -> None:
        """Until some question came and was answered."""
        before = len(self.desk.asked)

        async def look() -> bool:
            await self.answer()
            return len(self.desk.asked) > before

        await eventually("a question to be answered", look)

    def device(self, *script: Any, name: str = "till-1", **changes: Any) -> Any:
        return self.fleet.device(name, ScriptedModel(*script), **{**ASKS, **changes})


@asynccontextmanager
async def asked_in(directory: Path) -> AsyncIterator[Asked]:
    async with MemoryFleet(directory) as fleet:
        knowledge = knowledge_in(fleet.database, fleet.clock, directory / "hub-library")
        with closing(knowledge.replica.library):
            yield Asked(fleet, knowledge)


async def of_kind(device: MemoryDevice, kind: type) -> list[Any]:
    return [each for each in await records(device.journal) if isinstance(each, kind)]


async def until_some(device: MemoryDevice, kind: type) -> list[Any]:
    found: list[Any] = await eventually(f"a {kind.__name__}", lambda: of_kind(device, kind))
    return found


async def call(device: MemoryDevice, path: str) -> Any:
    transport = httpx.ASGITransport(app=device.daemon.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://device") as client:
        answer = await client.get(path, headers={"authorization": "Bearer token"})
        assert answer.status_code == 200, answer.text
        return answer.json()


async def text_of(device: MemoryDevice, record: NodeAmended | HubAsked) -> str:
    blob = await device.journal.blob(record.result if isinstance(record, NodeAmended) else record.question)
    assert blob is not None
    return blob.text()


def bundle(version: int, rules: str) -> bytes:
    sources = Sources(
        package=parse_yaml("package.yaml", PACKAGE.format(version=version)),
        cedar=(("rules.cedar", rules),),
        tests=None,
    )
    return pack(compile_package(sources).bundle)


async def goes_by(asked: Asked, device: MemoryDevice, rules: str, version: int = 1) -> None:
    await asked.fleet.publish(bundle(version, rules))

    async def look() -> bool:
        status = (await device.daemon.status())["policy"]
        return bool(status["mode"] == "rules" and status["version"] == version)

    await eventually("the rules to hold", look)


# --- at once


async def test_a_linked_device_tells_what_the_hub_knows_and_asks_no_model(tmp_path: Path) -> None:
    """P31"""
    async with asked_in(tmp_path) as asked, asked.device() as device:
        await asked.publish("internal")
        task = await device.daemon.runner.submit(QUESTION)
        await asked.answered()
        end = await end_of(device.daemon.runner, task)
        assert end.state is NodeState.SUCCEEDED
        first, _, rest = end.text.partition("\n\nSources:\n[1] Pump (manuals, revision ")
        assert first == VALVE
        assert rest.endswith(FROM_HUB)
        (question,) = await of_kind(device, HubAsked)
        assert await text_of(device, question) == QUESTION
        ended = (await of_kind(device, NodeMoved))[-1]
        assert set(ended.labels) == {"internal", "untrusted"}
        assert await of_kind(device, NodeAmended) == []
        shown = await call(device, f"/tasks/{task}")
        assert [(each["state"], each["is_known"], each["later"]) for each in shown["hub_questions"]] == [
            ("told", True, None)
        ]


FORBIDS_FLEET: Final = """
@id("own") forbid (principal, action == Action::"memory.read", resource == Scope::"fleet");
"""


@pytest.mark.parametrize("rules", ["", FORBIDS_FLEET], ids=["may", "may not"])
async def test_the_hub_tells_what_others_have_shared_only_to_whom_rules_let_read_it(
    tmp_path: Path, rules: str
) -> None:
    """P31"""
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, also_rules=rules) as device:
        await asked.publish()
        asked.knowledge.create(FLEET_MEMORY, tenant=TENANT)
        await asked.knowledge.publish(
            {"oven.md": b"# Lamp\n\nThe lamp is changed each spring.\n"}, FLEET_MEMORY, tenant=TENANT
        )
        task = await device.daemon.runner.submit("When is the lamp changed?")
        await asked.answered()
        end = await end_of(device.daemon.runner, task)
        assert ("each spring" in end.text) == (not rules)
        assert asked.desk.asked[-1][1] == ((NAME,) if rules else (FLEET_MEMORY, NAME))


async def test_work_that_the_hub_gave_asks_it_too(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device() as device:
        await asked.publish()
        task = await asked.fleet.create_task(QUESTION, device)
        await asked.answered()
        view = await asked.fleet.ended(task)
        assert (view.nodes[0].result or "").startswith(VALVE)
        assert [effect.tool for effect in view.nodes[0].effects] == ["model.escalate"]


async def test_what_the_hub_does_not_know_is_answered_here_and_said(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES) as device:
        await asked.publish()
        task = await device.daemon.runner.submit("Who wrote Hamlet?")
        await asked.answered()
        end = await end_of(device.daemon.runner, task)
        assert end.text == f"{GUESS}\n\n{DOES_NOT_KNOW}"
        assert await of_kind(device, NodeAmended) == []


async def test_orders_and_what_a_tool_is_for_are_no_questions_to_the_hub(tmp_path: Path) -> None:
    sensor = (use("read_sensor", name=SENSOR), use("answer"), "4.2 °C")
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, *sensor, linked=False) as device:
        for request in ("Open the valve.", f"What does the {SENSOR} say?"):
            task = await device.daemon.runner.submit(request)
            assert (await end_of(device.daemon.runner, task)).state is NodeState.SUCCEEDED
        assert await of_kind(device, HubAsked) == []


async def test_what_was_said_before_does_not_leave_with_the_question(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await device.daemon.runner.submit(f"{QUESTION}{BACKGROUND}user: My code is 4711.")
        (question,) = await until_some(device, HubAsked)
        assert await text_of(device, question) == QUESTION


async def test_a_device_answers_from_its_own_knowledge_first(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        model = ScriptedModel("Close valve V2 before cleaning the pump. [1]", *GUESSES)
        async with world.device(model=model, **ASKS) as device:
            await world.publish(pump=PUMP)
            await world.delivered("applied", 1)
            known = await device.daemon.runner.submit(QUESTION)
            assert (await end_of(device.daemon.runner, known)).text.startswith(VALVE)
            assert await of_kind(device, HubAsked) == []
            device.link.cut()
            unknown = await device.daemon.runner.submit("Who wrote Hamlet?")
            assert (await end_of(device.daemon.runner, unknown)).text == f"{GUESS}\n\n{WILL_COME}"
            assert len(await of_kind(device, HubAsked)) == 1


# --- later


async def test_without_a_link_the_question_waits_and_its_answer_finds_the_task(tmp_path: Path) -> None:
    """P31"""
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, linked=False) as device:
        await asked.publish("internal")
        task = await device.daemon.runner.submit(QUESTION)
        end = await end_of(device.daemon.runner, task)
        assert end.text == f"{GUESS}\n\n{WILL_COME}"
        assert [each["state"] for each in (await call(device, "/questions"))["questions"]] == ["waiting"]
        device.link.mend()
        await asked.answered()
        (amended,) = await until_some(device, NodeAmended)
        assert (await text_of(device, amended)).startswith(VALVE)
        assert set(amended.labels) == {"internal", "untrusted"}
        (question,) = (await call(device, f"/tasks/{task}"))["hub_questions"]
        assert question["later"]["text"].startswith(VALVE)
        assert set(question["later"]["labels"]) == {"internal", "untrusted"}
        (recent,) = (await call(device, "/questions"))["questions"]
        assert (recent["task"], recent["goal"], recent["state"]) == (task, QUESTION, "told")
        view = await asked.fleet.reached(task, "to be amended", lambda view: bool(view.later_answers))
        assert (view.nodes[0].result, view.state) == (f"{GUESS}\n\n{WILL_COME}", "succeeded")
        assert (view.later_answers[0].result or "").startswith(VALVE)


async def test_an_answer_that_comes_after_the_wait_is_told_later(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await asked.publish()
        task = await device.daemon.runner.submit(QUESTION)
        assert (await end_of(device.daemon.runner, task)).text == f"{GUESS}\n\n{WILL_COME}"
        await asked.answered()
        (amended,) = await until_some(device, NodeAmended)
        assert (await text_of(device, amended)).endswith(FROM_HUB)


async def test_who_hears_the_answer_as_it_comes_hears_that_the_hub_is_asked(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        task = await device.daemon.runner.submit(QUESTION)
        *pieces, end = await progress_of(device.daemon.runner, task)
        assert isinstance(end, Ended)
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == end.text


async def test_that_the_hub_has_no_answer_is_told_later_too(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await device.daemon.runner.submit(QUESTION)
        await until_some(device, HubAsked)

        async def answered() -> bool:
            await asked.answer()
            return bool(await of_kind(device, NodeAmended))

        await eventually("the later answer", answered)
        (amended,) = await of_kind(device, NodeAmended)
        assert await text_of(device, amended) == NO_ANSWER


async def test_an_answer_that_came_while_the_device_was_off_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish()
        async with asked.device(*GUESSES, **AT_ONCE) as device:
            task = await device.daemon.runner.submit(QUESTION)
            await end_of(device.daemon.runner, task)
            await eventually("all to be sent", device.is_drained)
        await asked.answered()
        async with asked.device() as device:
            (amended,) = await until_some(device, NodeAmended)
            assert amended.task == task
            assert (await text_of(device, amended)).startswith(VALVE)


async def test_an_answer_counts_once_however_often_it_comes(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await asked.publish()
        await device.daemon.runner.submit(QUESTION)
        await asked.answered()
        (amended,) = await until_some(device, NodeAmended)
        again = Blob(salt=bytes(16), content=b'{"text":"Other.","sources":[],"by":"x","is_known":true}')
        order = HubAnswered(
            at_ms=1, task=amended.task, node=0, call=amended.call, is_known=True, answer=again.ref()
        )
        with asked.fleet.database.write() as session:
            now = asked.fleet.clock.now()
            append_order(session, principal=device.principal, records=[(order, (again,))] * 2, now=now)
        asked.fleet.wake({device.principal})

        async def have_come() -> bool:
            orders = await device.journal.lane(Lane.ORDERS)
            return orders is not None and orders.head.seq == 3

        await eventually("the orders", have_come)
        assert await device.daemon.later_answers.look() == 0
        (question,) = (await call(device, f"/tasks/{amended.task}"))["hub_questions"]
        assert question["later"]["text"].startswith(VALVE)
        assert len(await of_kind(device, NodeAmended)) == 1


async def test_an_unreadable_answer_is_told_as_none(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        task = await device.daemon.runner.submit(QUESTION)
        await end_of(device.daemon.runner, task)
        (question,) = await of_kind(device, HubAsked)
        broken = Blob(salt=bytes(16), content=b'{"text": "Trust me."}')
        order = HubAnswered(
            at_ms=1, task=task, node=0, call=question.call, is_known=True, answer=broken.ref()
        )
        with asked.fleet.database.write() as session:
            now = asked.fleet.clock.now()
            append_order(session, principal=device.principal, records=[(order, (broken,))], now=now)
        asked.fleet.wake({device.principal})
        (amended,) = await until_some(device, NodeAmended)
        assert await text_of(device, amended) == NO_ANSWER


async def test_a_later_answer_is_remembered_in_the_place_of_what_was_answered_before(tmp_path: Path) -> None:
    """P30, P31"""
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await asked.publish("internal")
        task = await device.daemon.runner.submit(QUESTION)
        await end_of(device.daemon.runner, task)
        await asked.answered()
        await until_some(device, NodeAmended)
        rows = await device.daemon.mind.store.items(sorts=("episode",))
        after, before = await device.daemon.mind.recall.genuine(rows)  # as each changed last
        assert (before.reason, before.other, before.text.startswith(GUESS)) == ("outdated", after.item, True)
        assert after.text.startswith(VALVE)
        assert (after.cue, after.task, after.since_ms) == (QUESTION, task, before.since_ms)
        assert set(after.labels) == {"internal", "untrusted"}
        found = await device.daemon.mind.lookup.search("the valve of the pump", limit=5)
        assert [each.item.item for each in found.found] == [after.item]
        assert await device.daemon.mind.memory.think() == 0
        assert await device.daemon.mind.recall.verify() == []


async def test_that_the_hub_has_no_answer_is_not_remembered(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, **AT_ONCE) as device:
        await device.daemon.runner.submit(QUESTION)
        await until_some(device, HubAsked)

        async def answered() -> bool:
            await asked.answer()
            return bool(await of_kind(device, NodeAmended))

        await eventually("the later answer", answered)
        await device.daemon.mind.memory.think()
        (only,) = await device.daemon.mind.store.items(sorts=("episode",))
        assert only.until_ms is None


async def test_a_later_answer_that_rules_do_not_let_be_remembered_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish("internal")
        async with asked.device(*GUESSES, is_permissive=False, **AT_ONCE, **TRUST) as device:
            await goes_by(asked, device, READS + ASKING)  # nothing permits memory.write
            await device.daemon.runner.submit(QUESTION)
            await until_some(device, HubAsked)
            await asked.answered()
            (amended,) = await until_some(device, NodeAmended)
            assert (await text_of(device, amended)).startswith(VALVE)
            assert await device.daemon.mind.store.items() == ()


# --- interrupted


async def test_a_device_that_dies_while_it_waits_asks_nothing_twice(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish()
        async with asked.device() as device:
            task = await device.daemon.runner.submit(QUESTION)
            await until_some(device, HubAsked)
            await eventually("all to be sent", device.is_drained)
        await asked.answered()
        async with asked.device(*GUESSES, linked=False) as device:
            end = await end_of(device.daemon.runner, task)
            assert end.text == f"{GUESS}\n\n{WILL_COME}"  # nobody waits without a link
            device.link.mend()
            (amended,) = await until_some(device, NodeAmended)
            assert (await text_of(device, amended)).startswith(VALVE)
            assert len(await of_kind(device, HubAsked)) == 1


async def test_a_hub_that_was_restarted_answers_all_the_same(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device() as device:
        await asked.publish()
        task = await device.daemon.runner.submit(QUESTION)
        await until_some(device, HubAsked)
        await eventually("all to be sent", device.is_drained)
        await asked.fleet.stop_hub()
        await asked.answer()
        await asked.fleet.start_hub()
        await asked.answer()
        end = await end_of(device.daemon.runner, task)
        # The link was gone for a moment, or it was not: whichever way, the answer is there once.
        if not end.text.startswith(VALVE):
            (amended,) = await until_some(device, NodeAmended)
            assert (await text_of(device, amended)).startswith(VALVE)
        assert len(asked.desk.asked) == 1


# --- rules and labels


async def test_rules_that_do_not_let_a_question_go_leave_everything_as_without_it(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, is_permissive=False, **TRUST) as device:
        await goes_by(asked, device, READS)
        task = await device.daemon.runner.submit(QUESTION)
        assert (await end_of(device.daemon.runner, task)).text == GUESS
        refused = [each for each in await of_kind(device, PolicyDecided) if each.action == "model.escalate"]
        assert [(each.decision, each.rules) for each in refused] == [("deny", ("no_rule",))]
        assert await of_kind(device, HubAsked) == []
        assert await of_kind(device, ToolResult) == []


async def test_without_rules_nothing_goes(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, is_permissive=False) as device:
        task = await device.daemon.runner.submit(QUESTION)
        assert (await end_of(device.daemon.runner, task)).text == GUESS
        assert await of_kind(device, HubAsked) == []


async def test_it_is_off_unless_somebody_turns_it_on(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES, escalate="off") as device:
        task = await device.daemon.runner.submit(QUESTION)
        assert (await end_of(device.daemon.runner, task)).text == GUESS
        assert [
            each for each in await of_kind(device, PolicyDecided) if each.action == "model.escalate"
        ] == []


async def test_the_hub_may_turn_it_on(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish()
        async with asked.fleet.device("till-1", ScriptedModel()) as device:
            await asked.fleet.desire({"escalate": "unanswered", "escalate_wait_s": LONG_S}, device="till-1")
            await eventually("the setting", lambda: _asks(device))
            task = await device.daemon.runner.submit(QUESTION)
            await asked.answered()
            assert (await end_of(device.daemon.runner, task)).text.startswith(VALVE)


async def _asks(device: MemoryDevice) -> bool:
    return device.daemon.desired.settings.escalate == "unanswered"


async def test_what_is_labelled_patient_stays(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish("internal")
        async with asked.device(*GUESSES, is_permissive=False, **TRUST) as device:
            await goes_by(asked, device, READS + ASKING)
            stays = await device.daemon.runner.submit(QUESTION, labels=("patient",))
            assert (await end_of(device.daemon.runner, stays)).text == GUESS
            assert await of_kind(device, HubAsked) == []
            goes = await device.daemon.runner.submit(QUESTION, labels=("internal",))
            await asked.answered()
            assert (await end_of(device.daemon.runner, goes)).text.startswith(VALVE)
            (question,) = await of_kind(device, HubAsked)
            assert question.labels == ("internal",)
            await eventually("all to be sent", device.is_drained)
        with asked.fleet.database.read() as session:
            (row,) = repository.page(session, tenant=None, limit=10)
            assert row.labels == ["internal"]


async def test_a_later_answer_that_rules_keep_from_people_is_withheld_and_said(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish("internal")
        async with asked.device(*GUESSES, is_permissive=False, **AT_ONCE, **TRUST) as device:
            await goes_by(asked, device, READS + ASKING + NOT_INTERNAL)
            task = await device.daemon.runner.submit(QUESTION)
            await end_of(device.daemon.runner, task)
            await asked.answered()
            (amended,) = await until_some(device, NodeAmended)
            assert await text_of(device, amended) == f"{WITHHELD} Internal words stay off this screen."
            assert amended.labels == ()
            assert "V2" not in str(await call(device, f"/tasks/{task}"))


# --- whose knowledge


async def test_a_collection_for_others_answers_nothing(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked:
        await asked.publish()
        with asked.fleet.database.write() as session:
            row = asked.knowledge.row(session, NAME, TENANT)
            change = ChangeCollection(audience=Audience(devices=["till-2"]))
            service.change(row, change, by="ada", now=asked.fleet.clock.now())
        async with asked.device(*GUESSES, name="till-1") as one, asked.device(name="till-2") as two:
            first = await one.daemon.runner.submit(QUESTION)
            await until_some(one, HubAsked)

            async def told() -> bool:
                await asked.answer()
                node = await one.journal.node(first, 0)
                return node is not None and node.state is NodeState.SUCCEEDED

            await eventually("the first to end", told)
            assert asked.desk.asked == []
            second = await two.daemon.runner.submit(QUESTION)
            await asked.answered()
            assert (await end_of(two.daemon.runner, second)).text.startswith(VALVE)
            assert (await end_of(one.daemon.runner, first)).text == f"{GUESS}\n\n{DOES_NOT_KNOW}"


async def test_another_tenants_collection_is_never_used(tmp_path: Path) -> None:
    async with asked_in(tmp_path) as asked, asked.device(*GUESSES) as device:
        asked.knowledge.create(tenant="other")
        await asked.knowledge.publish({"pump.md": PUMP}, tenant="other")
        task = await device.daemon.runner.submit(QUESTION)
        await until_some(device, HubAsked)

        async def told() -> bool:
            await asked.answer()
            node = await device.journal.node(task, 0)
            return node is not None and node.state is NodeState.SUCCEEDED

        await eventually("it to end", told)
        assert asked.desk.asked == []
        assert (await end_of(device.daemon.runner, task)).text == f"{GUESS}\n\n{DOES_NOT_KNOW}"

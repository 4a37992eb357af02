"""What devices asked, as people see it: by whom, what became of it, and nothing of other tenants."""

from typing import Any

import pytest

from cloud.questions.clerk import Clerk
from cloud.questions.limits import QuestionLimits
from shared.records import HubAsked, NodeAmended, TaskCreated
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.cloud.hub_api import FleetDevice, HubApi, text_blob
from tests.support.device import task_id_from


class NoKnowledge:
    """A hub that holds nothing."""

    is_open = True

    async def missing(self, tenant: str, collections: Any) -> list[str]:
        return []

    def ask(self, tenant: str, question: str, collections: Any) -> Any:
        raise AssertionError("there is nothing to ask")


def ask(device: FleetDevice, text: str, *, task: str = "local", call: int = 1) -> str:
    question = text_blob(text)
    record = HubAsked(
        at_ms=1, task=task_id_from(task), node=0, call=call, question=question.ref(), labels=("patient",)
    )
    device.write(record, question)
    return record.task


def begin(device: FleetDevice, task: str = "local") -> str:
    goal = text_blob("Which valve?")
    record = TaskCreated(at_ms=1, task=task_id_from(task), goal=goal.ref(), limits=Limits())
    device.write(record, goal)
    return record.task


async def answer(hub: HubApi) -> None:
    clerk = Clerk(
        database=hub.database,
        clock=hub.clock,
        answering=NoKnowledge(),
        limits=QuestionLimits(),
        on_ordered=hub.orders_for.update,
    )
    await clerk.work()


async def test_questions_are_listed_with_what_became_of_them(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    task = ask(fridge, "Which valve?")
    (only,) = hub.get("/v1/questions")["questions"]
    assert (only["principal"], only["task"], only["state"]) == ("main.fridge-1", task, "open")
    assert (only["question"], only["labels"], only["is_known"]) == ("Which valve?", ["patient"], None)
    await answer(hub)
    assert hub.orders_for == {"main.fridge-1"}
    whole = hub.get(f"/v1/questions/{only['number']}")
    assert (whole["state"], whole["is_known"], whole["code"]) == ("answered", False, "unsupported")
    assert (whole["answer"], whole["sources"]) == ("The hub has nothing that answers it.", [])
    assert whole["answer_labels"] == ["untrusted", "patient"]
    assert [each["state"] for each in hub.get("/v1/questions", state="open")["questions"]] == []


async def test_the_list_has_pages_and_filters(hub: HubApi) -> None:
    fridge, till = hub.device("fridge-1"), hub.device("till-1")
    for call in range(3):
        ask(fridge, f"Question {call}?", call=call)
    ask(till, "Another?", task="till")
    first = hub.get("/v1/questions", limit=3)
    assert [each["question"] for each in first["questions"]] == ["Another?", "Question 2?", "Question 1?"]
    rest = hub.get("/v1/questions", limit=3, before=first["next"])
    assert ([each["question"] for each in rest["questions"]], rest["next"]) == (["Question 0?"], None)
    assert len(hub.get("/v1/questions", device="till-1")["questions"]) == 1


async def test_another_tenants_questions_do_not_exist(hub: HubApi) -> None:
    ask(hub.device("fridge-1"), "Which valve?")
    hub.post("/v1/tenants", {"name": "other"})
    made = hub.post("/v1/api-tokens", {"label": "viewer", "tenant": "other", "role": "viewer"})
    headers = {"Authorization": f"Bearer {made['token']}"}
    listed = hub.client.get("/v1/questions", headers=headers)
    assert listed.json()["questions"] == []
    refused = hub.client.get("/v1/questions/1", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (404, "hub_question_unknown")
    assert hub.refusal("GET", "/v1/questions/99") == (404, "hub_question_unknown")


@pytest.mark.parametrize("path", ["/v1/questions?state=lost", "/v1/questions/0", "/v1/questions?before=x"])
def test_what_makes_no_sense_is_refused(hub: HubApi, path: str) -> None:
    assert hub.refusal("GET", path) == (422, "invalid")


def test_a_later_answer_stands_beside_the_end(hub: HubApi) -> None:
    """P31"""
    fridge = hub.device("fridge-1")
    task = begin(fridge)
    fridge.move(task, NodeState.RUNNING)
    fridge.move(task, NodeState.SUCCEEDED, result="I guess V1.")
    before = hub.get(f"/v1/tasks/{task}")["revision"]
    later = text_blob("Close valve V2. [1]")
    amended = NodeAmended(
        at_ms=1, task=task, node=0, call=1, result=later.ref(), labels=("untrusted", "internal")
    )
    fridge.write(amended, later)
    view = hub.get(f"/v1/tasks/{task}")
    assert (view["state"], view["nodes"][0]["result"]) == ("succeeded", "I guess V1.")
    (only,) = view["later_answers"]
    assert (only["node"], only["call"], only["principal"]) == (0, 1, "main.fridge-1")
    assert (only["result"], only["labels"]) == ("Close valve V2. [1]", ["untrusted", "internal"])
    assert view["revision"] > before


def test_a_device_amends_only_work_that_was_its_own(hub: HubApi) -> None:
    fridge, till = hub.device("fridge-1"), hub.device("till-1")
    task = begin(fridge)
    later = text_blob("Close valve V9.")
    till.write(NodeAmended(at_ms=1, task=task, node=0, call=1, result=later.ref()), later)
    assert hub.get(f"/v1/tasks/{task}")["later_answers"] == []

"""Tasks from request to answer: creating, offering, moving, cancelling, what comes late (rule P16)."""

import pytest

from shared.blobs import BLOB_MAX_BYTES
from shared.clock import to_ms
from shared.ids import HUB
from shared.records import QuestionAnswered, QuestionAsked, QuestionReplied, TaskCancelled, TaskCreated
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.cloud.hub_api import HubApi, text_blob
from tests.support.device import task_id_from


def test_a_task_for_one_device_is_a_single_agent_node_which_the_device_answers(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    created = hub.post("/v1/tasks", {"goal": "How warm?", "devices": ["fridge-1"], "limits": {"turns": 3}})
    (node,) = created["nodes"]
    assert (created["state"], created["origin"], created["goal"]) == ("queued", HUB, "How warm?")
    assert (node["kind"], node["place"], node["principal"]) == ("agent", "device:fridge-1", "main.fridge-1")
    assert hub.orders_for == {"main.fridge-1"}

    offer = fridge.offer()
    assert offer.limits.turns == 3
    assert offer.goal.size == len(b"How warm?")
    assert hub.get(f"/v1/tasks/{created['id']}")["state"] == "offered"

    fridge.move(offer.task, NodeState.RUNNING)
    fridge.call_tool(offer.task, 1)
    fridge.move(offer.task, NodeState.SUCCEEDED, result="4.2 degrees")
    done = hub.get(f"/v1/tasks/{created['id']}")
    (node,) = done["nodes"]
    (effect,) = node["effects"]
    assert (done["state"], node["result"]) == ("succeeded", "4.2 degrees")
    assert (effect["tool"], effect["intents"], effect["results"], effect["ok"]) == ("read_sensor", 1, 1, True)
    assert (effect["arguments"], effect["result"]) == ('{"name": "fridge"}', "4.2")
    assert node["offers"][0]["acknowledged_at"] is not None


def test_a_task_for_several_devices_is_a_map_that_follows_its_children(hub: HubApi) -> None:
    devices = [hub.device(f"fridge-{number}") for number in (1, 2, 3)]
    created = hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1", "fridge-2", "main.fridge-3"]})
    assert [(node["kind"], node["parent"]) for node in created["nodes"]] == [
        ("map", None),
        ("agent", 0),
        ("agent", 0),
        ("agent", 0),
    ]
    path = f"/v1/tasks/{created['id']}"
    offers = [device.offer() for device in devices]
    assert hub.get(path)["state"] == "running"
    devices[0].answer(offers[0], "one")
    devices[1].answer(offers[1], "two")
    assert hub.get(path)["state"] == "running"
    devices[2].answer(offers[2], "three")
    done = hub.get(path)
    assert done["state"] == "succeeded"
    assert [node["result"] for node in done["nodes"]] == [None, "one", "two", "three"]


def test_a_map_has_failed_when_one_child_has_and_all_have_ended(hub: HubApi) -> None:
    one, two = hub.device("one"), hub.device("two")
    path = f"/v1/tasks/{hub.post('/v1/tasks', {'goal': '?', 'devices': ['one', 'two']})['id']}"
    offer = one.offer()
    one.move(offer.task, NodeState.REJECTED, node=offer.node)
    assert hub.get(path)["state"] == "running"
    two.answer(two.offer(), "done")
    assert hub.get(path)["state"] == "failed"


def test_work_that_began_on_the_device_appears_with_its_origin(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    task, goal = task_id_from("local"), text_blob("Is it in range?")
    fridge.write(TaskCreated(at_ms=1, task=task, goal=goal.ref(), limits=Limits()), goal)
    fridge.move(task, NodeState.RUNNING)
    fridge.move(task, NodeState.SUCCEEDED, result="yes")
    view = hub.get(f"/v1/tasks/{task}")
    assert (view["origin"], view["goal"], view["state"]) == ("main.fridge-1", "Is it in range?", "succeeded")
    assert view["nodes"][0]["result"] == "yes"


def test_a_device_cannot_take_the_id_of_a_task_that_exists(hub: HubApi) -> None:
    hub.device("fridge-1")
    thief = hub.device("thief")
    created = hub.post("/v1/tasks", {"goal": "mine", "devices": ["fridge-1"]})
    goal = text_blob("stolen")
    thief.write(TaskCreated(at_ms=1, task=created["id"], goal=goal.ref(), limits=Limits()), goal)
    assert hub.get(f"/v1/tasks/{created['id']}")["goal"] == "mine"
    (letter,) = hub.get("/v1/devices/thief")["dead_letters"]
    assert letter["reason"] == "A task of this id is there already."


def test_a_device_cannot_move_the_node_of_another(hub: HubApi) -> None:
    hub.device("fridge-1")
    thief = hub.device("thief")
    created = hub.post("/v1/tasks", {"goal": "mine", "devices": ["fridge-1"]})
    thief.move(created["id"], NodeState.RUNNING)
    thief.call_tool(created["id"], 1, is_finished=False)
    view = hub.get(f"/v1/tasks/{created['id']}")
    assert (view["state"], view["late_results"], view["nodes"][0]["effects"]) == ("queued", [], [])
    assert hub.get("/v1/devices/thief")["dead_letter_count"] == 2


def test_a_step_that_the_states_do_not_have_is_dead_lettered(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    created = hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})
    fridge.offer()
    fridge.move(created["id"], NodeState.SUCCEEDED, result="too fast")
    assert hub.get(f"/v1/tasks/{created['id']}")["state"] == "offered"
    (letter,) = hub.get("/v1/devices/fridge-1")["dead_letters"]
    assert letter["reason"] == "A node cannot go from offered to succeeded."


def test_a_result_after_the_end_is_kept_and_changes_nothing(hub: HubApi) -> None:
    """Rule P16."""
    fridge = hub.device("fridge-1")
    path = f"/v1/tasks/{hub.post('/v1/tasks', {'goal': '?', 'devices': ['fridge-1']})['id']}"
    offer = fridge.offer()
    fridge.answer(offer, "first")
    fridge.move(offer.task, NodeState.FAILED, result="second thoughts")
    fridge.move(offer.task, NodeState.SUCCEEDED, result="third")
    view = hub.get(path)
    assert (view["state"], view["nodes"][0]["result"]) == ("succeeded", "first")
    late = [(late["state"], late["result"]) for late in view["late_results"]]
    assert late == [("failed", "second thoughts"), ("succeeded", "third")]


def test_cancelling_asks_the_device_and_the_device_ends_the_node(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    path = f"/v1/tasks/{hub.post('/v1/tasks', {'goal': '?', 'devices': ['fridge-1']})['id']}"
    offer = fridge.offer()
    fridge.move(offer.task, NodeState.RUNNING)
    asked = hub.post(f"{path}/cancel")
    assert (asked["state"], asked["is_cancel_requested"]) == ("running", True)
    hub.post(f"{path}/cancel")
    (order,) = fridge.fetch_orders()
    assert isinstance(order, TaskCancelled)
    assert order.reason == "operator"
    fridge.move(offer.task, NodeState.CANCELLED)
    assert hub.get(path)["state"] == "cancelled"
    assert hub.refusal("POST", f"{path}/cancel") == (409, "task_ended")


def test_cancelling_a_map_asks_only_the_devices_that_still_work(hub: HubApi) -> None:
    one, two = hub.device("one"), hub.device("two")
    path = f"/v1/tasks/{hub.post('/v1/tasks', {'goal': '?', 'devices': ['one', 'two']})['id']}"
    one.answer(one.offer(), "done")
    two.offer()
    hub.orders_for.clear()
    hub.post(f"{path}/cancel")
    assert hub.orders_for == {"main.two"}
    assert one.fetch_orders() == []


def test_an_interrupted_effect_is_asked_about_and_answered_once(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    path = f"/v1/tasks/{hub.post('/v1/tasks', {'goal': '?', 'devices': ['fridge-1']})['id']}"
    offer = fridge.offer()
    fridge.move(offer.task, NodeState.RUNNING)
    fridge.call_tool(offer.task, 1, is_finished=False)
    answer = {"call": 1, "happened": True}
    assert hub.refusal("POST", f"{path}/nodes/0/answer", answer) == (409, "question_unknown")
    now = to_ms(hub.clock.now())
    fridge.write(QuestionAsked(at_ms=now, task=offer.task, node=0, call=1, tool="read_sensor"))
    fridge.move(offer.task, NodeState.WAITING)
    assert hub.get(path)["nodes"][0]["effects"][0]["question"] == "asked"
    hub.post(f"{path}/nodes/0/answer", answer)
    (reply,) = fridge.fetch_orders()
    assert reply == QuestionReplied(at_ms=now, task=offer.task, node=0, call=1, happened=True)
    assert hub.refusal("POST", f"{path}/nodes/0/answer", answer) == (409, "question_unknown")
    fridge.write(QuestionAnswered(at_ms=now, task=offer.task, node=0, call=1, happened=True))
    assert hub.get(path)["nodes"][0]["effects"][0]["question"] == "happened"
    assert hub.refusal("POST", f"{path}/nodes/7/answer", answer) == (404, "node_unknown")


def test_a_goal_at_the_bound_is_taken_and_one_byte_more_is_refused(hub: HubApi) -> None:
    hub.device("fridge-1")
    goal = "é" * (BLOB_MAX_BYTES // 2)
    assert hub.post("/v1/tasks", {"goal": goal, "devices": ["fridge-1"]})["goal"] == goal
    refused = hub.refusal("POST", "/v1/tasks", {"goal": goal + "x", "devices": ["fridge-1"]})
    assert refused == (413, "goal_too_large")


@pytest.mark.parametrize(
    "spoiled",
    [
        {"devices": []},
        {"any": True},
        {"labels": {"site": "a"}},
        {"goal": ""},
        {"priority": 9},
        {"lease_s": 0},
        {"limits": {"turns": 0}},
        {"limits": {"dollars": 5}},
        {"devices": ["Fridge 1"]},
    ],
    ids=lambda spoiled: next(iter(spoiled)) + str(next(iter(spoiled.values())))[:12],
)
def test_a_malformed_task_is_refused_before_anything_is_written(
    hub: HubApi, spoiled: dict[str, object]
) -> None:
    hub.device("fridge-1")
    request = {"goal": "?", "devices": ["fridge-1"], **spoiled}
    assert hub.refusal("POST", "/v1/tasks", request) == (422, "invalid")
    assert hub.get("/v1/tasks")["tasks"] == []


def test_work_is_refused_for_unknown_inactive_and_foreign_devices(hub: HubApi) -> None:
    hub.device("fridge-1")
    hub.device("broken").set_status("quarantined")
    for device, expected in (
        ("nobody", (404, "device_unknown")),
        ("broken", (409, "device_inactive")),
        ("acme.fridge-1", (409, "tenant_mismatch")),
    ):
        request = {"goal": "?", "devices": ["fridge-1", device]}
        assert hub.refusal("POST", "/v1/tasks", request) == expected
    assert hub.get("/v1/tasks")["tasks"] == []


def test_tasks_are_listed_newest_first_in_pages(hub: HubApi) -> None:
    hub.device("fridge-1")
    ids = []
    for number in range(5):
        ids.append(hub.post("/v1/tasks", {"goal": f"goal {number}", "devices": ["fridge-1"]})["id"])
        if number != 2:  # two at the same moment must not be lost between pages
            hub.clock.advance(seconds=1)
    seen, before = [], None
    while True:
        page = hub.get("/v1/tasks", limit=2, **({} if before is None else {"before": before}))
        seen += [task["id"] for task in page["tasks"]]
        before = page["next"]
        if before is None:
            break
    assert seen[:1] == ids[4:]
    assert sorted(seen) == sorted(ids)
    assert hub.get("/v1/tasks", tenant="acme")["tasks"] == []
    assert hub.refusal("GET", f"/v1/tasks/{task_id_from('none')}") == (404, "task_unknown")

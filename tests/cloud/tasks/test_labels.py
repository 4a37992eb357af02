"""Labels travel with work: from the asker to the device, back on the result, and on to the next device."""

from typing import Any

from cloud.tasks.schemas import RESULTS_MAX
from shared.records import MAX_LABELS, TaskCreated
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.cloud.hub_api import FleetDevice, HubApi, text_blob
from tests.support.device import task_id_from


def create(hub: HubApi, device: str, **more: Any) -> Any:
    return hub.post("/v1/tasks", {"goal": "Look.", "devices": [device], **more})


def done(hub: HubApi, device: FleetDevice, labels: tuple[str, ...] | None, result: str = "4.2") -> str:
    """A task that the device has answered; its id."""
    name = device.principal.partition(".")[2]
    task: str = create(hub, name)["id"]
    device.answer(device.offer(), result, labels)
    return task


def test_what_a_request_bears_reaches_the_device_and_is_shown(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    created = create(hub, "fridge-1", request_labels=["patient", "ward"])
    assert created["request_labels"] == ["patient", "ward"]
    assert fridge.offer().labels == ("patient", "ward")


def test_who_asked_reaches_the_device_with_the_roles_that_they_had(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    hub.post("/v1/duties", {"person": "root", "role": "shift-lead", "granted": True})
    created = create(hub, "fridge-1")
    offer = fridge.offer()
    assert (offer.asker, created["asker"]) == ("root", "root")
    assert offer.asker_roles == ("hub.viewer", "hub.operator", "hub.author", "hub.admin", "shift-lead")


def test_the_labels_of_a_result_come_back_with_it(hub: HubApi) -> None:
    """Rule P28."""
    fridge = hub.device("fridge-1")
    task = done(hub, fridge, ("patient", "untrusted"))
    (node,) = hub.get(f"/v1/tasks/{task}")["nodes"]
    assert node["result_labels"] == ["patient", "untrusted"]


def test_a_request_that_gives_a_result_on_bears_its_labels(hub: HubApi) -> None:
    fridge, till = hub.device("fridge-1"), hub.device("till-1")
    first = done(hub, fridge, ("patient",), "Ms Kay, 4.2")
    second = create(hub, "till-1", request_labels=["ward"], results=[first])
    assert second["request_labels"] == ["patient", "ward"]
    assert second["goal"] == f"Look.\n\nResult of {first}/0 on main.fridge-1:\nMs Kay, 4.2"
    assert till.offer().labels == ("patient", "ward")


def test_a_result_that_lost_its_labels_is_untrusted(hub: HubApi) -> None:
    """Rule P28."""
    fridge = hub.device("fridge-1")
    first = done(hub, fridge, None)
    assert hub.get(f"/v1/tasks/{first}")["nodes"][0]["result_labels"] is None
    assert create(hub, "fridge-1", results=[f"{first}/0"])["request_labels"] == ["untrusted"]


def test_the_work_of_several_devices_is_given_on_whole(hub: HubApi) -> None:
    one, two = hub.device("one"), hub.device("two")
    task = hub.post("/v1/tasks", {"goal": "?", "devices": ["one", "two"]})["id"]
    one.answer(one.offer(), "first", ("patient",))
    two.answer(two.offer(), "second", ())
    both = create(hub, "one", results=[task])
    assert both["goal"].count("Result of") == 2
    assert both["request_labels"] == ["patient"]
    assert create(hub, "one", results=[f"{task}/2"])["request_labels"] == []


def test_labels_of_work_that_began_on_a_device_are_known(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    task, goal = task_id_from("local"), text_blob("?")
    fridge.write(TaskCreated(at_ms=1, labels=("ward",), task=task, goal=goal.ref(), limits=Limits()), goal)
    fridge.move(task, NodeState.RUNNING)
    fridge.move(task, NodeState.SUCCEEDED, result="yes", labels=("ward",))
    assert hub.get(f"/v1/tasks/{task}")["request_labels"] == ["ward"]
    assert create(hub, "fridge-1", results=[task])["request_labels"] == ["ward"]


def test_a_second_try_of_another_device_bears_the_same(hub: HubApi) -> None:
    one = hub.device("one")
    hub.post("/v1/tasks", {"goal": "?", "any": True, "request_labels": ["patient"], "lease_s": 30})
    assert one.offer().labels == ("patient",)
    two = hub.device("two")
    hub.clock.advance(seconds=31)
    hub.sweep()
    again = two.offer()
    assert (again.attempt, again.labels, again.asker) == (2, ("patient",), "root")


def test_what_cannot_be_given_on_is_refused(hub: HubApi) -> None:
    hub.device("fridge-1")
    waiting = create(hub, "fridge-1")["id"]
    body = {"goal": "?", "devices": ["fridge-1"]}
    assert hub.refusal("POST", "/v1/tasks", {**body, "results": [waiting]}) == (409, "result_missing")
    unknown = task_id_from("nobody's")
    assert hub.refusal("POST", "/v1/tasks", {**body, "results": [unknown]}) == (404, "task_unknown")
    assert hub.refusal("POST", "/v1/tasks", {**body, "results": ["?"]})[0] == 422
    assert hub.refusal("POST", "/v1/tasks", {**body, "results": [waiting] * (RESULTS_MAX + 1)})[0] == 422
    assert hub.refusal("POST", "/v1/tasks", {**body, "request_labels": ["No Label"]})[0] == 422


def test_a_request_bears_as_many_labels_as_a_record_and_no_more(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    first = done(hub, fridge, ("patient",))
    many = [f"label-{number}" for number in range(MAX_LABELS)]
    body = {"goal": "?", "devices": ["fridge-1"], "results": [first]}
    assert len(hub.post("/v1/tasks", {**body, "request_labels": many[1:]})["request_labels"]) == MAX_LABELS
    assert hub.refusal("POST", "/v1/tasks", {**body, "request_labels": many}) == (429, "capacity")


def test_text_and_results_together_keep_the_bound_of_a_goal(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    first = done(hub, fridge, (), "x" * 60_000)
    body = {"goal": "y" * 6_000, "devices": ["fridge-1"], "results": [first]}
    assert hub.refusal("POST", "/v1/tasks", body) == (413, "goal_too_large")

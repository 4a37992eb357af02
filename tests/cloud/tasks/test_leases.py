"""What time does to tasks: `any` nodes go to another device when a lease lapses, and deadlines end what is left."""

from typing import Any

from shared.records import JOURNAL_FULL, DeviceCondition, NodeMoved, TaskCancelled, TaskOffered
from shared.tasks.states import NodeState
from tests.cloud.hub_api import FleetDevice, HubApi


def ask_any(hub: HubApi, **request: Any) -> str:
    return str(hub.post("/v1/tasks", {"goal": "?", "any": True, "lease_s": 60, **request})["id"])


def only_node(hub: HubApi, task: str) -> Any:
    (node,) = hub.get(f"/v1/tasks/{task}")["nodes"]
    return node


def test_an_any_task_goes_to_the_online_device_with_least_to_do(hub: HubApi) -> None:
    for name in ("busy", "idle", "away"):
        hub.device(name, is_online=name != "away")
    hub.post("/v1/tasks", {"goal": "?", "devices": ["busy"]})
    assert only_node(hub, ask_any(hub))["principal"] == "main.idle"
    # Now both have one, so the first by name.
    assert only_node(hub, ask_any(hub))["principal"] == "main.busy"


def test_an_any_task_does_not_go_to_a_device_that_is_silent(hub: HubApi) -> None:
    """Its session is open as far as the broker has told: half of a connection that nobody has closed."""
    hub.device("silent")
    hub.clock.advance(hub.settings.presence_limits.stale_after)
    task = ask_any(hub)
    assert only_node(hub, task)["principal"] is None
    hub.device("there")
    hub.sweep()
    assert only_node(hub, task)["principal"] == "main.there"


def test_an_any_task_waits_for_a_device_that_has_the_labels(hub: HubApi) -> None:
    hub.device("plain")
    hub.device("quarantined", labels={"site": "a"}).set_status("quarantined")
    task = ask_any(hub, labels={"site": "a"})
    hub.sweep()
    node = only_node(hub, task)
    assert (node["place"], node["principal"], node["state"]) == ("any(site=a)", None, "queued")
    fitting = hub.device("fitting", labels={"site": "a", "floor": "2"})
    hub.sweep()
    assert only_node(hub, task)["principal"] == "main.fitting"
    offer = fitting.offer()
    assert (offer.task, offer.attempt) == (task, 1)
    assert hub.orders_for == {"main.fitting"}


def test_a_lapsed_lease_gives_the_node_to_another_device(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    first = one.offer()
    one.move(task, NodeState.RUNNING)
    two = hub.device("two")
    hub.clock.advance(seconds=59)
    hub.sweep()
    assert only_node(hub, task)["principal"] == "main.one"
    hub.clock.advance(seconds=1)
    hub.sweep()
    node = only_node(hub, task)
    assert (node["principal"], node["state"], node["attempt"]) == ("main.two", "queued", 2)
    second = two.offer()
    assert (first.attempt, second.attempt) == (1, 2)
    (order,) = one.fetch_orders()
    assert isinstance(order, TaskCancelled)
    assert order.reason == "lease_lapsed"
    offers = [(offer["principal"], offer["withdrawn_at"]) for offer in only_node(hub, task)["offers"]]
    assert offers == [("main.one", "2026-01-01T12:01:00Z"), ("main.two", None)]


def reject(device: FleetDevice, offer: TaskOffered, reason: str) -> None:
    device.write(
        NodeMoved(
            at_ms=1,
            task=offer.task,
            node=0,
            attempt=offer.attempt,
            state=NodeState.REJECTED,
            reason=reason,
        )
    )


def test_a_device_without_room_hands_an_any_task_on_and_is_not_asked_again(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    one.write(DeviceCondition(at_ms=1, condition=JOURNAL_FULL, is_active=True))
    reject(one, one.offer(), JOURNAL_FULL)
    node = only_node(hub, task)
    assert (node["principal"], node["state"], node["attempt"]) == (None, "queued", 2)
    hub.sweep()
    assert only_node(hub, task)["principal"] is None
    two = hub.device("two")
    hub.sweep()
    offer = two.offer()
    assert offer.attempt == 2
    two.answer(offer, "done")
    assert hub.get(f"/v1/tasks/{task}")["state"] == "succeeded"
    # When it has room again it is a place like any other.
    one.write(DeviceCondition(at_ms=2, condition=JOURNAL_FULL, is_active=False))
    assert only_node(hub, ask_any(hub))["principal"] == "main.one"


def test_a_device_without_room_takes_back_what_it_rejected_when_it_has_room(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    reject(one, one.offer(), JOURNAL_FULL)
    hub.sweep()
    offer = one.offer()
    assert (offer.task, offer.attempt) == (task, 2)
    one.answer(offer, "done")
    assert hub.get(f"/v1/tasks/{task}")["state"] == "succeeded"


def test_work_for_one_device_alone_is_rejected_with_its_reason(hub: HubApi) -> None:
    one = hub.device("one")
    hub.device("two")
    task = str(hub.post("/v1/tasks", {"goal": "?", "devices": ["one"]})["id"])
    reject(one, one.offer(), JOURNAL_FULL)
    node = only_node(hub, task)
    assert (node["state"], node["reason"]) == ("rejected", JOURNAL_FULL)


def test_an_any_task_that_is_rejected_for_another_reason_is_rejected(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    hub.device("two")
    reject(one, one.offer(), "not_allowed")
    assert hub.get(f"/v1/tasks/{task}")["state"] == "rejected"


def test_what_the_old_holder_reports_is_kept_as_late_and_does_not_disturb_the_new_one(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    first = one.offer()
    one.move(task, NodeState.RUNNING)
    two = hub.device("two")
    hub.clock.advance(seconds=60)
    hub.sweep()
    one.answer(first, "too late")
    one.call_tool(task, 1)
    view = hub.get(f"/v1/tasks/{task}")
    assert view["state"] == "queued"
    assert [(late["principal"], late["state"], late["result"]) for late in view["late_results"]] == [
        ("main.one", "running", None),
        ("main.one", "succeeded", "too late"),
    ]
    two.answer(two.offer(), "in time")
    view = hub.get(f"/v1/tasks/{task}")
    assert (view["state"], view["nodes"][0]["result"]) == ("succeeded", "in time")
    # What it did to the world is shown all the same.
    assert [effect["principal"] for effect in view["nodes"][0]["effects"]] == ["main.one"]


def test_every_record_of_the_task_renews_the_lease(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    one.offer()
    hub.device("two")
    for call in range(5):
        hub.clock.advance(seconds=50)
        if call == 0:
            one.move(task, NodeState.RUNNING)
        else:
            one.call_tool(task, call)
        hub.sweep()
    assert only_node(hub, task)["principal"] == "main.one"


def test_with_nobody_else_there_the_holder_keeps_the_node(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    offer = one.offer()
    hub.clock.advance(seconds=600)
    hub.sweep()
    assert (only_node(hub, task)["principal"], only_node(hub, task)["attempt"]) == ("main.one", 1)
    one.answer(offer, "slow, but there")
    assert only_node(hub, task)["state"] == "succeeded"


def test_a_node_that_nobody_finishes_fails_after_the_last_attempt(hub: HubApi) -> None:
    for name in ("one", "two"):
        hub.device(name)
    task = ask_any(hub)
    for _ in range(hub.settings.task_max_attempts):
        hub.clock.advance(seconds=60)
        hub.sweep()
    node = only_node(hub, task)
    assert (node["state"], node["reason"]) == ("failed", "attempts_exhausted")
    assert len(node["offers"]) == hub.settings.task_max_attempts


def test_a_cancelled_node_whose_device_vanished_is_cancelled_here(hub: HubApi) -> None:
    one = hub.device("one")
    task = ask_any(hub)
    one.offer()
    two = hub.device("two")
    hub.post(f"/v1/tasks/{task}/cancel")
    assert only_node(hub, task)["state"] == "offered"
    hub.clock.advance(seconds=60)
    hub.sweep()
    assert (only_node(hub, task)["state"], only_node(hub, task)["reason"]) == ("cancelled", "operator")
    assert two.fetch_orders() == []


def test_a_node_that_nobody_holds_is_cancelled_at_once(hub: HubApi) -> None:
    task = ask_any(hub)
    assert hub.post(f"/v1/tasks/{task}/cancel")["state"] == "cancelled"


def test_a_named_device_keeps_its_node_until_the_deadline(hub: HubApi) -> None:
    one = hub.device("one")
    hub.device("two")
    request = {"goal": "?", "devices": ["one"], "lease_s": 60, "deadline_s": 3_600}
    task = hub.post("/v1/tasks", request)["id"]
    hub.clock.advance(seconds=3_599)
    hub.sweep()
    assert (only_node(hub, task)["principal"], only_node(hub, task)["state"]) == ("main.one", "queued")
    hub.clock.advance(seconds=1)
    hub.sweep()
    node = only_node(hub, task)
    assert (node["state"], node["reason"]) == ("expired", "deadline")
    offered, cancelled = one.fetch_orders()
    assert isinstance(offered, TaskOffered)
    assert isinstance(cancelled, TaskCancelled)
    assert cancelled.reason == "deadline"
    # Acknowledging an offer that is over wakes nothing.
    assert only_node(hub, task)["state"] == "expired"


def test_a_map_ends_when_the_deadline_ends_its_last_child(hub: HubApi) -> None:
    one = hub.device("one")
    hub.device("two")
    request = {"goal": "?", "devices": ["one", "two"], "deadline_s": 60}
    task = hub.post("/v1/tasks", request)["id"]
    one.answer(one.offer(), "done")
    hub.clock.advance(seconds=60)
    hub.sweep()
    view = hub.get(f"/v1/tasks/{task}")
    assert [node["state"] for node in view["nodes"]] == ["failed", "succeeded", "expired"]


def test_a_second_sweep_finds_the_work_done(hub: HubApi) -> None:
    hub.device("one")
    task = ask_any(hub, deadline_s=60)
    hub.clock.advance(seconds=60)
    hub.sweep()
    revision = hub.get(f"/v1/tasks/{task}")["revision"]
    hub.orders_for.clear()
    hub.sweep()
    assert hub.get(f"/v1/tasks/{task}")["revision"] == revision
    assert hub.orders_for == set()

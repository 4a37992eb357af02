"""Approve, quarantine, release, revoke: what an operator decides, and what becomes of the device and of its work."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from cloud.audit.tables import AuditEntry
from cloud.devices.tables import Device, DeviceCertificateRow, DeviceKey, DeviceSession, DeviceStatus
from cloud.ingest.turn import FORK_REASON
from cloud.journal.repository import create_lane
from cloud.journal.service import append_order
from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import Lane, LaneId
from shared.records import TaskCancelled
from shared.tasks.states import NodeState
from shared.topics import Channel
from tests.cloud.hub_api import FleetDevice, HubApi, enrol_request, hub_api
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, signer_from


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either_hub(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    """A hub on each database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with hub_api(tmp_path / "hub", clock, url=url) as api:
        yield api


def pending(hub: HubApi, name: str) -> FleetDevice:
    """A device that was enrolled with a token which needs approval."""
    token = hub.token(device=name, needs_approval=True)
    signer = signer_from(name)
    answer = hub.post("/v1/enroll", enrol_request(token, signer=signer))
    assert answer["needs_approval"] is True
    return FleetDevice(hub, ScriptedDevice(answer["principal"], hub=hub.identity.signer, key=signer))


def refused(hub: HubApi, name: str) -> dict[str, int]:
    return {each["reason"]: each["count"] for each in hub.get(f"/v1/devices/{name}")["refusals"]}


def decide(hub: HubApi, name: str, action: str, reason: str | None = None) -> Any:
    return hub.post(f"/v1/devices/{name}/{action}", {"reason": reason})


def deeds(hub: HubApi) -> list[str]:
    with hub.database.read() as session:
        actions = session.exec(select(AuditEntry.action).order_by(col(AuditEntry.seq))).all()
    return [action for action in actions if action.startswith("device.")]


def the_node(hub: HubApi, task: str, number: int = 0) -> Any:
    return next(node for node in hub.get(f"/v1/tasks/{task}")["nodes"] if node["node"] == number)


# --- pending


def test_a_device_that_waits_for_approval_is_refused_whatever_it_says(hub: HubApi) -> None:
    device = pending(hub, "fridge-1")
    assert hub.get("/v1/devices/fridge-1")["status"] == "pending"
    for channel, raw in (
        (Channel.STATE, device.scripted.state(online=True)),
        (Channel.HELLO, device.scripted.hello()),
    ):
        assert not hub.deliver(device.scripted.topic(channel), raw).outgoing
    assert refused(hub, "fridge-1") == {"not_approved": 2}
    assert hub.refusal("POST", "/v1/tasks", {"goal": "?", "devices": ["fridge-1"]}) == (
        409,
        "device_inactive",
    )


def test_an_approved_device_says_hello_and_is_in(hub: HubApi) -> None:
    device = pending(hub, "fridge-1")
    decided = decide(hub, "fridge-1", "approve")
    assert (decided["status"], decided["before"], decided["is_changed"]) == ("active", "pending", True)
    device.presence(True)
    device.hello()
    assert hub.get("/v1/devices/fridge-1")["presence"]["state"] == "online"
    assert decide(hub, "fridge-1", "approve")["is_changed"] is False
    assert deeds(hub)[-1:] == ["device.approve"]


def test_what_waits_for_approval_is_neither_quarantined_nor_released_but_may_be_revoked(hub: HubApi) -> None:
    pending(hub, "fridge-1")
    assert hub.refusal("POST", "/v1/devices/fridge-1/quarantine") == (409, "device_pending")
    assert hub.refusal("POST", "/v1/devices/fridge-1/release") == (409, "device_pending")
    assert decide(hub, "fridge-1", "revoke")["status"] == "revoked"
    assert hub.refusal("POST", "/v1/devices/fridge-1/approve") == (409, "device_not_pending")


# --- quarantined


def test_a_quarantined_device_is_refused_on_hold_and_let_in_again(hub: HubApi) -> None:
    device = hub.device("fridge-1")
    assert decide(hub, "fridge-1", "quarantine", "smells odd")["status_reason"] == "operator"
    assert hub.get("/v1/devices/fridge-1")["presence"]["state"] == "offline"
    hub.deliver(device.scripted.topic(Channel.HELLO), device.scripted.hello())
    assert refused(hub, "fridge-1") == {"quarantined": 1}
    with hub.database.read() as session:
        (row,) = session.exec(select(DeviceCertificateRow)).all()
        assert (row.reason, row.revoked_at) == ("certificateHold", hub.clock.now())
    assert len(hub.revocations) == 1

    assert decide(hub, "fridge-1", "quarantine")["is_changed"] is False
    assert decide(hub, "fridge-1", "release")["status"] == "active"
    assert decide(hub, "fridge-1", "release")["is_changed"] is False
    device.hello()
    with hub.database.read() as session:
        (row,) = session.exec(select(DeviceCertificateRow)).all()
        assert (row.reason, row.revoked_at) == (None, None)
    assert len(hub.revocations) == 2
    assert deeds(hub)[-2:] == ["device.quarantine", "device.release"]


def test_what_a_fork_quarantined_only_resolving_releases(hub: HubApi) -> None:
    device = hub.device("fridge-1")
    with hub.database.write() as session:
        row = session.get_one(Device, device.principal)
        row.status, row.status_reason = DeviceStatus.QUARANTINED.value, FORK_REASON
    answer = hub.client.post("/v1/devices/fridge-1/release")
    assert (answer.status_code, answer.json()["code"]) == (409, "device_forked")
    assert "covey-hub device resolve main.fridge-1" in answer.json()["message"]


# --- revoked


def test_an_operators_quarantine_holds_over_a_forks(hub: HubApi) -> None:
    """Resolving the fork does not lift it, and lifting it does not resolve the fork."""
    device = hub.device("fridge-1")
    with hub.database.write() as session:
        row = session.get_one(Device, device.principal)
        row.status, row.status_reason = DeviceStatus.QUARANTINED.value, FORK_REASON
        journal = LaneId(device.principal, Lane.JOURNAL, bytes(16))
        create_lane(session, journal, hub.clock.now()).forked_at_seq = 0
    place = f"/v1/devices/{device.principal}"
    held = hub.client.post(f"{place}/quarantine").json()
    assert (held["is_changed"], held["status_reason"]) == (True, "operator")
    answer = hub.client.post(f"{place}/resolve")
    assert (answer.status_code, answer.json()["code"]) == (409, "device_held")
    lifted = hub.client.post(f"{place}/release").json()
    assert (lifted["status"], lifted["status_reason"]) == ("quarantined", FORK_REASON)
    assert hub.client.post(f"{place}/release").json()["code"] == "device_forked"
    assert hub.client.post(f"{place}/resolve").json()["status"] == "active"


@pytest.mark.slow
def test_a_revoked_device_is_refused_at_once_and_for_good(either_hub: HubApi) -> None:
    hub = either_hub
    device = hub.device("fridge-1")
    hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})
    decided = decide(hub, "fridge-1", "revoke", "stolen")
    assert (decided["status"], decided["is_changed"], decided["tasks_moved"]) == ("revoked", True, 1)
    for channel in (Channel.HELLO, Channel.DOWN_ORDERS_ACK):
        raw = device.scripted.hello() if channel is Channel.HELLO else b"\x00"
        outcome = hub.deliver(device.scripted.topic(channel), raw)
        assert not outcome.outgoing
        assert outcome.still_there == {"main.fridge-1"}
    # Its will is published in its name when its session is cut: it proves nothing.
    gone = hub.deliver(device.scripted.topic(Channel.STATE), device.scripted.state(online=False))
    assert not gone.still_there
    assert refused(hub, "fridge-1") == {"revoked_key": 3}
    for action in ("approve", "quarantine", "release"):
        assert hub.refusal("POST", f"/v1/devices/fridge-1/{action}")[0] == 409
    assert decide(hub, "fridge-1", "revoke")["is_changed"] is False
    assert hub.get("/v1/devices/fridge-1")["status"] == "revoked"
    assert deeds(hub)[-1:] == ["device.revoke"]
    assert hub.refusal("POST", "/v1/tokens", {"device": "fridge-1"}) == (409, "device_exists")


def test_nothing_of_a_revoked_device_stays_open(hub: HubApi) -> None:
    device = hub.device("fridge-1")
    hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})
    decide(hub, "fridge-1", "revoke")
    with hub.database.read() as session:
        assert session.exec(select(DeviceSession)).all() == []
        (key,) = session.exec(select(DeviceKey)).all()
        assert key.until == hub.clock.now()
        (certificate,) = session.exec(select(DeviceCertificateRow)).all()
        assert (certificate.revoked_at, certificate.reason) == (hub.clock.now(), "unspecified")
        (orders,) = session.exec(select(LaneRow).where(LaneRow.lane == "orders")).all()
        assert orders.close_reason == "revoked"
    assert device.fetch_orders() == []
    assert hub.get("/v1/devices/fridge-1")["presence"]["state"] == "offline"


@pytest.mark.slow
def test_any_work_of_a_revoked_device_goes_to_another_and_named_work_fails(either_hub: HubApi) -> None:
    hub = either_hub
    first = hub.device("fridge-1")
    anywhere = hub.post("/v1/tasks", {"goal": "anywhere", "any": True})["id"]
    named = hub.post("/v1/tasks", {"goal": "named", "devices": ["fridge-1"]})["id"]
    assert len(first.fetch_orders()) == 2
    first.move(anywhere, NodeState.RUNNING)
    second = hub.device("fridge-2")

    decide(hub, "fridge-1", "revoke")

    node = the_node(hub, anywhere)
    assert (node["principal"], node["state"], node["attempt"]) == ("main.fridge-2", "queued", 2)
    assert (the_node(hub, named)["state"], the_node(hub, named)["reason"]) == ("failed", "device_revoked")
    assert "main.fridge-2" in hub.orders_for
    second.answer(second.offer(), "4.2")
    assert hub.get(f"/v1/tasks/{anywhere}")["state"] == "succeeded"


def test_any_work_waits_when_nobody_else_is_there(hub: HubApi) -> None:
    first = hub.device("fridge-1")
    task = hub.post("/v1/tasks", {"goal": "anywhere", "any": True})["id"]
    first.fetch_orders()
    decide(hub, "fridge-1", "revoke")
    node = the_node(hub, task)
    assert (node["principal"], node["state"], node["reason"]) == (None, "queued", "device_revoked")
    second = hub.device("fridge-2")
    hub.sweep()
    assert second.offer().task == task


def test_a_map_over_a_revoked_device_ends_when_its_others_do(hub: HubApi) -> None:
    hub.device("fridge-1")
    second = hub.device("fridge-2")
    task = hub.post("/v1/tasks", {"goal": "each", "devices": ["fridge-1", "fridge-2"]})["id"]
    decide(hub, "fridge-1", "revoke")
    second.answer(second.offer(), "4.2")
    assert hub.get(f"/v1/tasks/{task}")["state"] == "failed"


def test_work_that_slipped_in_while_a_device_was_revoked_is_found(hub: HubApi) -> None:
    from cloud.tasks.departure import leave_behind

    device = hub.device("fridge-1")
    task = hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})["id"]
    device.set_status("revoked")  # as if the offer had been committed in that very moment
    changes = leave_behind(
        hub.database, presence=hub.settings.presence_limits, max_attempts=5, now=hub.clock.now()
    )
    assert changes.tasks == {task}
    assert the_node(hub, task)["reason"] == "device_revoked"


@pytest.mark.slow
def test_of_many_decisions_at_once_a_revocation_stands(either_hub: HubApi) -> None:
    hub = either_hub
    hub.device("fridge-1")
    barrier = threading.Barrier(6)
    answers: list[tuple[str, int, bool | None]] = []

    def run(action: str) -> None:
        barrier.wait(timeout=10)
        answer = hub.client.post(f"/v1/devices/fridge-1/{action}")
        answers.append((action, answer.status_code, answer.json().get("is_changed")))

    actions = ["revoke", "quarantine", "release", "revoke", "approve", "revoke"]
    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert hub.get("/v1/devices/fridge-1")["status"] == "revoked"
    assert [each for each in answers if each[0] == "revoke"].count(("revoke", 200, True)) == 1
    assert all(status in (200, 409) for _, status, _ in answers)
    assert deeds(hub).count("device.revoke") == 1


def test_orders_that_come_too_late_for_a_revoked_device_are_never_sent(hub: HubApi) -> None:
    device = hub.device("fridge-1")
    decide(hub, "fridge-1", "revoke")
    record = TaskCancelled(at_ms=to_ms(hub.clock.now()), task="a" * 16, node=0, reason="operator")
    with hub.database.write() as session:
        append_order(session, principal=device.principal, records=[(record, ())], now=hub.clock.now())
    assert device.fetch_orders() == []
    assert not hub.pipeline.push_due().outgoing


# --- many tokens


def test_tokens_in_bulk_are_for_the_devices_that_they_name(hub: HubApi) -> None:
    made = hub.post(
        "/v1/tokens/batch",
        {"count": 3, "prefix": "kiosk-", "start": 8, "labels": {"site": "berlin"}, "needs_approval": True},
    )["tokens"]
    assert [each["device"] for each in made] == ["kiosk-8", "kiosk-9", "kiosk-10"]
    listed = hub.get("/v1/tokens")
    assert {each["needs_approval"] for each in listed} == {True}
    assert {each["labels"]["site"] for each in listed} == {"berlin"}


def test_tokens_in_bulk_are_made_all_or_none(hub: HubApi) -> None:
    hub.device("kiosk-2")
    before = len(hub.get("/v1/tokens"))
    body = {"count": 3, "prefix": "kiosk-"}
    assert hub.refusal("POST", "/v1/tokens/batch", body) == (409, "device_exists")
    assert len(hub.get("/v1/tokens")) == before


@pytest.mark.parametrize(
    "body",
    [
        {"count": 0},
        {"count": 501},
        {"count": 2, "prefix": "Kiosk"},
        {"count": 2, "prefix": "=cmd"},
        {"count": 2, "prefix": "a" * 33},
        {"count": 2, "prefix": "k", "start": 999_999},
    ],
    ids=["none", "too many", "capitals", "formula", "too long", "beyond the numbers"],
)
def test_tokens_in_bulk_are_bounded(hub: HubApi, body: dict[str, Any]) -> None:
    assert hub.refusal("POST", "/v1/tokens/batch", body) == (422, "invalid")


def test_a_revoked_token_is_good_for_nothing(hub: HubApi) -> None:
    token = hub.token(device="fridge-1")
    path = f"/v1/tokens/{token.id}"
    assert hub.client.delete(path).json()["is_changed"] is True
    assert hub.client.delete(path).json()["is_changed"] is False
    assert hub.refusal("POST", "/v1/enroll", enrol_request(token)) == (403, "token_revoked")
    assert hub.refusal("DELETE", f"/v1/tokens/{'b' * 16}") == (404, "token_missing")
    used = hub.token(device="fridge-2")
    hub.post("/v1/enroll", enrol_request(used))
    assert hub.refusal("DELETE", f"/v1/tokens/{used.id}") == (409, "token_spent")


@pytest.mark.slow
def test_of_many_devices_that_spend_one_token_one_is_enrolled(either_hub: HubApi) -> None:
    hub = either_hub
    token = hub.token()
    requests = [enrol_request(token, signer=signer_from(f"s-{n}"), device=f"racer-{n}") for n in range(8)]
    barrier = threading.Barrier(len(requests))
    codes: list[str] = []

    def run(body: dict[str, Any]) -> None:
        barrier.wait(timeout=10)
        answer = hub.client.post("/v1/enroll", json=body)
        codes.append("enrolled" if answer.is_success else answer.json()["code"])

    threads = [threading.Thread(target=run, args=(body,)) for body in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(codes) == ["enrolled", *["token_used"] * 7]
    with hub.database.read() as session:
        assert len(session.exec(select(Device)).all()) == 1
        assert len(session.exec(select(DeviceKey)).all()) == 1
        assert len(session.exec(select(DeviceCertificateRow)).all()) == 1

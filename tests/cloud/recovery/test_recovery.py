"""Forks, gaps and dead letters through the API: what is shown, with what to do, and what the decisions change."""

from sqlmodel import delete

from cloud.tasks.tables import Node, Offer, Task
from shared.cbor import encode
from shared.messages import Batch
from shared.records import DeviceStarted, NodeMoved, encode_record
from shared.tasks.states import NodeState
from shared.topics import Channel
from tests.cloud.hub_api import FleetDevice, HubApi
from tests.support.device import ScriptedLog, task_id_from

NAME = "fridge-1"
PATH = f"/v1/devices/{NAME}"
FUTURE = encode({"kind": "from.the.future", "at_ms": 1})


def started(at: int) -> DeviceStarted:
    return DeviceStarted(at_ms=at, version="0.1.0", was_clean=True)


def says(device: FleetDevice, **update: object) -> None:
    """The journal's last record, as a batch that says more than that."""
    log = device.scripted.journal
    batch = device.scripted.batch_of(log, first=log.head.seq).model_copy(update=update)
    assert isinstance(batch, Batch)
    device.hub.deliver(device.scripted.topic(Channel.UP_JOURNAL), device.scripted.close(batch))


def restored(hub: HubApi) -> FleetDevice:
    """A device that had sent three records and runs on a copy with two."""
    device = hub.device(NAME)
    for at in (1, 2, 3):
        device.write(started(at))
    log = device.scripted.journal
    device.scripted.journal = ScriptedLog(log.lane, log.entries[:2])
    device.hello()
    says(device, is_fork=True)
    return device


def test_a_fork_is_shown_with_what_it_means_and_the_command(hub: HubApi) -> None:
    restored(hub)
    (fork,) = hub.get("/v1/forks")
    assert fork["kind"] == "restored"
    assert (fork["after_seq"], fork["head_seq"], fork["lost_by_device"]) == (2, 3, 1)
    assert "older copy" in fork["advice"]
    assert fork["command"] == "covey-hub device resolve main.fridge-1"
    assert hub.get(f"{PATH}/forks") == [fork]


def test_resolving_a_fork_lets_the_device_in_and_keeps_the_log(hub: HubApi) -> None:
    device = restored(hub)
    resolved = hub.post(f"{PATH}/resolve")
    assert resolved["status"] == "active"
    assert [lane["after_seq"] for lane in resolved["lanes"]] == [2]
    assert hub.get("/v1/forks") == []
    lanes = hub.get(PATH)["lanes"]
    assert [(lane["head_seq"], lane["close_reason"]) for lane in lanes] == [(3, "branched")]
    assert hub.get(PATH)["status"] == "active"
    assert hub.refusal("POST", f"{PATH}/resolve") == (409, "not_forked")
    device.hello()


def test_what_is_not_there_cannot_be_resolved_or_shown(hub: HubApi) -> None:
    for method, path in (
        ("POST", "/v1/devices/nobody/resolve"),
        ("GET", "/v1/devices/nobody/gaps"),
        ("GET", "/v1/devices/nobody/deadletters"),
    ):
        assert hub.refusal(method, path) == (404, "device_unknown")


def test_gaps_are_shown_with_their_reason(hub: HubApi) -> None:
    device = hub.device(NAME)
    device.write(started(1))
    log = device.scripted.journal
    for at in (2, 3, 4):
        log.append(started(at))
    says(device, missing_from=2)
    (gap,) = hub.get(f"{PATH}/gaps")
    assert (gap["lane"], gap["first_seq"], gap["last_seq"], gap["count"]) == ("journal", 2, 3, 2)
    assert (gap["reason"], gap["branch_of"]) == ("lost", None)
    (lane,) = [lane for lane in hub.get(f"{PATH}/verify")["lanes"] if lane["lane"] == "journal"]
    assert (lane["problem"], lane["missing"], lane["records"]) == (None, 2, 2)


def lettered(hub: HubApi) -> FleetDevice:
    """A device with two dead letters: a kind that nobody knows, and a move of a task that it was never offered."""
    device = hub.device(NAME)
    device.scripted.journal.append_bytes(FUTURE)
    stray = NodeMoved(at_ms=1, task=task_id_from("never"), node=0, attempt=1, state=NodeState.RUNNING)
    device.scripted.journal.append_bytes(encode_record(stray))
    device.send(first=1)
    return device


def test_dead_letters_are_shown_page_by_page_with_their_reasons(hub: HubApi) -> None:
    lettered(hub)
    page = hub.get(f"{PATH}/deadletters", limit=1)
    assert (page["open"], [letter["kind"] for letter in page["letters"]]) == (2, ["?"])
    assert page["letters"][0]["reason"] == "unknown kind"
    rest = hub.get(f"{PATH}/deadletters", limit=1, after=page["next"])
    assert [letter["kind"] for letter in rest["letters"]] == ["node.moved"]
    assert rest["next"] is None


def test_dismissed_letters_wait_for_nobody_and_are_still_there(hub: HubApi) -> None:
    lettered(hub)
    settled = hub.post(f"{PATH}/deadletters", {"action": "dismiss", "seqs": [1]})
    assert settled == {"applied": [], "dismissed": [1], "refused": {}}
    page = hub.get(f"{PATH}/deadletters")
    assert (page["open"], [letter["seq"] for letter in page["letters"]]) == (1, [2])
    every = hub.get(f"{PATH}/deadletters", all=True)["letters"]
    assert [(letter["seq"], letter["resolution"]) for letter in every] == [(1, "dismissed"), (2, None)]
    assert hub.refusal("POST", f"{PATH}/deadletters", {"action": "dismiss", "seqs": [1]}) == (
        404,
        "letter_unknown",
    )


def test_a_letter_that_still_cannot_be_applied_says_why(hub: HubApi) -> None:
    lettered(hub)
    settled = hub.post(f"{PATH}/deadletters", {"action": "retry"})
    assert settled["applied"] == []
    assert settled["refused"]["1"] == "unknown kind"
    assert set(settled["refused"]) == {"1", "2"}


def test_a_letter_is_applied_once_the_hub_can(hub: HubApi) -> None:
    """As after an update of the hub, or when what was missing came."""
    device = hub.device(NAME)
    task = hub.post("/v1/tasks", {"goal": "Is it cold?", "devices": ["main.fridge-1"]})["id"]
    offer = device.offer()
    with hub.database.write() as session:
        kept = [session.get(Task, task), session.get(Node, (task, 0)), session.get(Offer, (task, 0, 1))]
        rows = [row.model_dump() for row in kept if row is not None]
        for table in (Offer, Node, Task):
            session.exec(delete(table))
    device.move(offer.task, NodeState.RUNNING)
    assert hub.get(f"{PATH}/deadletters")["open"] == 1
    with hub.database.write() as session:
        for made in (Task(**rows[0]), Node(**rows[1]), Offer(**rows[2])):
            session.add(made)
            session.flush()
    settled = hub.post(f"{PATH}/deadletters", {"action": "retry"})
    assert settled["applied"] == [1]
    assert hub.get(f"/v1/tasks/{task}")["state"] == "running"
    assert hub.get(f"{PATH}/deadletters")["open"] == 0

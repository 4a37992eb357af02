"""Two people: what one asks for is done when another agrees to exactly that, and in no other way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlmodel import col, select

from cloud.audit.entry import decode_entry
from cloud.audit.tables import AuditEntry
from cloud.caller import PERMISSIONS, Caller, Means, Role, root
from cloud.consent.service import OPEN_MAX
from cloud.consent.tables import Proposal
from cloud.devices.tables import Device
from cloud.people.tables import ApiToken
from tests.cloud.consent.people import Person, change_role, credential, person, revoke
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi, hub_api
from tests.support.clock import ManualClock

SETTINGS: dict[str, Any] = {
    "two_person_actions": ("twin.fleet", "task.fleet", "device.revoke", "keys.rotate"),
    "two_person_task_devices": 1,
    "proposal_ttl_s": 3_600,
}
FLEET = "/v1/twins/fleet"
DOCUMENT = {"document": {"log_level": "debug"}}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hub(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with hub_api(tmp_path / "hub", clock, url=url, **SETTINGS) as api:
        yield api


@pytest.fixture
def ann(hub: HubApi) -> Person:
    return person(hub, "ann")


@pytest.fixture
def ben(hub: HubApi) -> Person:
    return person(hub, "ben")


def fleet(hub: HubApi) -> dict[str, Any]:
    document: dict[str, Any] = hub.get(FLEET)["document"]
    return document


def deeds(hub: HubApi) -> list[str]:
    """Who did what to which proposal, as the audit log has it."""
    with hub.database.read() as session:
        rows = session.exec(
            select(AuditEntry)
            .where(col(AuditEntry.action).startswith("proposal."))
            .order_by(col(AuditEntry.seq))
        ).all()
    entries = [decode_entry(row.entry) for row in rows]
    return [f"{entry.actor} {entry.action} {entry.detail['asked_by']}" for entry in entries]


# --- the way it is meant ---


def test_what_one_asks_for_is_done_when_another_agrees(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    assert fleet(hub) == {}
    assert (proposal["asked_by"], proposal["asked_person"]) == (ann.caller.name, "ann")
    status, agreed = ben.agrees(proposal)
    assert (status, agreed["state"], agreed["outcome"]) == (200, "agreed", "revision 1")
    assert fleet(hub) == {"log_level": "debug"}
    assert deeds(hub) == [
        f"{ann.caller.name} proposal.ask {ann.caller.name}",
        f"{ben.caller.name} proposal.agree {ann.caller.name}",
    ]


def test_an_answer_that_only_asked_says_so_in_its_status_and_header(hub: HubApi, ann: Person) -> None:
    response = hub.client.put(FLEET, json=DOCUMENT, headers={"Authorization": f"Bearer {ann.bearer}"})
    assert response.status_code == 202
    assert response.headers["Covey-Proposal"] == response.json()["id"]


def test_who_agreed_is_a_person_in_the_audit_log(hub: HubApi, ann: Person, ben: Person) -> None:
    ben.agrees(ann.asks("PUT", FLEET, DOCUMENT))
    with hub.database.read() as session:
        rows = session.exec(select(AuditEntry).where(AuditEntry.action == "proposal.agree")).all()
    assert [decode_entry(row.entry).detail["decided_person"] for row in rows] == ["ben"]


def test_a_revocation_is_of_the_board_that_was_meant(hub: HubApi, ann: Person, ben: Person) -> None:
    principal = hub.device("fridge-1").principal
    proposal = ann.asks("POST", "/v1/devices/fridge-1/revoke", {"reason": "stolen"})
    with hub.database.write() as session:  # what a replacement does, and nothing else of it
        session.get_one(Device, principal).signing_kid = bytes(8)
    assert ben.agrees(proposal)[0] == 409
    assert status_of(hub, principal) == "active"


def test_a_device_is_revoked_by_two(hub: HubApi, ann: Person, ben: Person) -> None:
    principal = hub.device("fridge-1").principal
    proposal = ann.asks("POST", "/v1/devices/fridge-1/revoke", {"reason": "stolen"})
    assert status_of(hub, principal) == "active"
    assert ben.agrees(proposal)[1]["outcome"] == f"{principal} is revoked"
    assert status_of(hub, principal) == "revoked"
    assert hub.revocations, "the broker is told"


def test_work_for_more_devices_than_one_may_give_alone_needs_two(
    hub: HubApi, ann: Person, ben: Person
) -> None:
    devices = [hub.device(name) for name in ("fridge-1", "fridge-2")]
    assert ann.call("POST", "/v1/tasks", {"goal": "count", "devices": ["fridge-1"]})[0] == 201
    proposal = ann.asks("POST", "/v1/tasks", {"goal": "count", "devices": ["fridge-1", "fridge-2"]})
    assert proposal["content"]["devices"] == ["main.fridge-1", "main.fridge-2"]
    assert devices[1].fetch_orders() == []
    assert ben.agrees(proposal)[1]["state"] == "agreed"
    assert devices[1].offer().goal is not None


def test_a_key_of_the_hub_is_rotated_by_two_who_are_in_charge_of_all_tenants(
    hub: HubApi, ann: Person
) -> None:
    cid, dan = person(hub, "cid", tenant="*"), person(hub, "dan", tenant="*")
    before = hub.identity.signer.kid
    proposal = cid.asks("POST", "/v1/keys/orders/rotate", {})
    assert ann.is_refused(proposal) == "proposal_unknown"
    assert cid.is_refused(proposal) == "same_person"
    assert hub.identity.signer.kid == before
    assert dan.agrees(proposal)[1]["state"] == "agreed"
    assert hub.identity.signer.kid != before


def test_settings_of_the_fleet_are_patched_and_cleared_by_two(hub: HubApi, ann: Person, ben: Person) -> None:
    ben.agrees(ann.asks("PUT", FLEET, DOCUMENT))
    ann.agrees(ben.asks("PATCH", FLEET, {"patch": {"telemetry": "off"}}))
    assert fleet(hub) == {"log_level": "debug", "telemetry": "off"}
    ben.agrees(ann.asks("DELETE", FLEET))
    assert fleet(hub) == {}


@pytest.mark.slow
def test_what_is_not_listed_is_done_at_once(tmp_path: Path, clock: ManualClock) -> None:
    with hub_api(tmp_path / "hub", clock) as hub:
        assert person(hub, "ann").call("PUT", FLEET, DOCUMENT)[0] == 200
        assert fleet(hub) == {"log_level": "debug"}
        assert hub.get("/v1/proposals")["proposals"] == []


def test_the_admin_token_is_one_person(hub: HubApi, ann: Person) -> None:
    root_itself = Person(hub, "root", root(""), ADMIN_TOKEN)
    proposal = root_itself.asks("PUT", FLEET, DOCUMENT)
    of_root = credential(hub, root(""))
    assert root_itself.is_refused(proposal) == "same_person"
    assert of_root.is_refused(proposal) == "same_person"
    assert ann.agrees(proposal)[0] == 200


# --- every way to cheat ---


def test_whoever_asked_does_not_agree_by_any_credential(hub: HubApi, ann: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    other = credential(hub, ann_herself())
    of_a_token = credential(hub, ann.caller)
    assert [each.is_refused(proposal) for each in (ann, other, of_a_token)] == ["same_person"] * 3
    assert fleet(hub) == {}


def test_a_token_whose_maker_was_changed_in_the_database_agrees_to_nothing(
    hub: HubApi, ann: Person, ben: Person
) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    other = credential(hub, ann_herself())
    with hub.database.write() as session:
        row = session.get(ApiToken, other.caller.name.removeprefix("token:"))
        assert row is not None
        row.created_by = ben.name
        session.add(row)
    assert other.is_refused(proposal) == "unauthorized"
    assert fleet(hub) == {}


@pytest.mark.parametrize(
    "column", ["content", "action", "target", "asked_person", "asked_by", "state", "expires_at"]
)
def test_a_proposal_that_was_changed_in_the_database_is_not_carried_out(
    hub: HubApi, ann: Person, ben: Person, column: str
) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    with hub.database.write() as session:
        row = session.get(Proposal, proposal["id"])
        assert row is not None
        forged: dict[str, Any] = {
            "content": {**row.content, "document": {"log_level": "error"}},
            "action": "task.fleet",
            "target": "somewhere",
            "asked_person": "cid",
            "asked_by": "cid",
            "state": "rejected",
            "expires_at": row.expires_at + timedelta(days=1),
        }
        setattr(row, column, forged[column])
        session.add(row)
    assert ben.is_refused(proposal) == "proposal_tampered"
    assert ben.call("GET", f"/v1/proposals/{proposal['id']}")[1]["state"] == "tampered"
    assert fleet(hub) == {}


def test_content_and_hash_changed_together_are_not_what_was_agreed_to(
    hub: HubApi, ann: Person, ben: Person
) -> None:
    proposal, other = (
        ann.asks("PUT", FLEET, DOCUMENT),
        ann.asks("PUT", FLEET, {"document": {"log_level": "error"}}),
    )
    with hub.database.write() as session:
        row, source = session.get(Proposal, proposal["id"]), session.get(Proposal, other["id"])
        assert row is not None
        assert source is not None
        row.content, row.content_sha256 = source.content, source.content_sha256
        session.add(row)
    assert ben.is_refused(proposal) == "proposal_tampered"
    assert ben.is_refused(other, sha256=proposal["content_sha256"]) == "hash_differs"
    assert fleet(hub) == {}


def test_an_expired_proposal_is_not_carried_out(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    hub.clock.advance(timedelta(seconds=3_600))
    assert ben.is_refused(proposal) == "proposal_expired"
    assert ben.call("GET", f"/v1/proposals/{proposal['id']}")[1]["state"] == "expired"
    assert fleet(hub) == {}


def test_agreeing_again_does_it_once(hub: HubApi, ann: Person, ben: Person) -> None:
    cid = person(hub, "cid")
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    ben.agrees(proposal)
    assert [ben.is_refused(proposal), cid.is_refused(proposal)] == ["proposal_closed"] * 2
    assert hub.get(FLEET)["revision"] == 1


def test_two_who_agree_at_the_same_moment_do_it_once(hub: HubApi, ann: Person, ben: Person) -> None:
    cid = person(hub, "cid")
    hub.device("fridge-1")
    hub.device("fridge-2")
    proposal = ann.asks("POST", "/v1/tasks", {"goal": "count", "devices": ["fridge-1", "fridge-2"]})
    start = Barrier(2)

    def agree(who: Person) -> int:
        start.wait(timeout=10)
        return who.agrees(proposal)[0]

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(agree, (ben, cid)))
    assert statuses == [200, 409]
    assert len(hub.get("/v1/tasks")["tasks"]) == 1


def test_who_may_no_longer_do_it_has_asked_in_vain(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    change_role(hub, "ann", Role.VIEWER)
    assert ben.is_refused(proposal) == "asker_may_no_longer"
    change_role(hub, "ann", Role.ADMIN)
    revoke(hub, ann)
    assert ben.is_refused(proposal) == "asker_may_no_longer"
    assert fleet(hub) == {}


def test_a_viewer_does_not_agree(hub: HubApi, ann: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    viewer = person(hub, "vic", Role.VIEWER)
    assert viewer.is_refused(proposal) == "forbidden"
    assert viewer.decides(proposal, "reject")[1]["code"] == "forbidden"
    assert fleet(hub) == {}


def test_an_operator_does_not_agree_to_what_an_admin_does(hub: HubApi, ann: Person) -> None:
    hub.device("fridge-1")
    proposal = ann.asks("POST", "/v1/devices/fridge-1/revoke")
    assert person(hub, "olga", Role.OPERATOR).is_refused(proposal) == "forbidden"
    assert status_of(hub, "main.fridge-1") == "active"


def test_another_tenant_neither_sees_nor_agrees(hub: HubApi, ann: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    stranger = person(hub, "stan", tenant="other")
    assert stranger.is_refused(proposal) == "proposal_unknown"
    assert stranger.call("GET", f"/v1/proposals/{proposal['id']}")[0] == 404
    assert stranger.call("GET", "/v1/proposals")[1]["proposals"] == []
    assert stranger.call("GET", "/v1/proposals?tenant=main")[0] == 404
    assert fleet(hub) == {}


@pytest.mark.slow
def test_settings_that_were_changed_meanwhile_are_not_overwritten(tmp_path: Path, clock: ManualClock) -> None:
    with hub_api(tmp_path / "hub", clock) as hub:
        hub.client.put(FLEET, json={"document": {"telemetry": "off"}})
    with hub_api(tmp_path / "hub2", clock, **SETTINGS) as hub:
        ann, ben = person(hub, "ann"), person(hub, "ben")
        first, second = ann.asks("PUT", FLEET, DOCUMENT), ann.asks("PUT", FLEET, {"document": {}})
        ben.agrees(first)
        assert ben.is_refused(second) == "revision_conflict"
        shown = ben.call("GET", f"/v1/proposals/{second['id']}")[1]
        assert (shown["state"], shown["decided_by"]) == ("failed", ben.caller.name)
        assert fleet(hub) == {"log_level": "debug"}


# --- no, and never mind ---


def test_a_rejected_proposal_stays_rejected(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    assert ben.decides(proposal, "reject")[1]["state"] == "rejected"
    assert ben.is_refused(proposal) == "proposal_closed"
    assert deeds(hub)[-1] == f"{ben.caller.name} proposal.reject {ann.caller.name}"


def test_only_whoever_asked_withdraws(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    assert ben.decides(proposal, "withdraw")[1]["code"] == "not_yours"
    assert credential(hub, ann_herself()).decides(proposal, "withdraw")[1]["state"] == "withdrawn"
    assert ben.is_refused(proposal) == "proposal_closed"


def test_nobody_fills_the_list_with_proposals(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("PUT", FLEET, DOCUMENT)
    with hub.database.write() as session:
        row = session.get(Proposal, proposal["id"])
        assert row is not None
        for number in range(OPEN_MAX - 1):
            session.add(Proposal(**{**row.model_dump(), "id": f"{number:016}"}))
    assert ann.call("PUT", FLEET, DOCUMENT)[0] == 429
    ben.asks("PUT", FLEET, DOCUMENT)
    ann.decides(proposal, "withdraw")
    ann.asks("PUT", FLEET, DOCUMENT)


def status_of(hub: HubApi, principal: str) -> str:
    with hub.database.read() as session:
        device = session.get(Device, principal)
    assert device is not None
    return device.status


def ann_herself() -> Caller:
    return Caller(name="ann", tenant="main", permissions=PERMISSIONS[Role.ADMIN], means=Means.SESSION)

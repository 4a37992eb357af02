"""A rotation that two people agreed to, and the process that died before it had done it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud.audit.log import note
from cloud.caller import HUB_ITSELF
from cloud.consent import service
from cloud.consent.deeds import Done
from cloud.consent.finishing import INTERRUPTED_AFTER
from cloud.consent.seals import ProposalSeals
from cloud.consent.service import PENDING, Rule
from cloud.consent.tables import Proposal
from cloud.keys.deeds import PROPOSAL, ROTATE, KeyKeeper
from cloud.keys.rotation import ACTION
from cloud.row_seal import RowSeal
from tests.cloud.consent.people import Person, person
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock, two_person_actions=(ROTATE,)) as opened:
        yield opened


@pytest.fixture
def ann(hub: HubApi) -> Person:
    return person(hub, "ann", tenant="*")


@pytest.fixture
def ben(hub: HubApi) -> Person:
    return person(hub, "ben", tenant="*")


def keeper(hub: HubApi) -> KeyKeeper:
    return KeyKeeper(database=hub.database, identity=hub.identity, settings=hub.settings, clock=hub.clock)


def keys(hub: HubApi, purpose: str) -> list[Any]:
    return [key for key in hub.get("/v1/keys") if key["purpose"] == purpose]


def agreed_and_died(hub: HubApi, ben: Person, proposal: dict[str, Any]) -> Done:
    """The transaction is committed, and nothing more happened."""
    rule = Rule(
        deeds={ROTATE: keeper(hub).deed()},
        life=timedelta(hours=1),
        seals=ProposalSeals(RowSeal(hub.identity.derive("rows"))),
        people=hub.people.seals,
    )
    with hub.database.write() as session:
        return service.agree(
            session,
            rule,
            ben.caller,
            proposal["id"],
            sha256=bytes.fromhex(proposal["content_sha256"]),
            now=hub.clock.now(),
        )


def shown(hub: HubApi, proposal: dict[str, Any]) -> tuple[str, str]:
    found = hub.get(f"/v1/proposals/{proposal['id']}")
    return found["state"], found["outcome"]


def asked(ann: Person, purpose: str) -> dict[str, Any]:
    return ann.asks("POST", f"/v1/keys/{purpose}/rotate", {})


@pytest.mark.parametrize("purpose", ["policy", "issuing"])
def test_what_two_agreed_to_is_done_at_once_and_says_which_key_it_is(
    hub: HubApi, ann: Person, ben: Person, purpose: str
) -> None:
    proposal = asked(ann, purpose)
    before = len(keys(hub, purpose))
    status, told = ben.agrees(proposal)
    assert (status, told["state"]) == (200, "agreed")
    assert told["outcome"].startswith("the key is ")
    assert len(keys(hub, purpose)) == before + 1
    hub.clock.advance(INTERRUPTED_AFTER)
    keeper(hub).work(hub.database)
    assert len(keys(hub, purpose)) == before + 1


@pytest.mark.parametrize("purpose", ["policy", "issuing"])
def test_what_was_agreed_to_and_not_done_is_done_later_and_once(
    hub: HubApi, ann: Person, ben: Person, purpose: str
) -> None:
    proposal = asked(ann, purpose)
    before = len(keys(hub, purpose))
    agreed_and_died(hub, ben, proposal)
    assert shown(hub, proposal) == ("agreed", PENDING)
    keeper(hub).work(hub.database)
    assert len(keys(hub, purpose)) == before, "whoever agreed may be at it"
    hub.clock.advance(INTERRUPTED_AFTER)
    for _ in range(2):
        keeper(hub).work(hub.database)
    assert shown(hub, proposal)[1].startswith("the key is ")
    assert len(keys(hub, purpose)) == before + 1


@pytest.mark.parametrize("purpose", ["policy", "issuing"])
def test_what_was_done_and_not_written_down_is_not_done_again(
    hub: HubApi, ann: Person, ben: Person, purpose: str
) -> None:
    proposal = asked(ann, purpose)
    before = len(keys(hub, purpose))
    done = agreed_and_died(hub, ben, proposal)
    assert done.finish is not None
    outcome = done.finish(proposal["id"])
    hub.clock.advance(INTERRUPTED_AFTER)
    keeper(hub).work(hub.database)
    assert shown(hub, proposal) == ("agreed", outcome)
    assert len(keys(hub, purpose)) == before + 1


def test_what_was_noted_and_not_made_is_made(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = asked(ann, "policy")
    before = len(keys(hub, "policy"))
    agreed_and_died(hub, ben, proposal)
    with hub.database.write() as session:
        detail: dict[str, str | int | bool] = {PROPOSAL: proposal["id"], "key": "00" * 8, "before": "00" * 8}
        note(session, HUB_ITSELF, ACTION, "policy", tenant=None, now=hub.clock.now(), detail=detail)
    hub.clock.advance(INTERRUPTED_AFTER)
    keeper(hub).work(hub.database)
    assert len(keys(hub, "policy")) == before + 1
    assert shown(hub, proposal)[1].startswith("the key is ")


def test_what_cannot_be_done_is_said_and_not_tried_again(hub: HubApi, ann: Person, ben: Person) -> None:
    proposal = ann.asks("POST", "/v1/keys/policy/rotate", {"by_root": True})
    agreed_and_died(hub, ben, proposal)
    hub.identity.paths.root_key.unlink()
    hub.clock.advance(INTERRUPTED_AFTER)
    before = len(keys(hub, "policy"))
    keeper(hub).work(hub.database)
    state, outcome = shown(hub, proposal)
    assert (state, "root" in outcome) == ("failed", True)
    assert len(keys(hub, "policy")) == before


def test_a_proposal_that_was_changed_meanwhile_is_not_carried_out(
    hub: HubApi, ann: Person, ben: Person
) -> None:
    proposal = asked(ann, "policy")
    agreed_and_died(hub, ben, proposal)
    with hub.database.write() as session:
        row = session.get(Proposal, proposal["id"])
        assert row is not None
        row.content = {"purpose": "audit", "by_root": False}
        session.add(row)
    hub.clock.advance(INTERRUPTED_AFTER)
    before = len(keys(hub, "audit"))
    keeper(hub).work(hub.database)
    assert len(keys(hub, "audit")) == before

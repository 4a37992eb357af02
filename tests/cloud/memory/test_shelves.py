"""What is approved comes back to the others as knowledge, with where it comes from; and goes when it is taken back."""

from datetime import timedelta

import pytest
from sqlmodel import select

from cloud.audit.tables import AuditEntry
from cloud.knowledge import repository as collections
from cloud.knowledge import service as knowledge_service
from cloud.knowledge.schemas import Audience
from cloud.memory.shelves import BY, RETRY_AFTER
from shared.clock import to_ms
from shared.memory.items import Fact, Procedure, Step
from shared.records import MemoryChanged
from tests.cloud.memory.world import LIMIT, PUBLISH_AFTER, ROOM, Learning

FLEET = "fleet-memory"


async def test_what_is_approved_is_found_with_its_origin_and_offered_to_the_others(
    learning: Learning,
) -> None:
    """P30"""
    device, other = learning.device("fridge-1", site="north"), learning.device("fridge-2", FLEET)
    learning.tells(device, labels=("patient",))
    learning.approve(device)
    await learning.settle()
    (passage,) = [
        each for each in learning.knowledge.search("fridge limit", FLEET).passages if "8 °C" in each.item.text
    ]
    assert passage.item.text == "fridge, limit: 8 °C"
    assert passage.item.headings == ("From fridge-1 at north, 2026-01-01 12:00 UTC, labelled patient",)
    assert passage.labels == ("patient",)
    assert passage.item.document.startswith("fridge-1 2026-01-01 ")
    learning.fleet.round()
    assert learning.fleet.words(other) == ["knowledge.offered 1"]
    (item,) = learning.items()
    assert (item.collection, [item.document]) == (FLEET, learning.documents(FLEET))
    assert learning.asked


async def test_what_is_taken_back_does_not_reach_a_device_that_was_away(learning: Learning) -> None:
    device, away = learning.device("fridge-1"), learning.device("fridge-2", FLEET)
    learning.tells(device)
    learning.approve(device)
    await learning.settle()
    learning.fleet.round()
    assert learning.fleet.inline_kept() == 1
    learning.retract(device)
    assert learning.fleet.inline_kept() == 0
    await learning.settle(after=timedelta())
    learning.fleet.acknowledges(away)
    learning.fleet.round()
    assert learning.fleet.words(away) == ["knowledge.offered 1", "knowledge.offered 2"]


async def test_approvals_in_quick_succession_are_published_together(learning: Learning) -> None:
    one, other = learning.device("fridge-1"), learning.device("fridge-2")
    learning.tells(one)
    learning.approve(one)
    await learning.settle(after=PUBLISH_AFTER / 2)
    assert learning.documents(FLEET) == []
    learning.tells(other, Fact(subject="oven", relation="limit", value="250 °C"))
    learning.approve(other)
    await learning.settle(after=PUBLISH_AFTER / 2)
    assert len(learning.documents(FLEET)) == 2
    assert learning.revisions(FLEET) == [1]


async def test_what_a_site_learned_stays_with_its_devices(learning: Learning) -> None:
    name = "site-memory-north"
    device = learning.device("fridge-1", site="north")
    near, far = (
        learning.device("fridge-2", name, site="north"),
        learning.device("fridge-3", name, site="south"),
    )
    learning.tells(device, scope="site")
    learning.approve(device)
    await learning.settle()
    learning.fleet.round()
    assert learning.fleet.words(near) == ["knowledge.offered 1"]
    assert learning.fleet.words(far) == []
    assert learning.knowledge.view(name).audience == Audience(sites=["north"])


@pytest.mark.slow
async def test_a_retraction_removes_the_document_its_contents_and_older_revisions(learning: Learning) -> None:
    """P30"""
    one, other = learning.device("fridge-1"), learning.device("fridge-2")
    learning.tells(one)
    learning.tells(other, Fact(subject="oven", relation="limit", value="250 °C"))
    learning.approve(one)
    learning.approve(other)
    await learning.settle()
    learning.retract(one)
    await learning.settle(after=timedelta())
    assert learning.states() == {"fridge-1": "retracted", "fridge-2": "approved"}
    assert [each.partition(" ")[0] for each in learning.documents(FLEET)] == ["fridge-2"]
    assert learning.revisions(FLEET) == [2]
    assert "fridge, limit: 8 °C" not in learning.knowledge.texts("fridge limit", FLEET)
    manifest = learning.knowledge.manifest(FLEET)
    with learning.database.read() as session:
        row = learning.knowledge.row(session, FLEET)
        assert row.id is not None
        kept = list(collections.contents(session, "main", manifest.model, manifest.contents))
        assert len(collections.served(session, row.id)) == 1
    assert {each.text for each in kept if "limit" in each.text} == {"oven, limit: 250 °C"}


@pytest.mark.slow
async def test_what_ended_on_its_device_goes_at_once(learning: Learning) -> None:
    device = learning.device("fridge-1")
    item = learning.tells(device)
    learning.approve(device)
    await learning.settle()
    learning.says(
        device,
        MemoryChanged(at_ms=1, item=item, until_ms=to_ms(learning.now), reason="superseded", mac=bytes(32)),
    )
    await learning.settle(after=timedelta())
    assert learning.documents(FLEET) == []
    assert learning.states() == {"fridge-1": "ended"}


@pytest.mark.slow
async def test_labels_of_a_collection_are_those_of_its_items(learning: Learning) -> None:
    one, other = learning.device("fridge-1"), learning.device("fridge-2")
    learning.tells(one, labels=("untrusted",))
    learning.tells(other, labels=("patient",))
    learning.approve(one)
    learning.approve(other)
    await learning.settle()
    assert learning.knowledge.manifest(FLEET).labels == ("patient", "untrusted")
    learning.retract(one)
    await learning.settle(after=timedelta())
    assert learning.knowledge.manifest(FLEET).labels == ("patient",)


@pytest.mark.slow
async def test_documents_that_people_added_are_left_alone(learning: Learning) -> None:
    learning.knowledge.create(FLEET)
    await learning.knowledge.publish({"notes.md": b"# Notes\n\nBy hand."}, FLEET)
    device = learning.device("fridge-1")
    learning.tells(device)
    learning.approve(device)
    await learning.settle()
    assert len(learning.documents(FLEET)) == 2
    learning.retract(device)
    await learning.settle(after=timedelta())
    assert learning.documents(FLEET) == ["notes.md"]


@pytest.mark.slow
async def test_what_there_is_no_room_for_is_tried_again(learning: Learning) -> None:
    learning.knowledge.create(FLEET)
    await learning.knowledge.publish({f"{number}.md": b"x" for number in range(5)}, FLEET)
    device = learning.device("fridge-1")
    for number in range(ROOM.documents_max - 4):
        learning.tells(device, Fact(subject=f"{number}", relation="", value="x"), name=f"{number}")
    learning.approve(device)
    await learning.settle()
    assert len(learning.documents(FLEET)) == ROOM.documents_max
    with learning.database.write() as session:
        row = learning.knowledge.row(session, FLEET)
        knowledge_service.remove_document(session, row, "0.md", now=learning.now)
    await learning.settle(after=RETRY_AFTER)
    assert len(learning.documents(FLEET)) == ROOM.documents_max
    assert "0.md" not in learning.documents(FLEET)


async def test_a_procedure_says_what_it_worked_for(learning: Learning) -> None:
    device = learning.device("pump-1")
    steps = (Step(tool="open_valve", arguments={"valve": "V2"}),)
    learning.tells(device, Procedure(steps=steps), cue="How do I drain the pump?")
    learning.approve(device)
    await learning.settle()
    texts = learning.knowledge.texts("drain the pump", FLEET)
    assert "What worked for: How do I drain the pump?" in texts
    assert "open_valve(valve: V2)" in texts


@pytest.mark.slow
async def test_tenants_have_their_own(learning: Learning) -> None:
    ours, theirs = learning.device("fridge-1"), learning.device("fridge-1", tenant="acme")
    learning.tells(ours)
    learning.tells(theirs, Fact(subject="oven", relation="limit", value="250 °C"))
    learning.approve(ours)
    learning.approve(theirs)
    await learning.settle()
    assert len(learning.documents(FLEET)) == len(learning.documents(FLEET, tenant="acme")) == 1
    assert "oven, limit: 250 °C" not in learning.knowledge.texts("oven limit")
    assert [each.value for each in learning.items()] == [LIMIT.value]


async def test_publishing_stands_in_the_audit_log_without_a_word_of_it(learning: Learning) -> None:
    device = learning.device("fridge-1")
    learning.tells(device)
    learning.approve(device)
    await learning.settle()
    with learning.database.read() as session:
        (entry,) = session.exec(select(AuditEntry).where(AuditEntry.action == "memory.publish")).all()
    assert (entry.actor, entry.target) == ("hub", "main/fleet-memory")
    assert b"limit" not in bytes(entry.entry)
    assert learning.asker_of(FLEET) == BY

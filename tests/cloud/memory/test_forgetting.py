"""What is forgotten, by devices of themselves and by people at the hub and at all devices; each with its receipt."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from cloud.audit.entry import decode_entry
from cloud.audit.tables import AuditEntry
from cloud.consent.tables import Proposal
from cloud.devices.tables import DeviceStatus
from cloud.journal.repository import insert_blobs
from cloud.memory.apply import OWN_RECEIPTS_KEEP
from cloud.memory.forgetting import Wanted, digest_of
from cloud.memory.tables import ForgetReceipt, ForgetRequest
from cloud.tasks.tables import Node, Offer, Task
from shared.blobs import Blob
from shared.errors import RefusedError
from shared.ids import HUB
from shared.memory.items import Fact
from tests.cloud.memory.world import Learning, caller, text
from tests.support.device import task_id_from

FLEET = "fleet-memory"
ANNA = Fact(subject="Anna Meyer", relation="room", value="12")


def task(
    learning: Learning, goal: str, *principals: str, state: str = "succeeded", tenant: str = "main"
) -> str:
    """Work that the hub gave to devices."""
    key, blob = task_id_from(goal), text(goal)
    with learning.database.write() as session:
        insert_blobs(session, HUB, [blob])
        session.add(
            Task(id=key, tenant=tenant, origin=HUB, goal_hash=blob.ref().hash, created_at=learning.now)
        )
        session.flush()
        for number, principal in enumerate(principals):
            session.add(
                Node(
                    task_id=key, node=number, kind="agent", place="any", principal=principal, state=state,
                    limits={}, lease_s=1, updated_at=learning.now,
                )
            )  # fmt: skip
            session.flush()
            lane = learning.lane(session, principal)
            session.add(
                Offer(
                    task_id=key, node=number, attempt=1, principal=principal, lane_id=lane, order_seq=1,
                    offered_at=learning.now,
                )
            )  # fmt: skip
    return key


def ends(learning: Learning, key: str) -> None:
    with learning.database.write() as session:
        session.get_one(Node, (key, 0)).state = "succeeded"


# --- a device forgets of itself


def test_contents_that_a_device_forgot_go_and_it_is_told_how_many(learning: Learning) -> None:
    """P30"""
    device = learning.device("fridge-1")
    known, kept, unknown = text("Anna called."), text("The fridge hums."), text("never came")
    learning.keeps(device, known, kept)
    learning.forgets(device, contents=[known, unknown])
    assert learning.contents() == [kept.content]
    assert learning.confirmations(device) == [(1, 0)]


def test_a_device_forgets_for_itself_alone(learning: Learning) -> None:
    one, other = learning.device("fridge-1"), learning.device("fridge-1", tenant="acme")
    blob = text("Anna called.")
    learning.keeps(other, blob)
    learning.forgets(one, contents=[blob])
    assert learning.contents() == [blob.content]
    assert learning.confirmations(one) == [(0, 0)]


async def test_what_was_proposed_or_approved_of_it_is_taken_back(learning: Learning) -> None:
    """P30"""
    device, other = learning.device("ward-1"), learning.device("ward-2", FLEET)
    item = learning.tells(device, ANNA, cue="Where is Anna Meyer?")
    learning.approve(device)
    await learning.settle()
    learning.fleet.round()
    assert learning.fleet.inline_kept() == 1
    learning.forgets(device, items=[item])
    assert learning.fleet.inline_kept() == 0
    assert learning.confirmations(device) == [(2, 1)]
    assert learning.items() == []
    assert learning.contents() == []
    await learning.settle(after=timedelta())
    assert learning.documents(FLEET) == []
    assert learning.revisions(FLEET) == [2]
    assert learning.knowledge.texts("Anna Meyer") == []
    learning.fleet.acknowledges(other)
    learning.fleet.round()
    assert learning.fleet.words(other) == ["knowledge.offered 1", "knowledge.offered 2"]


def test_items_go_with_their_contents_when_these_alone_are_named(learning: Learning) -> None:
    device = learning.device("ward-1")
    learning.tells(device, ANNA)
    blob = learning.blob_of_item(device)
    learning.forgets(device, contents=[blob])
    assert learning.items() == []
    assert learning.confirmations(device) == [(1, 0)]


def test_several_records_make_one_receipt(learning: Learning) -> None:
    device = learning.device("ward-1")
    blobs = [text(f"Anna {number}") for number in range(3)]
    learning.keeps(device, *blobs)
    own = task_id_from("own")
    learning.forgets(device, contents=blobs[:2], is_last=False)
    assert learning.confirmations(device) == []
    assert learning.receipt(device, own).state == "pending"
    learning.forgets(device, contents=blobs[2:], kept=4)
    receipt = learning.receipt(device, own)
    assert (receipt.state, receipt.is_own, receipt.contents, receipt.deleted) == ("done", True, 3, 3)
    assert receipt.kept == 4
    assert learning.confirmations(device) == [(3, 0)]


def test_goals_that_the_hub_gave_it_go_when_the_work_is_over(learning: Learning) -> None:
    device, other = learning.device("ward-1"), learning.device("ward-2")
    over = text("Call Anna Meyer.")
    task(learning, "Call Anna Meyer.", device)
    still = text("Find Anna Meyer.")
    running = task(learning, "Find Anna Meyer.", device, other, state="running")
    foreign = text("Wake Anna Meyer.")
    task(learning, "Wake Anna Meyer.", other)
    learning.forgets(device, contents=[over, still, foreign])
    assert sorted(learning.contents()) == sorted([still.content, foreign.content])
    with learning.database.write() as session:
        session.get_one(Node, (running, 0)).state = "succeeded"
    learning.keeper.work(learning.database)
    assert still.content in learning.contents()
    with learning.database.write() as session:
        session.get_one(Node, (running, 1)).state = "failed"
    learning.keeper.work(learning.database)
    assert learning.contents() == [foreign.content]


@pytest.mark.slow
def test_of_what_a_device_forgot_by_itself_the_newest_are_listed(learning: Learning) -> None:
    device = learning.device("ward-1")
    with learning.database.write() as session:
        session.add_all(
            ForgetReceipt(
                principal=device, request=task_id_from(f"{number}"), tenant="main", state="done", is_own=True,
                changed_at=learning.now,
            )
            for number in range(OWN_RECEIPTS_KEEP)
        )  # fmt: skip
    learning.knowledge.clock.advance(seconds=1)
    learning.forgets(device)
    with learning.database.read() as session:
        found = session.exec(select(ForgetReceipt.request)).all()
    assert len(found) == OWN_RECEIPTS_KEEP
    assert task_id_from("own") in found


# --- people at the hub


def filled(learning: Learning) -> tuple[str, str]:
    """Two devices whose contents speak of Anna Meyer, and of other things."""
    one, other = learning.device("ward-1", site="north"), learning.device("ward-2", site="south", floor="2")
    learning.keeps(one, text("Anna  MEYER called."), text("The lift is broken."))
    learning.keeps(other, text('{"who": "Anna Meyer"}'), text("Annabel Meyers called."))
    return one, other


def test_what_would_be_forgotten_is_counted_and_nothing_is(learning: Learning) -> None:
    one, _ = filled(learning)
    learning.tells(one, ANNA)
    task(learning, "Find Anna Meyer.", one)
    learning.fleet.becomes(learning.device("ward-3"), DeviceStatus.REVOKED)
    before = sorted(learning.contents())
    found = learning.forgetter.look(Wanted(tenant="main"), "anna meyer")
    assert (found.contents, found.items, found.documents) == (4, 1, 0)
    assert (found.devices, found.unreachable) == (2, 1)
    assert sorted(learning.contents()) == before
    assert learning.told == []


async def test_the_hub_forgets_its_own_and_orders_every_device(learning: Learning) -> None:
    """P30"""
    one, other = filled(learning)
    learning.tells(one, ANNA)
    learning.approve(one)
    await learning.settle()
    key = learning.ask_to_forget("Anna Meyer")
    about = learning.ordered(one)[0].about
    assert sorted(learning.contents()) == sorted(
        [b"The lift is broken.", b"Annabel Meyers called.", b"Anna Meyer"]
    )
    request = learning.request(key)
    assert (request.contents, request.items, request.kept) == (3, 1, 0)
    assert request.hub_done_at is not None
    assert request.closed_at is None
    assert learning.told == [{one, other}]
    assert [each.request for each in learning.ordered(other)] == [key]
    assert about == learning.ordered(other)[0].about
    await learning.settle(after=timedelta())
    assert learning.documents(FLEET) == []


def test_each_device_gives_a_receipt_and_the_words_go_with_the_last(learning: Learning) -> None:
    """P30"""
    one, other = filled(learning)
    key = learning.ask_to_forget("Anna Meyer")
    learning.forgets(one, request=key, contents=[text("x"), text("y")], is_last=False)
    learning.keeper.work(learning.database)
    assert learning.receipt(one, key).state == "pending"
    learning.forgets(one, request=key, items=[task_id_from("i")], kept=1)
    learning.keeper.work(learning.database)
    receipt = learning.receipt(one, key)
    assert (receipt.state, receipt.items, receipt.contents, receipt.kept) == ("done", 1, 2, 1)
    assert not receipt.is_own
    assert b"Anna Meyer" in learning.contents()
    learning.forgets(other, request=key)
    learning.keeper.work(learning.database)
    assert learning.request(key).closed_at is not None
    assert not any(b"Anna" in each and b"Annabel" not in each for each in learning.contents())
    assert len(learning.told) == 1


def test_what_a_device_sent_before_it_forgot_goes_too(learning: Learning) -> None:
    one, _ = filled(learning)
    key = learning.ask_to_forget("Anna Meyer")
    learning.keeps(one, text("Anna Meyer called again."))
    learning.tells(one, ANNA)
    learning.forgets(one, request=key)
    learning.keeper.work(learning.database)
    assert not any(b"called again" in each for each in learning.contents())
    assert learning.items() == []
    assert (learning.receipt(one, key).deleted, learning.receipt(one, key).retracted) == (2, 1)


@pytest.mark.parametrize("wanted", [{"principal": "main.ward-2"}, {"labels": {"floor": "2"}}], ids=str)
def test_one_device_or_some_forget_and_the_hub_theirs(learning: Learning, wanted: dict[str, Any]) -> None:
    one, other = filled(learning)
    task(learning, "Wake Anna Meyer.", one)
    task(learning, "Find Anna Meyer.", other)
    learning.ask_to_forget("Anna Meyer", **wanted)
    left = learning.contents()
    assert b"Anna  MEYER called." in left
    assert b"Wake Anna Meyer." in left
    assert b'{"who": "Anna Meyer"}' not in left
    assert b"Find Anna Meyer." not in left
    assert learning.ordered(one) == []
    assert len(learning.ordered(other)) == 1


def test_nobody_meant_is_refused(learning: Learning) -> None:
    filled(learning)
    with pytest.raises(RefusedError, match="No device is meant"):
        learning.ask_to_forget("Anna Meyer", labels={"floor": "9"})
    with learning.database.read() as session:
        assert session.exec(select(ForgetRequest)).all() == []


def test_another_tenant_keeps_its_own(learning: Learning) -> None:
    theirs = learning.device("ward-1", tenant="acme")
    learning.keeps(theirs, text("Anna Meyer called."))
    task(learning, "Find Anna Meyer.", theirs, tenant="acme")
    filled(learning)
    key = learning.ask_to_forget("Anna Meyer")
    assert {b"Anna Meyer called.", b"Find Anna Meyer."} <= set(learning.contents())
    assert learning.ordered(theirs) == []
    # Nor is its word taken for one of ours.
    learning.forgets(theirs, request=key)
    with learning.database.read() as session:
        assert session.get_one(ForgetReceipt, (theirs, key)).is_own


def test_a_device_with_a_new_log_is_ordered_anew_and_a_revoked_one_no_more(learning: Learning) -> None:
    one, other = filled(learning)
    key = learning.ask_to_forget("Anna Meyer")
    learning.fleet.closes_its_log(one)
    learning.fleet.becomes(other, DeviceStatus.REVOKED)
    learning.keeper.work(learning.database)
    learning.keeper.work(learning.database)
    assert [len(learning.ordered(each)) for each in (one, other)] == [2, 1]
    assert learning.receipt(other, key).state == "unreachable"
    learning.forgets(one, request=key)
    learning.keeper.work(learning.database)
    assert learning.request(key).closed_at is not None


def test_a_word_that_comes_after_the_end_changes_no_end(learning: Learning) -> None:
    device = learning.device("ward-1")
    learning.keeps(device, text("Anna Meyer called."))
    key = learning.ask_to_forget("Anna Meyer")
    for _ in range(2):
        learning.forgets(device, request=key)
        learning.keeper.work(learning.database)
        assert learning.receipt(device, key).state == "done"
    assert learning.request(key).closed_at is not None


@pytest.mark.parametrize(
    "content", ["ANNA\tMeyer", "anna-meyer", "Änna", '"Anna\\u0020Meyer"', "x Anna Meyer,", "Anna\u00a0Meyer"]
)
def test_words_are_found_however_they_are_written(learning: Learning, content: str) -> None:
    device = learning.device("ward-1")
    learning.keeps(device, text(content))
    learning.ask_to_forget("Anna Meyer")
    is_other = content == "Änna"
    assert (text(content).content in learning.contents()) is is_other


def test_asking_twice_leaves_the_first_order_whole(learning: Learning) -> None:
    one, _ = filled(learning)
    learning.ask_to_forget("Anna Meyer")
    learning.ask_to_forget("Anna Meyer", principal=one)
    assert learning.contents().count(b"Anna Meyer") == 2


def test_the_goal_of_open_work_is_owed(learning: Learning) -> None:
    one, _ = filled(learning)
    running = task(learning, "Find Anna Meyer.", one, state="running")
    key = learning.ask_to_forget("Anna Meyer")
    assert learning.request(key).kept == 1
    assert b"Find Anna Meyer." in learning.contents()
    ends(learning, running)
    learning.keeper.work(learning.database)
    assert b"Find Anna Meyer." not in learning.contents()


def test_what_waited_for_a_second_person_goes(learning: Learning) -> None:
    filled(learning)
    with learning.database.write() as session:
        for number, goal in enumerate(("Find Anna Meyer.", "Open the door.")):
            session.add(
                Proposal(
                    id=task_id_from(goal), tenant="main", action="task.fleet", target=f"{number}",
                    content={"goal": goal}, content_sha256=bytes(32), state="open", asked_by="ada",
                    asked_person="ada", asked_at=learning.now, expires_at=learning.now, mac=bytes(32),
                )
            )  # fmt: skip
    key = learning.ask_to_forget("Anna Meyer")
    assert learning.request(key).proposals == 1
    with learning.database.read() as session:
        assert [each.target for each in session.exec(select(Proposal))] == ["1"]


async def test_documents_that_people_added_are_named_and_left(learning: Learning) -> None:
    filled(learning)
    learning.knowledge.create()
    await learning.knowledge.publish({"who.md": b"# Who\n\nAnna Meyer, room 12.", "pump.md": b"# Pump"})
    found = learning.forgetter.look(Wanted(tenant="main"), "Anna Meyer")
    assert [(each.collection, each.document) for each in found.elsewhere] == [("manuals", "who.md")]
    learning.ask_to_forget("Anna Meyer")
    await learning.settle()
    assert learning.documents("manuals") == ["pump.md", "who.md"]


def test_the_audit_log_has_a_keyed_digest_and_counts(learning: Learning) -> None:
    filled(learning)
    key = learning.ask_to_forget("Anna Meyer")
    with learning.database.read() as session:
        rows = session.exec(select(AuditEntry).where(AuditEntry.target == key)).all()
        entries = [decode_entry(bytes(row.entry)) for row in rows]
    asked, done = entries
    assert (asked.action, asked.actor, done.action, done.actor) == (
        "memory.forget", caller().name, "memory.forgotten", caller().name,
    )  # fmt: skip
    assert asked.detail["about"] == digest_of(bytes(32), " anna   MEYER ").hex()
    assert asked.content_sha256 is None
    assert done.detail == {"contents": 2, "items": 0, "proposals": 0, "kept": 0}
    assert learning.request(key).digest != digest_of(bytes(31) + b"\1", "Anna Meyer")


def test_what_a_crash_left_undone_is_done_by_the_next_round(learning: Learning) -> None:
    one, other = filled(learning)
    key = task_id_from("crash")
    learning.forgetter.ask(caller(), Wanted(tenant="main"), "Anna Meyer", request_id=key)
    assert learning.ordered(one) == []
    learning.keeper.work(learning.database)
    assert [len(learning.ordered(each)) for each in (one, other)] == [1, 1]
    assert learning.request(key).hub_done_at is not None


def test_what_is_no_text_is_left_alone(learning: Learning) -> None:
    one, _ = filled(learning)
    packed = Blob(salt=bytes(16), content=b"\xff\xfe Anna Meyer \xff")
    learning.keeps(one, packed)
    learning.ask_to_forget("Anna Meyer")
    assert packed.content in learning.contents()

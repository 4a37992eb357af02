"""What devices tell of their memories, and what people and rules make of it."""

from typing import Any

import pytest
from sqlmodel import select

from cloud.caller import Role
from cloud.memory import apply, service
from cloud.memory.tables import MemoryItem
from shared.blobs import Blob
from shared.clock import to_ms
from shared.errors import CapacityError, RefusedError
from shared.memory.items import Answer, Episode, Fact, Procedure, Step
from shared.records import MemoryChanged, MemoryWritten
from tests.cloud.memory.world import LIMIT, Learning
from tests.support.device import task_id_from

WARMER = Fact(subject="Fridge", relation="limit", value="12 °C")


def changed(learning: Learning, item: str, **values: object) -> MemoryChanged:
    return MemoryChanged.model_validate(
        {"at_ms": to_ms(learning.now), "item": item, "mac": bytes(32), **values}
    )


def test_what_is_for_the_fleet_is_proposed_with_where_it_comes_from(learning: Learning) -> None:
    """P30"""
    device = learning.device("fridge-1", site="north")
    learning.tells(device, scope="fleet", labels=("patient",), valid_from_ms=to_ms(learning.now) - 1_000)
    (item,) = learning.items()
    assert (item.device, item.site, item.scope, item.sort) == ("fridge-1", "north", "fleet", "fact")
    assert (item.state, item.labels, item.by) == ("proposed", ["patient"], "person")
    assert (item.subject, item.relation, item.value) == ("fridge", "limit", "8 °C")
    assert item.text == "fridge, limit: 8 °C"
    assert item.since is not None
    assert item.since < item.written_at


def test_what_is_for_the_device_alone_is_not(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"), scope="device")
    assert learning.items() == []


@pytest.mark.parametrize("content", [Episode(result="4 °C"), Answer(text="4 °C")], ids=["episode", "answer"])
def test_episodes_and_answers_are_refused_and_shown(learning: Learning, content: Episode | Answer) -> None:
    learning.tells(learning.device("fridge-1"), content)
    (item,) = learning.items()
    assert (item.state, item.reason) == ("refused", apply.SORT_NOT_SHARED)
    learning.approve("main.fridge-1")
    assert learning.states() == {"fridge-1": "refused"}


def test_an_item_of_a_site_needs_one(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"), scope="site")
    learning.tells(learning.device("fridge-2", site="north"), scope="site")
    assert learning.states() == {"fridge-1": "refused", "fridge-2": "proposed"}


def test_content_that_did_not_come_or_is_nonsense_is_refused(learning: Learning) -> None:
    device = learning.device("fridge-1")
    withheld, nonsense = (Blob(salt=bytes(16), content=each) for each in (b"never sent", b"{}"))
    for blob, sent in ((withheld, ()), (nonsense, (nonsense,))):
        record = MemoryWritten(
            at_ms=1, item=task_id_from(repr(blob)), sort="fact", scope="fleet", by="agent",
            content=blob.ref(), mac=bytes(32),
        )  # fmt: skip
        assert learning.says(device, record, *sent) == {}
    assert {item.reason for item in learning.items()} == {apply.CONTENT_MISSING, apply.CONTENT_INVALID}


def test_an_id_that_is_there_is_refused_and_the_first_stays(learning: Learning) -> None:
    device = learning.device("fridge-1")
    item = learning.tells(device)
    blob = Blob(salt=bytes(16), content=WARMER.encode())
    again = MemoryWritten(
        at_ms=1, item=item, sort="fact", scope="fleet", by="agent", content=blob.ref(), mac=bytes(32)
    )
    assert list(learning.says(device, again, blob).values()) == ["An item of this id is there already."]
    assert [each.value for each in learning.items()] == ["8 °C"]


def test_two_devices_may_choose_the_same_id(learning: Learning) -> None:
    one, other = learning.device("fridge-1"), learning.device("fridge-2")
    item = task_id_from("same")
    learning.tells(one, item=item)
    learning.tells(other, WARMER, item=item)
    assert {each.device: each.value for each in learning.items()} == {"fridge-1": "8 °C", "fridge-2": "12 °C"}


@pytest.mark.slow
def test_of_one_device_only_so_many_wait(learning: Learning) -> None:
    device = learning.device("fridge-1")
    learning.tells(device, name="first")
    with learning.database.write() as session:
        (row,) = session.exec(select(MemoryItem)).all()
        values = row.model_dump(exclude={"id"})
        session.add_all(
            MemoryItem(id=task_id_from(f"{number}"), **values) for number in range(apply.WAITING_MAX - 2)
        )
    learning.tells(device, name="last")
    blob = Blob(salt=bytes(16), content=LIMIT.encode())
    record = MemoryWritten(
        at_ms=1, item=task_id_from("beyond"), sort="fact", scope="fleet", by="agent", content=blob.ref(),
        mac=bytes(32),
    )  # fmt: skip
    (reason,) = learning.says(device, record, blob).values()
    assert f"{apply.WAITING_MAX} items of this device wait" in reason
    with learning.database.write() as session:
        service.reject(session, session.get_one(MemoryItem, row.id), by="ada", now=learning.now)
    assert learning.says(device, record, blob) == {}


def test_what_ended_on_its_device_is_taken_back_and_may_come_again(learning: Learning) -> None:
    """P30"""
    device = learning.device("fridge-1")
    item = learning.tells(device)
    learning.says(device, changed(learning, item, until_ms=to_ms(learning.now), reason="superseded"))
    (ended,) = learning.items()
    assert (ended.state, ended.reason) == ("ended", "superseded")
    learning.approve(device)
    assert learning.states() == {"fridge-1": "ended"}
    learning.says(device, changed(learning, item, successes=3, failures=1))
    (again,) = learning.items()
    assert (again.state, again.successes, again.failures) == ("proposed", 3, 1)


def test_facts_that_contradict_each_other_are_shown_with_each(learning: Learning) -> None:
    one, other = learning.device("fridge-1"), learning.device("fridge-2")
    learning.tells(one)
    learning.tells(other, WARMER)
    learning.tells(learning.device("fridge-3"), Fact(subject="oven", relation="limit", value="250 °C"))
    found = {
        each.device: [(rival.device, rival.value) for rival in each.contradicts] for each in learning.items()
    }
    assert found == {"fridge-1": [("fridge-2", "12 °C")], "fridge-2": [("fridge-1", "8 °C")], "fridge-3": []}


def test_what_two_sites_say_of_themselves_contradicts_nothing(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1", site="north"), scope="site")
    learning.tells(learning.device("fridge-2", site="south"), WARMER, scope="site")
    assert [each.contradicts for each in learning.items()] == [[], []]


def test_a_page_goes_on_where_the_last_one_ended(learning: Learning) -> None:
    device = learning.device("fridge-1")
    for number in range(5):
        learning.knowledge.clock.advance(seconds=1)
        learning.tells(device, Fact(subject=f"{number}", relation="", value="x"), name=f"{number}")
    seen: list[str | None] = []
    before = None
    with learning.database.read() as session:
        while True:
            page = service.page(session, "main", state=None, before=before, limit=2, now=learning.now)
            seen += [each.subject for each in page.items]
            before = page.next
            if before is None:
                break
    assert seen == ["4", "3", "2", "1", "0"]


# --- rules


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ({}, True),
        ({"scope": "fleet"}, True),
        ({"scope": "site"}, False),
        ({"sort": "procedure"}, False),
        ({"relations": [" LIMIT "]}, True),
        ({"relations": ["colour"]}, False),
        ({"sites": ["north"]}, True),
        ({"sites": ["south"]}, False),
        ({"devices": ["fridge-1"]}, True),
        ({"devices": ["fridge-2"]}, False),
        ({"device_labels": {"kind": "fridge"}}, True),
        ({"device_labels": {"kind": "oven"}}, False),
        ({"authors": ["person"]}, True),
        ({"authors": ["agent"]}, False),
    ],
)
def test_a_rule_lets_in_what_all_of_it_fits(learning: Learning, fits: dict[str, Any], expected: bool) -> None:
    learning.tells(learning.device("fridge-1", site="north", kind="fridge"))
    learning.rule(**fits)
    learning.keeper.work(learning.database)
    (item,) = learning.items()
    assert (item.state == "approved") is expected
    if expected:
        assert item.decided_by is not None
        assert item.decided_by.startswith("rule:")


def test_without_a_rule_a_person_decides(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"))
    learning.rule(tenant="acme")
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "proposed"}


def test_labels_are_let_in_only_where_the_rule_names_them(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"), labels=("internal",))
    learning.tells(learning.device("fridge-2"), labels=("internal", "patient"))
    learning.rule(labels=["internal"])
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "approved", "fridge-2": "proposed"}


def test_only_an_admin_makes_a_rule_that_lets_in_what_is_untrusted(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"), labels=("untrusted",))
    with pytest.raises(RefusedError, match="ask an admin"):
        learning.rule(labels=["untrusted"], role=Role.AUTHOR)
    learning.rule(labels=["untrusted"], role=Role.ADMIN)
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "approved"}


def test_a_fact_that_contradicts_an_approved_one_waits_for_a_person(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"))
    learning.tells(learning.device("fridge-2"), WARMER)
    learning.rule()
    learning.keeper.work(learning.database)
    assert sorted(learning.states().values()) == ["approved", "proposed"]


def test_a_new_rule_looks_at_what_waits_already(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"))
    learning.rule(scope="site")
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "proposed"}
    learning.rule(scope="fleet")
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "approved"}


@pytest.mark.slow
def test_a_tenant_has_so_many_rules_at_most(learning: Learning) -> None:
    for number in range(service.RULES_MAX):
        learning.rule(relations=[f"{number}"])
    with pytest.raises(CapacityError, match="memory rules remove"):
        learning.rule(relations=["one more"])
    learning.rule(relations=["another tenant's"], tenant="acme")


def test_labels_that_no_collection_can_bear_are_not_approved(learning: Learning) -> None:
    learning.tells(learning.device("fridge-1"), labels=("9.lives",))
    with pytest.raises(RefusedError, match="do not fit its collection"):
        learning.approve("main.fridge-1")


@pytest.mark.parametrize(("number", "is_approved"), [(16, True), (17, False)])
def test_a_collection_bears_so_many_labels_at_most(
    learning: Learning, number: int, is_approved: bool
) -> None:
    learning.tells(learning.device("fridge-1"), labels=tuple(f"label-{each}" for each in range(number)))
    learning.rule(labels=[f"label-{each}" for each in range(16)])
    learning.keeper.work(learning.database)
    assert learning.states() == {"fridge-1": "approved" if is_approved else "proposed"}


def test_what_a_procedure_does_is_shown_step_by_step(learning: Learning) -> None:
    steps = (Step(tool="open_valve", arguments={"valve": "V2"}), Step(tool="read_sensor", arguments={}))
    learning.tells(learning.device("pump-1"), Procedure(steps=steps), cue="How do I drain the pump?")
    (item,) = learning.items()
    assert item.cue == "How do I drain the pump?"
    assert [(each.tool, each.arguments) for each in item.steps] == [
        ("open_valve", '{"valve": "V2"}'),
        ("read_sensor", "{}"),
    ]

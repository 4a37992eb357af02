"""What devices propose to the fleet as its page shows it: the newest of each, and how many there are."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.dashboard.memory_reading import WAITING_SHOWN, MemoryPage, read_memory
from cloud.db import Database
from shared.memory.items import Fact, Procedure, Step
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import knowledge_in
from tests.cloud.memory.world import LIMIT, Learning
from tests.support.clock import ManualClock


@pytest.fixture
def learning(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Learning]:
    knowledge = knowledge_in(database, clock, tmp_path / "library")
    with closing(knowledge.replica.library):
        yield Learning(Fleet(knowledge))


def read(learning: Learning, tenant: str = "main") -> MemoryPage:
    with learning.database.read() as session:
        return read_memory(session, tenant, learning.now)


def test_a_fleet_that_has_learned_nothing_has_an_empty_page(learning: Learning) -> None:
    assert read(learning) == MemoryPage(waiting=(), waiting_count=0, approved=(), approved_count=0)


def test_what_waits_is_shown_with_what_is_against_it(learning: Learning) -> None:
    one, other = learning.device("fridge-1", site="north"), learning.device("fridge-2")
    learning.tells(one, scope="site", labels=("patient",))
    learning.tells(other, Fact(subject="fridge", relation="limit", value="12 °C"))
    learning.tells(learning.device("fridge-1", tenant="acme"))
    found = {each.device: each for each in read(learning).waiting}
    assert found.keys() == {one, other}
    assert (found[one].place, found[one].labels, found[one].against) == (
        "site north", ("patient",), (("fridge-2", "12 °C"),),
    )  # fmt: skip
    assert found[other].says == "fridge, limit: 12 °C"


def test_what_was_let_in_is_shown_with_who_let_it_in(learning: Learning) -> None:
    device = learning.device("pump-1")
    steps = Procedure(steps=(Step(tool="open_valve", arguments={}),))
    learning.tells(device, steps, cue="How do I drain the pump?")
    learning.approve(device, by="ben")
    page = read(learning)
    (item,) = page.approved
    assert (item.says, item.decided_by) == ("How do I drain the pump?: open_valve()", "ben")
    assert (page.waiting_count, page.approved_count) == (0, 1)


@pytest.mark.slow
def test_more_than_there_is_room_for_is_counted(learning: Learning) -> None:
    device = learning.device("fridge-1")
    for number in range(WAITING_SHOWN + 1):
        learning.tells(device, name=f"{number}")
    page = read(learning)
    assert (len(page.waiting), page.waiting_count) == (WAITING_SHOWN, WAITING_SHOWN + 1)


def test_what_is_forgotten_leaves_the_page(learning: Learning) -> None:
    device = learning.device("fridge-1")
    item = learning.tells(device, LIMIT)
    learning.forgets(device, items=[item])
    assert read(learning).waiting == ()

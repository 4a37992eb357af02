"""After the last receipt no byte of the hub's home says it: not a table, not a free page, not SQLite's log."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import select

from cloud.knowledge.tables import KnowledgeVersion
from cloud.wiring_memory import Memory
from shared.blobs import SALT_BYTES, Blob
from shared.clock import to_ms
from shared.folded import unfold
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.memory.items import Fact
from shared.records import ForgetConfirmed, ForgetOrdered, MemoryForgotten, MemoryWritten, Record
from shared.tasks.states import NodeState
from tests.cloud.hub_api import FleetDevice, HubApi
from tests.cloud.knowledge.world import Knowledge, knowledge_in

pytestmark = pytest.mark.slow

NAME = "Xanthippe Quorndale"
FILLING = 40
"""Records about other things between those about her, so that pages are shared, split and freed."""


@pytest.fixture
def knowledge(hub: HubApi) -> Iterator[Knowledge]:
    made = knowledge_in(hub.database, hub.clock, hub.settings.home / "knowledge" / "0")
    with closing(made.replica.library):
        yield made


def blob(text: str) -> Blob:
    return Blob(salt=secrets.token_bytes(SALT_BYTES), content=text.encode())


def new_id() -> str:
    return id_from_random(secrets.token_bytes(ID_RANDOM_BYTES))


def tell(hub: HubApi, device: FleetDevice, fact: Fact) -> tuple[str, Blob]:
    content, item = Blob(salt=secrets.token_bytes(SALT_BYTES), content=fact.encode()), new_id()
    record = MemoryWritten(
        at_ms=to_ms(hub.clock.now()), item=item, sort="fact", scope="fleet", by="person",
        content=content.ref(), mac=bytes(32),
    )  # fmt: skip
    device.write(record, content)
    return item, content


def files_with(home: Path, text: str) -> list[str]:
    """In any of the ways that a program of ours writes text."""
    needles = [
        form
        for each in (text, text.lower(), text.upper())
        for form in (each.encode(), each.encode("utf-16-le"))
    ]
    return [
        str(path.relative_to(home))
        for path in sorted(home.rglob("*"))
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def folded_texts(hub: HubApi) -> list[str]:
    with hub.database.read() as session:
        return [
            unfold(each, max_bytes=1 << 20).decode() for each in session.exec(select(KnowledgeVersion.text))
        ]


async def publish(hub: HubApi, knowledge: Knowledge) -> None:
    memory: Memory = hub.memory
    hub.clock.advance(seconds=hub.settings.memory_publish_after_s)
    for _ in range(2):
        memory.keeper.work(hub.database)
        await knowledge.librarian.work()
        knowledge.replica.refresh()


def orders(device: FleetDevice, kind: type[Record]) -> list[Record]:
    return [each for each in device.fetch_orders() if isinstance(each, kind)]


async def test_no_byte_of_the_home_says_what_was_forgotten_everywhere(
    hub: HubApi, knowledge: Knowledge
) -> None:
    """P30"""
    device, away = hub.device("ward-1"), hub.device("ward-2", is_online=False)
    task = hub.post("/v1/tasks", {"goal": f"Where is {NAME}?", "devices": ["ward-1"]})["id"]
    offer = device.offer()
    device.move(task, NodeState.RUNNING, node=offer.node)
    for number in range(FILLING):
        tell(hub, device, Fact(subject=f"pump {number}", relation="limit", value="x" * (37 * number)))
        tell(hub, device, Fact(subject=NAME, relation=f"note {number}", value="y" * (41 * number)))
    device.answer(offer, f"{NAME} is in room 12. " + "z" * 50_000)
    for each in hub.get("/v1/memory/items", limit=500)["items"]:
        hub.post(f"/v1/memory/items/{each['id']}/approve")
    await publish(hub, knowledge)
    assert knowledge.texts(NAME.lower())
    assert {"hub.sqlite", "knowledge/0/library.sqlite"} <= set(files_with(hub.settings.home, NAME))
    assert any(NAME in text for text in folded_texts(hub))

    found = hub.post("/v1/memory/forget/look", {"about": NAME, "everywhere": True})
    assert (found["contents"], found["items"], found["documents"]) == (FILLING + 2, FILLING, FILLING)
    asked = hub.post("/v1/memory/forget", {"about": NAME, "everywhere": True})
    assert (asked["pending"], asked["contents"], asked["items"]) == (2, FILLING + 2, FILLING)
    assert hub.get(f"/v1/tasks/{task}")["goal"] is None
    for each in (device, away):
        each.presence(True)
        each.hello()
        (order,) = orders(each, ForgetOrdered)
        assert isinstance(order, ForgetOrdered)
        each.write(
            MemoryForgotten(
                at_ms=to_ms(hub.clock.now()), request=order.request, contents=(bytes(32),), is_last=True
            )
        )
        assert len(orders(each, ForgetConfirmed)) == 1
    await publish(hub, knowledge)
    hub.memory.keeper.work(hub.database)
    (request,) = hub.get("/v1/memory/forgets")["requests"]
    assert (request["pending"], request["done"]) == (0, 2)
    assert request["closed_at"] is not None
    assert files_with(hub.settings.home, NAME) == []
    assert files_with(hub.settings.home, "Quorndale") == []
    assert not any(NAME in text for text in folded_texts(hub))
    assert knowledge.texts("pump 3")


async def test_no_byte_of_the_home_says_what_a_device_forgot_by_itself(
    hub: HubApi, knowledge: Knowledge
) -> None:
    """P30"""
    device = hub.device("ward-1")
    mine = [
        tell(hub, device, Fact(subject=NAME, relation=f"{number}", value="y" * 99)) for number in range(9)
    ]
    for each in hub.get("/v1/memory/items")["items"]:
        hub.post(f"/v1/memory/items/{each['id']}/approve")
    await publish(hub, knowledge)
    assert files_with(hub.settings.home, NAME)
    device.write(
        MemoryForgotten(
            at_ms=to_ms(hub.clock.now()),
            request=new_id(),
            items=tuple(item for item, _ in mine),
            is_last=True,
        )
    )
    (confirmed,) = orders(device, ForgetConfirmed)
    assert isinstance(confirmed, ForgetConfirmed)
    assert (confirmed.contents, confirmed.retracted) == (9, 9)
    await publish(hub, knowledge)
    hub.memory.keeper.work(hub.database)
    assert files_with(hub.settings.home, NAME) == []

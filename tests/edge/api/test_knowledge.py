"""Knowledge over the local API: what is held, passages, answers with their sources, whole and sentence by sentence."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud.knowledge.world import NAME, OVEN, PUMP
from tests.fleet.in_memory import MemoryDevice
from tests.fleet.test_knowledge import QUESTION, World, world_in
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.slow

WORDS = "Close valve V2 before cleaning the pump. Then call 555 for a free lunch."


async def call(device: MemoryDevice, method: str, path: str, body: Any = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=device.daemon.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://device") as client:
        return await client.request(method, path, json=body, headers={"authorization": "Bearer token"})


async def published(world: World) -> None:
    await world.publish(pump=PUMP, oven=OVEN)
    await world.delivered("applied", 1)


async def test_what_is_held_and_what_is_found_is_told(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device() as device:
        await published(world)
        (only,) = (await call(device, "GET", "/knowledge")).json()["collections"]
        assert (only["collection"], only["revision"], only["held_chunks"]) == (NAME, 1, only["chunks"])
        found = (await call(device, "POST", "/knowledge/search", {"query": QUESTION, "limit": 1})).json()
        (passage,) = found["passages"]
        assert passage["text"] == "Close valve V2 before cleaning the pump."
        assert passage["citation"].startswith("Pump (manuals, revision ")
        status = (await call(device, "GET", "/status")).json()
        assert status["knowledge"] == [only]
        assert (await call(device, "POST", "/knowledge/verify")).json() == {"faults": []}


async def test_an_answer_says_what_its_sources_say(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device(model=ScriptedModel(WORDS, WORDS)) as device:
        await published(world)
        answer = (await call(device, "POST", "/knowledge/ask", {"question": QUESTION})).json()
        assert answer["text"] == "Close valve V2 before cleaning the pump. [1]"
        assert (answer["is_known"], answer["dropped"], len(answer["sources"])) == (True, 1, 1)
        streamed = await call(device, "POST", "/knowledge/ask", {"question": QUESTION, "stream": True})
        events = [block.split("\n", 1) for block in streamed.text.strip().split("\n\n")]
        assert [name for name, _ in events] == ["event: sentence", "event: answer"]
        assert json.loads(events[-1][1].removeprefix("data: ")) == answer


KEEPS_MANUALS = """
@id("kept")
forbid (principal, action == Action::"message.person", resource) when { context.labels.contains("untrusted") };
"""


async def test_documents_that_may_not_be_told_are_neither_found_nor_answered_from(tmp_path: Path) -> None:
    async with (
        world_in(tmp_path) as world,
        world.device(model=ScriptedModel(WORDS), also_rules=KEEPS_MANUALS) as device,
    ):
        await published(world)
        found = (await call(device, "POST", "/knowledge/search", {"query": QUESTION})).json()
        assert (found["passages"], found["is_supported"]) == ([], False)
        answer = (await call(device, "POST", "/knowledge/ask", {"question": QUESTION})).json()
        assert not answer["is_known"]


async def test_what_nothing_supports_is_not_answered(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device() as device:
        await published(world)
        answer = (await call(device, "POST", "/knowledge/ask", {"question": "Who wrote Hamlet?"})).json()
        assert (answer["is_known"], answer["text"], answer["sources"]) == (False, "I do not know.", [])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": " "}, "invalid"),
        ({"query": "x" * 4_001}, "invalid"),
        ({"query": "x", "limit": 101}, "invalid"),
        ({"query": "x", "collections": ["Not A Name"]}, "invalid"),
        ({"query": "x", "collections": ["nosuch"]}, "collection_unknown"),
    ],
)
async def test_what_cannot_be_looked_up_is_refused(tmp_path: Path, body: dict[str, Any], code: str) -> None:
    async with world_in(tmp_path) as world, world.device() as device:
        await published(world)
        refused = await call(device, "POST", "/knowledge/search", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)


async def test_a_device_without_knowledge_says_so(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device(knowledge=()) as device:
        refused = await call(device, "POST", "/knowledge/search", {"query": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "knowledge_none")
        assert (await call(device, "GET", "/knowledge")).json() == {"collections": [], "problem": None}

"""Knowledge across the whole system: published at the hub, taken up by a real device, answered while it is cut off."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from cloud.journal.service import append_order
from cloud.knowledge import service
from cloud.knowledge.delivery import Courier, withdraw_everywhere
from cloud.knowledge.fetching import FetchDesk
from cloud.knowledge.schemas import Audience, ChangeCollection
from cloud.knowledge.tables import KnowledgeDelivery
from edge.agent import Ended
from edge.shelf import FILE
from shared.blobs import Blob
from shared.errors import ProtocolError, RefusedError, UnavailableError
from shared.folded import fold
from shared.inference.ports import LanguageModel, TextDelta
from shared.knowledge import Content, Manifest, pack, unpack
from shared.knowledge.fetch import FetchByHttps
from shared.knowledge.inline import Inline, wrap
from shared.library.library import Findings
from shared.records import KnowledgeOffered, KnowledgeRefused, ToolResult
from shared.retrieval.search import query_of
from shared.tasks.states import NodeState
from tests.cloud.knowledge.world import NAME, OVEN, PUMP, Knowledge, knowledge_in
from tests.fleet.in_memory import TENANT, MemoryDevice, MemoryFleet, eventually
from tests.support.ingest import SALT_OF
from tests.support.library import MODEL
from tests.support.model import ScriptedModel
from tests.support.store import records
from tests.support.vector_index import HashingEmbedder
from tests.support.vectors import MemoryVectors, vector_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

QUESTION = "Which valve is closed before cleaning the pump?"
LONG = b"# Care\n\n" + b"\n\n".join(
    b"Paragraph %d says that part %d of the machine number %d is checked with tool %d. %s"
    % (at, at, at * 7, at * 13, b"Then it is cleaned and put back where it belongs. " * 12)
    for at in range(160)
)


class World:
    """A hub with a librarian, its HTTPS, and devices. `post` is what devices fetch by."""

    def __init__(self, fleet: MemoryFleet, knowledge: Knowledge) -> None:
        self.fleet = fleet
        self.knowledge = knowledge
        self.index = MemoryVectors()
        self.embedder = HashingEmbedder(MODEL)
        self.requests: list[FetchByHttps] = []
        self.alter: Callable[[bytes], bytes] = bytes
        self._desk = FetchDesk()
        self._courier = Courier(clock=fleet.clock, salt_of=SALT_OF, on_ordered=fleet.wake)

    def post(self, body: bytes) -> bytes:
        request = FetchByHttps.model_validate_json(body)
        self.requests.append(request)
        with self.fleet.database.read() as session:
            return self.alter(self._desk.answer(session, request))

    async def publish(self, **documents: bytes) -> None:
        await self.knowledge.publish({f"{name}.md": text for name, text in documents.items()}, tenant=TENANT)
        self.round()

    def round(self) -> None:
        self._courier.round(self.fleet.database)

    @asynccontextmanager
    async def device(
        self, *, linked: bool = True, model: LanguageModel | None = None, **changes: Any
    ) -> AsyncIterator[MemoryDevice]:
        async with self.fleet.device(
            "till-1", model or ScriptedModel(), linked=linked, embedder=self.embedder,
            vectors=lambda _directory: self.index, post=self.post,
            **{"index": "on", "knowledge": (NAME,), **changes},
        ) as device:  # fmt: skip
            yield device

    def delivery(self) -> tuple[str, int, str] | None:
        """State, revision reported, code."""
        with self.fleet.database.read() as session:
            key = self.knowledge.row(session, NAME, TENANT).id
            row = session.get(KnowledgeDelivery, (f"{TENANT}.till-1", key))
            return None if row is None else (row.state, row.reported, row.code)

    async def delivered(self, state: str, number: int = 0) -> None:
        async def stands() -> bool:
            self.round()
            found = self.delivery()
            return found is not None and found[0] == state and found[1] >= number

        await eventually(f"the delivery to be {state}", stands)

    def at_hub(self, question: str) -> Findings:
        names = self.knowledge.replica.names(TENANT, [NAME])
        return self.knowledge.replica.library.search(query_of(question, vector_of(question)), names, limit=10)


@asynccontextmanager
async def world_in(directory: Path) -> AsyncIterator[World]:
    async with MemoryFleet(directory) as fleet:
        knowledge = knowledge_in(fleet.database, fleet.clock, directory / "hub-library")
        with closing(knowledge.replica.library):
            knowledge.create(tenant=TENANT)
            yield World(fleet, knowledge)


def of(device: MemoryDevice) -> dict[str, Any]:
    """What its status says of the collection."""
    (only,) = device.daemon.knowledge.status()
    return only


def ranking(found: Findings) -> list[tuple[bytes, float]]:
    return [(each.item.key, each.score) for each in found.passages]


async def test_a_subscriber_finds_what_the_hub_finds_also_when_it_is_cut_off(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device() as device:
        await eventually("the report", lambda: _reports(world))
        await world.publish(pump=PUMP, oven=OVEN)
        await world.delivered("applied", 1)
        assert world.requests == []  # it came along with the order
        device.link.cut()
        for question in (QUESTION, "How hot is the oven?", "filter", "nothing of the kind"):
            found = await device.daemon.knowledge_lookup.search(question, limit=10)
            assert ranking(found) == ranking(world.at_hub(question))
            assert (found.is_supported, found.ranked_by) == (
                world.at_hub(question).is_supported,
                "fused",
            )
        status = of(device)
        assert (status["revision"], status["held_chunks"], status["problem"]) == (1, status["chunks"], None)


async def _reports(world: World) -> bool:
    world.round()
    twin = await world.fleet.twin("till-1")
    return twin.reported is not None


async def test_what_is_large_is_fetched_and_a_change_of_it_only_in_part(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device() as device:
        await world.publish(care=LONG)
        await world.delivered("applied", 1)
        assert len(world.requests) == 2
        fetched = len(world.requests)
        await world.publish(care=LONG + b"\n\nThe last word is grease.")
        await world.delivered("applied", 2)
        assert len(world.requests) == fetched
        found = await device.daemon.knowledge_lookup.search("grease", limit=3)
        assert found.passages[0].item.text == "The last word is grease."
        assert ranking(found) == ranking(world.at_hub("grease"))[:3]


async def test_what_is_removed_leaves_nothing(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device() as device:
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        home = tmp_path / "till-1"
        assert (home / "knowledge" / FILE).exists()
        with world.fleet.database.write() as session:
            row = world.knowledge.row(session, NAME, TENANT)
            change = ChangeCollection(audience=Audience(sites=["elsewhere"]))
            service.change(row, change, by="ada", now=world.fleet.clock.now())
        await world.delivered("withdrawn")

        async def is_gone() -> bool:
            world.round()
            return world.delivery() is None and not (home / "knowledge").exists()

        await eventually("it to be gone", is_gone)
        assert world.index.held == {}
        with pytest.raises(RefusedError, match="holds no knowledge"):
            await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
    # SQLite's log of changes goes with the last connection.
    assert _files_with(home, b"valve V2") == []


async def test_a_removed_collection_goes_from_devices_too(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device():
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        with world.fleet.database.write() as session:
            row = world.knowledge.row(session, NAME, TENANT)
            ordered = withdraw_everywhere(session, row, world.fleet.clock.now())
            service.remove(session, row)
        world.fleet.wake(ordered)
        folder = tmp_path / "till-1" / "knowledge"
        await eventually("it to be gone", lambda: _is_not_there(folder))


async def _is_not_there(path: Path) -> bool:
    return not path.exists()


async def test_a_setting_takes_it_away_at_once_and_offline(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world:
        async with world.device():
            await world.publish(pump=PUMP)
            await world.delivered("applied", 1)
        async with world.device(linked=False, knowledge=()):
            folder = tmp_path / "till-1" / "knowledge"
            await eventually("it to be gone", lambda: _is_not_there(folder))


async def test_the_hub_may_name_the_collections(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device(knowledge=()) as device:
        await world.publish(pump=PUMP)
        assert device.daemon.knowledge.status() == []
        await world.fleet.desire({"knowledge": [NAME]}, device="till-1")
        await world.delivered("applied", 1)
        await world.fleet.desire({"knowledge": []}, device="till-1")
        folder = tmp_path / "till-1" / "knowledge"
        await eventually("it to be gone", lambda: _is_not_there(folder))


async def test_a_broken_index_keeps_nothing_that_is_to_be_gone(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device(knowledge=()) as device:
        await world.publish(pump=PUMP)
        await world.fleet.desire({"knowledge": [NAME]}, device="till-1")
        await world.delivered("applied", 1)
        world.index.is_broken = True
        await world.fleet.desire({"knowledge": []}, device="till-1")
        folder = tmp_path / "till-1" / "knowledge"
        await eventually("it to be gone", lambda: _is_not_there(folder))
        assert world.index.held == {}
        assert device.daemon.knowledge.problem is None


async def test_a_device_that_starts_offline_answers_from_what_it_holds(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        async with world.device():
            await world.publish(pump=PUMP)
            await world.delivered("applied", 1)
        async with world.device(linked=False) as device:
            await eventually("the collection", lambda: _holds(device))
            found = await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
            assert found.passages[0].item.text == "Close valve V2 before cleaning the pump."


async def _holds(device: MemoryDevice) -> bool:
    return bool(device.daemon.knowledge.names)


def _other_contents(data: bytes) -> bytes:
    """What stands in a pack was altered on its way."""
    try:
        unpack(data, model=MODEL, wanted=())
    except ProtocolError:
        return data
    return pack([Content((), "Open valve V2 while cleaning.", b"")], model=MODEL)


FORGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: data[:-1], "pack_broken"),
    "empty": (lambda _data: b"", "pack_broken"),
    "other contents": (_other_contents, "content_differs"),
    "another manifest": (lambda _data: fold(_another().raw), "manifest_differs"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_forged_manifests_are_refused_and_the_old_revision_serves(tmp_path: Path, name: str) -> None:
    """P28"""
    forge, code = FORGED[name]
    async with world_in(tmp_path) as world, world.device() as device:
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        world.alter = forge
        await world.publish(care=LONG)
        await world.delivered("refused", 1)
        assert world.delivery() == ("refused", 1, code)
        assert (of(device)["revision"], of(device)["offered"]) == (1, 2)
        assert of(device)["problem"]
        found = await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
        assert found.passages[0].item.text == "Close valve V2 before cleaning the pump."


async def test_a_manifest_of_another_tenant_is_refused_whoever_ordered_it(tmp_path: Path) -> None:
    """P28"""
    foreign = Manifest(tenant="other", name=NAME, number=1, labels=[], model=MODEL, documents=[], chunks=[])
    inline = wrap(Inline(lead=fold(foreign.raw)))
    assert inline is not None
    blob = Blob(salt=bytes(16), content=inline)
    order = KnowledgeOffered(
        at_ms=1, collection=NAME, number=1, hash=foreign.hash, root=foreign.root, model=MODEL, chunks=0,
        content_bytes=0, inline=blob.ref(),
    )  # fmt: skip
    async with world_in(tmp_path) as world, world.device() as device:
        with world.fleet.database.write() as session:
            now = world.fleet.clock.now()
            append_order(session, principal=device.principal, records=[(order, (blob,))], now=now)
        world.fleet.wake({device.principal})

        async def is_refused() -> bool:
            said = [each for each in await records(device.journal) if isinstance(each, KnowledgeRefused)]
            return [each.reason for each in said] == ["manifest_of_another"]

        await eventually("it to be refused", is_refused)
        assert "another tenant" in of(device)["problem"]
        assert device.daemon.knowledge.names == ()


async def test_embeddings_of_another_model_are_refused_and_explained(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world:
        world.embedder.of_model = bytes(32)
        async with world.device() as device:
            await world.publish(pump=PUMP)
            await world.delivered("refused")
            assert world.delivery() == ("refused", 0, "model_differs")
            assert "install the hub's embedding model" in of(device)["problem"]
        world.embedder.of_model = MODEL
        async with world.device():
            await world.delivered("applied", 1)


async def test_without_an_index_it_is_found_by_keywords_and_says_so(tmp_path: Path) -> None:
    async with (
        world_in(tmp_path) as world,
        world.fleet.device("till-1", ScriptedModel(), post=world.post, knowledge=(NAME,)) as device,
    ):
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        found = await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
        assert found.ranked_by == "keywords"
        assert "no vector index" in (found.note or "")
        assert found.passages[0].item.text == "Close valve V2 before cleaning the pump."


async def test_a_device_without_room_holds_the_documents_that_fit_and_says_which_part(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device(knowledge_max_bytes=60_000) as device:
        await world.publish(care=LONG, pump=PUMP)
        await world.delivered("partial", 1)
        assert world.delivery() == ("partial", 1, "no_room")
        status = of(device)
        assert (status["held_chunks"], status["chunks"]) == (3, 164)
        assert "no room" in status["problem"]
        found = await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
        assert found.passages[0].item.document == "pump.md"
        await world.fleet.desire({"knowledge_max_bytes": 10_000_000}, device="till-1")
        await world.delivered("applied", 1)
        assert of(device)["held_chunks"] == 164


async def test_a_full_disk_keeps_the_old_revision_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P28"""
    async with world_in(tmp_path) as world, world.device() as device:
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        with device.daemon.knowledge._shelf.library() as library:
            library._writer.execute("PRAGMA max_page_count=60")  # what a full disk says, the file says
            await world.publish(care=LONG)
            await world.delivered("refused", 1)
        assert world.delivery() == ("refused", 1, "disk_full")
        assert "The disk is full" in of(device)["problem"]
        found = await device.daemon.knowledge_lookup.search(QUESTION, limit=1)
        assert found.passages[0].item.text == "Close valve V2 before cleaning the pump."


async def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """P28"""
    async with world_in(tmp_path) as world:

        def away(data: bytes) -> bytes:
            if len(world.requests) > 1:
                raise UnavailableError("The hub does not answer.")
            return data

        async with world.device() as device:
            world.alter = away
            await world.publish(care=LONG)
            await eventually("it to wait", lambda: _waits(device))
            world.alter = bytes
            await world.delivered("applied", 1)


def _another() -> Manifest:
    """Of this very collection, by somebody else."""
    return Manifest(tenant=TENANT, name=NAME, number=2, labels=[], model=MODEL, documents=[], chunks=[])


async def answer_of(device: MemoryDevice, question: str) -> tuple[str, Ended]:
    """What was shown while it came, and the end."""
    runner, shown = device.daemon.runner, ""
    task = await runner.submit(question)
    async with runner.watch(task) as progress:
        async for item in progress:
            if isinstance(item, TextDelta):
                shown += item.text
            elif isinstance(item, Ended):
                return shown, item
    raise AssertionError("it did not end")


async def test_a_device_that_is_cut_off_answers_with_its_sources_and_never_more_than_they_say(
    tmp_path: Path,
) -> None:
    words = "Close valve V2 before cleaning the pump. Then call 555 for a free lunch."
    async with world_in(tmp_path) as world, world.device(model=ScriptedModel(words)) as device:
        await world.publish(pump=PUMP, oven=OVEN)
        await world.delivered("applied", 1)
        device.link.cut()
        shown, end = await answer_of(device, QUESTION)
        assert end.state is NodeState.SUCCEEDED
        first, *_, source = end.text.splitlines()
        assert first == "Close valve V2 before cleaning the pump. [1]"
        assert source.startswith("[1] Pump")
        assert "lunch" not in end.text + shown
        assert shown == end.text


async def test_what_knowledge_does_not_say_the_agent_answers_as_ever(tmp_path: Path) -> None:
    model = ScriptedModel('{"action": "answer", "arguments": {}}', "It is a fine day.")
    async with world_in(tmp_path) as world, world.device(model=model) as device:
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        _, end = await answer_of(device, "Tell me a joke about elephants")
        assert end.text == "It is a fine day."


async def test_labels_of_a_collection_reach_the_rules(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, world.device(model=ScriptedModel("Close valve V2.")) as device:
        with world.fleet.database.write() as session:
            row = world.knowledge.row(session, NAME, TENANT)
            service.change(row, ChangeCollection(labels=["patient"]), by="ada", now=world.fleet.clock.now())
        await world.publish(pump=PUMP)
        await world.delivered("applied", 1)
        await answer_of(device, QUESTION)
        (result,) = [each for each in await records(device.journal) if isinstance(each, ToolResult)]
        assert {"patient", "untrusted"} <= set(result.labels)


async def _waits(device: MemoryDevice) -> bool:
    return bool(of(device)["problem"] == "The hub does not answer.")


def _files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and text in path.read_bytes()]

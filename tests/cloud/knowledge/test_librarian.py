"""Documents become revisions: read once, embedded once, published when all are read, whatever some of them are."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from cloud.knowledge import publishing, service
from cloud.knowledge.librarian import ATTEMPTS_MAX, CLAIM_S, EMBED_BATCH
from cloud.knowledge.schemas import ChangeCollection
from cloud.knowledge.tables import (
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
)
from shared.errors import CapacityError, ConfigError, ConflictError, RefusedError, UnavailableError
from shared.folded import fold
from shared.knowledge.manifest import CHUNKS_MAX
from tests.cloud.knowledge.world import KEEP, NAME, OVEN, PUMP, TENANT, WAITING_MAX_BYTES, Knowledge
from tests.support.device import bytes_from
from tests.support.library import BROKEN, HANGING, MODEL, SURPRISING

pytestmark = pytest.mark.slow

OTHER_MODEL = bytes_from("another model", 32)


async def test_what_was_added_is_found_once_it_is_published(knowledge: Knowledge) -> None:
    knowledge.create(labels=("internal",))
    await knowledge.publish({"pump.md": PUMP, "oven.md": OVEN})
    view = knowledge.view()
    assert (view.revision, view.documents, view.chunks, view.ready, view.is_publishing) == (1, 2, 5, 2, False)
    found = knowledge.search("cleaning the pump valve")
    assert found.passages[0].item.text == "Close valve V2 before cleaning the pump."
    assert (found.passages[0].labels, found.passages[0].number) == (("internal",), 1)
    assert knowledge.published == [(TENANT, NAME)]


async def test_the_same_bytes_are_read_and_embedded_once(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    embedded = knowledge.embeddings.embedded
    await knowledge.publish({"pump.md": PUMP, "copy.md": PUMP})
    assert knowledge.scribe.read_names == ["pump.md", "copy.md"]
    assert knowledge.embeddings.embedded == embedded
    assert knowledge.view().revision == 2
    await knowledge.publish({"pump.md": PUMP})
    assert knowledge.view().revision == 2


async def test_a_document_that_cannot_be_read_stops_no_other(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"bad.pdf": BROKEN, "pump.md": PUMP})
    view = knowledge.view()
    assert (view.revision, view.ready, view.refused, view.documents) == (1, 1, 1, 1)
    with knowledge.database.read() as session:
        (bad, _) = service.list_documents(
            session, service.get(session, TENANT, NAME), after="", limit=9
        ).documents
    assert (bad.state, bad.code, bad.message) == (
        "refused",
        "file_broken",
        "The file is broken; save it again.",
    )


async def test_a_document_for_which_a_collection_has_no_room_holds_up_no_collection(
    knowledge: Knowledge,
) -> None:
    """Found only once it is read: as bytes it is small, and the same passages again cost nothing to embed."""
    knowledge.create()
    knowledge.create("other")
    fifth = b"\n\n".join([b"Again."] * (CHUNKS_MAX // 5))
    last = fifth + b"\n\nAgain."
    for name, content in [*((f"{number}.md", fifth) for number in range(4)), ("last.md", last)]:
        knowledge.put({name: content})
        await knowledge.librarian.work()
    knowledge.ask()
    knowledge.ask("other")
    await knowledge.librarian.work()
    assert (knowledge.view().ready, knowledge.view().refused, knowledge.view().is_publishing) == (4, 1, False)
    assert not knowledge.view("other").is_publishing
    knowledge.remove("0.md")
    for name, content in (("last.md", last), ("0.md", fifth)):  # what the latter holds is known still
        knowledge.put({name: content})
        await knowledge.librarian.work()
    assert (knowledge.view().ready, knowledge.view().refused) == (4, 1)


async def test_a_mistake_of_ours_with_a_document_stops_no_other(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"odd.pdf": SURPRISING, "pump.md": PUMP})
    assert (knowledge.view().ready, knowledge.view().refused) == (1, 1)


async def test_the_version_before_serves_when_the_new_bytes_cannot_be_read(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    await knowledge.publish({"pump.md": BROKEN, "oven.md": OVEN})
    assert knowledge.view().documents == 2
    assert knowledge.texts("valve")[0] == "Close valve V2 before cleaning the pump."
    await knowledge.publish({"pump.md": PUMP})
    assert (knowledge.view().refused, knowledge.view().ready) == (0, 2)


async def test_a_revision_waits_until_every_document_is_read(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"pump.md": PUMP, "oven.md": HANGING})
    knowledge.ask()
    with pytest.raises(UnavailableError):
        await knowledge.librarian.work()
    assert (knowledge.view().revision, knowledge.view().is_publishing) == (0, True)
    knowledge.put({"oven.md": OVEN})
    await knowledge.librarian.work()
    assert (knowledge.view().revision, knowledge.view().documents) == (1, 2)


async def test_a_document_on_which_process_after_process_ends_is_given_up(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"pump.md": PUMP})
    for _ in range(ATTEMPTS_MAX):
        with knowledge.database.write() as session:  # as a process that claimed it and was killed
            upload = session.exec(select(KnowledgeUpload)).one()
            upload.attempts += 1
            upload.claimed_until = knowledge.clock.now() + timedelta(seconds=CLAIM_S)
        knowledge.ask()
        await knowledge.librarian.work()
        assert knowledge.view().waiting == 1
        knowledge.clock.advance(timedelta(seconds=CLAIM_S + 1))
    await knowledge.librarian.work()
    assert (knowledge.view().waiting, knowledge.view().refused) == (0, 1)


LONG = "\n\n".join(["# Long", *(f"Row {row}." for row in range(2 * EMBED_BATCH))]).encode()
"""Three batches."""


async def test_nobody_waits_for_a_document_of_very_many_passages(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.create("other")

    def come() -> None:
        if knowledge.embeddings.embedded == EMBED_BATCH:
            knowledge.put({"bad.pdf": BROKEN, "pump.md": PUMP}, "other")
            knowledge.ask("other")

    knowledge.embeddings.on_embedded = come
    await knowledge.publish({"long.md": LONG})
    assert knowledge.published == [(TENANT, "other"), (TENANT, NAME)]
    assert knowledge.view().chunks == 2 * EMBED_BATCH + 1


async def test_nobody_waits_for_several_documents_of_very_many_passages(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.create("other")

    def come() -> None:
        if knowledge.embeddings.embedded == 2 * EMBED_BATCH:  # one of each of two
            knowledge.put({"bad.pdf": BROKEN, "pump.md": PUMP}, "other")
            knowledge.ask("other")
        elif not waited and knowledge.published:
            waited.append(knowledge.embeddings.embedded - 2 * EMBED_BATCH)

    waited: list[int] = []
    """Contents that were embedded before the other collection was published: its own three, and the next batch."""
    knowledge.embeddings.on_embedded = come
    also_long = {f"{name}.md": LONG.replace(b"Row", name.encode()) for name in ("Line", "Entry")}
    await knowledge.publish({"long.md": LONG, **also_long})
    assert waited == [EMBED_BATCH + 3]
    assert knowledge.published == [(TENANT, "other"), (TENANT, NAME)]
    assert knowledge.view().chunks == 3 * (2 * EMBED_BATCH + 1)


async def test_a_long_document_stays_claimed_for_as_long_as_it_takes(knowledge: Knowledge) -> None:
    knowledge.create()
    claims: list[tuple[datetime | None, datetime]] = []

    def look() -> None:
        with knowledge.database.read() as session:
            uploads = session.exec(select(KnowledgeUpload)).all()
        claims.extend((each.claimed_until, knowledge.clock.now()) for each in uploads)
        knowledge.clock.advance(seconds=CLAIM_S - 1)

    knowledge.embeddings.on_embedded = look
    await knowledge.publish({"long.md": LONG})
    assert [until is not None and until > now for until, now in claims] == [True] * 3
    assert knowledge.scribe.read_names == ["long.md"]


async def test_a_long_document_that_is_taken_back_is_left_there(knowledge: Knowledge) -> None:
    knowledge.create()

    def take_back() -> None:
        if knowledge.embeddings.embedded == EMBED_BATCH:
            knowledge.remove("long.md")

    knowledge.embeddings.on_embedded = take_back
    await knowledge.publish({"long.md": LONG})
    assert knowledge.embeddings.embedded == EMBED_BATCH
    assert knowledge.view().documents == 0


def end_in_second_batch(knowledge: Knowledge, end: BaseException) -> None:
    """The first is embedded and kept; the second is embedded too, and lost."""
    seen = iter(range(2))

    def look() -> None:
        if next(seen) == 1:
            raise end

    knowledge.embeddings.on_embedded = look


@pytest.mark.parametrize(
    "end", [ConfigError("gone"), asyncio.CancelledError()], ids=["unavailable", "stopped"]
)
async def test_what_is_kept_of_a_long_document_is_not_embedded_again(
    knowledge: Knowledge, end: BaseException
) -> None:
    knowledge.create()
    knowledge.create("other")
    knowledge.put({"long.md": LONG})
    knowledge.ask()
    counts = []
    for _ in range(2):
        end_in_second_batch(knowledge, end)
        with pytest.raises(type(end)):
            await knowledge.librarian.work()
        counts.append(knowledge.embeddings.embedded)
        with knowledge.database.write() as session:
            upload = session.exec(select(KnowledgeUpload)).one()
            assert upload.claimed_until is None, "whoever comes next goes on at once"
            publishing.prune(session, knowledge.row(session, "other"))
    knowledge.embeddings.on_embedded = lambda: None
    await knowledge.librarian.work()
    assert counts == [2 * EMBED_BATCH, 3 * EMBED_BATCH + 1]
    assert knowledge.embeddings.embedded == 3 * EMBED_BATCH + 2
    assert knowledge.view().chunks == 2 * EMBED_BATCH + 1


async def test_a_long_document_is_not_given_up_while_it_gets_further(knowledge: Knowledge) -> None:
    knowledge.create()
    rows = (ATTEMPTS_MAX + 2) * EMBED_BATCH
    knowledge.put({"long.md": "\n\n".join(f"Row {row}." for row in range(rows)).encode()})
    knowledge.ask()
    for _ in range(ATTEMPTS_MAX + 1):
        end_in_second_batch(knowledge, SystemExit())  # killed: nobody gives the claim back
        with pytest.raises(SystemExit):
            await knowledge.librarian.work()
        assert knowledge.view().waiting == 1
        knowledge.clock.advance(timedelta(seconds=CLAIM_S + 1))
    knowledge.embeddings.on_embedded = lambda: None
    await knowledge.librarian.work()
    assert knowledge.view().chunks == rows


async def test_nothing_is_left_of_a_long_document_that_was_taken_back(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})

    def take_back() -> None:
        if knowledge.embeddings.embedded > 2 * EMBED_BATCH:
            knowledge.remove("long.md")

    knowledge.embeddings.on_embedded = take_back
    await knowledge.publish({"long.md": LONG})
    with knowledge.database.read() as session:
        assert not [row for row in session.exec(select(KnowledgeContent)) if row.text.startswith("Row")]


async def test_a_claim_does_not_touch_another_document_that_got_its_number(knowledge: Knowledge) -> None:
    """SQLite gives the number of the last row away again once that is deleted."""
    knowledge.create()

    def replace() -> None:
        if knowledge.embeddings.embedded == EMBED_BATCH:
            knowledge.remove("long.md")
            knowledge.put({"a.md": PUMP, "long.md": LONG})

    knowledge.embeddings.on_embedded = replace
    await knowledge.publish({"long.md": LONG})
    view = knowledge.view()
    assert (view.ready, view.waiting, view.documents) == (2, 0, 2)


async def test_a_mistake_with_one_revision_or_document_ends_nothing_else(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowledge.create("other")
    knowledge.create()
    made = publishing.publish

    def publish(session: Session, collection: KnowledgeCollection, **others: Any) -> KnowledgeRevision | None:
        if collection.name == "other":
            raise ValueError("nobody thought of that")
        return made(session, collection, **others)

    def fold_unless_odd(raw: bytes) -> bytes:
        if b"oven" in raw:
            raise ValueError("nor of that")
        return fold(raw)

    monkeypatch.setattr(publishing, "publish", publish)
    monkeypatch.setattr("cloud.knowledge.librarian.fold", fold_unless_odd)
    knowledge.put({"pump.md": PUMP}, "other")
    knowledge.ask("other")
    knowledge.put({"oven.md": OVEN, "pump.md": PUMP})
    knowledge.ask()
    for _ in range(ATTEMPTS_MAX + 1):
        await knowledge.librarian.work()
        knowledge.clock.advance(timedelta(seconds=CLAIM_S + 1))
    assert (knowledge.view().revision, knowledge.view().ready, knowledge.view().refused) == (1, 1, 1)
    monkeypatch.setattr(publishing, "publish", made)
    await knowledge.librarian.work()
    assert knowledge.view("other").revision == 1


async def test_what_two_processes_read_is_stored_once(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"pump.md": PUMP})
    knowledge.ask()
    slow = knowledge.librarian._claim()
    knowledge.clock.advance(timedelta(seconds=CLAIM_S + 1))
    await knowledge.librarian.work()
    assert slow is not None
    await knowledge.librarian._read(slow)
    assert (knowledge.view().ready, knowledge.view().revision) == (1, 1)


async def test_documents_wait_while_the_model_is_missing(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"pump.md": PUMP})
    knowledge.ask()
    knowledge.embeddings.is_missing = True
    for _ in range(ATTEMPTS_MAX + 1):
        with pytest.raises(ConfigError):
            await knowledge.librarian.work()
    knowledge.embeddings.is_missing = False
    await knowledge.librarian.work()
    assert knowledge.view().revision == 1


async def test_what_was_replaced_while_it_was_read_is_not_taken(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"pump.md": PUMP})
    claim = knowledge.librarian._claim()
    assert claim is not None
    knowledge.put({"pump.md": OVEN})
    await knowledge.librarian._read(claim)
    assert knowledge.view().waiting == 1
    knowledge.ask()
    await knowledge.librarian.work()
    knowledge.replica.refresh()
    assert set(knowledge.texts("valve pump oven")) == {"The oven reaches 250 degrees.", "# Oven"}


async def test_a_document_that_was_taken_out_is_gone_with_the_next_revision(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP, "oven.md": OVEN})
    knowledge.remove("pump.md")
    await knowledge.publish({})
    assert knowledge.view().revision == 2
    assert "Close valve V2 before cleaning the pump." not in knowledge.texts("valve")
    with pytest.raises(RefusedError, match="no document"):
        knowledge.remove("pump.md")


async def test_removal_everywhere_drops_the_revisions_that_had_it(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    await knowledge.publish({"oven.md": OVEN})
    knowledge.remove("pump.md")
    await knowledge.publish({})
    knowledge.put({"x.md": b"# X\n\nmore"})
    with knowledge.database.read() as session:
        assert session.exec(select(KnowledgeVersion).where(KnowledgeVersion.name == "pump.md")).all()
    knowledge.put({"pump.md": PUMP})
    assert knowledge.remove("pump.md", everywhere=True) == [1, 2]
    with knowledge.database.read() as session:
        assert not session.exec(select(KnowledgeVersion).where(KnowledgeVersion.name == "pump.md")).all()
        assert all("valve" not in row.text for row in session.exec(select(KnowledgeContent)))


async def test_removal_everywhere_drops_the_newest_revision_too(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP, "oven.md": OVEN})
    knowledge.put({"long.md": LONG})
    assert knowledge.remove("pump.md", everywhere=True) == [1]
    assert (knowledge.view().revision, knowledge.view().documents, knowledge.view().waiting) == (2, 1, 1)
    with knowledge.database.read() as session:
        assert not session.exec(select(KnowledgeVersion).where(KnowledgeVersion.name == "pump.md")).all()
        assert all("valve" not in row.text for row in session.exec(select(KnowledgeContent)))
    await knowledge.publish({})
    with pytest.raises(RefusedError, match="no revision"):
        knowledge.roll_back(1)


async def test_a_roll_back_is_a_new_revision_with_the_documents_of_then(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    root = knowledge.manifest().root
    await knowledge.publish({"pump.md": OVEN, "oven.md": OVEN})
    knowledge.roll_back(1)
    assert (knowledge.view().revision, knowledge.view().documents) == (3, 1)
    assert knowledge.manifest().root == root
    assert knowledge.texts("valve")[0] == "Close valve V2 before cleaning the pump."
    await knowledge.publish({})
    assert knowledge.view().revision == 3  # the documents are what they were then
    with pytest.raises(RefusedError, match="no revision"):
        knowledge.roll_back(77)
    knowledge.put({"new.md": b"# New\n\nnew"})
    with pytest.raises(ConflictError):
        knowledge.roll_back(1)


async def test_old_revisions_go_with_what_only_they_needed(knowledge: Knowledge) -> None:
    knowledge.create()
    for number in range(KEEP + 2):
        await knowledge.publish({"log.md": f"# Log\n\nentry number {number}".encode()})
    with knowledge.database.read() as session:
        row = knowledge.row(session)
        assert [each.number for each in service.list_revisions(session, row, limit=99)] == [5, 4, 3]
        texts = {content.text for content in session.exec(select(KnowledgeContent))}
    assert texts == {"# Log", *(f"entry number {number}" for number in range(2, KEEP + 2))}


async def test_labels_hold_from_the_next_revision_on(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    with knowledge.database.write() as session:
        service.change(
            knowledge.row(session), ChangeCollection(labels=["patient"]), by="ada", now=knowledge.clock.now()
        )
    await knowledge.publish({})
    assert (knowledge.view().revision, knowledge.manifest().labels) == (2, ("patient",))
    assert knowledge.search("valve").passages[0].labels == ("patient",)


async def test_another_embedding_model_embeds_everything_anew(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    knowledge.embeddings.model = OTHER_MODEL
    await knowledge.librarian._ask_for_present_model()
    await knowledge.librarian.work()
    knowledge.replica.refresh()
    assert knowledge.manifest().model == knowledge.embeddings.model
    assert knowledge.scribe.read_names == ["pump.md"]
    assert knowledge.search("valve").ranked_by == "fused"


async def test_what_is_kept_of_a_long_document_is_not_embedded_anew_again(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.create("other")
    await knowledge.publish({"long.md": LONG})
    knowledge.embeddings.model, knowledge.embeddings.embedded = OTHER_MODEL, 0
    await knowledge.librarian._ask_for_present_model()
    end_in_second_batch(knowledge, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await knowledge.librarian.work()
    with knowledge.database.write() as session:
        publishing.prune(session, knowledge.row(session, "other"))

    def come() -> None:
        if knowledge.embeddings.embedded == 3 * EMBED_BATCH:
            knowledge.put({"pump.md": PUMP}, "other")
            knowledge.ask("other")

    knowledge.embeddings.on_embedded = come
    await knowledge.librarian.work()
    assert knowledge.embeddings.embedded == 3 * EMBED_BATCH + 1 + 3, (
        "but for the batch that was lost, once each"
    )
    assert knowledge.published[1:] == [(TENANT, "other"), (TENANT, NAME)], "nobody waited"
    assert knowledge.manifest().model == OTHER_MODEL


async def test_nothing_is_left_of_what_was_embedded_anew_in_vain(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"long.md": LONG})
    knowledge.embeddings.model = OTHER_MODEL
    await knowledge.librarian._ask_for_present_model()
    end_in_second_batch(knowledge, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await knowledge.librarian.work()
    knowledge.embeddings.on_embedded, knowledge.embeddings.model = lambda: None, MODEL
    await knowledge.librarian.work()
    with knowledge.database.read() as session:
        assert {row.model for row in session.exec(select(KnowledgeContent))} == {MODEL}


async def test_the_embedding_model_may_be_changed_back(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    before = knowledge.embeddings.embedded
    for model in (OTHER_MODEL, MODEL, OTHER_MODEL):
        knowledge.embeddings.model = model
        await knowledge.librarian._ask_for_present_model()
        await knowledge.librarian.work()
        assert knowledge.manifest().model == model
    assert knowledge.embeddings.embedded == 2 * before, "what a kept revision has is not embedded again"


async def test_a_revision_of_another_embedding_model_can_be_rolled_back_to(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    knowledge.embeddings.model = OTHER_MODEL
    await knowledge.librarian._ask_for_present_model()
    await knowledge.librarian.work()
    knowledge.roll_back(1)
    await knowledge.librarian.work()
    assert (knowledge.view().revision, knowledge.manifest().model) == (4, OTHER_MODEL)


async def test_tenants_do_not_meet(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.create(tenant="acme")
    await knowledge.publish({"pump.md": PUMP})
    embedded = knowledge.embeddings.embedded
    await knowledge.publish({"pump.md": PUMP}, tenant="acme")
    assert knowledge.embeddings.embedded == 2 * embedded  # nothing tells one what another has
    await knowledge.publish({"oven.md": OVEN}, tenant="acme")
    assert "The oven reaches 250 degrees." in knowledge.texts("oven degrees", tenant="acme")
    assert "The oven reaches 250 degrees." not in knowledge.texts("oven degrees")
    with pytest.raises(RefusedError, match="no collection"):
        knowledge.replica.names("acme", ["elsewhere"])


async def test_a_removed_collection_leaves_nothing(knowledge: Knowledge) -> None:
    knowledge.create()
    await knowledge.publish({"pump.md": PUMP})
    with knowledge.database.write() as session:
        service.remove(session, knowledge.row(session))
    assert knowledge.replica.refresh() == 1
    with knowledge.database.read() as session:
        assert not session.exec(select(KnowledgeContent)).all()
        assert not session.exec(select(KnowledgeVersion)).all()
    assert knowledge.replica.library.held() == []
    assert knowledge.index.held == {}


def test_as_many_documents_as_a_collection_may_hold_and_not_one_more(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({f"{number}.md": PUMP for number in range(5)})
    knowledge.put({"0.md": OVEN})
    with pytest.raises(CapacityError) as caught:
        knowledge.put({"5.md": PUMP})
    assert caught.value.bound == "knowledge_documents_max"


def test_no_more_waits_than_may(knowledge: Knowledge) -> None:
    knowledge.create()
    knowledge.put({"a.md": b"x" * WAITING_MAX_BYTES})
    knowledge.put({"a.md": b"y" * WAITING_MAX_BYTES})  # in the place of the other
    with pytest.raises(CapacityError) as caught:
        knowledge.put({"b.md": b"x"})
    assert caught.value.bound == "knowledge_waiting_max_bytes"

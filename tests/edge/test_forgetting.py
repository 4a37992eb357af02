"""Forgetting: nothing of it stays in any file, the history stays whole, and who asked gets the proof (rule P30)."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.ports import Draft
from shared.blobs import Blob
from shared.errors import RefusedError
from shared.memory.items import Fact
from shared.memory.mentions import ABOUT_MAX_CHARS
from shared.records import MAX_FORGOTTEN, ForgetConfirmed, ForgetOrdered, MemoryForgotten, OrderRecord
from tests.edge.test_memory import asked, held
from tests.support.agent import Probe, act, working
from tests.support.device import task_id_from
from tests.support.hub import ScriptedHub
from tests.support.mind import World, mind_over
from tests.support.model import ScriptedModel
from tests.support.store import PRINCIPAL, opened_journal, records, verified

NAME = "Erika Mustermann"
REQUEST = task_id_from("request")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        yield mind_over(tmp_path, journal)


def files_with(home: Path, words: str) -> list[str]:
    needles = [form.encode() for form in (words, words.lower(), words.upper())]
    return [
        str(path.relative_to(home))
        for path in sorted(home.rglob("*"))
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


async def filled(world: World) -> None:
    """It stands in a fact, in requests, answers, arguments and results of tools, in prompts, and in the index."""
    await world.mind.memory.said(Fact(subject=NAME, relation="phone", value="030 901820"))
    echo = Probe("page", choices=({"who": NAME},))
    await asked(world, f"page {NAME}", act("page", who=NAME), f"{NAME} was paged.", probes=(echo,))
    world.clock.advance(seconds=3_600)
    await asked(world, "hello", "Hello.")
    await world.mind.recall.search("phone")


async def test_nothing_of_it_is_left_in_any_file(world: World) -> None:
    await filled(world)
    assert files_with(world.home, NAME)
    gone = await world.mind.forgetting.forget(NAME)
    assert gone.items == 3  # the fact, the episode, the procedure
    assert gone.contents > 4
    assert (gone.remaining, gone.kept) == ((), 0)
    assert gone.files > 1
    assert files_with(world.home, NAME) == []


async def test_the_rest_stays_and_the_history_is_whole(world: World, tmp_path: Path) -> None:
    await filled(world)
    before = len(await records(world.journal))
    await world.mind.forgetting.forget(NAME)
    (episode,) = await held(world, "episode")
    assert episode.cue == "hello"
    assert len(await records(world.journal)) == before + 2
    assert set(verified(tmp_path / "store.sqlite").values()) == {None}
    assert [each.item.cue for each in (await world.mind.recall.search("hello")).found] == ["hello"]


async def test_case_accents_and_line_breaks_hide_nothing(world: World) -> None:
    await world.mind.memory.said(Fact(subject="erika  MÜSTERMANN", relation="room", value="4"))
    assert (await world.mind.forgetting.forget("Erika Mustermann")).items == 1


async def test_another_word_that_begins_alike_is_not_meant(world: World) -> None:
    await world.mind.memory.said(Fact(subject="Annabelle", relation="room", value="4"))
    assert (await world.mind.forgetting.forget("Anna")).items == 0


async def test_what_open_work_needs_stays_and_is_told(world: World) -> None:
    model = ScriptedModel(act("valve", to="open"))
    probe = Probe("valve", is_idempotent=False)
    async with working(world.journal, model, probe, clock=world.clock, is_stopped=lambda: True) as runner:
        await runner.submit(f"open the valve for {NAME}")
        gone = await world.mind.forgetting.forget(NAME)
    assert gone.kept == 1
    assert "store.sqlite" in gone.remaining


async def test_it_is_told_where_the_hubs_documents_speak_of_it(world: World) -> None:
    found = await world.mind.forgetting.look(NAME)
    assert found.documents == ()


@pytest.mark.parametrize("about", ["", "ab", "   ", "...", "x" * (ABOUT_MAX_CHARS + 1)])
async def test_what_is_too_little_or_too_much_to_look_for_is_refused(world: World, about: str) -> None:
    with pytest.raises(RefusedError) as told:
        await world.mind.forgetting.forget(about)
    assert told.value.code == "invalid"


async def test_the_longest_words_are_looked_for(world: World) -> None:
    assert (await world.mind.forgetting.look("x" * ABOUT_MAX_CHARS)).items == ()


async def test_more_than_one_record_takes_is_forgotten_in_several(world: World) -> None:
    for number in range(MAX_FORGOTTEN + 1):
        await world.mind.memory.said(Fact(subject=NAME, relation=f"note {number}", value="x"))
    gone = await world.mind.forgetting.forget(NAME)
    written = [each for each in await records(world.journal) if isinstance(each, MemoryForgotten)]
    assert sum(len(each.items) for each in written) == gone.items == MAX_FORGOTTEN + 1
    assert [each.is_last for each in written].count(True) == 1
    assert written[-1].is_last


# --- what the hub orders


async def order(world: World, record: OrderRecord, *blobs: Blob) -> None:
    hub = ScriptedHub(PRINCIPAL, device=bytes(32))
    first = hub.order(record, *blobs)
    await world.journal.receive(hub.batch_of_orders(first=first))


async def test_the_hub_gets_a_receipt_and_its_words_go_too(world: World) -> None:
    await filled(world)
    about = Blob(salt=bytes(16), content=NAME.encode())
    await order(world, ForgetOrdered(at_ms=1, request=REQUEST, about=about.ref()), about)
    assert await world.mind.forgetting.obey() == 1
    last = [each for each in await records(world.journal) if isinstance(each, MemoryForgotten)][-1]
    assert (last.request, last.is_last, last.kept) == (REQUEST, True, 0)
    assert files_with(world.home, NAME) == []
    assert await world.mind.forgetting.obey() == 0


async def test_an_order_whose_words_did_not_come_claims_nothing(world: World) -> None:
    about = Blob(salt=bytes(16), content=NAME.encode())
    await order(world, ForgetOrdered(at_ms=1, request=REQUEST, about=about.ref()))
    await world.mind.forgetting.obey()
    (record,) = [each for each in await records(world.journal) if isinstance(each, MemoryForgotten)]
    assert record.kept == 1


async def test_the_hubs_confirmation_is_kept(world: World) -> None:
    await filled(world)
    gone = await world.mind.forgetting.forget(NAME)
    await order(world, ForgetConfirmed(at_ms=7, request=gone.request, contents=3, retracted=1))
    (request,) = await world.mind.store.requests()
    assert (request.hub_ms, request.retracted, request.items) == (7, 1, gone.items)


async def test_no_copy_of_a_row_that_was_moved_is_left(world: World) -> None:
    names = [f"Qzx{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(60)]
    sizes = (5, 50, 200, 400, 700, 1_000, 1_500)
    for number, name in enumerate(names):
        value = f"{name} {'s' * sizes[number * 5 % len(sizes)]}"
        await world.mind.memory.said(Fact(subject=name, relation="phone", value=value))
        if number % 3 == 0:
            await world.mind.memory.said(Fact(subject=name, relation="phone", value=f"{value} again"))
    for name in names[::4]:
        assert (await world.mind.forgetting.forget(name)).remaining == ()
    with closing(sqlite3.connect(world.home / "store.sqlite")) as db:
        assert db.execute("PRAGMA freelist_count").fetchone() == (0,)


async def killed_while_forgetting(world: World, *, is_last: bool) -> None:
    """After the record, before the free pages: nobody knows the words any more."""
    await filled(world)
    found = await world.mind.forgetting.look(NAME)
    await world.mind.store.note_scrub(is_due=True)
    record = MemoryForgotten(
        at_ms=1, request=REQUEST, items=found.items, contents=found.contents, is_last=is_last
    )
    await world.journal.append(Draft(record), durable=True)


@pytest.mark.parametrize("is_last", [False, True])
async def test_a_kill_in_the_midst_of_forgetting_is_made_good(
    world: World, tmp_path: Path, is_last: bool
) -> None:
    await killed_while_forgetting(world, is_last=is_last)
    assert files_with(world.home, NAME)
    again = mind_over(tmp_path, world.journal, clock=world.clock)
    assert await again.mind.forgetting.obey() == 0
    assert files_with(world.home, NAME) == []
    (request,) = await again.mind.store.requests()
    assert (request.done_ms is not None, request.kept) == (True, 0)
    assert not await again.mind.store.is_scrub_due()


async def test_who_asks_what_would_be_forgotten_has_what_was_broken_off_finished(
    world: World, tmp_path: Path
) -> None:
    await killed_while_forgetting(world, is_last=True)
    again = mind_over(tmp_path, world.journal, clock=world.clock)
    assert (await again.mind.forgetting.look(NAME)).items == ()
    assert files_with(world.home, NAME) == []

"""What is remembered of work and of what people say: under the rules, with labels, ended and not overwritten (rule
P30)."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.memory_rows import KEYS_VERSION, has_keys_of_now
from edge.agent import Ended
from edge.core.remembered import Remembered
from edge.core.remembering import Now
from edge.ports import Measurement
from shared.errors import RefusedError
from shared.memory.items import Answer, Episode, Fact, Procedure, Step
from shared.policy.labels import UNTRUSTED
from shared.records import MemoryForgotten, MemoryWritten, PolicyDecided
from tests.support.agent import ANSWER, Probe, act, end_of, working
from tests.support.mind import World, mind_over
from tests.support.model import ScriptedModel
from tests.support.store import opened_journal, records
from tests.support.vector_index import WordEmbedder

LIMIT = Fact(subject="fridge", relation="limit", value="8 °C", said="the fridge's limit is 8 °C")
LOWER = replace(LIMIT, value="6 °C", said="the fridge's limit is 6 °C")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        yield mind_over(tmp_path, journal)


async def held(world: World, *sorts: str) -> list[Remembered]:
    items = await world.mind.recall.genuine(await world.mind.store.items(sorts=sorts))
    return sorted(items, key=lambda each: each.since_ms)


async def asked(
    world: World, request: str, *script: Any, probes: tuple[Probe, ...] = (), **options: Any
) -> Ended:
    """A request that the agent works on, and then thinks about."""
    runner = working(
        world.journal,
        ScriptedModel(*script),
        *probes,
        clock=world.clock,
        tools=world.attic.tools,
        is_of_another_time=world.attic.is_of_another_time,
        looks_up=world.attic.looks_up,
        name=f"{request} {len(await records(world.journal))}",
        **options,
    )
    async with runner as working_runner:
        end = await end_of(working_runner, await working_runner.submit(request))
    await world.mind.memory.think()
    return end


# --- facts


async def test_a_fact_is_a_record_under_the_devices_seal(world: World) -> None:
    kept = await world.mind.memory.said(LIMIT)
    (record,) = [each for each in await records(world.journal) if isinstance(each, MemoryWritten)]
    assert (record.item, record.sort, record.by, record.labels) == (kept.item, "fact", "person", ())
    (item,) = await held(world)
    assert item.content == LIMIT
    assert item.until_ms is None


async def test_a_new_value_ends_the_one_before_and_both_stay(world: World) -> None:
    await world.mind.memory.said(LIMIT)
    world.clock.advance(seconds=3_600)
    kept = await world.mind.memory.said(LOWER)
    assert kept.sentence == "I will remember: the fridge's limit is 6 °C (before: 8 °C)."
    before, after = await held(world)
    assert (before.reason, before.other, before.until_ms) == ("superseded", after.item, after.since_ms)
    assert after.until_ms is None


async def test_what_is_known_already_is_not_written_again(world: World) -> None:
    await world.mind.memory.said(LIMIT)
    kept = await world.mind.memory.said(LIMIT)
    assert kept.outcome == "repeated"
    assert len(await held(world)) == 1


async def test_what_was_so_earlier_ends_where_the_later_value_begins(world: World) -> None:
    await world.mind.memory.said(LOWER)
    (now,) = await held(world)
    kept = await world.mind.memory.said(LIMIT, since_ms=now.since_ms - 1_000)
    assert kept.outcome == "past"
    before, after = await held(world)
    assert (before.content, before.until_ms) == (LIMIT, after.since_ms)
    assert after.until_ms is None


async def test_what_is_not_trusted_ends_nothing_that_is(world: World) -> None:
    await world.mind.memory.said(LIMIT)
    world.clock.advance(seconds=1)
    kept = await world.mind.memory.add(LOWER, by="agent", labels=(UNTRUSTED,))
    assert kept.outcome == "contradicts"
    assert [each.until_ms for each in await held(world)] == [None, None]


async def test_an_item_ends_when_a_person_says_so(world: World) -> None:
    kept = await world.mind.memory.said(LIMIT)
    await world.mind.memory.end(kept.item)
    (item,) = await held(world)
    assert item.reason == "withdrawn"
    with pytest.raises(RefusedError) as told:
        await world.mind.memory.end("aaaaaaaaaaaaaaaa")
    assert told.value.code == "unknown_item"


async def test_what_a_person_asks_to_be_remembered_is_a_fact_and_no_model_is_asked(world: World) -> None:
    end = await asked(world, "Please remember that the fridge's limit is 8 °C.")
    assert end.text == "I will remember: the fridge's limit is 8 °C."
    (item,) = await held(world)
    assert isinstance(item.content, Fact)
    assert (item.content.subject, item.content.relation, item.content.value) == ("fridge", "limit", "8 °C")
    assert (item.by, item.labels) == ("person", ())


async def test_what_was_known_before_keeps_its_labels_when_it_is_told_with_what_is_new(world: World) -> None:
    await world.mind.memory.add(LIMIT, by="agent", labels=("patient",))
    world.clock.advance(seconds=1)
    end = await asked(world, "Remember that the fridge's limit is 6 °C.")
    assert end.text == "I will remember: the fridge's limit is 6 °C (before: 8 °C)."
    decided = [each for each in await records(world.journal) if isinstance(each, PolicyDecided)]
    (told,) = [each for each in decided if each.action == "message.person"]
    assert "patient" in told.labels


# --- finished work


async def test_work_that_succeeded_is_an_episode_with_the_labels_of_its_result(world: World) -> None:
    await asked(
        world, "open the valve", act("valve", to="open"), ANSWER, "It is open.", probes=(Probe("valve"),)
    )
    (episode,) = await held(world, "episode")
    assert (episode.cue, episode.content) == (
        "open the valve",
        Episode(result="It is open.", tools=("valve",)),
    )
    assert UNTRUSTED in episode.labels  # nobody says that what the valve returns is to be trusted


async def test_a_question_that_leans_on_the_one_before_is_found_by_that_too(world: World) -> None:
    await asked(world, "about cold room 2", "Yes?")
    await asked(world, "is it closed?", "It is closed.")
    await asked(world, "put it to 3 degrees", "It stands at 3 degrees.")
    found = await world.mind.recall.search("cold room", sorts=("episode",))
    assert {each.item.cue for each in found.found} == {"about cold room 2"}
    assert [each.content.before for each in await held(world, "episode") if isinstance(each.content, Episode)] == [
        "", "", "is it closed?",
    ]  # fmt: skip


async def test_the_rules_are_asked_before_anything_is_remembered(world: World) -> None:
    await asked(world, "hello", "Hello.")
    decided = [
        each
        for each in await records(world.journal)
        if isinstance(each, PolicyDecided) and each.action == "memory.write"
    ]
    assert [each.decision for each in decided] == ["allow"]


async def test_work_is_thought_about_once_also_after_a_restart(world: World, tmp_path: Path) -> None:
    await asked(world, "hello", "Hello.")
    assert await world.mind.memory.think() == 0
    again = mind_over(tmp_path, world.journal)
    assert await again.mind.memory.think() == 0
    assert len(await held(world, "episode")) == 1


async def test_what_worked_is_a_procedure_that_counts_how_often(world: World) -> None:
    for number in range(3):
        await asked(
            world,
            f"open the valve {number}",
            act("valve", to="open"),
            ANSWER,
            "It is open.",
            probes=(Probe("valve"),),
        )
    (procedure,) = await held(world, "procedure")
    assert procedure.content == Procedure(steps=(Step(tool="valve", arguments={"to": "open"}),))
    assert (procedure.successes, procedure.failures) == (3, 0)


async def test_what_worked_bears_the_labels_of_the_work_that_it_is_from(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = mind_over(tmp_path, journal, embedder=WordEmbedder("open", "valve"), vectors=_no_index)
        script = (act("valve", to="open"), ANSWER, "It is open.")
        await asked(world, "open the valve", *script, probes=(Probe("valve"),))
        found = await world.attic.look_up("open the valve")
        assert found["steps"] == [{"tool": "valve", "arguments": {"to": "open"}}]
        assert found["labels"] == [UNTRUSTED]  # nobody says that what the valve returns is to be trusted


async def test_an_episode_that_tells_what_was_asked_before_bears_the_labels_of_that(world: World) -> None:
    script = (act("valve", to="open"), ANSWER, "It is open.")
    await asked(world, "open the valve", *script, probes=(Probe("valve"),))
    await asked(world, "put it to 3 degrees", "It stands at 3 degrees.")
    await asked(world, "is it closed?", "It is closed.")
    _, leaning, alone = await held(world, "episode")
    assert isinstance(leaning.content, Episode)
    assert (leaning.content.before, leaning.labels) == ("open the valve", (UNTRUSTED,))
    assert alone.labels == ()


async def test_what_the_model_said_by_itself_is_no_answer_to_give_again(world: World) -> None:
    await asked(world, "what is a valve?", "A valve stops a flow.")
    assert await held(world, "answer") == []


async def test_an_answer_from_a_sensor_is_given_again_while_the_sensor_shows_the_same(world: World) -> None:
    sensor = Probe("read_sensor", choices=({"sensor": "fridge"},), outcome=_reading)
    request = "How warm is the fridge at present?"
    await asked(world, request, act("read_sensor", sensor="fridge"), "It is 4 °C.", probes=(sensor,))
    (item,) = await held(world, "answer")
    assert item.content == Answer(text="It is 4 °C.", sensors={"fridge": "4 °C"}, model="scripted")
    world.latest["sensor.fridge"] = Measurement("sensor.fridge", "°C", 4.0)
    assert (await world.attic.look_up(request))["answer"] == {
        "text": "It is 4 °C.",
        "from": "answer",
        "item": item.item,
    }
    world.latest["sensor.fridge"] = Measurement("sensor.fridge", "°C", 5.0)
    assert "answer" not in await world.attic.look_up(request)
    world.latest["sensor.fridge"] = Measurement("sensor.fridge", "°C", 4.0)
    world.now = Now(knowledge={}, rules="another bundle", model="scripted")
    assert "answer" not in await world.attic.look_up(request)


async def _reading(_arguments: object) -> dict[str, object]:
    return {"summary": "4", "sensor": "fridge", "value": 4.0, "unit": "°C"}


# --- bounds


async def test_beyond_the_cap_what_is_worth_least_is_forgotten_by_a_record(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = mind_over(tmp_path, journal, memory_facts_max=2)
        for number in range(4):
            fact = Fact(subject=f"oven {number}", relation="limit", value="9")
            await world.mind.memory.said(fact)
            world.clock.advance(seconds=1)
        assert (await world.mind.tending.tend()).forgotten == 2
        assert [each.text for each in await held(world)] == ["oven 2, limit: 9", "oven 3, limit: 9"]
        (record,) = [each for each in await records(journal) if isinstance(each, MemoryForgotten)]
        assert (len(record.items), record.is_last) == (2, True)


async def test_what_is_too_old_is_forgotten_and_facts_are_not(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = mind_over(tmp_path, journal, memory_keep_s=3_600)
        await asked(world, "hello", "Hello.")
        await world.mind.memory.said(LIMIT)
        world.clock.advance(seconds=7_200)
        await world.mind.tending.tend()
        assert [each.sort for each in await held(world)] == ["fact"]


async def test_the_same_answer_to_the_same_question_is_kept_once(world: World) -> None:
    for _ in range(2):
        await asked(world, "hello there", "Hello.")
        world.clock.advance(seconds=60)
    assert (await world.mind.tending.tend()).merged == 1
    older, newer = await held(world, "episode")
    assert (older.reason, older.other) == ("merged", newer.item)


# --- tampering


async def test_what_was_written_into_the_store_behind_its_back_is_refused_and_reported(world: World) -> None:
    kept = await world.mind.memory.said(LIMIT)
    await world.database.write(
        lambda db: db.execute("UPDATE memory_item SET content = replace(content, '8', '80')"), durable=True
    )
    found = await world.mind.recall.search("fridge limit")
    assert (found.found, found.refused) == ((), (kept.item,))
    assert world.refused == [kept.item]
    assert await world.mind.recall.verify() == [f"fact {kept.item} was changed behind the program's back"]
    with pytest.raises(RefusedError) as told:
        await world.mind.lookup.show(kept.item)
    assert told.value.code == "tampered"


async def test_an_ended_fact_that_somebody_opens_again_is_told_by_the_journal(world: World) -> None:
    kept = await world.mind.memory.said(LIMIT)
    await world.mind.memory.end(kept.item)
    await world.database.write(
        lambda db: db.execute("UPDATE memory_item SET until_ms = NULL, reason = NULL, changed_mac = NULL"),
        durable=True,
    )
    assert await world.mind.recall.verify() == [f"fact {kept.item} does not stand as the journal says"]


async def test_a_fact_that_somebody_gave_the_key_of_another_is_not_told_with_it(world: World) -> None:
    await world.mind.memory.said(LIMIT)
    other = await world.mind.memory.said(Fact(subject="oven", relation="limit", value="250 °C"))
    await world.database.write(
        lambda db: db.execute(
            "UPDATE memory_item SET key = (SELECT key FROM memory_item WHERE item != ?1) WHERE item = ?1",
            (other.item,),
        ),
        durable=True,
    )
    told = await world.attic.look_up("What is the limit of the fridge?")
    assert told["answer"] == {"text": f"{LIMIT.said}.", "from": "fact", "item": (await held(world))[0].item}
    assert world.refused == [other.item]
    assert await world.mind.recall.verify() == [f"fact {other.item} was changed behind the program's back"]


async def test_what_somebody_took_out_of_the_store_is_missed_and_what_was_forgotten_is_not(
    world: World,
) -> None:
    kept = await world.mind.memory.said(LIMIT)
    await world.mind.memory.said(Fact(subject="Erika", relation="room", value="4"))
    await world.mind.forgetting.forget("Erika")
    assert await world.mind.recall.verify() == []
    await world.database.write(
        lambda db: db.execute("DELETE FROM memory_item WHERE item = ?", (kept.item,)), durable=True
    )
    assert await world.mind.recall.verify() == [
        f"item {kept.item} stands in the journal, and is not in the memory"
    ]


async def test_keys_of_a_program_that_takes_words_apart_otherwise_are_made_anew(
    world: World, tmp_path: Path
) -> None:
    """As after an update that changed `TERMS_VERSION`: the new value still finds the one that it ends."""
    await world.mind.memory.said(LIMIT)
    await world.database.write(
        lambda db: [
            db.execute("UPDATE memory_item SET key = 'as others make them'"),
            db.execute("UPDATE meta SET value = 0 WHERE key = ?", (KEYS_VERSION,)),
        ],
        durable=True,
    )
    updated = mind_over(tmp_path, world.journal, clock=world.clock)
    assert await updated.mind.recall.verify() == []
    updated.clock.advance(seconds=60)
    kept = await updated.mind.memory.said(LOWER)
    assert kept.outcome == "supersedes"
    assert await world.database.read(has_keys_of_now)


async def test_what_was_written_into_the_index_is_refused(world: World, tmp_path: Path) -> None:
    await world.mind.memory.said(LIMIT)
    await world.mind.recall.search("fridge")
    world.mind.shelf.release()
    with sqlite3.connect(tmp_path / "index" / "library.sqlite") as db:
        db.execute("UPDATE content SET text = replace(text, '8', '80')")
    found = await world.mind.recall.search("fridge limit")
    assert found.found == ()
    assert len(await world.mind.recall.verify()) >= 1


async def test_who_searches_hears_that_the_index_was_written_into(world: World, tmp_path: Path) -> None:
    await world.mind.memory.said(LIMIT)
    await world.mind.recall.search("fridge limit")
    with sqlite3.connect(tmp_path / "index" / "library.sqlite") as db:
        db.execute("UPDATE content SET text = replace(text, '8', '80')")
    again = mind_over(tmp_path, world.journal, clock=world.clock)
    recalled = await again.mind.recall.search("fridge limit")
    assert recalled.found == ()
    assert again.refused == ["index"]
    assert recalled.note is not None
    assert "memory verify" in recalled.note


async def test_an_index_with_values_that_mean_nothing_is_made_anew(world: World, tmp_path: Path) -> None:
    await world.mind.memory.said(LIMIT)
    await world.mind.recall.search("fridge limit")
    with sqlite3.connect(tmp_path / "index" / "library.sqlite") as db:
        db.execute("UPDATE posting SET data = x'ffffffff'")
    recalled = await mind_over(tmp_path, world.journal, clock=world.clock).mind.recall.search("fridge limit")
    assert [each.item.text for each in recalled.found] == [LIMIT.text]


async def test_what_is_asked_for_is_found_among_many_that_are_not(world: World) -> None:
    """However often it changed: what holds, and what was so then."""
    day_ms = 86_400_000
    for day in range(120):
        fact = replace(LIMIT, value=f"{day} °C", said=f"the fridge's limit is {day} °C")
        await world.mind.memory.said(fact, since_ms=day * day_ms)
    now = await world.mind.lookup.search("fridge limit", limit=5)
    assert [each.text for each in now.found] == ["the fridge's limit is 119 °C"]
    then = await world.mind.lookup.search(
        "fridge limit", limit=5, is_ended_too=True, since_ms=20 * day_ms + 1, until_ms=20 * day_ms + 2
    )
    assert [each.text for each in then.found] == ["the fridge's limit is 20 °C"]
    assert (await world.mind.lookup.search("fridge limit", limit=5, scopes=("fleet",))).found == ()


async def test_the_index_is_made_again_from_the_memory(world: World, tmp_path: Path) -> None:
    await world.mind.memory.said(LIMIT)
    await world.mind.recall.search("fridge")
    world.mind.shelf.release()
    shutil.rmtree(tmp_path / "index")
    assert await world.mind.recall.rebuild() == 1
    assert [each.item.content for each in (await world.mind.recall.search("fridge limit")).found] == [LIMIT]


async def test_vectors_find_what_shares_no_word(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        embedder = WordEmbedder("fridge", "limit", "door")
        world = mind_over(tmp_path, journal, embedder=embedder, vectors=_no_index)
        await world.mind.memory.said(LIMIT)
        found = await world.mind.recall.search("fridge")
        assert (found.ranked_by, found.note) == ("fused", None)
        assert found.found[0].cosine is not None


def _no_index(_path: Path) -> Any:
    class Nothing:
        """Few items are compared one by one: no index is asked."""

        def release(self) -> None:
            pass

        def wipe(self) -> None:
            pass

    return Nothing()


async def test_an_index_that_is_damaged_is_made_anew_by_itself(world: World, tmp_path: Path) -> None:
    for number in range(30):
        await world.mind.memory.said(Fact(subject=f"oven {number}", relation="limit", value="9"))
    await world.mind.recall.search("oven")
    world.mind.shelf.release()
    file = tmp_path / "index" / "library.sqlite"
    data = bytearray(file.read_bytes())
    data[4_096:] = bytes(len(data) - 4_096)
    file.write_bytes(data)
    again = mind_over(tmp_path, world.journal)
    found = await again.mind.recall.search("oven 7")
    assert found.found[0].item.text == "oven 7, limit: 9"

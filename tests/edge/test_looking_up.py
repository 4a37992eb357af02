"""What is found for a request before any model is asked, and as which words it is told."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.ports import Draft
from edge.settings import SensorSettings
from shared.clock import to_ms
from shared.ids import Lane
from shared.memory.items import Fact
from shared.memory.statements import fact_in
from shared.policy.labels import UNTRUSTED
from shared.records import MetricsWindow, Series
from tests.edge.test_memory import asked
from tests.support.agent import Probe
from tests.support.mind import World, at, mind_over
from tests.support.store import opened_journal

NOW = "2026-11-22T15:00"
LIMIT = Fact(subject="fridge", relation="limit", value="8 °C", said="the fridge's limit is 8 °C")
LOWER = Fact(subject="fridge", relation="limit", value="6 °C", said="the fridge's limit is 6 °C")
HIGHER = Fact(subject="fridge", relation="limit", value="9 °C", said="the fridge's limit is 9 °C")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    sensor = SensorSettings.model_validate(
        {
            "name": "fridge",
            "kind": "file",
            "path": tmp_path / "fridge",
            "quantity": "temperature",
            "unit": "°C",
        }
    )
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = mind_over(tmp_path, journal, sensors=(sensor,))
        world.clock.set(at(NOW))
        yield world


async def told(world: World, request: str) -> str | None:
    match await world.attic.look_up(request):
        case {"answer": {"text": str() as text}}:
            return text
    return None


async def known(world: World) -> None:
    """8 °C since the first of November, 6 °C since the twentieth."""
    await world.mind.memory.said(LIMIT, since_ms=to_ms(at("2026-11-01T08:00")))
    await world.mind.memory.said(LOWER, since_ms=to_ms(at("2026-11-20T08:00")))


async def measured(world: World, *readings: tuple[str, float]) -> None:
    for time, value in readings:
        series = Series(
            name="sensor.fridge", unit="°C", count=6, min=value - 0.1, max=value + 0.1, mean=value, last=value
        )
        window = MetricsWindow(at_ms=to_ms(at(time)), span_ms=60_000, series=(series,))
        await world.journal.append(Draft(window), durable=False, lane=Lane.METRICS)


# --- facts


async def test_a_fact_is_told_as_it_stands_now(world: World) -> None:
    await known(world)
    assert await told(world, "What is the limit of the fridge?") == "the fridge's limit is 6 °C."


async def test_a_fact_is_told_as_it_stood_then(world: World) -> None:
    await known(world)
    question = "What was the fridge's limit on 2026-11-10 at 12:00?"
    assert await told(world, question) == "At 2026-11-10 12:00: the fridge's limit is 8 °C."


async def test_since_when_is_told_with_what_was_before(world: World) -> None:
    await known(world)
    question = "Since when is the limit of the fridge what it is?"
    assert await told(world, question) == (
        "Since 2026-11-20 08:00: the fridge's limit is 6 °C; before that: 8 °C."
    )


@pytest.mark.parametrize(
    "question", ["How did the limit of the fridge change?", "Until when was the limit of the fridge 8 °C?"]
)
async def test_a_history_is_told_in_order(world: World, question: str) -> None:
    await known(world)
    assert await told(world, question) == (
        "fridge, limit: 8 °C (from 2026-11-01 08:00 to 2026-11-20 08:00); 6 °C (from 2026-11-20 08:00 to now)."
    )


async def test_of_a_day_in_which_a_value_changed_both_are_told(world: World) -> None:
    await known(world)
    assert await told(world, "What was the fridge's limit on 2026-11-20?") == (
        "fridge, limit: 8 °C (from 2026-11-01 08:00 to 2026-11-20 08:00); 6 °C (from 2026-11-20 08:00 to now)."
    )


async def test_of_a_day_in_which_a_value_began_it_is_told_from_when_on(world: World) -> None:
    await known(world)
    question = "What was the fridge's limit on 2026-11-01?"
    assert await told(world, question) == "At 2026-11-01 08:00: the fridge's limit is 8 °C."


async def test_what_is_yet_to_come_does_not_last_until_now(world: World) -> None:
    await known(world)
    await world.mind.memory.said(HIGHER, since_ms=to_ms(at("2027-01-01T00:00")))
    history = await told(world, "How did the limit of the fridge change?")
    assert history is not None
    assert history.endswith(
        "6 °C (from 2026-11-20 08:00 to 2027-01-01 00:00); 9 °C (from 2027-01-01 00:00 on)."
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Wie hoch ist der Grenzwert von Kühlraum 2?", "der Grenzwert von Kühlraum 2 ist 6 °C."),
        (
            "Seit wann ist der Grenzwert von Kühlraum 2 6 °C?",
            "Since 2026-11-20 08:00: der Grenzwert von Kühlraum 2 ist 6 °C; before that: 4 °C.",
        ),
        (
            "Wie hoch war der Grenzwert von Kühlraum 2 am 10. November?",
            "At 2026-11-10 00:00: der Grenzwert von Kühlraum 2 ist 4 °C.",
        ),
        (
            "Bis wann war der Grenzwert von Kühlraum 2 4 °C?",
            (
                "Kühlraum 2, Grenzwert: 4 °C (from 2026-11-01 08:00 to 2026-11-20 08:00);"
                " 6 °C (from 2026-11-20 08:00 to now)."
            ),
        ),
    ],
)
async def test_a_fact_in_german_is_told_as_of_its_time(world: World, question: str, answer: str) -> None:
    for value, since in (("4 °C", "2026-11-01T08:00"), ("6 °C", "2026-11-20T08:00")):
        fact = fact_in(f"der Grenzwert von Kühlraum 2 ist {value}")
        await world.mind.memory.said(fact, since_ms=to_ms(at(since)))
    assert await told(world, question) == answer


@pytest.mark.parametrize(
    ("one", "other", "question", "other_question"),
    [
        (
            "the stock of A+ is 12 bags", "the stock of A- is 3 bags", "What is the stock of A+?",
            "What is the stock of A-?",
        ),
        (
            "the operator of pump 3 is Ann", "the operation of pump 3 is manual", "Who is the operator of pump 3?",
            "What is the operation of pump 3?",
        ),
        (
            "Andrea's phone number is 79 11", "Andreas' phone number is 79 12", "what is the phone number of andrea?",
            "What is Andreas's phone number?",
        ),
        (
            "room -1's code is 1234", "room 1's code is 5678", "What is the code of room -1?",
            "What is room 1's code?",
        ),
    ],
)  # fmt: skip
async def test_of_relations_that_look_alike_the_one_that_is_named_is_told(
    world: World, one: str, other: str, question: str, other_question: str
) -> None:
    for said in (one, other):
        await world.mind.memory.said(fact_in(said))
        world.clock.advance(seconds=60)
    assert await told(world, question) == f"{one}."
    assert await told(world, other_question) == f"{other}."


async def test_what_contradicts_is_told_as_contradicting(world: World) -> None:
    await world.mind.memory.said(LIMIT)
    await world.mind.memory.add(LOWER, by="agent", labels=(UNTRUSTED,), since_ms=to_ms(at(NOW)) + 1)
    world.clock.advance(seconds=60)
    answer = await told(world, "What is the limit of the fridge?")
    assert answer is not None
    assert answer.startswith("What I know contradicts itself: ")
    assert "6 °C (the agent noted it" in answer
    assert "8 °C (a person said so" in answer


async def test_what_is_told_bears_the_labels_of_what_it_rests_on(world: World) -> None:
    await world.mind.memory.add(LIMIT, by="agent", labels=(UNTRUSTED, "internal"))
    found = await world.attic.look_up("What is the limit of the fridge?")
    assert found["labels"] == ["internal", UNTRUSTED]


async def test_what_holds_no_longer_is_not_told(world: World) -> None:
    kept = await world.mind.memory.said(LIMIT)
    await world.mind.memory.end(kept.item)
    assert await told(world, "What is the limit of the fridge?") is None


async def test_what_is_not_known_is_not_answered(world: World) -> None:
    await known(world)
    assert await told(world, "Who invented the telephone?") is None


# --- what was measured


async def test_a_reading_of_yesterday_is_told_from_the_metrics(world: World) -> None:
    await measured(
        world, ("2026-11-21T11:59", 3.9), ("2026-11-21T12:00:30", 4.2), ("2026-11-21T12:01:30", 5.0)
    )
    question = "What was the temperature of the fridge yesterday at noon?"
    assert await told(world, question) == (
        "The fridge sensor read a temperature of 4.2 °C at 2026-11-21 12:00 (4.1 °C to 4.3 °C in the minute around it)."
    )


async def test_a_series_that_did_not_change_is_told_as_it_stood(world: World) -> None:
    await measured(world, ("2026-11-21T09:00", 3.9), ("2026-11-21T18:00", 4.5))
    answer = await told(world, "What was the temperature of the fridge yesterday at noon?")
    assert answer == (
        "The fridge sensor read a temperature of 3.9 °C at 2026-11-21 12:00: unchanged since 2026-11-21 09:00."
    )


async def test_a_span_is_told_with_its_extremes(world: World) -> None:
    await measured(world, ("2026-11-21T09:00", 4.0), ("2026-11-21T18:00", 6.0), ("2026-11-22T09:00", 9.0))
    assert await told(world, "How was the temperature of the fridge yesterday?") == (
        "From 2026-11-21 00:00 to 2026-11-22 00:00 the fridge sensor read a temperature of 3.9 °C to 6.1 °C, 5 °C on"
        " average over what was recorded."
    )


async def test_a_time_of_which_nothing_is_kept_is_told_as_such(world: World) -> None:
    answer = await told(world, "What was the temperature of the fridge yesterday at noon?")
    assert answer == "No reading of the fridge sensor is kept for 2026-11-21 12:00."


async def test_a_reading_of_the_past_bears_what_a_reading_bears(world: World) -> None:
    await measured(world, ("2026-11-21T12:00:30", 4.2))
    world.sensor_labels = (UNTRUSTED, "internal")
    found = await world.attic.look_up("What was the temperature of the fridge yesterday at noon?")
    assert found["labels"] == ["internal", UNTRUSTED]


async def test_how_it_is_now_is_for_the_sensor_itself(world: World) -> None:
    await measured(world, ("2026-11-21T09:00", 4.0))
    assert not world.attic.is_of_another_time("How warm is the fridge?")
    assert world.attic.is_of_another_time("How warm was the fridge yesterday?")


async def test_the_agent_tells_a_reading_of_the_past_without_asking_model_or_sensor(world: World) -> None:
    await measured(world, ("2026-11-21T12:00:30", 4.2))
    sensor = Probe("read_sensor", choices=({"sensor": "fridge"},))
    end = await asked(world, "What was the temperature of the fridge yesterday at noon?", probes=(sensor,))
    assert end.text.startswith("The fridge sensor read a temperature of 4.2 °C at 2026-11-21 12:00")
    assert sensor.calls == []


# --- what was asked before


async def test_what_was_asked_before_is_found_for_who_asks_about_it(world: World) -> None:
    await asked(world, "was the compressor loud", "The compressor was loud.")
    answer = await told(world, "what did I ask about the compressor before?")
    assert (
        answer == "On 2026-11-22 at 15:00: was the compressor loud\nThe answer was: The compressor was loud."
    )


async def test_what_was_asked_at_a_time_is_a_passage_for_the_model(world: World) -> None:
    await asked(world, "was the compressor loud", "The compressor was loud.")
    world.clock.advance(seconds=86_400)
    found: Any = await world.attic.look_up("How was the compressor yesterday?")
    assert "The answer was: The compressor was loud." in found["passages"][0]["text"]


# --- what is not so, and days that are none


async def test_a_value_that_is_said_not_to_be_so_is_told_no_more(world: World) -> None:
    await world.mind.memory.said(LIMIT, since_ms=to_ms(at("2026-11-01T08:00")))
    end = await asked(world, "Remember that it is not true that the fridge's limit is 8 °C.")
    assert end.text == ("I will remember: it is not true that the fridge's limit is 8 °C (before: 8 °C).")
    said = "it is not true that the fridge's limit is 8 °C."
    assert await told(world, "What is the limit of the fridge?") == said


async def test_what_is_denied_stands_beside_what_is_so(world: World) -> None:
    await world.mind.memory.said(LOWER, since_ms=to_ms(at("2026-11-01T08:00")))
    await asked(world, "Remember that the fridge's limit is not 8 °C.")
    both = "the fridge's limit is not 8 °C; the fridge's limit is 6 °C."
    assert await told(world, "What is the limit of the fridge?") == both


async def test_a_day_that_no_calendar_has_is_refused_in_a_sentence(world: World) -> None:
    await known(world)
    await measured(world, ("2026-11-22T14:59", 5.0))
    refused = "There is no 31 February; ask again with the day that is meant."
    assert await told(world, "What was the fridge's limit on 31 February?") == refused
    sensor = Probe("read_sensor", choices=({"name": "fridge"},))
    end = await asked(world, "What was the fridge's temperature on 31 February?", probes=(sensor,))
    assert end.text == refused
    assert sensor.calls == []


async def test_a_device_that_knows_nothing_refuses_such_a_day_too(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = mind_over(tmp_path, journal)
        end = await asked(world, "Who was on duty on 30 February?")
        assert end.text == "There is no 30 February; ask again with the day that is meant."

"""What of finished work is worth remembering. Pure: from what was asked, done and answered to what is proposed.

* Everything that succeeded is an episode.
* Tools that were used are a procedure: what worked, in order. Looking something up, or asking the hub, is none.
* An answer that rests on nothing but knowledge, remembered facts and sensors may be given again as long as they say the
  same. One that rests on anything else (the time, another tool, a model's own words) may not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge.core.reading import READ, SENSOR, collections_in, facts_in, is_answered
from shared.escalation import ESCALATE
from shared.memory.items import STEPS_MAX, Answer, Episode, Procedure, Step

ANSWER_MAX_CHARS: Final = 4_000
"""A longer answer is not given again."""
ITEM_MAX_BYTES: Final = 30_000
"""Cue and content of an item: with its record they must fit a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A tool call that succeeded, with its result as it was recorded."""

    tool: str
    arguments: Mapping[str, object]
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What answers rest on, as it is now: revisions by collection, the bundle's hash, the model; all in text."""

    knowledge: Mapping[str, str]
    rules: str
    model: str


def episode_of(question: str, result: str, used: Sequence[Used], before: str) -> Episode:
    """What was answered, and by which tools. `before`: what was asked just before; it is kept as far as the question
    leans
    on it."""
    from shared.memory.surroundings import BEFORE_MAX_CHARS, is_leaning

    tools = tuple(dict.fromkeys(each.tool for each in used))
    leans = bool(before) and is_leaning(question)
    return Episode(result=result, tools=tools, before=before[-BEFORE_MAX_CHARS:] if leans else "")


def procedure_of(used: Sequence[Used]) -> Procedure | None:
    """What was done; None if nothing but looking up was."""
    steps = tuple(
        Step(tool=each.tool, arguments=each.arguments) for each in used if each.tool not in (READ, ESCALATE)
    )
    return Procedure(steps=steps) if 0 < len(steps) <= STEPS_MAX else None


def answer_of(question: str, result: str, used: Sequence[Used], now: Now) -> Answer | None:
    """The answer with what it rests on; None if it may not be given again, or the question means nothing by itself."""
    from shared.memory.sameness import is_of_now, stands_alone  # a large table; an idle device does without

    if not stands_alone(question):
        return None
    if not used or len(result) > ANSWER_MAX_CHARS or any(each.tool not in (READ, SENSOR) for each in used):
        return None
    collections: dict[str, str] = {}
    sensors: dict[str, str] = {}
    facts: list[str] = []
    for each in used:
        if each.tool == SENSOR:
            read = _reading(each.result)
            if read is None:
                return None
            sensors[read[0]] = read[1]
            continue
        if is_answered(each.result):
            return None  # it was remembered, or measured: that is looked up again
        found = collections_in(each.result)
        facts += facts_in(each.result)
        # What has changed since it was read is not what the answer rests on.
        if any(now.knowledge.get(name) != root for name, root in found.items()):
            return None
        collections |= found
    if not collections and not sensors and not facts:
        return None  # the model's own words
    if collections and is_of_now(question):
        return None  # a document does not change when its time is over, as what a sensor shows does
    return Answer(
        text=result,
        knowledge=collections,
        rules=now.rules,
        sensors=sensors,
        model=now.model,
        facts=tuple(dict.fromkeys(facts)),
    )


def still_holds(answer: Answer, now: Now, sensors: Mapping[str, str], facts: Mapping[str, bool]) -> bool:
    """Whether everything that it rests on is as it was. `sensors`: what each one shows now, if that is known.
    `facts`: by
    item, whether it still holds."""
    return (
        answer.rules == now.rules
        and answer.model == now.model
        and all(now.knowledge.get(name) == root for name, root in answer.knowledge.items())
        and all(sensors.get(name) == value for name, value in answer.sensors.items())
        and all(facts.get(item, False) for item in answer.facts)
    )


def shown(value: float, unit: str) -> str:
    """A reading as it counts: two that show the same are the same."""
    return f"{value:g} {unit}".strip()


def _reading(result: str) -> tuple[str, str] | None:
    try:
        told = json.loads(result)
        return str(told["sensor"]), shown(float(told["value"]), str(told["unit"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None

"""Answers that need no model: what a sensor showed at a time, how a fact stood, since when. Pure.

Each is a sentence with its numbers and times as they are in the memory; nothing is told that is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from edge.core.remembered import Remembered
from edge.ports import Measured
from shared.clock import from_ms
from shared.memory.facts import Standing, contradictions
from shared.memory.items import Fact
from shared.memory.when import When

POINT: Final = timedelta(minutes=2)
"""A span that is no longer is a point in time."""
HISTORY_MAX: Final = 8
"""Values of a fact that are told, the latest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A sensor, as people call it."""

    name: str
    quantity: str
    unit: str


def told_measured(series: Series, windows: Sequence[Measured], when: When) -> str:
    """What a sensor showed at a point in time, or in a span. `windows`: of the span, and the last one before it."""
    zone = when.start.tzinfo or UTC
    what = f"The {series.name} sensor"
    if when.end - when.start <= POINT:
        found = _at(windows, when.start)
        if found is None:
            return f"No reading of the {series.name} sensor is kept for {_moment(when.start)}."
        reading = _number(found.mean, found.unit)
        began = from_ms(found.at_ms - found.span_ms)
        if began <= when.start <= from_ms(found.at_ms):
            spread = (
                "" if found.min == found.max
                else f" ({_number(found.min, found.unit)} to {_number(found.max, found.unit)} in the minute around it)"
                if found.span_ms <= 120_000
                else f" ({_number(found.min, found.unit)} to {_number(found.max, found.unit)} around it)"
            )  # fmt: skip
            return f"{what} read a {series.quantity} of {reading} at {_moment(when.start)}{spread}."
        last = _number(found.last, found.unit)
        measured = _moment(from_ms(found.at_ms).astimezone(zone))
        return (
            f"{what} read a {series.quantity} of {last} at {_moment(when.start)}: unchanged since {measured}."
        )
    within = [each for each in windows if from_ms(each.at_ms) > when.start]
    if not within:
        if not windows:
            return (
                f"No reading of the {series.name} sensor is kept for the time from {_moment(when.start)}"
                f" to {_moment(when.end)}."
            )
        last = _number(windows[-1].last, windows[-1].unit)
        return (
            f"{what} read a {series.quantity} of {last} from {_moment(when.start)} to {_moment(when.end)}: it did not"
            " change."
        )
    unit = within[0].unit
    low, high = min(each.min for each in within), max(each.max for each in within)
    mean = sum(each.mean * each.span_ms for each in within) / sum(each.span_ms for each in within)
    return (
        f"From {_moment(when.start)} to {_moment(when.end)} the {series.name} sensor read a {series.quantity} of"
        f" {_number(low, unit)} to {_number(high, unit)}, {_number(mean, unit)} on average over what was recorded."
    )


def told_fact(facts: Sequence[Remembered], moment: datetime, *, is_named: bool) -> str | None:
    """How a fact stood, or will stand, at `moment`, which is told if it `is_named`. `facts`: all that is known of
    the relation, ended ones too. None: it is not
    known."""
    at_ms = int(moment.timestamp() * 1000)
    holding = [each for each in facts if each.standing.is_so_at(at_ms)]
    if not holding:
        return None
    told = _values(holding)
    if contradictions([each.standing for each in holding], at_ms):
        listed = "; ".join(f"{_said(each)} ({_origin(each, moment.tzinfo)})" for each in told)
        return f"What I know contradicts itself: {listed}."
    listed = "; ".join(_said(each) for each in told)
    if is_named:
        return f"At {_moment(moment)}: {listed}."
    return f"{listed}."


def told_within(facts: Sequence[Remembered], when: When, now: datetime) -> str | None:
    """How a fact stood, or will stand, at a time or in the course of one. None: it is not known."""
    start_ms, end_ms = (int(each.timestamp() * 1000) for each in (when.start, when.end))
    within = [
        each
        for each in facts
        if each.since_ms < end_ms and (each.until_ms is None or each.until_ms > start_ms)
    ]
    first_ms = min((each.since_ms for each in within), default=start_ms)
    if when.is_moment or (first_ms <= start_ms and len(within) < 2):
        return told_fact(facts, when.start, is_named=True)
    if len(within) < 2:
        began = from_ms(first_ms).astimezone(when.start.tzinfo)
        return told_fact(facts, began, is_named=True)
    return told_history(within, now)


def told_since(facts: Sequence[Remembered], moment: datetime) -> str | None:
    """Since when it is as it is, and how it was before."""
    at_ms = int(moment.timestamp() * 1000)
    holding = [each for each in facts if each.standing.is_so_at(at_ms)]
    if not holding:
        return None
    now = max(holding, key=lambda each: each.since_ms)
    before = [each for each in facts if each.until_ms is not None and each.until_ms <= now.since_ms]
    earlier = max(before, key=lambda each: each.since_ms, default=None)
    was = "" if earlier is None else f"; before that: {_fact(earlier).value}"
    zone = moment.tzinfo or UTC
    return f"Since {_moment(from_ms(now.since_ms).astimezone(zone))}: {_said(now)}{was}."


def told_history(facts: Sequence[Remembered], moment: datetime) -> str | None:
    """All values with the time that each held, or will hold, oldest first."""
    zone = moment.tzinfo or UTC
    listed = sorted(facts, key=lambda each: each.since_ms)[-HISTORY_MAX:]
    if len(listed) < 2:
        return None
    lines = []
    for each in listed:
        since = _moment(from_ms(each.since_ms).astimezone(zone))
        if each.until_ms is not None:
            span = f"{since} to {_moment(from_ms(each.until_ms).astimezone(zone))}"
        else:
            span = f"{since} to now" if from_ms(each.since_ms) <= moment else f"{since} on"
        lines.append(f"{_fact(each).value} (from {span})")
    first = _fact(listed[-1])
    return f"{first.subject}, {first.relation}: {'; '.join(lines)}."


def _at(windows: Sequence[Measured], moment: datetime) -> Measured | None:
    at_ms = int(moment.timestamp() * 1000)
    covering = [each for each in windows if each.at_ms - each.span_ms <= at_ms <= each.at_ms]
    before = [each for each in windows if each.at_ms <= at_ms]
    return covering[0] if covering else before[-1] if before else None


def _values(holding: Sequence[Remembered]) -> list[Remembered]:
    """One of each value, the latest said first."""
    seen: dict[str, Remembered] = {}
    for each in sorted(holding, key=lambda each: -each.since_ms):
        seen.setdefault(" ".join(_fact(each).value.casefold().split()), each)
    return list(seen.values())


def _said(each: Remembered) -> str:
    return _fact(each).text.rstrip(".")


def _fact(each: Remembered) -> Fact:
    standing: Standing = each.standing
    return standing.fact


def _origin(each: Remembered, zone: tzinfo | None) -> str:
    who = {"person": "a person said so", "agent": "the agent noted it", "rule": "noted by a rule"}[each.by]
    return f"{who}, {_moment(from_ms(each.at_ms).astimezone(zone or UTC))}"


def _number(value: float, unit: str) -> str:
    return f"{round(value, 2):g} {unit}".strip()


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"

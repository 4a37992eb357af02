"""How facts follow one another: which one a new one closes, stands beside, repeats or contradicts. Pure.

A fact is so from `since` until it is closed. A new value of the same relation of the same subject closes the one
before, at the moment from which it is so itself. What is less trusted never closes what is more: then both stand,
and both are shown as contradicting. So do two values that are said to be so from the very same moment.

What says that a value is not so closes that value, and none besides: that the limit is not 8 °C says nothing of 6 °C.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.memory.items import Fact
from shared.policy.labels import UNTRUSTED

NOT: Final = "not "
"""Before a value that is denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A fact of the memory with its time, in milliseconds since 1970, and its labels. `until_ms` None: it is so now."""

    item: str
    fact: Fact
    since_ms: int
    until_ms: int | None
    labels: tuple[str, ...] = ()

    @property
    def is_trusted(self) -> bool:
        return UNTRUSTED not in self.labels

    def is_so_at(self, moment_ms: int) -> bool:
        """Whether it was, or is, so then."""
        return self.since_ms <= moment_ms and (self.until_ms is None or moment_ms < self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What becomes of a new fact. `outcome`: `repeated` is not written again; all others are.

    `closes`: items that end, each with when. `until_ms`: it was so only until then, since a later one is known.
    `repeats`: the item that says it already.
    """

    outcome: Literal["new", "repeated", "supersedes", "past", "contradicts"]
    closes: tuple[tuple[str, int], ...] = ()
    until_ms: int | None = None
    followed_by: str | None = None
    repeats: str | None = None


def placed(new: Standing, known: Iterable[Standing]) -> Placed:
    """What becomes of `new` among what is known of its relation, in any order; others (`Fact.names`) are left alone."""
    same = [each for each in known if each.fact.names == new.fact.names]
    for each in same:
        if _says(each, new) and each.is_so_at(new.since_ms):
            return Placed(outcome="repeated", repeats=each.item)
    rivals = [each for each in same if not _says(each, new) and _cannot_both_be(each.fact, new.fact)]
    later = min(
        (each for each in rivals if each.since_ms > new.since_ms and each.is_trusted >= new.is_trusted),
        key=lambda each: each.since_ms,
        default=None,
    )
    before = [each for each in rivals if each.is_so_at(new.since_ms)]
    closes = tuple(
        (each.item, new.since_ms)
        for each in before
        if each.since_ms < new.since_ms and new.is_trusted >= each.is_trusted
    )
    until_ms = None if later is None else later.since_ms
    followed_by = None if later is None else later.item
    if len(closes) < len(before):
        return Placed(outcome="contradicts", closes=closes, until_ms=until_ms, followed_by=followed_by)
    if later is not None:
        return Placed(outcome="past", closes=closes, until_ms=until_ms, followed_by=followed_by)
    return Placed(outcome="supersedes" if closes else "new", closes=closes)


def contradictions(facts: Sequence[Standing], moment_ms: int) -> list[tuple[Standing, ...]]:
    """Groups of facts that are all said to be so at that moment and cannot all be, in the order of their first."""
    groups: dict[object, list[Standing]] = {}
    for each in facts:
        if each.is_so_at(moment_ms):
            groups.setdefault(each.fact.names, []).append(each)
    return [clashing for group in groups.values() if (clashing := _clashing(group))]


def contrary(value: str) -> str:
    """What is so if the value is not."""
    return value[len(NOT) :] if value.casefold().startswith(NOT) else f"{NOT}{value}"


def _clashing(group: Sequence[Standing]) -> tuple[Standing, ...]:
    """Those of one relation that another of them rules out."""
    values = {_value(each.fact) for each in group}
    alone = {_value(each.fact) for each in group if not each.fact.is_beside}
    return tuple(
        each
        for each in group
        if _folded(contrary(each.fact.value)) in values or (not each.fact.is_beside and len(alone) > 1)
    )


def _cannot_both_be(one: Fact, other: Fact) -> bool:
    """Of the same relation, with different values."""
    is_alone = not one.is_beside and not other.is_beside
    return is_alone or _folded(contrary(one.value)) == _value(other)


def _says(known: Standing, new: Standing) -> bool:
    """Whether `known` already says what `new` does, for whoever may hear the new one."""
    return _value(known.fact) == _value(new.fact) and known.is_trusted >= new.is_trusted


def _value(fact: Fact) -> str:
    return _folded(fact.value)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())

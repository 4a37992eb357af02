"""What is let in without a person, and what contradicts what: decides on values alone. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.memory.tables import ItemState, MemoryItem, MemoryRule
from shared.clock import to_ms
from shared.memory.facts import Standing, contradictions
from shared.memory.items import Content, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An item with what it says, and the labels that its device has now. `content` None: it is forgotten."""

    row: MemoryItem
    cue: str
    content: Content | None
    device_labels: Mapping[str, str]

    @property
    def device(self) -> str:
        return self.row.principal.partition(".")[2]


def rule_for(told: Told, rules: Sequence[MemoryRule]) -> MemoryRule | None:
    """The first rule that lets it in."""
    return next((rule for rule in rules if _fits(told, rule)), None)


def contradicted(told: Sequence[Told], now: datetime) -> dict[str, list[Told]]:
    """For each fact, by id, those of others that are said to be so now, of the same, with another value."""
    by_id = {each.row.id: each for each in told}
    standings = [
        Standing(
            item=each.row.id,
            fact=each.content,
            since_ms=min(to_ms(each.row.since or each.row.written_at), to_ms(now)),
            until_ms=None,
            labels=tuple(each.row.labels),
        )
        for each in told
        if isinstance(each.content, Fact)
    ]
    found: dict[str, list[Told]] = {}
    for group in contradictions(standings, to_ms(now)):
        for one in group:
            others = [by_id[each.item] for each in group if not _is_same(each.fact, one.fact)]
            found[one.item] = [each for each in others if _can_meet(each.row, by_id[one.item].row)]
    return {key: others for key, others in found.items() if others}


def contradicts_the_fleet(others: Sequence[Told]) -> bool:
    """Whether one of them is approved."""
    return any(each.row.state == ItemState.APPROVED.value for each in others)


def _fits(told: Told, rule: MemoryRule) -> bool:
    row = told.row
    return (
        rule.scope in ("", row.scope)
        and rule.sort in ("", row.sort)
        and (not rule.authors or row.by in rule.authors)
        and (not rule.sites or row.site in rule.sites)
        and (not rule.devices or told.device in rule.devices)
        and all(told.device_labels.get(name) == value for name, value in rule.device_labels.items())
        and set(row.labels) <= set(rule.labels)
        and (not rule.relations or _relation(told.content) in {_folded(each) for each in rule.relations})
    )


def _relation(content: Content | None) -> str | None:
    return _folded(content.relation) if isinstance(content, Fact) else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_same(one: Fact, other: Fact) -> bool:
    return _folded(one.value) == _folded(other.value)


def _can_meet(one: MemoryItem, other: MemoryItem) -> bool:
    """What two sites say of themselves never stands side by side."""
    return "fleet" in (one.scope, other.scope) or one.site == other.site

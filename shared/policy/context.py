"""A situation as Cedar's context, in the types that `shared.policy.schema` promises."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Final, NamedTuple

from shared.policy.arguments import Part, cedar_record
from shared.policy.contracts import LONG_MAX, ToolContract
from shared.policy.decisions import Counts, Left, Lookup, Situation
from shared.policy.labels import UNKNOWN_ORIGIN, UNTRUSTED
from shared.policy.schema import AGE

_COUNTS: Final = tuple(field.name for field in fields(Counts))
_LEFT: Final = tuple(field.name for field in fields(Left))


def entity_of(contract: ToolContract, values: Mapping[str, object]) -> str | None:
    """The thing that a call acts on, by the argument that names it."""
    if contract.entity is None or contract.entity.argument is None:
        return None
    value = values.get(contract.entity.argument)
    if isinstance(value, str):
        return value
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LONG_MAX
    return str(value) if is_number else None  # what is no name of a thing is no argument either


def result_labels(contracts: Mapping[str, ToolContract], tool: str) -> tuple[str, ...]:
    """The labels of what a tool returns; of one that nobody has told about, untrusted."""
    contract = contracts.get(tool)
    return (UNTRUSTED,) if contract is None else contract.result_labels


def recipient_labels(contract: ToolContract, origins: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels of the texts that chose to whom it goes; a recipient that never changes was chosen by its author."""
    if contract.sink is None or contract.sink.recipient is None:
        return frozenset()
    return origins.get(contract.sink.recipient, frozenset({UNTRUSTED}))


def lookups_about(
    contracts: Mapping[str, ToolContract],
    contract: ToolContract,
    entity: str | None,
    lookups: Sequence[Lookup],
) -> dict[str, Lookup]:
    """Of each tool the latest thing it told about this very entity: what is known of B says nothing about A."""
    if entity is None or contract.entity is None:
        return {}
    kind = contract.entity.kind
    return {
        lookup.tool: lookup
        for lookup in lookups
        if lookup.kind == kind
        and lookup.entity == entity
        and (told_by := contracts.get(lookup.tool)) is not None
        and told_by.entity is not None
        and told_by.entity.kind == kind
    }


class _Scene(NamedTuple):
    """What a context is made of. `values`: the checked arguments as they would be executed."""

    contracts: Mapping[str, ToolContract]
    contract: ToolContract
    situation: Situation
    values: Mapping[str, object]
    entity: str | None
    labels: frozenset[str]
    approved_by: frozenset[str]
    redacted: frozenset[str]


def cedar_context(
    contracts: Mapping[str, ToolContract],
    situation: Situation,
    values: Mapping[str, object],
    *,
    labels: frozenset[str],
    approved_by: frozenset[str],
    redacted: frozenset[str],
    uses: Part | None = None,
) -> str:
    """The context as JSON text. `values`: the checked arguments as they would be executed. `uses`: what is read."""
    contract = contracts[situation.tool]
    entity = entity_of(contract, values)
    scene = _Scene(contracts, contract, situation, values, entity, labels, approved_by, redacted)
    wanted: Part = dict.fromkeys(_MAKERS) if uses is None else uses
    context = {
        name: _MAKERS[name](scene, part)
        for name, part in wanted.items()
        if name in _MAKERS and (name != "entity" or entity is not None)
    }
    return json.dumps(context)


def _args(scene: _Scene, part: Part | None) -> object:
    return cedar_record(scene.contract.parameters, scene.values, part)


def _origins(scene: _Scene, part: Part | None) -> object:
    origins = scene.situation.origins
    names = scene.contract.parameters if part is None else part.keys() & scene.contract.parameters
    return {name: _members(origins.get(name, UNKNOWN_ORIGIN)) for name in names}


def _lookups(scene: _Scene, part: Part | None) -> object:
    situation, made = scene.situation, {}
    about = lookups_about(scene.contracts, scene.contract, scene.entity, situation.lookups)
    for tool, lookup in about.items():
        if part is not None and tool not in part:
            continue
        of = None if part is None else part[tool]
        told = cedar_record(scene.contracts[tool].result.fields, lookup.fields, of)
        if of is None or AGE in of:
            told[AGE] = max(0, int((situation.now - lookup.at).total_seconds()))
        made[tool] = told
    return made


def _counts(scene: _Scene, part: Part | None) -> object:
    counts = scene.situation.counts
    return {name: getattr(counts, name) for name in _COUNTS if part is None or name in part}


def _budget(scene: _Scene, part: Part | None) -> object:
    left = scene.situation.left
    return {name: getattr(left, name) for name in _LEFT if part is None or name in part}


def _device(scene: _Scene, part: Part | None) -> object:
    device = scene.situation.device
    return _picked(
        {
            "name": device.name,
            "site": device.site,
            "labels": _members(device.labels),
            "offline_s": device.offline_s,
        },
        part,
    )


def _asked_by(scene: _Scene, part: Part | None) -> object:
    asker = scene.situation.asker
    return _picked({"kind": asker.kind, "who": asker.who, "roles": _members(asker.roles)}, part)


def _time(scene: _Scene, part: Part | None) -> object:
    now = scene.situation.now
    made: dict[str, object] = {"hour": now.hour, "minute": now.minute, "weekday": now.isoweekday()}
    if part is None or "at" in part:
        made["at"] = {"__extn": {"fn": "datetime", "arg": now.strftime("%Y-%m-%dT%H:%M:%S%z")}}
    return _picked(made, part)


_MAKERS: Final[Mapping[str, Callable[[_Scene, Part | None], object]]] = {
    "args": _args,
    "origins": _origins,
    "lookups": _lookups,
    "labels": lambda scene, _: _members(scene.labels),
    "recipient_labels": lambda scene, _: _members(recipient_labels(scene.contract, scene.situation.origins)),
    "approved_by": lambda scene, _: _members(scene.approved_by),
    "redacted": lambda scene, _: _members(scene.redacted),
    "findings": lambda scene, _: _members(scene.situation.findings),
    "counts": _counts,
    "budget": _budget,
    "device": _device,
    "time": _time,
    "asked_by": _asked_by,
    "entity": lambda scene, _: scene.entity,
}


def _picked(record: dict[str, object], part: Part | None) -> dict[str, object]:
    return record if part is None else {name: record[name] for name in record if name in part}


def _members(members: frozenset[str]) -> list[str]:
    # All of them: a set that is cut off would let a label be pushed out by others.
    return sorted(members)

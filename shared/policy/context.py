"""A situation as Cedar's context, in the types that `shared.policy.schema` promises."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from shared.policy.arguments import cedar_value
from shared.policy.contracts import LONG_MAX, ToolContract
from shared.policy.decisions import Counts, Left, Lookup, Situation
from shared.policy.labels import UNKNOWN_ORIGIN, UNTRUSTED
from shared.policy.rules import Uses
from shared.policy.schema import lookup_tools


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
    names = lookup_tools(contracts, contract)
    return {
        lookup.tool: lookup
        for lookup in lookups
        if lookup.tool in names and lookup.kind == contract.entity.kind and lookup.entity == entity
    }


def cedar_context(
    contracts: Mapping[str, ToolContract],
    situation: Situation,
    values: Mapping[str, object],
    *,
    labels: frozenset[str],
    approved_by: frozenset[str],
    redacted: frozenset[str],
    uses: Uses | None = None,
) -> str:
    """The context as JSON text. `values`: the checked arguments as they would be executed. `uses`: what is read."""
    contract = contracts[situation.tool]
    entity = entity_of(contract, values)
    context: dict[str, Any] = {}

    def put(name: str, make: Callable[[], Any]) -> None:
        if uses is None:
            context[name] = make()
        elif name in uses:
            made, inner = make(), uses[name]
            is_part = inner is not None and isinstance(made, dict)
            context[name] = (
                {key: made[key] for key in inner & made.keys()} if is_part and inner is not None else made
            )

    put(
        "args",
        lambda: {name: cedar_value(contract.parameters[name], value) for name, value in values.items()},
    )
    put(
        "origins",
        lambda: {name: _members(situation.origins.get(name, UNKNOWN_ORIGIN)) for name in contract.parameters},
    )
    put("lookups", lambda: _lookups(contracts, contract, entity, situation))
    put("labels", lambda: _members(labels))
    put("recipient_labels", lambda: _members(recipient_labels(contract, situation.origins)))
    put("approved_by", lambda: _members(approved_by))
    put("redacted", lambda: _members(redacted))
    put("findings", lambda: _members(situation.findings))
    put("counts", lambda: _fields_of(situation.counts))
    put("budget", lambda: _fields_of(situation.left))
    put(
        "device",
        lambda: {
            "name": situation.device.name,
            "site": situation.device.site,
            "labels": _members(situation.device.labels),
            "offline_s": situation.device.offline_s,
        },
    )
    put("time", lambda: _time(situation.now))
    put(
        "asked_by",
        lambda: {
            "kind": situation.asker.kind,
            "who": situation.asker.who,
            "roles": _members(situation.asker.roles),
        },
    )
    if entity is not None:
        put("entity", lambda: entity)
    return json.dumps(context)


def _lookups(
    contracts: Mapping[str, ToolContract], contract: ToolContract, entity: str | None, situation: Situation
) -> dict[str, Any]:
    about = lookups_about(contracts, contract, entity, situation.lookups)
    return {
        name: {
            **{
                key: cedar_value(contracts[name].result.fields[key], value)
                for key, value in lookup.fields.items()
            },
            "age_s": max(0, int((situation.now - lookup.at).total_seconds())),
        }
        for name, lookup in about.items()
    }


def _fields_of(value: Counts | Left) -> dict[str, int]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _time(now: datetime) -> dict[str, Any]:
    return {
        "hour": now.hour, "minute": now.minute, "weekday": now.isoweekday(),
        "at": {"__extn": {"fn": "datetime", "arg": now.strftime("%Y-%m-%dT%H:%M:%S%z")}},
    }  # fmt: skip


def _members(members: frozenset[str]) -> list[str]:
    # All of them: a set that is cut off would let a label be pushed out by others.
    return sorted(members)

"""The Cedar schema of a package, generated from its contracts (docs.cedarpolicy.com, "Schema: JSON format").

One action for each tool, because each has arguments of its own; groups of actions for rules that hold for many. A
rule that reads what a tool does not have is then an error of the author's, found before anything runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shared.policy.contracts import ACTIONS, Package, Parameter, ToolContract

TOOLS: Final = "tools"
SINKS: Final = "sinks"
READS: Final = "reads"
EFFECT_GROUPS: Final[Mapping[str, str]] = {
    "none": READS, "local": "local", "external": "external", "irreversible": "irreversible",
}  # fmt: skip
GROUPS: Final = (TOOLS, SINKS, *EFFECT_GROUPS.values())
"""Ids of actions that stand for many; no tool may have such a name."""

AGE: Final = "age_s"
"""Of what was looked up: how long ago."""
AGENT, SITE, TOOL, SCOPE, PEER = "Agent", "Site", "Tool", "Scope", "Peer"
RESOURCE_TYPES: Final[Mapping[str, str]] = {
    "model.escalate": PEER, "message.person": PEER, "message.hub": PEER, "message.peer": PEER,
    "memory.read": SCOPE, "memory.write": SCOPE,
}  # fmt: skip

_STRING: Final[Mapping[str, Any]] = {"type": "String"}
_LONG: Final[Mapping[str, Any]] = {"type": "Long"}
_STRINGS: Final[Mapping[str, Any]] = {"type": "Set", "element": _STRING}
_COMMON: Final[Mapping[str, Any]] = {
    "labels": _STRINGS,
    "recipient_labels": _STRINGS,
    "approved_by": _STRINGS,
    "redacted": _STRINGS,
    "findings": _STRINGS,
    "entity": {"type": "String", "required": False},
    "counts": {
        "type": "Record",
        "attributes": dict.fromkeys(("task", "hour", "day", "entity_day", "denied"), _LONG),
    },
    "budget": {
        "type": "Record",
        "attributes": dict.fromkeys(("tokens", "calls", "wall_s", "escalations"), _LONG),
    },
    "device": {
        "type": "Record",
        "attributes": {"name": _STRING, "site": _STRING, "labels": _STRINGS, "offline_s": _LONG},
    },
    "time": {
        "type": "Record",
        "attributes": {
            **dict.fromkeys(("hour", "minute", "weekday"), _LONG),
            "at": {"type": "Extension", "name": "datetime"},
        },
    },
    "asked_by": {
        "type": "Record",
        "attributes": {"kind": _STRING, "who": _STRING, "roles": _STRINGS},
    },
}


def groups_of(contract: ToolContract, *, is_tool: bool) -> tuple[str, ...]:
    """The groups whose rules hold for a contract's calls."""
    return (
        *((TOOLS,) if is_tool else ()),
        EFFECT_GROUPS[contract.side_effect],
        *((SINKS,) if contract.sink is not None else ()),
    )


def lookup_tools(contracts: Mapping[str, ToolContract], contract: ToolContract) -> tuple[str, ...]:
    """The tools whose results tell about the kind of thing that `contract` acts on."""
    if contract.entity is None:
        return ()
    return tuple(
        name for name, other in contracts.items()
        if other.entity is not None and other.entity.kind == contract.entity.kind
    )  # fmt: skip


def cedar_schema(package: Package) -> dict[str, Any]:
    """The schema as Cedar's JSON."""
    contracts = package.contracts()
    actions: dict[str, Any] = {group: {} for group in GROUPS}
    for name, contract in contracts.items():
        groups = groups_of(contract, is_tool=name not in ACTIONS)
        actions[name] = {
            "memberOf": [{"id": group} for group in groups],
            "appliesTo": {
                "principalTypes": [AGENT],
                "resourceTypes": [RESOURCE_TYPES.get(name, TOOL)],
                "context": {"type": "Record", "attributes": dict(_context(contracts, contract))},
            },
        }
    entity_types: dict[str, Any] = {
        AGENT: {"memberOfTypes": [SITE]},
        **{name: {} for name in (SITE, TOOL, SCOPE, PEER)},
    }
    return {"": {"entityTypes": entity_types, "actions": actions}}


def _context(contracts: Mapping[str, ToolContract], contract: ToolContract) -> Iterator[tuple[str, Any]]:
    yield from _COMMON.items()
    yield "args", _record(contract.parameters)
    yield "origins", {"type": "Record", "attributes": dict.fromkeys(contract.parameters, _STRINGS)}
    lookups = {
        name: {**_lookup(contracts[name]), "required": False} for name in lookup_tools(contracts, contract)
    }
    yield "lookups", {"type": "Record", "attributes": lookups}


def _lookup(contract: ToolContract) -> dict[str, Any]:
    record = _record(contract.result.fields)
    record["attributes"][AGE] = _LONG
    return record


def _record(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    return {
        "type": "Record",
        "attributes": {
            name: {**_type(parameter), **({} if parameter.required else {"required": False})}
            for name, parameter in parameters.items()
        },
    }


def _type(parameter: Parameter) -> dict[str, Any]:
    match parameter.type:
        case "string" | "identifier":
            return {"type": "String"}
        case "integer":
            return {"type": "Long"}
        case "number":
            return {"type": "Extension", "name": "decimal"}
        case "boolean":
            return {"type": "Boolean"}
        case "list":
            assert parameter.items is not None
            return {"type": "Set", "element": _type(parameter.items)}
        case "object":
            return _record(parameter.properties or {})

"""The Cedar rules of a bundle, cut into one small set for each action: what a decision has to look at and no more.

cedarpy is imported when rules are made, so a device without a bundle does not hold it in memory.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.errors import ProtocolError
from shared.policy.arguments import Part
from shared.policy.contracts import ACTIONS, Package
from shared.policy.schema import AGENT, GROUPS, SITE, cedar_schema, groups_of

if TYPE_CHECKING:
    import cedarpy

ID: Final = "id"
REASON: Final = "reason"
HINT: Final = "hint"
APPROVAL: Final = "approval"
REDACT: Final = "redact"
ANNOTATIONS: Final = (ID, REASON, HINT, APPROVAL, REDACT)
ACTION_TYPE: Final = "Action"


@dataclass(frozen=True, slots=True)
class Rule:
    """What people and models are told of a rule, and what would turn its no into a yes."""

    id: str
    is_permit: bool
    reason: str
    hint: str
    approvals: tuple[str, ...]
    redactions: tuple[str, ...]


def read_rule(rule_id: str, policy: Mapping[str, Any]) -> Rule:
    """The annotations of a rule in Cedar's JSON."""
    notes = policy.get("annotations", {})
    return Rule(
        id=rule_id,
        is_permit=policy["effect"] == "permit",
        reason=notes.get(REASON) or "",
        hint=notes.get(HINT) or "",
        approvals=tuple((notes.get(APPROVAL) or "").split()),
        redactions=tuple((notes.get(REDACT) or "").split()),
    )


def scope_actions(policy: Mapping[str, Any]) -> frozenset[str] | None:
    """The ids that a rule's scope names; None: it is about every action."""
    scope = policy["action"]
    if scope["op"] == "All":
        return None
    named = scope["entities"] if "entities" in scope else [scope["entity"]]
    return frozenset(entity["id"] for entity in named)


def uses_of(policies: Iterable[Mapping[str, Any]]) -> Part | None:
    """What the conditions of rules can read of the context; None: all, since one takes the context as a whole.

    What nobody reads changes no decision, so it is neither built nor given to Cedar, whose parsing of the context is
    most of what a decision costs.
    """
    found: _Read = {}
    try:
        for policy in policies:
            _collect(policy.get("conditions", []), found)
    except _WholeContext:
        return None
    return found


_Read = dict[str, "_Read | None"]


class _WholeContext(Exception):
    pass


def _collect(node: object, found: _Read) -> None:
    if isinstance(node, list):
        for item in node:
            _collect(item, found)
    elif isinstance(node, dict):
        path = _context_path(node)
        if path is None:
            for value in node.values():
                _collect(value, found)
        elif not path:
            raise _WholeContext
        else:
            _note(path, found, is_whole="has" not in node)


def _note(path: Sequence[str], found: _Read, *, is_whole: bool) -> None:
    """`is_whole`: its end is read, and not only whether it is there."""
    *above, last = path
    for name in above:
        inner = found.setdefault(name, {})
        if inner is None:
            return  # all of it is read anyway
        found = inner
    if is_whole:
        found[last] = None
    else:
        found.setdefault(last, {})


def _context_path(node: Mapping[str, Any]) -> list[str] | None:
    """`["args", "amount"]` of `context.args.amount`, and of `context.args has amount`; None if it is about another."""
    match node:
        case {"Var": "context"}:
            return []
        case {".": {"left": dict() as left, "attr": str() as attr}} | {
            "has": {"left": dict() as left, "attr": str() as attr}
        }:
            path = _context_path(left)
            return None if path is None else [*path, attr]
    return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Cedar's answer: the rules that decided it. `is_broken`: a rule failed while it was evaluated."""

    is_allowed: bool
    determining: tuple[str, ...]
    is_broken: bool = False


class RuleSet:
    """The rules that concern one action, parsed."""

    __slots__ = ("_entities", "_policies", "_schema", "rules", "uses")

    def __init__(
        self,
        policies: "cedarpy.PolicySet",
        schema: "cedarpy.Schema",
        entities: "cedarpy.Entities",
        rules: Mapping[str, Rule],
        uses: Part | None,
    ) -> None:
        self._policies = policies
        self._schema = schema
        self._entities = entities
        self.rules = rules
        self.uses = uses

    def ask(self, *, principal: str, action: str, resource: tuple[str, str], context: str) -> Verdict:
        """What Cedar says; `context` is its JSON. Whatever goes wrong is a no."""
        import cedarpy

        request = {
            "principal": {"type": AGENT, "id": principal},
            "action": {"type": ACTION_TYPE, "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": context,
        }
        answer = cedarpy.is_authorized(request, self._policies, self._entities, self._schema)
        decision, diagnostics = answer.decision, answer.diagnostics
        # Cedar passes over a rule that fails. A forbid that fails must not become a yes.
        if diagnostics.errors or decision is cedarpy.Decision.NoDecision:
            return Verdict(is_allowed=False, determining=(), is_broken=True)
        return Verdict(decision is cedarpy.Decision.Allow, tuple(sorted(diagnostics.reasons)))


def rule_sets(
    package: Package, policies: Mapping[str, Mapping[str, Any]], *, principal: str, site: str
) -> Mapping[str, RuleSet]:
    """For each action the rules whose scope it is in. Raises `ProtocolError` if Cedar cannot read them."""
    import cedarpy

    contracts = package.contracts()
    groups = {name: groups_of(contract, is_tool=name not in ACTIONS) for name, contract in contracts.items()}
    entities = [
        _entity(AGENT, principal, [(SITE, site)]),
        _entity(SITE, site),
        *(_entity(ACTION_TYPE, group) for group in GROUPS),
        *(_entity(ACTION_TYPE, name, [(ACTION_TYPE, group) for group in of]) for name, of in groups.items()),
    ]
    read = {rule_id: read_rule(rule_id, policy) for rule_id, policy in policies.items()}
    scopes = {rule_id: scope_actions(policy) for rule_id, policy in policies.items()}
    sets: dict[str, RuleSet] = {}
    full = cedar_schema(package)
    try:
        known = cedarpy.Entities.from_json_str(json.dumps(entities))
        shared: dict[frozenset[str], cedarpy.PolicySet] = {}
        for name in contracts:
            places = {name, *groups[name]}
            chosen = frozenset(
                rule_id for rule_id, scope in scopes.items() if scope is None or scope & places
            )
            if chosen not in shared:
                shared[chosen] = _policy_set(chosen, policies)
            uses = uses_of(policies[rule_id] for rule_id in chosen)
            sets[name] = RuleSet(
                shared[chosen],
                cedarpy.Schema.from_json_str(json.dumps(_schema_for(full, name, uses))),
                known,
                {rule_id: read[rule_id] for rule_id in sorted(chosen)},
                uses,
            )
    except ValueError as error:
        raise ProtocolError(f"Cedar does not read the rules: {error}") from error
    return sets


def _entity(kind: str, name: str, parents: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    return {
        "uid": {"type": kind, "id": name},
        "attrs": {},
        "parents": [{"type": of, "id": parent} for of, parent in parents],
    }


def _policy_set(chosen: Iterable[str], policies: Mapping[str, Mapping[str, Any]]) -> "cedarpy.PolicySet":
    import cedarpy

    # They are chosen because their scope has the action in it: Cedar need not look at that again at each decision.
    anywhere = {"action": {"op": "All"}}
    document = {
        "staticPolicies": {rule_id: {**policies[rule_id], **anywhere} for rule_id in sorted(chosen)},
        "templates": {},
        "templateLinks": [],
    }
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def _schema_for(full: Mapping[str, Any], name: str, uses: Part | None) -> dict[str, Any]:
    """The part of the schema that a request for one action is checked against, with what its rules read."""
    action: Mapping[str, Any] = full[""]["actions"][name]
    applies: Mapping[str, Any] = action["appliesTo"]
    if uses is not None:
        applies = {**applies, "context": _trimmed(applies["context"], uses)}
    groups: dict[str, Any] = {group["id"]: {} for group in action["memberOf"]}
    return {"": {**full[""], "actions": {name: {**action, "appliesTo": applies}, **groups}}}


def _trimmed(kind: Mapping[str, Any], uses: Part | None) -> Mapping[str, Any]:
    if uses is None or kind["type"] != "Record":
        return kind
    attributes = kind["attributes"]
    kept = {name: _trimmed(inner, uses[name]) for name, inner in attributes.items() if name in uses}
    return {**kind, "attributes": kept}

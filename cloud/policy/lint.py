"""What an author should look at, though it compiles: rules that do nothing, and tools that nothing guards.

A rule's condition is read as a conjunction of comparisons. Where that is not its form, nothing is said about it: a
lint that cries wolf is switched off.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cloud.policy.compiler import SourceRule
from cloud.policy.problems import Problem
from cloud.policy.sources import PACKAGE, Sources
from shared.policy.contracts import ACTIONS, Package, Parameter, ToolContract
from shared.policy.rules import scope_actions
from shared.policy.schema import groups_of

NEVER: Final = "never-fires"
SHADOWED: Final = "shadowed"
UNGUARDED: Final = "unguarded"
UNBOUNDED: Final = "unbounded"
AGREE: Final = "agree"
SILENT: Final = "silent"


def lint(package: Package, rules: Sequence[SourceRule], sources: Sources) -> Iterator[Problem]:
    """Warnings, in the order of the package."""
    contracts = package.contracts()
    places = {
        name: frozenset({name, *groups_of(contract, is_tool=name not in ACTIONS)})
        for name, contract in contracts.items()
    }
    read = [_Read.of(found, places) for found in rules]
    yield from _never(read, contracts)
    yield from _shadowed(read)
    yield from _agreeing(read)
    yield from _unguarded(package, read, sources)
    yield from _unbounded(package, sources)
    yield from _silent(read)


@dataclass(frozen=True, slots=True)
class _Read:
    """A rule as lint sees it: the actions it is about, and its condition as a conjunction of terms.

    `terms`: each in Cedar's JSON as sorted text; a term of `unless` is wrapped in a negation.
    """

    found: SourceRule
    actions: frozenset[str]
    terms: frozenset[str]
    scope: str
    values: tuple[Any, ...] = field(compare=False, default=())

    @classmethod
    def of(cls, found: SourceRule, places: Mapping[str, frozenset[str]]) -> "_Read":
        named = scope_actions(found.policy)
        actions = frozenset(name for name, in_ in places.items() if named is None or named & in_)
        values: list[Any] = []
        for condition in found.policy.get("conditions", []):
            if condition["kind"] == "when":
                values += _conjuncts(condition["body"])
            else:
                values += [{"!": {"arg": term}} for term in _disjuncts(condition["body"])]
        scope = json.dumps([found.policy["principal"], found.policy["resource"]], sort_keys=True)
        return cls(
            found,
            actions,
            frozenset(json.dumps(value, sort_keys=True) for value in values),
            scope,
            tuple(values),
        )

    def covers(self, other: "_Read") -> bool:
        """Whether it holds wherever the other does: the same or more actions, the same or fewer conditions."""
        is_wider = self.scope == other.scope or '{"op": "All"}, {"op": "All"}' in self.scope
        return is_wider and other.actions <= self.actions and self.terms <= other.terms


def _conjuncts(node: Any) -> list[Any]:  # Cedar's JSON
    if isinstance(node, dict) and "&&" in node:
        return [*_conjuncts(node["&&"]["left"]), *_conjuncts(node["&&"]["right"])]
    return [node]


def _disjuncts(node: Any) -> list[Any]:
    if isinstance(node, dict) and "||" in node:
        return [*_disjuncts(node["||"]["left"]), *_disjuncts(node["||"]["right"])]
    return [node]


def _warning(found: SourceRule, code: str, message: str) -> Problem:
    return Problem(file=found.file, line=found.line, message=message, severity="warning", code=code)


# --- rules


def _never(rules: Sequence[_Read], contracts: Mapping[str, ToolContract]) -> Iterator[Problem]:
    for rule in rules:
        name = rule.found.rule.id
        if not rule.actions:
            yield _warning(rule.found, NEVER, f"The rule {name} is about no action of this package.")
        elif all(_is_impossible(rule.values, contracts[action]) for action in rule.actions):
            yield _warning(
                rule.found, NEVER, f"The rule {name} can never fire: its conditions exclude each other."
            )


def _shadowed(rules: Sequence[_Read]) -> Iterator[Problem]:
    forbids = [rule for rule in rules if not rule.found.rule.is_permit]
    for permit in rules:
        if not permit.found.rule.is_permit:
            continue
        for forbid in forbids:
            lifted = forbid.found.rule.approvals or forbid.found.rule.redactions
            if not lifted and forbid.covers(permit):
                yield _warning(
                    permit.found, SHADOWED,
                    f"The rule {permit.found.rule.id} permits nothing: {forbid.found.rule.id}"
                    f" ({forbid.found.file}:{forbid.found.line}) forbids all of it.",
                )  # fmt: skip
                break


def _agreeing(rules: Sequence[_Read]) -> Iterator[Problem]:
    """Of two rules that say the same the second is named; of one within another the narrower."""
    for index, rule in enumerate(rules):
        for other_index, other in enumerate(rules):
            if index == other_index or rule.found.rule.is_permit != other.found.rule.is_permit:
                continue
            same = other.covers(rule) and rule.covers(other)
            if (same and other_index < index) or (not same and other.covers(rule)):
                if rule.found.rule.approvals != other.found.rule.approvals and not rule.found.rule.is_permit:
                    continue  # one of them asks a person, the other does not: both are meant
                yield _warning(
                    rule.found, AGREE,
                    f"The rule {rule.found.rule.id} changes nothing: {other.found.rule.id}"
                    f" ({other.found.file}:{other.found.line}) says it already.",
                )  # fmt: skip
                break


# --- contracts


def _unguarded(package: Package, rules: Sequence[_Read], sources: Sources) -> Iterator[Problem]:
    """An irreversible tool for which one permit without a condition is all that is asked."""
    for name, contract in package.tools.items():
        if contract.side_effect != "irreversible" or contract.approvals or contract.rates:
            continue
        about = [rule for rule in rules if name in rule.actions]
        is_open = any(rule.found.rule.is_permit and not rule.terms for rule in about)
        is_guarded = any(not rule.found.rule.is_permit for rule in about)
        if is_open and not is_guarded:
            yield Problem(
                file=PACKAGE, line=sources.package.line(("tools", name)), severity="warning", code=UNGUARDED,
                message=f"The tool {name} cannot be undone, and nothing guards it: no condition, approval or rate.",
            )  # fmt: skip


def _unbounded(package: Package, sources: Sources) -> Iterator[Problem]:
    for name, contract in package.tools.items():
        if contract.side_effect == "none" and contract.sink is None:
            continue
        for argument, parameter in contract.parameters.items():
            if not parameter.is_bounded:
                what = "min and max" if parameter.type in ("integer", "number") else "max_length or enum"
                yield Problem(
                    file=PACKAGE,
                    line=sources.package.line(("tools", name, "parameters", argument)),
                    message=f"The argument {argument} of {name} has no bounds; say {what}.",
                    severity="warning",
                    code=UNBOUNDED,
                )


def _silent(rules: Sequence[_Read]) -> Iterator[Problem]:
    if not any(rule.found.rule.is_permit and "message.person" in rule.actions for rule in rules):
        yield Problem(
            file=PACKAGE,
            line=1,
            message="No rule permits message.person: the agent may answer nobody.",
            severity="warning",
            code=SILENT,
        )


# --- conditions that exclude each other


@dataclass(slots=True)
class _Range:
    """What is left of a number's or a text's values."""

    low: Decimal | None = None
    low_is_open: bool = False
    high: Decimal | None = None
    high_is_open: bool = False
    equal: set[str] | None = None

    def at_least(self, value: Decimal, *, is_open: bool) -> None:
        if self.low is None or value > self.low or (value == self.low and is_open):
            self.low, self.low_is_open = value, is_open

    def at_most(self, value: Decimal, *, is_open: bool) -> None:
        if self.high is None or value < self.high or (value == self.high and is_open):
            self.high, self.high_is_open = value, is_open

    @property
    def is_empty(self) -> bool:
        if self.equal is not None and not self.equal:
            return True
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.low_is_open or self.high_is_open))


def _is_impossible(terms: Sequence[Any], contract: ToolContract) -> bool:
    texts = {json.dumps(term, sort_keys=True) for term in terms}
    if any(json.dumps({"!": {"arg": term}}, sort_keys=True) in texts for term in terms):
        return True
    if any(term in ({"Value": False}, {"!": {"arg": {"Value": True}}}) for term in terms):
        return True
    ranges: dict[str, _Range] = {}
    for term in terms:
        compared = _comparison(term)
        if compared is None:
            continue
        path, operator, literal = compared
        if path not in ranges:
            ranges[path] = _known(path, contract)
        _narrow(ranges[path], operator, literal)
    return any(found.is_empty for found in ranges.values())


def _known(path: str, contract: ToolContract) -> _Range:
    """What the contract and the context promise of a value."""
    found = _Range()
    if path.startswith("context.args."):
        parameter: Parameter | None = contract.parameters.get(path.removeprefix("context.args."))
        if parameter is not None:
            if parameter.min is not None:
                found.at_least(Decimal(str(parameter.min)), is_open=False)
            if parameter.max is not None:
                found.at_most(Decimal(str(parameter.max)), is_open=False)
            if parameter.enum is not None:
                found.equal = set(parameter.enum)
    elif path.startswith(("context.counts.", "context.budget.", "context.time.")):
        found.at_least(Decimal(0), is_open=False)
        most = {"hour": 23, "minute": 59, "weekday": 7}.get(path.removeprefix("context.time."))
        if path.startswith("context.time.") and most is not None:
            found.at_most(Decimal(most), is_open=False)
    return found


_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_METHODS: Final = {
    "lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">=",
}  # fmt: skip


def _comparison(term: Any) -> tuple[str, str, object] | None:
    """Path, operator and literal of a term that compares a value of the context with a literal."""
    if not isinstance(term, dict) or len(term) != 1:
        return None
    ((operator, body),) = term.items()
    if operator == "!":
        inner = _comparison(body.get("arg"))
        return None if inner is None else (inner[0], _NEGATED[inner[1]], inner[2])
    if operator in _METHODS and isinstance(body, list) and len(body) == 2:
        left, right, sign = body[0], body[1], _METHODS[operator]
    elif operator in _FLIPPED and isinstance(body, dict):
        left, right, sign = body["left"], body["right"], operator
    else:
        return None
    path, literal = _path(left), _literal(right)
    if path is None or literal is None:
        path, literal, sign = _path(right), _literal(left), _FLIPPED[sign]
    return None if path is None or literal is None else (path, sign, literal)


def _path(node: Any) -> str | None:
    names: list[str] = []
    while isinstance(node, dict) and isinstance(step := node.get("."), dict):
        names.append(str(step.get("attr")))
        node = step.get("left")
    return ".".join(["context", *reversed(names)]) if names and node == {"Var": "context"} else None


def _literal(node: Any) -> object:
    match node:
        case {"Value": bool()}:
            return None
        case {"Value": int() | str() as value}:
            return value
        case {"decimal": [{"Value": str() as text}]}:
            try:
                return Decimal(text)
            except InvalidOperation:
                return None
    return None


def _narrow(found: _Range, operator: str, literal: object) -> None:
    if isinstance(literal, str):
        if operator == "==":
            found.equal = {literal} if found.equal is None else found.equal & {literal}
        elif operator == "!=" and found.equal is not None:
            found.equal = found.equal - {literal}
        return
    value = Decimal(str(literal))
    if operator in ("==", ">", ">="):
        found.at_least(value, is_open=operator == ">")
    if operator in ("==", "<", "<="):
        found.at_most(value, is_open=operator == "<")

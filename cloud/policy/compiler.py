"""From a package's files to a bundle: everything that can be found wrong before anything runs is found here.

Cedar validates each rule against the schema that the contracts generate; what Cedar does not know (roles, labels,
classes of personal data, annotations) is checked beside it. All errors are collected: an author fixes them together.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cedarpy
from pydantic import ValidationError

from cloud.policy.problems import PackageError, Problem, nearest
from cloud.policy.sources import PACKAGE, Sources
from shared.policy.bundle import Bundle, make
from shared.policy.contracts import ACTIONS, Package, ToolContract
from shared.policy.labels import UNTRUSTED
from shared.policy.personal import CLASSES
from shared.policy.rules import ANNOTATIONS, APPROVAL, ID, REDACT, Rule, read_rule, scope_actions
from shared.policy.schema import GROUPS, cedar_schema
from shared.policy.threats import DETECTORS

RULE_ID: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LABEL_ATTRIBUTES: Final = frozenset({"labels", "recipient_labels", "origins"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """A rule as its author wrote it: in which file, from which line, and what Cedar made of it."""

    file: str
    line: int
    text: str
    policy: Mapping[str, Any]
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A package that may be signed."""

    bundle: Bundle
    rules: tuple[SourceRule, ...]

    @property
    def package(self) -> Package:
        return self.bundle.package


def compile_package(sources: Sources) -> Compiled:
    """Raises `PackageError` with every error that was found, `CapacityError` for what is too large for a bundle."""
    package = _package(sources)
    problems = [*_contract_problems(package, sources)]
    rules, syntax = _rules(sources)
    problems += syntax
    if not problems:
        problems += _validated(package, rules)
    problems += _annotation_problems(package, rules)
    problems += _label_problems(package, rules)
    if problems:
        raise PackageError(sorted(problems, key=lambda problem: (problem.file, problem.line)))
    return Compiled(
        bundle=make(package, {found.rule.id: found.policy for found in rules}), rules=tuple(rules)
    )


# --- package.yaml


def _package(sources: Sources) -> Package:
    document = sources.package
    try:
        return Package.model_validate(document.value)
    except ValidationError as error:
        raise PackageError([
            Problem(
                file=PACKAGE,
                line=document.line(list(found["loc"])),
                message=_said(found),
                suggestion=_meant(found),
            )
            for found in error.errors(include_url=False, include_input=False)
        ]) from None  # fmt: skip


def _said(found: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return f"{place} is missing."
    if found["type"] == "extra_forbidden":
        return f"{place} is nothing that a package says."
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}." if place else f"The package: {message}."


_KNOWN_KEYS: Final = tuple(
    {
        key
        for model in (Package, ToolContract)
        for name, field in model.model_fields.items()
        for key in (name, field.alias or name)
    }
    | {
        *(
            "kind",
            "argument",
            "result",
            "labels",
            "fields",
            "for",
            "recipient",
            "max",
            "min",
            "per",
            "by",
            "type",
        ),
        *(
            "unit",
            "max_length",
            "enum",
            "items",
            "properties",
            "required",
            "description",
            "implies",
            "lifted_by",
        ),
        *("local", "within", "task", "day", "tokens", "calls", "wall", "escalations", "redact", "direction"),
    }
)


def _meant(found: Mapping[str, Any]) -> str:
    return nearest(str(found["loc"][-1]), _KNOWN_KEYS) if found["type"] == "extra_forbidden" else ""


def _contract_problems(package: Package, sources: Sources) -> Iterator[Problem]:
    """What a contract names has to be defined."""

    def problem(where: Sequence[str | int], message: str, suggestion: str = "") -> Problem:
        return Problem(file=PACKAGE, line=sources.package.line(where), message=message, suggestion=suggestion)

    labels = {UNTRUSTED, *package.labels}
    for name, definition in package.labels.items():
        for implied in definition.implies:
            if implied not in labels:
                yield problem(
                    ("labels", name),
                    f"The label {name} implies {implied}, which is no label.",
                    nearest(implied, labels),
                )
    for name, contract in package.tools.items():
        if name in GROUPS or name in ACTIONS:
            yield problem(
                ("tools", name), f"No tool may be called {name}: the word stands for something else."
            )
        used = (*contract.result_labels, *(contract.sink.cleared if contract.sink is not None else ()))
        for label in used:
            if label not in labels:
                yield problem(
                    ("tools", name), f"The tool {name} speaks of the label {label}, which is not defined.",
                    nearest(label, labels),
                )  # fmt: skip
        for role in contract.approvals:
            if role not in package.roles:
                yield problem(
                    ("tools", name), f"The tool {name} asks the role {role}, which is not defined.",
                    nearest(role, package.roles),
                )  # fmt: skip
    for name, said in package.actions.items():
        if name not in ACTIONS:
            yield problem(("actions", name), f"There is no action {name}.", nearest(name, ACTIONS))
            continue
        for label in () if said.sink is None else said.sink.cleared:
            if label not in labels:
                yield problem(
                    ("actions", name),
                    f"{name} speaks of the label {label}, which is not defined.",
                    nearest(label, labels),
                )
        for role in said.approvals:
            if role not in package.roles:
                yield problem(
                    ("actions", name),
                    f"{name} asks the role {role}, which is not defined.",
                    nearest(role, package.roles),
                )
    for index, obligation in enumerate(package.obligations):
        for tool in obligation.tools:
            if tool not in package.tools and tool not in ACTIONS:
                yield problem(
                    ("obligations", index), f"An obligation names the tool {tool}, which is not defined.",
                    nearest(tool, package.tools),
                )  # fmt: skip
    for detector in package.threats:
        if detector not in DETECTORS:
            yield problem(
                ("threats", detector), f"There is no detector {detector}.", nearest(detector, DETECTORS)
            )


# --- *.cedar


def _rules(sources: Sources) -> tuple[list[SourceRule], list[Problem]]:
    found: list[SourceRule] = []
    problems: list[Problem] = []
    for file, text in sources.cedar:
        for line, statement in statements(text):
            try:
                read = json.loads(cedarpy.policies_to_json_str(statement))
            except ValueError as error:
                problems.append(
                    Problem(file=file, line=line, message=f"Cedar does not read this rule: {error}.")
                )
                continue
            if read["templates"]:
                problems.append(
                    Problem(file=file, line=line, message="A rule has no slots (?principal, ?resource) here.")
                )
            for policy in read["staticPolicies"].values():
                rule = read_rule(policy.get("annotations", {}).get(ID) or "", policy)
                found.append(
                    SourceRule(file=file, line=line, text=statement.strip(), policy=policy, rule=rule)
                )
    ids: dict[str, SourceRule] = {}
    for each in found:
        name = each.rule.id
        if not RULE_ID.fullmatch(name):
            problems.append(
                Problem(
                    file=each.file, line=each.line,
                    message="A rule needs a name of small letters, digits, dots, dashes and underscores:",
                    suggestion='write @id("a-name") above it.',
                )
            )  # fmt: skip
        elif name in ids:
            problems.append(
                Problem(
                    file=each.file, line=each.line,
                    message=f"The rule {name} is there already, in {ids[name].file}:{ids[name].line}.",
                )
            )  # fmt: skip
        else:
            ids[name] = each
    return found, problems


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The rules of a Cedar file one by one, each with its first line: a rule ends with a semicolon.

    Semicolons in strings and comments do not count (docs.cedarpolicy.com, "Cedar policy grammar"). What stands behind
    the last one is a rule without an end, which Cedar then refuses.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    begin = 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|//[^\n]*|;', text):
        if match[0] == ";":
            yield from _statement(text, begin, match.end(), starts)
            begin = match.end()
    yield from _statement(text, begin, len(text), starts)


def _statement(text: str, begin: int, end: int, starts: Sequence[int]) -> Iterator[tuple[int, str]]:
    piece = text[begin:end]
    bare = re.compile(r"(?:\s|//[^\n]*(?:\n|$))*").match(piece)
    offset = begin + (bare.end() if bare is not None else 0)
    if offset < end:
        yield bisect_right(starts, offset), piece


def _validated(package: Package, rules: Iterable[SourceRule]) -> Iterator[Problem]:
    """Cedar's own word, rule by rule, so that each error has its place."""
    schema = cedar_schema(package)
    known_actions = (*GROUPS, *package.contracts())
    for found in rules:
        for action in sorted(scope_actions(found.policy) or ()):
            if action not in known_actions:
                yield Problem(
                    file=found.file, line=_line_of(found, f'"{action}"'),
                    message=f"The rule {found.rule.id} is about {action}, which is no tool, action or group.",
                    suggestion=nearest(action, known_actions),
                )  # fmt: skip
                break
        else:
            result = cedarpy.validate_policies(found.text, schema)
            for error in result.errors:
                yield _cedar_problem(found, error.error)


def _cedar_problem(found: SourceRule, error: str) -> Problem:
    told = re.sub(r"^for policy `[^`]*`, ", "", error)
    missing = re.search(r"attribute `([^`]+)`", told)
    word = missing[1].rpartition(".")[2] if missing is not None else ""
    return Problem(
        file=found.file,
        line=_line_of(found, word) if word else found.line,
        message=f"The rule {found.rule.id}: {told}.",
    )


def _line_of(found: SourceRule, word: str) -> int:
    """The line of a word in a rule; of the rule if it is not there."""
    lines = found.text.splitlines()
    return next((found.line + index for index, line in enumerate(lines) if word in line), found.line)


def _annotation_problems(package: Package, rules: Iterable[SourceRule]) -> Iterator[Problem]:
    for found in rules:

        def problem(word: str, message: str, suggestion: str = "", found: SourceRule = found) -> Problem:
            return Problem(
                file=found.file, line=_line_of(found, word), message=message, suggestion=suggestion
            )  # fmt: skip

        for name in found.policy.get("annotations", {}):
            if name not in ANNOTATIONS:
                yield problem(
                    f"@{name}", f"@{name} is no annotation; there are: @{', @'.join(ANNOTATIONS)}.",
                    nearest(name, ANNOTATIONS),
                )  # fmt: skip
        for role in found.rule.approvals:
            if role not in package.roles:
                yield problem(
                    f"@{APPROVAL}", f"The rule {found.rule.id} asks the role {role}, which is not defined.",
                    nearest(role, package.roles),
                )  # fmt: skip
        for cls in found.rule.redactions:
            if cls not in CLASSES:
                yield problem(
                    f"@{REDACT}", f"The rule {found.rule.id} redacts {cls}, which is no class of personal data.",
                    nearest(cls, CLASSES),
                )  # fmt: skip


def _label_problems(package: Package, rules: Iterable[SourceRule]) -> Iterator[Problem]:
    """Cedar takes any text in a set of texts; a label that nothing bears would make a rule that never fires."""
    labels = (UNTRUSTED, *package.labels)
    sets: Mapping[str, tuple[str, Iterable[str]]] = {
        **dict.fromkeys(_LABEL_ATTRIBUTES, ("label", labels)),
        "approved_by": ("role", package.roles),
        "redacted": ("class of personal data", CLASSES),
        "findings": ("detector", DETECTORS),
    }
    for found in rules:
        for attribute, literal in _compared(found.policy.get("conditions", [])):
            kind, known = sets.get(attribute, ("", ()))
            if kind and literal not in set(known):
                yield Problem(
                    file=found.file, line=_line_of(found, f'"{literal}"'),
                    message=f"The rule {found.rule.id} looks for the {kind} {literal}, which is not defined.",
                    suggestion=nearest(literal, known),
                )  # fmt: skip


def _compared(node: object) -> Iterator[tuple[str, str]]:
    """Pairs of a context attribute and a text that a `contains…` looks for in it."""
    if isinstance(node, list):
        for item in node:
            yield from _compared(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("contains", "containsAny", "containsAll") and isinstance(value, dict):
                attribute = _context_attribute(value.get("left"))
                if attribute is not None:
                    yield from ((attribute, text) for text in _texts(value.get("right")))
            yield from _compared(value)


def _context_attribute(node: object) -> str | None:
    """`labels` of `context.labels`, `origins` of `context.origins.to`."""
    name: str | None = None
    while isinstance(node, dict) and isinstance(step := node.get("."), dict):
        name = str(step.get("attr"))
        node = step.get("left")
    return name if node == {"Var": "context"} else None


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("Value"), str):
            yield node["Value"]
        for item in node.get("Set", []) if isinstance(node.get("Set"), list) else ():
            yield from _texts(item)

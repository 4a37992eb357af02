"""Our use of Cedar: what it is asked, with which schema, entities and context, against other ways to ask."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.policy.arguments import cedar_value, normalise
from shared.policy.context import cedar_context
from shared.policy.contracts import DECIMALS_MAX, LONG_MAX, Package, Parameter
from shared.policy.decisions import Asker, Counts, Left, Lookup, Situation
from shared.policy.labels import UNTRUSTED
from shared.policy.monitor import RuleMonitor
from shared.policy.redactor import PackageRedactor
from shared.policy.rules import RuleSet, Verdict, read_rule, rule_sets, scope_actions, uses_of
from shared.policy.schema import cedar_schema
from tests.support.policy import DEVICE, NOW, PERMIT_ALL, package_of, rules_of, situation

# --- reading rules ---


def test_the_annotations_of_a_rule_are_read() -> None:
    rules = rules_of("""
        @id("a") @reason("Because.") @hint("Do this.") @approval("chief owner") @redact("email  phone")
        forbid (principal, action, resource);
        @id("b") permit (principal, action, resource);
    """)
    rule = read_rule("a", rules["a"])
    assert (rule.is_permit, rule.reason, rule.hint) == (False, "Because.", "Do this.")
    assert (rule.approvals, rule.redactions) == (("chief", "owner"), ("email", "phone"))
    plain = read_rule("b", rules["b"])
    assert (plain.is_permit, plain.reason, plain.approvals, plain.redactions) == (True, "", (), ())


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ("action", None),
        ('action == Action::"a"', {"a"}),
        ('action in Action::"reads"', {"reads"}),
        ('action in [Action::"a", Action::"b"]', {"a", "b"}),
    ],
)
def test_a_scope_names_its_actions(action: str, named: set[str] | None) -> None:
    assert scope_actions(rules_of(f'@id("x") permit (principal, {action}, resource);')["x"]) == named


@pytest.mark.parametrize(
    ("condition", "uses"),
    [
        ("true", {}),
        ('context.labels.contains("x")', {"labels": None}),
        ("context.args.amount > 5", {"args": {"amount": None}}),
        ('context.args has amount && context.args.amount > 5 && context.args.to like "a*"',
         {"args": {"amount": None, "to": None}}),
        ("context.args.place.street == \"x\"", {"args": {"place": {"street": None}}}),
        ("context has args.place.street", {"args": {"place": {"street": {}}}}),
        ("context.lookups has look", {"lookups": {"look": {}}}),
        ("context.lookups has look && context.lookups.look.age_s < 5", {"lookups": {"look": {"age_s": None}}}),
        ("context.lookups.look.age_s < 5 && context.lookups has look", {"lookups": {"look": {"age_s": None}}}),
        ("context.lookups has look && context.lookups.look == context.lookups.look", {"lookups": {"look": None}}),
        ("context.lookups == context.lookups && context.lookups.look.age_s < 5", {"lookups": None}),
        ('context["args"]["amount"] > 5', {"args": {"amount": None}}),
        ("context.args.amount > 5 && context.args == context.args", {"args": None}),
        ("context has entity && context.entity == \"x\"", {"entity": None}),
        ("if context.time.hour > 5 then context.counts.day < 2 else [context.device.name].contains(\"x\")",
         {"time": {"hour": None}, "counts": {"day": None}, "device": {"name": None}}),
        ("{a: context.time.at}.a == context.time.at", {"time": {"at": None}}),
        ("context == context", None),
        ("[context].contains(context)", None),
        ("{a: context}.a.args.amount > 5", None),
        ("(if true then context else context).args.amount > 5", None),
        ("principal in Site::\"x\" && resource == Tool::\"y\"", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("keyword", ["when", "unless"])
def test_what_a_condition_reads_is_known(keyword: str, condition: str, uses: dict[str, Any] | None) -> None:
    rules = rules_of(f'@id("x") permit (principal, action, resource) {keyword} {{ {condition} }};')
    assert uses_of(rules.values()) == uses


def test_rules_that_cedar_does_not_read_are_refused() -> None:
    with pytest.raises(ProtocolError):
        rule_sets(package_of(), {"x": {**rules_of(PERMIT_ALL)["all"], "resource": {"op": "?"}}},
                  principal="a.b", site="")  # fmt: skip


def test_a_set_of_rules_is_cut_to_its_action() -> None:
    package = package_of("""
        tools:
          look: {side_effect: none, sink: false}
          send: {side_effect: external}
          burn: {side_effect: irreversible, sink: false}
    """)
    rules = rules_of("""
        @id("all") permit (principal, action, resource);
        @id("look") permit (principal, action == Action::"look", resource);
        @id("reads") permit (principal, action in Action::"reads", resource);
        @id("sinks") permit (principal, action in [Action::"sinks", Action::"burn"], resource);
        @id("tools") permit (principal, action in Action::"tools", resource);
        @id("irreversible") permit (principal, action in Action::"irreversible", resource);
    """)
    sets = rule_sets(package, rules, principal="a.b", site="")
    held = {name: set(each.rules) for name, each in sets.items()}
    assert held["look"] == {"all", "look", "reads", "tools"}
    assert held["send"] == {"all", "sinks", "tools"}
    assert held["burn"] == {"all", "sinks", "tools", "irreversible"}
    assert held["memory.read"] == {"all", "reads"}
    assert held["model.escalate"] == {"all", "sinks"}


@pytest.mark.parametrize(
    ("condition", "is_allowed"),
    [
        ('principal == Agent::"acme.fridge-1"', True),
        ('principal in Site::"berlin"', True),
        ('principal in Site::"hamburg"', False),
        ('resource == Tool::"look"', True),
        ('context.time.hour == 12 && context.time.weekday == 1', True),
        ('context.time.at < datetime("2026-01-05T12:00:01Z") && context.time.at >= datetime("2026-01-05")', True),
        ('context.device.name == "fridge-1" && context.device.offline_s == 0', True),
        ("context has entity", False),
        ("context.labels.isEmpty() && context.findings.isEmpty()", True),
    ],
)  # fmt: skip
def test_rules_read_who_what_where_and_when(condition: str, is_allowed: bool) -> None:
    package = package_of("tools: {look: {side_effect: none}}")
    rules = rules_of(f'@id("x") permit (principal, action, resource) when {{ {condition} }};')
    assert asked(package, rules, situation("look")) == Verdict(is_allowed, ("x",) if is_allowed else ())


# --- asking in other ways ---


def asked(package: Package, rules: Mapping[str, Any], about: Situation) -> Verdict:
    """As the monitor asks: the slice of the action, the context cut to what is read."""
    sets = rule_sets(package, rules, principal=about.device.principal, site=about.device.site)
    return ask(package, sets[about.tool], about)


def ask(package: Package, rules: RuleSet, about: Situation) -> Verdict:
    contracts = package.contracts()
    call = normalise(about.tool, contracts[about.tool], about.arguments)
    context = cedar_context(
        contracts, about, call.values(), labels=package.lattice.join(about.labels),
        approved_by=frozenset({"chief"}), redacted=frozenset(), uses=rules.uses,
    )  # fmt: skip
    return rules.ask(
        principal=about.device.principal, action=about.tool, resource=("Tool", about.tool), context=context
    )


def full_sets(package: Package, rules: Mapping[str, Any], *, is_sliced: bool) -> Mapping[str, RuleSet]:
    """The same rules with the whole schema and the whole context; and all of them, if not sliced."""
    schema = cedarpy.Schema.from_json_str(json.dumps(cedar_schema(package)))
    everything = cedarpy.PolicySet.from_json_str(
        json.dumps({"staticPolicies": dict(rules), "templates": {}, "templateLinks": []})
    )
    sets = rule_sets(package, rules, principal=DEVICE.principal, site=DEVICE.site)
    return {
        name: RuleSet(
            each._policies if is_sliced else everything,
            schema,
            each._entities,
            each.rules if is_sliced else {rule: read_rule(rule, policy) for rule, policy in rules.items()},
            None,
        )
        for name, each in sets.items()
    }


# (a) generated contracts: the context is as the schema promises

NAMES = st.sampled_from(["a", "amount", "order_id", "_x", "Zz9", "if", "in", "context", "principal", "like"])
LONGS = st.integers(-LONG_MAX, LONG_MAX)
NUMBERS = st.decimals(-(10**12), 10**12, places=DECIMALS_MAX).map(float).filter(
    lambda number: Decimal(str(number)) == round(Decimal(str(number)), DECIMALS_MAX)
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.sampled_from(["string", "identifier", "integer", "number", "boolean"])


def types(depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.fixed_dictionaries({"type": PLAIN, "required": st.booleans()})
    lists = st.builds(
        lambda item, required: {"type": "list", "items": {"type": item}, "required": required},
        PLAIN, st.booleans(),
    )  # fmt: skip
    if depth == 2:
        return plain | lists
    objects = st.builds(
        lambda properties, required: {"type": "object", "properties": properties, "required": required},
        st.dictionaries(NAMES, types(depth + 1), max_size=3), st.booleans(),
    )  # fmt: skip
    return plain | lists | objects


def values(parameter: Parameter) -> st.SearchStrategy[Any]:
    match parameter.type:
        case "string":
            return TEXTS
        case "identifier":
            return st.text("abcAB019._:@/+-", min_size=1, max_size=12)
        case "integer":
            return LONGS
        case "number":
            return NUMBERS | st.integers(-(10**12), 10**12)
        case "boolean":
            return st.booleans()
        case "list":
            assert parameter.items is not None
            return st.lists(values(parameter.items), max_size=4)
        case "object":
            return records(parameter.properties or {})


def records(parameters: Mapping[str, Parameter]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: values(each) for name, each in parameters.items() if each.required},
        optional={name: values(each) for name, each in parameters.items() if not each.required},
    )


def literal(parameter: Parameter, value: Any) -> dict[str, Any]:
    """A checked value as an expression in Cedar's JSON."""
    match parameter.type:
        case "number":
            shown: Any = cedar_value(parameter, value)
            return {"decimal": [{"Value": shown["__extn"]["arg"]}]}
        case "list":
            assert parameter.items is not None
            return {"Set": [literal(parameter.items, item) for item in value]}
        case "object":
            properties = parameter.properties or {}
            return {"Record": {name: literal(properties[name], item) for name, item in value.items()}}
        case _:
            return {"Value": value}


def attribute(*path: str) -> dict[str, Any]:
    node: dict[str, Any] = {"Var": "context"}
    for name in path:
        node = {".": {"left": node, "attr": name}}
    return node


@given(st.data())
@settings(max_examples=60)
@pytest.mark.slow
def test_every_context_is_as_the_schema_promises_and_every_argument_is_its_own_value(
    data: st.DataObject,
) -> None:
    parameters = data.draw(st.dictionaries(NAMES, types(), min_size=1, max_size=4))
    package = package_of(tools={"tool": {"side_effect": "none", "parameters": parameters}})
    contract = package.tools["tool"]
    arguments = data.draw(records(contract.parameters))
    said = normalise("tool", contract, arguments).values()
    comparisons = [
        {"==": {"left": attribute("args", name), "right": literal(contract.parameters[name], value)}}
        for name, value in said.items()
    ]
    rule = {
        **rules_of(PERMIT_ALL)["all"],
        "conditions": [{"kind": "when", "body": comparison} for comparison in comparisons],
    }
    about = situation("tool", arguments)
    for sets in (
        rule_sets(package, {"own": rule}, principal=DEVICE.principal, site=DEVICE.site),
        full_sets(package, {"own": rule}, is_sliced=False),
    ):
        assert ask(package, sets["tool"], about) == Verdict(True, ("own",))


# (b), (c) generated rules: cut or whole, they decide alike

SHOP = package_of("""
    labels: {internal: {kind: confidentiality}}
    roles: {chief: {}}
    tools:
      get_order:
        side_effect: none
        sink: false
        parameters: {order: {type: identifier}}
        entity: {kind: order, argument: order}
        result: {fields: {total: {type: number}, note: {type: string, required: false}}}
      refund:
        side_effect: irreversible
        sink: false
        parameters:
          order: {type: identifier}
          amount: {type: number}
          tags: {type: list, items: {type: string}, required: false}
        entity: {kind: order, argument: order}
      send:
        side_effect: external
        sink: {recipient: to, for: [internal]}
        parameters: {to: {type: string}, note: {type: string, required: false}}
""")
EVERYWHERE = st.sampled_from([
    'context.labels.contains("internal")', 'context.labels.containsAny(["untrusted"])', "context.labels.isEmpty()",
    'context.recipient_labels.contains("untrusted")', 'context.approved_by.contains("chief")',
    "context.counts.hour < 2", "context.counts.task + context.counts.day > 3", "context.budget.calls > 5",
    "context.time.hour >= 12", "context.time.weekday == 1", 'context.time.at < datetime("2026-01-06")',
    'context.device.site == "berlin"', 'context.device.labels.contains("cold")', "context.device.offline_s > 60",
    'context.asked_by.kind == "hub"', 'context.asked_by.roles.contains("boss")', 'context.findings.contains("loops")',
    'context has entity && context.entity == "A-1"', "context == context", 'principal in Site::"berlin"',
    'resource == Tool::"refund"', "true", "false",
])  # fmt: skip
BY_TOOL = {
    "get_order": ['context.args.order like "A*"', 'context.origins.order.contains("untrusted")'],
    "refund": [
        'context.args.amount.greaterThan(decimal("5.0"))', "context.args has tags",
        'context.args has tags && context.args.tags.contains("x")', "context.lookups has get_order",
        "context.lookups has get_order && context.args.amount.lessThanOrEqual(context.lookups.get_order.total)",
        "context.lookups has get_order && context.lookups.get_order has note", "context.args == context.args",
        "context.lookups has get_order && context.lookups.get_order.age_s < 60",
    ],
    "send": ['context.args.to == "anna"', "context.args has note", 'context.origins.to.contains("untrusted")'],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    rules: str
    about: Situation


@st.composite
def cases(draw: st.DrawFn) -> Case:
    written = []
    for number in range(draw(st.integers(0, 6))):
        scope, places = draw(
            st.sampled_from([
                ("action", [EVERYWHERE]),
                ('action in Action::"reads"', [EVERYWHERE]),
                ('action in [Action::"sinks", Action::"irreversible"]', [EVERYWHERE]),
                *(
                    (f'action == Action::"{tool}"', [EVERYWHERE, st.sampled_from(conditions)])
                    for tool, conditions in BY_TOOL.items()
                ),
            ])
        )  # fmt: skip
        conditions = draw(st.lists(st.one_of(*places), max_size=3))
        effect = draw(st.sampled_from(["permit", "permit", "forbid"]))
        note = draw(st.sampled_from(["", '@approval("chief")', '@redact("email")']))
        parts = [f"{draw(st.sampled_from(['when', 'unless']))} {{ {each} }}" for each in conditions]
        written.append(f'@id("r{number}") {note} {effect} (principal, {scope}, resource) {" ".join(parts)};')
    tool = draw(st.sampled_from(sorted(SHOP.tools)))
    choices: dict[str, dict[str, Any]] = {
        "get_order": {"order": "A-1"},
        "refund": {"order": draw(st.sampled_from(["A-1", "B-2"])), "amount": draw(st.sampled_from([5, 5.5]))},
        "send": {"to": draw(st.sampled_from(["anna", "anna@example.org"]))},
    }
    arguments = choices[tool]
    if tool == "send" and draw(st.booleans()):
        arguments["note"] = "x"
    if tool == "refund" and draw(st.booleans()):
        arguments["tags"] = ["x"]
    some = st.frozensets(st.sampled_from(["internal", UNTRUSTED]))
    looked_up = Lookup(tool="get_order", kind="order", entity="A-1", fields={"total": 5.25}, at=NOW)
    about = situation(
        tool, arguments, labels=draw(some),
        origins=draw(st.sampled_from([{}, {name: frozenset({UNTRUSTED}) for name in arguments}])),
        lookups=draw(st.sampled_from([(), (looked_up,)])),
        counts=Counts(task=draw(st.integers(0, 3)), hour=draw(st.integers(0, 3)), day=2),
        left=Left(calls=draw(st.sampled_from([1, 10]))),
        asker=Asker(kind=draw(st.sampled_from(["local", "hub"]))),
        findings=draw(st.frozensets(st.sampled_from(["loops"]))),
    )  # fmt: skip
    return Case("\n".join(written), about)


@given(cases())
@settings(max_examples=150)
@pytest.mark.slow
def test_rules_cut_to_the_action_and_the_context_that_they_read_decide_as_the_whole(case: Case) -> None:
    rules = rules_of(case.rules) if case.rules else {}
    cut = rule_sets(SHOP, rules, principal=DEVICE.principal, site=DEVICE.site)
    sliced, whole = full_sets(SHOP, rules, is_sliced=True), full_sets(SHOP, rules, is_sliced=False)
    tool = case.about.tool
    verdict = ask(SHOP, cut[tool], case.about)
    assert not verdict.is_broken
    assert verdict == ask(SHOP, sliced[tool], case.about) == ask(SHOP, whole[tool], case.about)
    redact = PackageRedactor(())
    decision = RuleMonitor(SHOP, cut, redact).decide(case.about)
    assert decision == RuleMonitor(SHOP, sliced, redact).decide(case.about)


# (d) comparisons: Cedar's answer against a small reference

INTEGERS = st.integers(-5, 5) | st.sampled_from([LONG_MAX, LONG_MAX - 1, -LONG_MAX])
SMALL_NUMBERS = st.integers(-50_000, 50_000).map(lambda number: Decimal(number) / 10**DECIMALS_MAX)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "ä", "*"]), max_size=3)
TYPES = package_of("""
    tools:
      tool:
        side_effect: none
        sink: false
        parameters:
          n: {type: integer}
          d: {type: number}
          words: {type: list, items: {type: string}}
          text: {type: string, required: false}
""")
INTEGER_SIGNS: dict[str, Callable[[int, int], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip
DECIMAL_METHODS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "lessThan": lambda a, b: a < b, "lessThanOrEqual": lambda a, b: a <= b, "greaterThan": lambda a, b: a > b,
    "greaterThanOrEqual": lambda a, b: a >= b,
}  # fmt: skip
ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
}  # fmt: skip


def written(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


@given(st.data())
@settings(max_examples=150)
@pytest.mark.slow
def test_what_cedar_decides_is_what_a_small_reference_says(data: st.DataObject) -> None:
    n, other, d, bound = (
        data.draw(INTEGERS),
        data.draw(INTEGERS),
        data.draw(SMALL_NUMBERS),
        data.draw(SMALL_NUMBERS),
    )
    words, wanted = data.draw(WORDS), data.draw(WORDS)
    text = data.draw(st.none() | st.sampled_from(["", "a", "b"]))
    sign, method = (
        data.draw(st.sampled_from(sorted(INTEGER_SIGNS))),
        data.draw(st.sampled_from(sorted(DECIMAL_METHODS))),
    )
    calculation = data.draw(st.sampled_from(sorted(ARITHMETIC)))
    made = ARITHMETIC[calculation](n, other)
    family: dict[str, bool | None] = {
        f"context.args.n {sign} {other}": INTEGER_SIGNS[sign](n, other),
        f'context.args.d.{method}(decimal("{bound:.4f}"))': DECIMAL_METHODS[method](d, bound),
        f'context.args.d == decimal("{bound:.4f}")': d == bound,
        f"context.args.words.containsAll({written(wanted)})": set(wanted) <= set(words),
        f"context.args.words.containsAny({written(wanted)})": bool(set(wanted) & set(words)),
        f"context.args.words == {written(wanted)}": set(words) == set(wanted),
        'context.args.words.contains("a")': "a" in words,
        "context.args.words.isEmpty()": not words,
        "context.args has text": text is not None,
        'context.args has text && context.args.text == "a"': text == "a",
        f"context.args.n {calculation} {other} == {other}":
            made == other if -LONG_MAX - 1 <= made <= LONG_MAX else None,
    }  # fmt: skip
    condition = data.draw(st.sampled_from(sorted(family)))
    expected = family[condition]
    arguments = {"n": n, "d": float(d), "words": words, **({} if text is None else {"text": text})}
    rules = rules_of(
        f'@id("x") permit (principal, action == Action::"tool", resource) when {{ {condition} }};'
    )
    verdict = asked(TYPES, rules, situation("tool", arguments))
    assert verdict.is_broken is (expected is None), condition
    assert verdict.is_allowed is bool(expected), condition

"""Lint: each warning on the smallest package that deserves it, and silence on its near miss."""

import pytest

from cloud.policy.lint import AGREE, NEVER, SHADOWED, SILENT, UNBOUNDED, UNGUARDED
from tests.cloud.policy.packages import PERMIT_ALL, warnings_of

TOOLS = """\
roles: {chief: {}}
tools:
  look:
    side_effect: none
    sink: false
    parameters:
      n: {type: integer}
      what: {type: string, enum: [a, b]}
  pay:
    side_effect: irreversible
    sink: false
    parameters:
      amount: {type: number, min: 1, max: 10}
"""
GUARD = (
    '@id("guard") forbid (principal, action == Action::"pay", resource) unless { context.time.hour > 6 };\n'
)
QUIET = PERMIT_ALL + GUARD


def codes(rules: str, package: str = TOOLS) -> list[tuple[str, int]]:
    return [(code, line) for code, _, line in warnings_of(package, rules)]


def about(condition: str, *, action: str = "look", effect: str = "forbid", keyword: str = "when") -> str:
    """QUIET and, in line 3, a rule with this condition."""
    return (
        QUIET
        + f'@id("x") {effect} (principal, action == Action::"{action}", resource) {keyword} {{ {condition} }};\n'
    )


def test_a_package_in_order_has_no_warnings() -> None:
    assert codes(QUIET) == []


# --- rules that never fire ---


@pytest.mark.parametrize(
    "condition",
    [
        "context.args.n > 5 && context.args.n < 5", "context.args.n == 5 && context.args.n > 5", "false",
        "context.args.n > 5 && !(context.args.n > 5)", 'context.args.what == "c"', "context.time.hour > 23",
        'context.args.what == "a" && context.args.what == "b"', "context.counts.hour < 0",
        "5 < context.args.n && 5 > context.args.n", "context.time.weekday == 0 && context.time.weekday == 8",
        'context.args.what != "a" && context.args.what != "b"', "!(context.args.n <= 5) && context.args.n <= 5",
        "context.args.n == 1 && context.args.n == 2",
    ],
)  # fmt: skip
def test_conditions_that_exclude_each_other_never_fire(condition: str) -> None:
    assert codes(about(condition)) == [(NEVER, 3)]


@pytest.mark.parametrize(
    "condition",
    [
        "context.args.n >= 5 && context.args.n <= 5", "context.args.n > 5 || context.args.n < 5",
        'context.args.what == "a"', "context.time.hour >= 23", "context.counts.hour < 1",
        'context.args.what != "a"', "context.time.weekday == 7", "context.args.n > 5 && context.counts.hour < 5",
        "!(context.args.n > 5 && context.args.n < 5)", "context.args.n < 0", "context.time.minute == 59",
    ],
)  # fmt: skip
def test_conditions_that_can_hold_together_are_let_be(condition: str) -> None:
    assert codes(about(condition)) == []


@pytest.mark.parametrize(
    ("amount", "warns"),
    [
        ('context.args.amount.greaterThan(decimal("10.0"))', True),
        ('context.args.amount.greaterThanOrEqual(decimal("10.0"))', False),
        ('context.args.amount.lessThan(decimal("1.0"))', True),
        ('context.args.amount.lessThan(decimal("1.01"))', False),
        ('decimal("10.5").lessThan(context.args.amount)', True),
    ],
)
def test_the_bounds_of_a_contract_count(amount: str, warns: bool) -> None:
    assert codes(about(amount, action="pay")) == ([(NEVER, 3)] if warns else [])


def test_a_condition_after_unless_is_its_opposite() -> None:
    assert codes(about("context.time.hour >= 0", keyword="unless")) == [(NEVER, 3)]
    assert codes(about("context.time.hour >= 1", keyword="unless")) == []


def test_a_group_that_only_the_actions_of_every_agent_are_in_is_fine() -> None:
    assert codes(QUIET + '@id("x") forbid (principal, action in Action::"external", resource);\n') == []


# --- rules in each other's shadow ---


def test_a_permit_under_a_forbid_permits_nothing() -> None:
    rules = QUIET + '@id("no") forbid (principal, action == Action::"look", resource);\n'
    rules += '@id("x") permit (principal, action == Action::"look", resource) when { context.args.n > 1 };\n'
    assert (SHADOWED, 4) in codes(rules)


@pytest.mark.parametrize(
    "forbid",
    [
        '@id("no") @approval("chief") forbid (principal, action == Action::"look", resource);',
        '@id("no") @redact("email") forbid (principal, action == Action::"look", resource);',
        '@id("no") forbid (principal, action == Action::"look", resource) when { context.args.n > 2 };',
        '@id("no") forbid (principal, action == Action::"pay", resource);',
        '@id("no") forbid (principal in Site::"x", action == Action::"look", resource);',
    ],
)
def test_a_permit_beside_a_forbid_that_may_be_lifted_or_is_narrower_is_let_be(forbid: str) -> None:
    permit = '@id("x") permit (principal, action == Action::"look", resource) when { context.args.n > 1 };\n'
    answer = '@id("answer") permit (principal, action == Action::"message.person", resource);\n'
    assert [code for code, _ in codes(answer + permit + forbid)] == []


def test_of_two_rules_that_say_the_same_the_second_is_named() -> None:
    one = '@id("one") forbid (principal, action == Action::"look", resource) when { context.args.n > 1 };\n'
    assert codes(QUIET + one + one.replace("one", "two")) == [(AGREE, 4)]
    wider = one.replace("one", "wider").replace("context.args.n > 1", "true").replace("when { true }", "")
    assert (AGREE, 3) in codes(QUIET + one + wider)
    other = one.replace("one", "two").replace("n > 1", "n > 2")
    assert codes(QUIET + one + other) == []


def test_a_rule_that_asks_a_person_beside_one_that_does_not_is_meant() -> None:
    one = '@id("one") forbid (principal, action == Action::"look", resource) when { context.args.n > 1 };\n'
    asks = one.replace('@id("one")', '@id("two") @approval("chief")')
    assert codes(QUIET + one + asks) == []


# --- contracts ---


@pytest.mark.parametrize(
    "guard",
    [GUARD, "", "approvals: [chief]", "rates: [{max: 1, per: 1h}]", "condition"],
)
def test_a_tool_that_cannot_be_undone_has_a_guard(guard: str) -> None:
    package = TOOLS + (f"    {guard}\n" if guard.startswith(("approvals", "rates")) else "")
    rules = {
        GUARD: QUIET,
        "condition": PERMIT_ALL.replace(";", " when { context.time.hour > 6 };"),
    }.get(guard, PERMIT_ALL)
    assert codes(rules, package) == ([(UNGUARDED, 11)] if not guard else [])


@pytest.mark.parametrize(
    ("parameter", "warns"),
    [
        ("{type: string}", True),
        ("{type: string, max_length: 5}", False),
        ("{type: number, min: 1}", True),
        ("{type: boolean}", False),
        ("{type: list, items: {type: boolean}}", True),
    ],
)
def test_an_argument_of_a_tool_that_does_something_has_bounds(parameter: str, warns: bool) -> None:
    package = TOOLS.replace("{type: number, min: 1, max: 10}", parameter)
    assert codes(QUIET, package) == ([(UNBOUNDED, 15)] if warns else [])
    reads = package.replace("side_effect: irreversible", "side_effect: none")
    assert codes(QUIET, reads) == []
    head, _, tail = reads.rpartition("sink: false")
    assert ((UNBOUNDED, 15) in codes(QUIET, f"{head}sink: true{tail}")) is warns


def test_an_agent_that_may_answer_nobody_is_told() -> None:
    only_tools = PERMIT_ALL.replace("action,", 'action in Action::"tools",') + GUARD
    assert codes(only_tools) == [(SILENT, 1)]

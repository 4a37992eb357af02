"""The monitor: what it lets through, what it refuses, and that whatever goes wrong inside is a no."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.policy.bundle import BundleError
from shared.policy.contracts import ACTIONS, SideEffect
from shared.policy.decisions import (
    Allow,
    Decision,
    Deny,
    Left,
    Lookup,
    NeedsApproval,
    Transform,
    code_of,
)
from shared.policy.labels import UNTRUSTED
from shared.policy.monitor import Baseline, RuleMonitor, monitor_of
from tests.support.policy import (
    DEVICE,
    NOW,
    PERMIT_ALL,
    approval,
    bundle_of_text,
    monitor_of_text,
    package_of,
    situation,
)

PACKAGE = package_of("""
    labels:
      internal: {kind: confidentiality}
      patient: {kind: confidentiality, lifted_by: [phone, email]}
      secret: {kind: confidentiality, implies: [internal]}
    roles:
      chief: {local: true, within: 10m}
      owner: {within: 1h}
    tools:
      look: {side_effect: none, sink: false, parameters: {what: {type: string, max_length: 50}}}
      get_order:
        side_effect: none
        sink: false
        parameters: {order: {type: identifier}}
        entity: {kind: order, argument: order}
        result: {fields: {total: {type: number}}}
      refund:
        side_effect: irreversible
        sink: false
        parameters:
          order: {type: identifier}
          amount: {type: number, min: 0, max: 1000}
        entity: {kind: order, argument: order}
      send:
        side_effect: external
        sink: {recipient: to, for: [internal]}
        parameters: {to: {type: string}, body: {type: string}}
      mail_all:
        side_effect: external
        sink: {for: []}
        parameters: {to: {type: list, items: {type: string}}, body: {type: string, required: false}}
      open: {side_effect: local, sink: false, approvals: [chief, owner], parameters: {}}
      limited: {side_effect: local, sink: false, rates: [{max: 2, per: 1h}]}
""")
REFUND = {"order": "A-1", "amount": 200}


def decided(rules: str, tool: str, arguments: Mapping[str, object] | None = None, **fields: Any) -> Decision:
    return monitor_of_text(PACKAGE, rules).decide(situation(tool, arguments, **fields))


def denied(decision: Decision) -> Deny:
    assert isinstance(decision, Deny), decision
    return decision


# --- what needs no rule ---


@pytest.mark.parametrize("tool", ["rеfund", "REFUND", "", "refund ", "re\u200bfund", "tools", "mystery"])
def test_a_tool_that_the_rules_do_not_know_is_refused(tool: str) -> None:
    refusal = denied(decided(PERMIT_ALL, tool, REFUND))
    assert refusal.rule == "unknown_tool"
    assert "refund" in refusal.hint


@pytest.mark.parametrize(
    "arguments",
    [{}, {"order": "A-1"}, {**REFUND, "more": 1}, {**REFUND, "amount": float("nan")}, {**REFUND, "amount": 1001},
     {**REFUND, "order": "\ud800"}, {**REFUND, "order": None}, {**REFUND, "amount": "200"}],
)  # fmt: skip
def test_arguments_that_are_not_as_the_contract_says_reach_no_rule(arguments: dict[str, object]) -> None:
    assert denied(decided(PERMIT_ALL, "refund", arguments)).rule == "arguments"


def test_without_a_rule_that_permits_it_nothing_is_done() -> None:
    assert denied(decided("", "look", {"what": "x"})).rule == "no_rule"


def test_what_is_executed_are_the_arguments_that_were_decided_on() -> None:
    allowed = decided(PERMIT_ALL, "refund", {"amount": 200.0, "order": "A-1"})
    assert isinstance(allowed, Allow)
    assert allowed.call.arguments == b'{"amount":200,"order":"A-1"}'
    assert allowed.rules == ("all",)


@pytest.mark.parametrize(
    ("left", "rule"),
    [
        (Left(calls=0), "budget.calls"),
        (Left(tokens=0), "budget.tokens"),
        (Left(wall_s=-1), "budget.wall"),
    ],
)
def test_a_budget_that_is_spent_is_a_no_but_for_the_answer(left: Left, rule: str) -> None:
    assert denied(decided(PERMIT_ALL, "look", {"what": "x"}, left=left)).rule == rule
    assert isinstance(decided(PERMIT_ALL, "message.person", {"text": "x"}, left=left), Allow)


def test_escalations_have_a_budget_of_their_own() -> None:
    spent = Left(escalations=0)
    assert (
        denied(decided(PERMIT_ALL, "model.escalate", {"text": "x"}, left=spent)).rule == "budget.escalations"
    )
    assert isinstance(decided(PERMIT_ALL, "look", {"what": "x"}, left=spent), Allow)


@pytest.mark.parametrize(("used", "is_allowed"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_rate_holds_at_its_limit(used: int, is_allowed: bool) -> None:
    decision = decided(PERMIT_ALL, "limited", rates=(used,))
    assert isinstance(decision, Allow) is is_allowed
    assert is_allowed or denied(decision).rule == "rate"


@pytest.mark.parametrize("rates", [(), (0, 0)])
def test_a_rate_that_nobody_counted_is_a_no(rates: tuple[int, ...]) -> None:
    assert denied(decided(PERMIT_ALL, "limited", rates=rates)).rule == "rate"


# --- sinks ---

MAIL = {"to": "anna@example.org", "body": "hello"}


@pytest.mark.parametrize("labels", [{"secret"}, {"secret", "patient"}, {"foreign"}, {"internal", "foreign"}])
def test_what_a_sink_may_not_hold_does_not_leave_whatever_the_rules_say(labels: set[str]) -> None:
    refusal = denied(decided(PERMIT_ALL, "send", MAIL, labels=frozenset(labels)))
    assert refusal.rule == "sink"


def test_what_a_sink_is_cleared_for_leaves() -> None:
    assert isinstance(decided(PERMIT_ALL, "send", MAIL, labels=frozenset({"internal", UNTRUSTED})), Allow)
    assert denied(decided(PERMIT_ALL, "mail_all", {"to": []}, labels=frozenset({"internal"}))).rule == "sink"


def test_a_label_that_redaction_lifts_leaves_without_what_bore_it() -> None:
    arguments = {"to": "ward", "body": "call +49 170 1234567, or anna@example.org"}
    rules = (
        PERMIT_ALL
        + '@id("no-patients") forbid (principal, action, resource) when { context.labels.contains("patient") };'
    )
    decision = decided(rules, "send", arguments, labels=frozenset({"patient"}))
    assert isinstance(decision, Transform)
    assert decision.redactions == ("email", "phone")
    body = str(decision.call.values()["body"])
    assert "1234567" not in body
    assert "anna" not in body
    assert denied(decided(rules, "look", {"what": "x"}, labels=frozenset({"patient"}))).rule == "no-patients"


def test_a_redaction_that_leaves_an_argument_as_no_contract_allows_is_a_no() -> None:
    package = package_of("""
        labels: {patient: {kind: confidentiality, lifted_by: [email]}}
        tools: {send: {side_effect: external, parameters: {to: {type: string, enum: [anna@example.org]}}}}
    """)
    asked = situation("send", {"to": "anna@example.org"}, labels=frozenset({"patient"}))
    assert denied(monitor_of_text(package).decide(asked)).rule == "arguments"


def test_an_obligation_takes_personal_data_out_of_every_sink_or_of_named_tools() -> None:
    package = package_of("""
        tools:
          look: {side_effect: none, sink: false, parameters: {what: {type: string}}}
          note: {side_effect: local, sink: false, parameters: {what: {type: string}}}
          send: {side_effect: external, parameters: {what: {type: string}}}
        obligations:
          - {redact: [email]}
          - {redact: [phone], tools: [note]}
    """)
    monitor = monitor_of_text(package)
    said = {"what": "anna@example.org +49 170 1234567"}
    assert isinstance(monitor.decide(situation("look", said)), Allow)
    for tool, classes in (("send", ("email",)), ("note", ("phone",))):
        decision = monitor.decide(situation(tool, said))
        assert isinstance(decision, Transform)
        assert decision.redactions == classes
    assert isinstance(monitor.decide(situation("send", {"what": "nothing"})), Allow)


def test_what_a_rule_says_of_a_recipient_it_says_of_the_text_that_chose_it() -> None:
    rules = (
        PERMIT_ALL
        + '@id("to") forbid (principal, action, resource) when { context.recipient_labels.contains("untrusted") };'
    )
    origins = {"to": frozenset({UNTRUSTED}), "body": frozenset[str]()}
    assert denied(decided(rules, "send", MAIL, origins=origins)).rule == "to"
    assert isinstance(decided(rules, "send", MAIL, origins={**origins, "to": frozenset()}), Allow)
    assert denied(decided(rules, "send", MAIL)).rule == "to", "nobody knows where it comes from"
    assert isinstance(decided(rules, "look", {"what": "x"}), Allow), "it goes to nobody"


# --- facts ---

LOOKED_UP = (
    PERMIT_ALL
    + """
    @id("total") @hint("Look the order up.") forbid (principal, action == Action::"refund", resource)
    unless { context.lookups has get_order && context.args.amount.lessThanOrEqual(context.lookups.get_order.total) };
"""
)


def looked_up(
    entity: str = "A-1", *, kind: str = "order", tool: str = "get_order", total: object = 200
) -> Lookup:
    return Lookup(tool=tool, kind=kind, entity=entity, fields={"total": total}, at=NOW)


@pytest.mark.parametrize(
    ("lookup", "is_allowed"),
    [
        (looked_up(), True),
        (looked_up(total=199.99), False),
        (looked_up("B-1"), False),
        (looked_up("a-1"), False),
        (looked_up(kind="person"), False),
        (looked_up(tool="look"), False),
    ],
)
def test_a_fact_about_one_thing_authorises_no_other(lookup: Lookup, is_allowed: bool) -> None:
    decision = decided(LOOKED_UP, "refund", REFUND, lookups=(lookup,))
    assert isinstance(decision, Allow) is is_allowed
    assert is_allowed or denied(decision) == Deny(
        rule="total", sentence="The rule total forbids refund here.", hint="Look the order up."
    )


# --- approvals ---

LARGE = (
    PERMIT_ALL
    + """
    @id("large") @reason("Above 100 the chief agrees.") @approval("chief")
    forbid (principal, action == Action::"refund", resource)
    when { context.args.amount.greaterThan(decimal("100.0")) }
    unless { context.approved_by.contains("chief") };
"""
)


def test_what_a_persons_yes_would_lift_is_asked_of_them() -> None:
    decision = decided(LARGE, "refund", REFUND)
    assert isinstance(decision, NeedsApproval)
    assert (decision.roles, decision.within_s, decision.is_local) == (("chief",), 600, True)
    assert (decision.rule, decision.sentence) == ("large", "Above 100 the chief agrees.")
    assert decision.call.values() == REFUND


def test_a_yes_lifts_it_for_these_very_arguments() -> None:
    yes = approval(PACKAGE, "refund", {"order": "A-1", "amount": 200.0}, "chief")
    assert isinstance(decided(LARGE, "refund", REFUND, approvals=(yes,)), Allow)


OTHER_YES = {
    "of other arguments": approval(PACKAGE, "refund", {**REFUND, "amount": 201}, "chief"),
    "of another thing": approval(PACKAGE, "refund", {**REFUND, "order": "A-2"}, "chief"),
    "to another tool": approval(PACKAGE, "get_order", {"order": "A-1"}, "chief"),
    "in another task": approval(PACKAGE, "refund", REFUND, "chief", task="task-2"),
    "by another role": approval(PACKAGE, "refund", REFUND, "owner"),
    "by a role that nobody knows": approval(PACKAGE, "refund", REFUND, "Chief"),
    "that came too late": approval(PACKAGE, "refund", REFUND, "chief", expires=NOW),
    "of long ago": approval(PACKAGE, "refund", REFUND, "chief", expires=NOW - timedelta(days=1)),
}


@pytest.mark.parametrize("name", OTHER_YES)
def test_a_yes_counts_for_nothing_else(name: str) -> None:
    assert isinstance(decided(LARGE, "refund", REFUND, approvals=(OTHER_YES[name],)), NeedsApproval)


def test_a_no_that_nothing_lifts_is_told_before_one_that_a_person_could_lift() -> None:
    rules = (
        LARGE
        + '@id("never") @reason("Never on Mondays.") forbid (principal, action == Action::"refund", resource);'
    )
    refusal = denied(decided(rules, "refund", REFUND))
    assert (refusal.rule, refusal.sentence) == ("never", "Never on Mondays.")


def test_nobody_is_asked_for_a_yes_that_would_change_nothing() -> None:
    unpermitted = LARGE.replace(PERMIT_ALL, "")
    assert denied(decided(unpermitted, "refund", REFUND)).rule == "no_rule"
    deaf = PERMIT_ALL + '@id("deaf") @approval("chief") forbid (principal, action, resource);'
    assert denied(decided(deaf, "refund", REFUND)).rule == "deaf"


def test_two_rules_that_ask_two_people_ask_both() -> None:
    rules = (
        LARGE
        + """
        @id("owner") @approval("owner") forbid (principal, action == Action::"refund", resource)
        unless { context.approved_by.contains("owner") };
    """
    )
    decision = decided(rules, "refund", REFUND)
    assert isinstance(decision, NeedsApproval)
    assert (decision.roles, decision.within_s, decision.is_local) == (("chief", "owner"), 600, False)
    one = approval(PACKAGE, "refund", REFUND, "chief")
    rest = decided(rules, "refund", REFUND, approvals=(one,))
    assert isinstance(rest, NeedsApproval)
    assert rest.roles == ("owner",)


def test_a_permit_that_waits_for_a_person_asks_them() -> None:
    rules = """
        @id("agreed") @approval("chief") permit (principal, action == Action::"refund", resource)
        when { context.approved_by.contains("chief") };
    """
    assert isinstance(decided(rules, "refund", REFUND), NeedsApproval)
    yes = approval(PACKAGE, "refund", REFUND, "chief")
    assert isinstance(decided(rules, "refund", REFUND, approvals=(yes,)), Allow)


def test_a_contract_asks_its_people_whatever_the_rules_permit() -> None:
    decision = decided(PERMIT_ALL, "open")
    assert isinstance(decision, NeedsApproval)
    assert (decision.roles, decision.rule) == (("chief", "owner"), "approvals")
    both = tuple(approval(PACKAGE, "open", {}, role, nonce=role) for role in ("chief", "owner"))
    assert isinstance(decided(PERMIT_ALL, "open", approvals=both), Allow)
    # One person in both roles is one person.
    alone = tuple(approval(PACKAGE, "open", {}, role, nonce=role, by="ada") for role in ("chief", "owner"))
    assert isinstance(decided(PERMIT_ALL, "open", approvals=alone), NeedsApproval)
    assert isinstance(decided(PERMIT_ALL, "open", approvals=both[:1]), NeedsApproval)
    assert denied(decided("", "open", approvals=both)).rule == "no_rule"


def test_what_redaction_would_lift_is_redacted_and_then_asked() -> None:
    rules = (
        PERMIT_ALL
        + """
        @id("clean") @redact("email") forbid (principal, action == Action::"send", resource)
        unless { context.redacted.contains("email") };
        @id("ask") @approval("chief") forbid (principal, action == Action::"send", resource)
        unless { context.approved_by.contains("chief") };
    """
    )
    arguments = {"to": "ward", "body": "anna@example.org"}
    asked = decided(rules, "send", arguments)
    assert isinstance(asked, NeedsApproval)
    assert asked.redactions == ("email",)
    clean = asked.call.values()
    assert "anna" not in str(clean)
    yes = approval(PACKAGE, "send", clean, "chief")
    done = decided(rules, "send", arguments, approvals=(yes,))
    assert isinstance(done, Transform)
    assert done.call == asked.call
    unclean = approval(PACKAGE, "send", arguments, "chief")
    assert isinstance(decided(rules, "send", arguments, approvals=(unclean,)), NeedsApproval)


# --- what fails ---


def test_a_rule_that_fails_while_it_is_evaluated_is_a_no() -> None:
    package = package_of("""
        tools:
          add: {side_effect: none, sink: false, parameters: {a: {type: integer}, b: {type: integer}}}
    """)
    rules = (
        PERMIT_ALL
        + '@id("sum") forbid (principal, action == Action::"add", resource)'
        + " when { context.args.a + context.args.b > 10 };"
    )
    monitor = monitor_of_text(package, rules)
    assert isinstance(monitor.decide(situation("add", {"a": 1, "b": 2})), Allow)
    assert denied(monitor.decide(situation("add", {"a": 5, "b": 6}))).rule == "sum"
    overflow = monitor.decide(situation("add", {"a": 2**63 - 1, "b": 1}))
    assert (denied(overflow).rule, "could not be evaluated" in denied(overflow).sentence) == (
        "internal",
        True,
    )


@pytest.mark.parametrize(
    "error", [RuntimeError("a secret"), RecursionError(), MemoryError(), AssertionError()]
)
def test_an_exception_inside_is_a_no_that_tells_no_detail(error: Exception) -> None:
    def fail(value: object, classes: Collection[str]) -> object:
        raise error

    package = package_of("""
        tools: {send: {side_effect: external, parameters: {}}}
        obligations: [{redact: [email]}]
    """)
    sets = bundle_of_text(package).rule_sets(principal=DEVICE.principal, site=DEVICE.site)
    refusal = denied(RuleMonitor(package, sets, fail).decide(situation("send")))
    assert refusal.rule == "internal"
    assert "secret" not in refusal.sentence


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": None}, {"now": None}, {"lookups": (looked_up(total=object()),)}, {"device": None}, {"origins": 5},
        {"approvals": (None,)}, {"counts": None},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_a_situation_that_is_none_is_a_no(fields: dict[str, Any]) -> None:
    everything = (
        PERMIT_ALL
        + '@id("all-of-it") forbid (principal, action, resource) when { context == context && false };'
    )
    asked = replace(situation("refund", REFUND), **fields)
    assert denied(monitor_of_text(PACKAGE, everything).decide(asked)).rule == "internal"


def test_many_labels_hide_none() -> None:
    """A peer may send labels of its own, as many as it likes; `untrusted` sorts behind them."""
    rules = (
        PERMIT_ALL
        + '@id("no") forbid (principal, action, resource) when { context.labels.contains("untrusted") };'
    )
    foreign = frozenset(f"a{number}" for number in range(500))
    assert denied(decided(rules, "look", {"what": "x"}, labels=foreign)).rule == "no"


TEXTS = st.text(max_size=8) | st.sampled_from(["A-1", "refund", "look", "\ud800"])
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
STRICT = monitor_of_text(PACKAGE, LARGE)


@pytest.mark.slow
@given(
    st.sampled_from([*PACKAGE.contracts()]) | TEXTS,
    st.dictionaries(
        st.sampled_from(["order", "amount", "to", "body", "what", "text", "scope"]) | TEXTS, JSONS, max_size=4
    ),
    st.frozensets(st.sampled_from(["internal", "patient", "secret", UNTRUSTED, "foreign"])),
)  # fmt: skip
def test_whatever_is_asked_is_answered_and_never_wider_than_the_contract(
    tool: str, arguments: dict[str, Any], labels: frozenset[str]
) -> None:
    decision = STRICT.decide(situation(tool, arguments, labels=labels))
    assert code_of(decision) in ("allow", "deny", "needs_approval", "transform")
    if isinstance(decision, Deny):
        assert decision.rule != "internal"
        assert decision.sentence
    else:
        assert decision.call.tool == tool
        assert decision.call.values().keys() <= PACKAGE.contracts()[tool].parameters.keys()


def test_a_bundle_whose_labels_lead_nowhere_is_refused() -> None:
    bundle = bundle_of_text(package_of("labels: {a: {kind: integrity, implies: [nowhere]}}"))
    with pytest.raises(BundleError) as caught:
        monitor_of(bundle, DEVICE)
    assert caught.value.code == "bundle_broken"


# --- without rules ---

EFFECTS: dict[str, SideEffect] = {"look": "none", "move": "local", "mail": "external", "burn": "irreversible"}
BASELINE = Baseline("There is no bundle.", EFFECTS)


@pytest.mark.parametrize(
    ("tool", "arguments", "is_allowed"),
    [
        ("look", {"anything": [1, 2]}, True),
        ("move", {}, False),
        ("mail", {}, False),
        ("burn", {}, False),
        ("mystery", {}, False),
        ("message.person", {"text": "hello"}, True),
        ("memory.read", {"scope": "task"}, True),
        ("memory.write", {"scope": "device", "text": "x"}, True),
        ("memory.write", {"scope": "site", "text": "x"}, False),
        ("memory.write", {"scope": "fleet", "text": "x"}, False),
        ("model.escalate", {"text": "x"}, False),
        ("message.peer", {"to": "x", "text": "x"}, False),
        ("tool.install", {"tool": "x"}, False),
    ],
)
def test_the_baseline_only_reads(tool: str, arguments: dict[str, object], is_allowed: bool) -> None:
    decision = BASELINE.decide(situation(tool, arguments))
    assert isinstance(decision, Allow) is is_allowed
    if not is_allowed:
        assert denied(decision).rule == "baseline"
        assert denied(decision).sentence.startswith("There is no bundle.")


def test_the_baseline_does_not_take_the_tools_word_for_an_action_of_the_agent() -> None:
    lying = Baseline("No bundle.", dict.fromkeys(ACTIONS, "none"))
    assert isinstance(lying.decide(situation("model.escalate", {"text": "x"})), Deny)


@pytest.mark.parametrize(
    "arguments", [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}, {"a": {1: 2, "b": 3}}, {"a": b"x"}]
)
def test_the_baseline_refuses_what_is_no_json(arguments: dict[str, object]) -> None:
    assert denied(BASELINE.decide(situation("look", arguments))).rule == "arguments"


# --- what an answer's rules look at ---


ANSWERS_BUT_X = """
    @id("x") permit (principal, action == Action::"message.person", resource) when { context.args.text != "x" };
"""


@pytest.mark.parametrize(
    ("rules", "is_read"),
    [
        (PERMIT_ALL, False),
        (PERMIT_ALL.replace(";", ' when { context.labels.contains("internal") };'), False),
(ANSWERS_BUT_X, True),
        (PERMIT_ALL.replace(";", " when { context == context };"), True),
    ],
)  # fmt: skip
def test_it_is_known_whether_a_rule_reads_what_an_answer_says(rules: str, is_read: bool) -> None:
    monitor = monitor_of_text(PACKAGE, rules)
    assert monitor.reads_arguments("message.person") is is_read
    assert monitor.reads_arguments("mystery") is True
    assert monitor.reads_arguments("send") is True, "it leaves through a sink"

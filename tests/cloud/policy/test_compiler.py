"""The compiler: each error with its file, its line and what was meant; all of them at once."""

from typing import Any

import pytest

from cloud.policy.compiler import compile_package, statements
from shared.errors import CapacityError
from tests.cloud.policy.packages import HEAD, PERMIT_ALL, compiled, problem_of, problems_of, sources_of

TOOLS = """\
labels:
  internal: {kind: confidentiality}
roles:
  supervisor: {}
tools:
  refund:
    side_effect: irreversible
    sink: {for: [internal]}
    parameters:
      order: {type: identifier}
      amount: {type: number}
    entity: {kind: order, argument: order}
"""


def rule(condition: str, *, action: str = 'action == Action::"refund"', notes: str = "") -> str:
    """A rule of which the action stands in line 3, the condition in line 4."""
    return f'@id("x") {notes}\npermit (\n  principal, {action}, resource) when {{\n  {condition}\n}};\n'


def test_a_package_compiles_to_the_same_bundle_each_time() -> None:
    one, two = compiled(TOOLS), compiled(TOOLS)
    assert one.bundle.raw == two.bundle.raw
    assert [(found.rule.id, found.file, found.line) for found in one.rules] == [("all", "rules.cedar", 1)]


def test_comments_and_places_are_no_part_of_a_bundle() -> None:
    assert compiled("", PERMIT_ALL).bundle.hash == compiled("", f"// why\n\n{PERMIT_ALL}").bundle.hash


# --- package.yaml ---


@pytest.mark.parametrize(
    ("package", "line", "says", "suggestion"),
    [
        ("toolz: {}\n", 3, "toolz is nothing that a package says", "tools"),
        ("tools:\n  look:\n    side_efect: none\n", 4, "tools.look.side_effect is missing", ""),
        ("tools:\n  look:\n    side_effect: none\n    paramters: {}\n", 6, "paramters is nothing", "parameters"),
        ("tools:\n  look:\n    side_effect: nothing\n", 5, "tools.look.side_effect: input should be", ""),
        ("lease: 7 weeks\n", 3, "a duration is written like", ""),
        ("labels:\n  Secret: {kind: confidentiality}\n", 4, "pattern", ""),
        ("labels:\n  a:\n    kind: integrity\n    implies: [internl]\n", 4, "implies internl, which is no label", ""),
        ("labels:\n  a: {kind: integrity, lifted_by: [emial]}\n", 4, "pattern", ""),
        ("tools:\n  reads: {side_effect: none}\n", 4, "No tool may be called reads", ""),
        ("tools:\n  memory.read: {side_effect: none}\n", 4, "No tool may be called memory.read", ""),
        ("labels: {internal: {kind: confidentiality}}\ntools:\n  a: {side_effect: none, result: {labels: [intern]}}\n",
         5, "the label intern, which is not defined", "internal"),
        ("labels: {internal: {kind: confidentiality}}\ntools:\n  look: {side_effect: none, sink: {for: [internol]}}\n",
         5, "the label internol", "internal"),
        ("roles: {supervisor: {}}\ntools:\n  look: {side_effect: none, approvals: [superviser]}\n",
         5, "asks the role superviser", "supervisor"),
        ("actions:\n  message.hubb: {}\n", 4, "There is no action message.hubb", "message.hub"),
        ("actions:\n  message.hub: {approvals: [boss]}\n", 4, "message.hub asks the role boss", ""),
        ("actions:\n  message.hub: {sink: {for: [x]}}\n", 4, "message.hub speaks of the label x", ""),
        ("tools: {look: {side_effect: none}}\nobligations:\n  - {redact: [email], tools: [lok]}\n",
         5, "names the tool lok", "look"),
        ("threats:\n  imitatoin: label\n", 4, "There is no detector imitatoin", "imitation"),
        ("expires: yesterday\n", 3, "expires", ""),
        ("names: [5]\n", 3, "names.0", ""),
        ("tools:\n  a:\n    side_effect: none\n    parameters:\n      n:\n        type: integer\n        min: .nan\n",
         9, "finite", ""),
    ],
    ids=range(21),
)  # fmt: skip
def test_a_wrong_word_in_the_package_is_told_with_its_line(
    package: str, line: int, says: str, suggestion: str
) -> None:
    found = problems_of(package)
    problem = next((each for each in found if says in each.message), None)
    assert problem is not None, found
    assert (problem.file, problem.line, problem.severity) == ("package.yaml", line, "error")
    assert suggestion in problem.suggestion


def test_a_time_is_written_as_in_yaml_and_has_a_zone() -> None:
    assert compiled("expires: 2026-12-31T00:00:00Z\n").package.expires is not None
    assert "timezone" in problem_of("expires: 2026-12-31T00:00:00\n").message


def test_an_empty_package_is_told_what_it_lacks() -> None:
    sources = sources_of()
    assert sources.package.file == "package.yaml"
    (problem,) = problems_of("tools: 5\n")
    assert (problem.line, "tools" in problem.message) == (3, True)


# --- *.cedar ---


@pytest.mark.parametrize(
    ("rules", "line", "says", "suggestion"),
    [
        (rule("true", action='action == Action::"refnd"'), 3, "about refnd, which is no tool", "refund"),
        (rule("true", action='action in Action::"irreversable"'), 3, "irreversable", "irreversible"),
        (rule("context.args.amunt.lessThan(decimal(\"5.0\"))"), 4, "amunt", ""),
        (rule("context.lookups.get_order.total == 5"), 4, "get_order", ""),
        (rule("context.args.amount < 5"), 1, "", ""),
        (rule("context.nonsense"), 4, "nonsense", ""),
        (rule("context.lookups has refund && context.lookups.refund.total == 5"), 4, "total", ""),
        (rule('context.labels.contains("internol")'), 4, "the label internol, which is not defined", "internal"),
        (rule('context.origins.order.containsAny(["untrustd"])'), 4, "the label untrustd", "untrusted"),
        (rule('context.approved_by.contains("superviser")'), 4, "the role superviser", "supervisor"),
        (rule('context.redacted.contains("emial")'), 4, "the class of personal data emial", "email"),
        (rule('context.findings.contains("imitatoin")'), 4, "the detector imitatoin", "imitation"),
        (rule("true", notes='@aproval("supervisor")'), 1, "@aproval is no annotation", "approval"),
        (rule("true", notes='\n@approval("superviser")'), 2, "asks the role superviser", "supervisor"),
        (rule("true", notes='@redact("emial")'), 1, "redacts emial", "email"),
        ("permit (principal, action, resource);", 1, "needs a name", '@id("a-name")'),
        ('@id("A B") permit (principal, action, resource);', 1, "needs a name", ""),
        (PERMIT_ALL + "\n\n" + PERMIT_ALL, 4, "is there already, in rules.cedar:1", ""),
        (PERMIT_ALL + "permit (principal, action, resource", 2, "Cedar does not read this rule", ""),
        (PERMIT_ALL + '@id("y") permit (principal, action);', 2, "Cedar does not read this rule", ""),
        (PERMIT_ALL + '@id("y") permit (principal == ?principal, action, resource);', 2, "no slots", ""),
        (PERMIT_ALL + '@id("y") permit (principal is User, action, resource);', 2, "User", ""),
        ('@id("y") forbid (principal, action in Action::"local", resource == Site::"x");', 1, "unable to find", ""),
        (PERMIT_ALL + '@id("y") permit (principal, action, resource)', 2, "Cedar does not read this rule", ""),
    ],
    ids=range(24),
)  # fmt: skip
def test_a_wrong_word_in_a_rule_is_told_with_its_line(
    rules: str, line: int, says: str, suggestion: str
) -> None:
    found = problems_of(TOOLS, rules)
    problem = next((each for each in found if says in each.message), None)
    assert problem is not None, found
    assert (problem.file, problem.line) == ("rules.cedar", line)
    assert suggestion in problem.suggestion


def test_all_errors_are_told_together_in_the_order_of_the_files() -> None:
    rules = (
        rule('context.labels.contains("nope")') + '@id("y") @nope("") permit (principal, action, resource);'
    )
    found = problems_of(
        "tools:\n  sinks: {side_effect: none}\n  refund: {side_effect: none, approvals: [nope]}\n", rules
    )
    assert [(each.file, each.line) for each in found] == [
        ("package.yaml", 4), ("package.yaml", 5), ("rules.cedar", 4), ("rules.cedar", 6),
    ]  # fmt: skip


def test_a_word_that_cedar_takes_for_any_text_is_fine_where_no_label_is_meant() -> None:
    compiled(
        TOOLS, rule('context.device.labels.contains("anything") && context.asked_by.roles.contains("boss")')
    )


def test_a_package_that_is_too_large_for_a_bundle_is_a_bound() -> None:
    with pytest.raises(CapacityError):
        compile_package(sources_of("names: [" + ", ".join(["x" * 2_200] * 1_000) + "]\n"))


# --- one rule after the other ---


def lines(text: str) -> list[tuple[int, str]]:
    return [(line, piece.strip()) for line, piece in statements(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("// only a comment; with a semicolon", []),
        ("a;\n\nb;", [(1, "a;"), (3, "b;")]),
        ("a; b;\nc", [(1, "a;"), (1, "b;"), (2, "c")]),
        ('@r("x;y") a;', [(1, '@r("x;y") a;')]),
        ('@r("x\\";y") a;', [(1, '@r("x\\";y") a;')]),
        ('@r("// no comment;") a;', [(1, '@r("// no comment;") a;')]),
        ("a // x; y\n;\nb;", [(1, "a // x; y\n;"), (3, "b;")]),
        ('// "\na;\n// "\nb;', [(2, '// "\na;'), (4, '// "\nb;')]),
        ('@r("two\nlines;") a;\nb;', [(1, '@r("two\nlines;") a;'), (3, "b;")]),
        (";;", [(1, ";"), (1, ";")]),
        ('"never ends; a;', [(1, '"never ends;'), (1, "a;")]),
    ],
)  # fmt: skip
def test_a_rule_ends_with_a_semicolon_outside_of_texts_and_comments(
    text: str, expected: list[tuple[int, Any]]
) -> None:
    assert lines(text) == expected


def test_the_head_of_a_package_is_two_lines() -> None:
    assert HEAD.count("\n") == 2, "the lines that these tests expect"

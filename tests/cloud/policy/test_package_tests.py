"""`tests.yaml`: a test says what happens and what has to come of it; one that cannot fail is a failure."""

from typing import Any

import pytest

from cloud.policy.history import facts
from cloud.policy.lines import DeviceLine
from cloud.policy.package_tests import TestResult, read_tests, run_tests
from cloud.policy.problems import PackageError
from cloud.policy.sources import TESTS, parse_yaml
from shared.policy.monitor import monitor_of
from tests.cloud.policy.packages import compiled

MADE = compiled(
    "roles: {chief: {}}\ntools: {look: {side_effect: none}, burn: {side_effect: local, approvals: [chief]}}\n"
)


def results(text: str) -> list[TestResult]:
    monitor = monitor_of(MADE.bundle, facts(DeviceLine()))
    return list(run_tests(parse_yaml(TESTS, text), MADE.package, lambda: monitor))


def test_what_is_as_expected_passes_and_what_is_not_is_told_with_its_line() -> None:
    good, bad = results("""\
- name: good
  history:
    - {kind: call, tool: look, expect: {decision: allow, rule: all}}
- name: bad
  history:
    - {kind: message, text: hello}
    - {kind: call, tool: look, expect: {decision: deny}}
""")
    assert good == TestResult(name="good", line=1, calls=1, failures=())
    assert (bad.name, bad.line, bad.calls) == ("bad", 4, 1)
    assert bad.failures == ("tests.yaml:7: look: it is allow by all (no reason), not deny",)


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ("{decision: allow, rule: other}", "it is allow by all, not by other"),
        ("{decision: allow, reason: because}", "without 'because'"),
        ("{decision: allow, redactions: [email]}", "it takes out nothing, not email"),
        ("{decision: allow, roles: [chief]}", "it asks nobody, not chief"),
        ("{decision: needs_approval}", "not needs_approval"),
    ],
)
def test_every_part_of_what_is_expected_counts(expect: str, says: str) -> None:
    (result,) = results(f"- name: x\n  history: [{{kind: call, tool: look, expect: {expect}}}]\n")
    assert says in result.failures[0]


def test_a_needed_approval_names_who_is_asked() -> None:
    (right, wrong) = results("""\
- {name: r, history: [{kind: call, tool: burn, expect: {decision: needs_approval, rule: approvals, roles: [chief]}}]}
- {name: w, history: [{kind: call, tool: burn, expect: {decision: needs_approval, roles: [boss]}}]}
""")
    assert right.failures == ()
    assert "it asks chief, not boss" in wrong.failures[0]


def test_a_test_that_expects_nothing_cannot_fail_and_so_fails() -> None:
    (result,) = results("- name: x\n  history: [{kind: call, tool: look}]\n")
    assert result.failures == ("tests.yaml:1: the test expects nothing, so it cannot fail",)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]\n"])
def test_no_tests_are_no_results(text: str) -> None:
    assert results(text) == []


def test_no_file_is_no_tests() -> None:
    assert read_tests(None) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\n", 1, "is a list"),
        ("- name: x\n  history: []\n- name: y\n", 3, "a name and a history"),
        ("- {name: x, history: [], more: 1}\n", 1, "a name and a history"),
        ("- {name: 5, history: []}\n", 1, "a name and a history"),
        ("- name: x\n  history:\n    - {kind: call, tool: a}\n    - {kind: cal}\n", 4, "Line 4: kind"),
        ("- name: x\n  history:\n    - {kind: call}\n", 3, "tool: field required"),
        (
            "- name: x\n  history:\n    - {kind: call, tool: a, expect: {decision: maybe}}\n",
            3,
            "expect.decision",
        ),
        ("- name: x\n  history:\n    - {kind: call, tool: a, expct: {}}\n", 3, "expct"),
        ("- name: x\n  history:\n    - hello\n", 3, "no JSON object"),
    ],
)
def test_what_is_no_test_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(PackageError) as caught:
        results(text)
    problem: Any = caught.value.problems[0]
    assert (problem.file, problem.line, says in problem.message) == (TESTS, line, True), problem

"""What several events together show."""

import pytest

from shared.policy.fingerprint import tool_digest
from shared.policy.threats import Loops, RepeatedDenials, ToolDrift, UnusualSequence


def test_denials_are_told_from_the_threshold_on_for_their_task_only() -> None:
    denials = RepeatedDenials(threshold=3, window_events=6)
    assert denials.on_decision("a", "mail", is_denied=True) is None
    assert denials.on_decision("b", "mail", is_denied=True) is None
    assert denials.on_decision("a", "mail", is_denied=True) is None
    assert denials.on_decision("a", "read", is_denied=False) is None
    finding = denials.on_decision("a", "pay\x1b[2J", is_denied=True)
    assert finding is not None
    assert (finding.severity, finding.evidence["denials"], finding.evidence["tools"]) == (
        "medium", 3, "mail, pay\ufffd[2J",
    )  # fmt: skip


def test_denials_leave_the_window() -> None:
    denials = RepeatedDenials(threshold=2, window_events=3)
    denials.on_decision("a", "mail", is_denied=True)
    for _ in range(2):
        denials.on_decision("a", "read", is_denied=False)
    assert denials.on_decision("a", "mail", is_denied=True) is None


def test_twice_the_threshold_is_severe() -> None:
    denials = RepeatedDenials(threshold=2)
    findings = [denials.on_decision("a", "mail", is_denied=True) for _ in range(4)]
    assert [finding.severity if finding else None for finding in findings] == [
        None,
        "medium",
        "medium",
        "high",
    ]


def test_the_task_seen_longest_ago_is_forgotten() -> None:
    denials = RepeatedDenials(threshold=2, tasks_max=2)
    for task in ("a", "b", "c"):
        denials.on_decision(task, "mail", is_denied=True)
    assert denials.on_decision("a", "mail", is_denied=True) is None
    assert denials.on_decision("c", "mail", is_denied=True) is not None


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_cycle_is_told_at_its_last_repeat_and_not_before(period: int) -> None:
    loops = Loops(repeats=3)
    calls = [(f"tool{number}", {"n": number}) for number in range(period)] * 3
    findings = [loops.on_call(tool, arguments) for tool, arguments in calls]
    assert findings[:-1] == [None] * (3 * period - 1)
    assert findings[-1] is not None
    assert findings[-1].evidence["period"] == period


def test_order_of_arguments_does_not_hide_a_loop_and_other_arguments_are_no_loop() -> None:
    loops = Loops(repeats=2)
    assert loops.on_call("read", {"a": 1, "b": 2}) is None
    assert loops.on_call("read", {"b": 2, "a": 1}) is not None
    assert [Loops(repeats=2).on_call("read", {"page": page}) for page in range(9)] == [None] * 9


def test_arguments_that_are_no_json_are_compared_too() -> None:
    loops = Loops(repeats=2)
    assert loops.on_call("read\ud800", {"x": b"\xff", "y": "\ud800"}) is None
    assert loops.on_call("read\ud800", {"x": b"\xff", "y": "\ud800"}) is not None


USUAL = (["search", "read", "answer"], ["search", "read", "read", "answer"])


def learned(tasks: int) -> UnusualSequence:
    detector = UnusualSequence(tasks_min=30)
    for number in range(tasks):
        detector.learn(USUAL[number % 2])
    return detector


def test_detector_is_silent_before_it_has_seen_enough() -> None:
    assert learned(29).score(["wipe", "wipe"]) is None
    assert learned(30).score(["wipe", "wipe"]) is not None


def test_what_the_fleet_does_is_usual_and_what_it_never_does_is_not() -> None:
    detector = learned(100)
    assert [detector.score(tools) for tools in USUAL] == [None, None]
    known = detector.score(["answer", "search"])
    assert known is not None
    assert (known.severity, known.evidence["tool"], known.evidence["step"]) == ("medium", "answer", 1)
    unknown = detector.score(["search", "read", "transfer"])
    assert unknown is not None
    assert (unknown.severity, unknown.evidence["before"], unknown.evidence["tool"]) == (
        "high",
        "read",
        "transfer",
    )


def test_scoring_teaches_nothing() -> None:
    detector = learned(50)
    first = detector.score(["wipe"])
    assert detector.score(["wipe"]) == first
    assert detector.tasks == 50


def test_memory_of_sequences_is_bounded() -> None:
    detector = UnusualSequence(tasks_min=1, tools_max=4, transitions_max=10)
    for number in range(200):
        detector.learn([f"tool{number}", f"tool{number + 1}"])
    assert len(detector._grams) == 10
    assert len(detector._tools) == 4


DIGEST = tool_digest("Reads a file.", {"path": {"type": "string"}})


def test_digest_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert tool_digest("d", {"a": 1, "b": 2}) == tool_digest("d", {"b": 2, "a": 1})
    assert tool_digest("d", {"a": 1}) != tool_digest("d", {"a": 2})
    assert tool_digest("Reads a file. ", {"path": {"type": "string"}}) != DIGEST


def test_changed_tool_is_told_until_it_is_approved() -> None:
    drift = ToolDrift()
    assert drift.on_tool("read", DIGEST) is None
    assert drift.on_tool("read", DIGEST) is None
    for _ in range(2):
        finding = drift.on_tool("read", "other")
        assert finding is not None
        assert (finding.severity, finding.evidence["was"], finding.evidence["is"]) == (
            "high",
            DIGEST,
            "other",
        )
    drift.approve("read", "other")
    assert drift.on_tool("read", "other") is None


def test_digests_survive_in_a_store() -> None:
    first = ToolDrift()
    first.on_tool("read", DIGEST)
    assert ToolDrift(first.digests).on_tool("read", "other") is not None


def test_tool_beyond_the_memory_is_told() -> None:
    drift = ToolDrift(tools_max=1)
    assert drift.on_tool("one", "x") is None
    finding = drift.on_tool("two", "y")
    assert finding is not None
    assert finding.severity == "medium"

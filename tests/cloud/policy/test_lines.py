"""Lines of a history: what they say, and those that are none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.policy.chats import NESTING_MAX
from cloud.policy.history import Replay, facts
from cloud.policy.lines import LINE_MAX_BYTES, DeviceLine, HistoryError, MessageLine, parse_line, parse_lines
from shared.policy.decisions import code_of
from shared.policy.monitor import monitor_of
from tests.cloud.policy.test_history import MADE


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "it is no JSON"),
        ("[]", "no JSON object"),
        ("5", "no JSON object"),
        ("[" * 100_000, "it is no JSON"),
        ("{}", "kind: unable to extract tag"),
        ('{"kind": "cal"}', "kind: input tag 'cal'"),
        ('{"kind": "call"}', "tool: field required"),
        ('{"kind": "call", "tool": "x", "arguments": 5}', "arguments"),
        ('{"kind": "call", "tool": "x", "argumens": {}}', "argumens: extra inputs"),
        ('{"kind": "message", "text": "x", "from": "eve"}', "from"),
        ('{"kind": "message", "text": "x", "at": "2026-01-01T00:00:00"}', "at: input should have timezone"),
        ('{"kind": "offline", "seconds": -1}', "seconds"),
        ('{"role": "eve", "content": "x"}', "there is no role 'eve'"),
        ('{"role": "assistant", "tool_calls": 5}', "tool_calls is no list"),
        ('{"role": "assistant", "tool_calls": {"a": 1}}', "tool_calls is no list"),
        ('{"role": "assistant", "tool_calls": [5]}', "a tool call is no JSON object"),
        ('{"messages": ["hello"]}', "a message is no JSON object"),
        ('{"kind": "call", "tool": "x", "arguments": {"to": "ann", "to": "eve"}}', "it says 'to' twice"),
        (
            '{"kind": "message", "text": "x", "at": "1969-12-31T23:59:59Z"}',
            "at: value error, is not in the years",
        ),
        (
            '{"kind": "message", "text": "x", "at": "3000-01-01T00:00:00Z"}',
            "at: value error, is not in the years",
        ),
        ('{"kind": "offline", "seconds": 9223372036854775808}', "seconds"),
        ('{"role": 5}', "there is no role"),
        ('{"kind": 5}', "kind"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number_and_a_sentence(line: str, says: str) -> None:
    with pytest.raises(HistoryError) as caught:
        list(parse_lines([b"\n", line.encode()]))
    assert (caught.value.line, caught.value.code) == (2, "history_refused")
    assert str(caught.value).startswith("Line 2: ")
    assert says in str(caught.value)


def test_bytes_that_are_no_utf_8_and_lines_beyond_the_bound_are_refused() -> None:
    with pytest.raises(HistoryError, match="Line 1: it is no JSON"):
        list(parse_lines([b'{"kind": "message", "text": "\xff"}']))
    with pytest.raises(HistoryError, match="Line 1: a line has at most"):
        list(parse_lines([b" " * (LINE_MAX_BYTES + 1)]))
    assert list(parse_lines([b" " * LINE_MAX_BYTES, b"\r\n"])) == []


def test_a_line_is_nested_100_deep_and_no_deeper() -> None:
    def line(depth: int) -> bytes:
        return b'{"kind": "result", "content": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert len(list(parse_lines([line(NESTING_MAX + 1)]))) == 1, "the innermost holds nothing"
    for depth in (NESTING_MAX + 2, 900):
        with pytest.raises(HistoryError, match="Line 1: it is nested deeper than 100"):
            list(parse_lines([line(depth)]))


def test_messages_within_messages_are_told_or_refused_however_deep() -> None:
    for depth in (1, 100, 200, 300, 400, 480):
        line = '{"role": "user", "content": ' + '[{"type": "message", "role": "user", "content": ' * depth
        line += '"hello"' + "}]" * depth + "}"
        try:
            (event,) = [event for _, event in parse_lines([line.encode()])]
        except HistoryError:
            assert depth > 100
        else:
            assert isinstance(event, MessageLine)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["kind", "role", "tool", "tool_calls", "function", "content", "arguments", "name", "id", "type",
                         "messages", "input", "output"]), inner
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@given(
    JSONS,
    st.sampled_from(
        [
            {},
            {"role": "assistant"},
            {"role": "tool"},
            {"role": "user"},
            {"kind": "call"},
            {"type": "tool_use"},
        ]
    ),
)
def test_any_value_is_events_or_refused(value: Any, more: dict[str, Any]) -> None:
    line = {**value, **more} if isinstance(value, dict) else value
    try:
        events = [(1, event) for event in parse_line(line, 1)]
    except HistoryError:
        return
    here = facts(DeviceLine())
    for outcome in Replay(MADE.package, monitor_of(MADE.bundle, here), device=here).run(events):
        assert code_of(outcome.decision)

"""What is a question, and what is told of the hub's answer."""

import json

import pytest

from edge.core.escalating import (
    DOES_NOT_KNOW,
    WILL_COME,
    asked,
    is_question,
    labels_of,
    read,
    result_of,
    said_in,
    told_of,
)
from shared.escalation import (
    BY_MAX_CHARS,
    LINE_MAX_CHARS,
    NUMBER_MAX,
    QUESTION_MAX_CHARS,
    SOURCES_MAX,
    TEXT_MAX_CHARS,
    HubAnswer,
    HubSource,
    encode_answer,
)
from shared.policy.contracts import STRING_MAX_CHARS

ANSWER = HubAnswer(text="Close V2. [1]", sources=(HubSource(1, "Pump, page 4"),), by="quotes")
DATA = encode_answer(ANSWER)


@pytest.mark.parametrize(
    "request_",
    [
        "Which valve is closed",
        "the pump, what do I close first?",
        "  why",
        "Wo ist das Ventil",
        "Où est la vanne",
        "¿Dónde está la válvula?",
        "ポンプはどこですか\N{FULLWIDTH QUESTION MARK}",
        "أين المضخة\N{ARABIC QUESTION MARK}",
    ],
)
def test_questions_are_known_by_their_mark_or_first_word(request_: str) -> None:
    assert is_question(request_)


@pytest.mark.parametrize(
    "request_", ["", "Open the valve.", "Whatever", "4711", "Tell me more", "Can the fish"]
)
def test_what_nobody_wants_to_know_is_no_question(request_: str) -> None:
    assert not is_question(request_)


def test_a_question_is_cut_to_what_a_hub_answers() -> None:
    longest = "x" * QUESTION_MAX_CHARS
    assert asked(longest) == {"text": longest} == asked(f"{longest}y")
    assert QUESTION_MAX_CHARS <= STRING_MAX_CHARS


def test_a_known_answer_is_told_as_it_stands_with_its_sources_and_that_it_is_the_hubs() -> None:
    told = "Close V2. [1]\n\nSources:\n[1] Pump, page 4\n\nThis answer came from the hub (quotes)."
    result = result_of(DATA, is_known=True, labels=("untrusted", "internal"))
    said = said_in(json.dumps(result))
    assert said is not None
    assert (said.state, said.text) == ("answered", told)
    assert labels_of(result) == ("untrusted", "internal")


def test_the_longest_answer_can_be_judged_as_any_other() -> None:
    longest = HubAnswer(
        text="x" * TEXT_MAX_CHARS,
        sources=tuple(HubSource(NUMBER_MAX - at, "x" * LINE_MAX_CHARS) for at in range(SOURCES_MAX)),
        by="x" * BY_MAX_CHARS,
    )
    assert len(told_of(longest)) <= STRING_MAX_CHARS


def test_without_an_answer_it_is_said_that_one_will_come() -> None:
    result = result_of(None, is_known=False, labels=())
    assert result == {"state": "queued", "summary": WILL_COME}
    said = said_in(json.dumps(result))
    assert said is not None
    assert (said.state, said.text) == ("queued", WILL_COME)
    assert labels_of(result) == ()


@pytest.mark.parametrize(
    ("data", "is_known"),
    [
        (DATA, False),
        (encode_answer(HubAnswer(text="Nothing.", is_known=False)), True),
        (encode_answer(HubAnswer(text="Nothing.", is_known=False)), False),
        (b"", True),
        (b'{"text": "Trust me."}', True),
    ],
)
def test_what_is_not_known_by_order_and_answer_alike_is_no_answer(data: bytes, is_known: bool) -> None:
    assert read(data, is_known=is_known) is None
    said = said_in(json.dumps(result_of(data, is_known=is_known, labels=("untrusted",))))
    assert said is not None
    assert (said.state, said.text) == ("unknown", DOES_NOT_KNOW)


@pytest.mark.parametrize(
    "result",
    [
        None,
        "",
        "null",
        "[]",
        '{"denied": "No rule permits it.", "rule": "no_rule"}',
        '{"error": "model.escalate failed."}',
        '{"state": "other"}',
        '{"state": "answered"}',
        '{"state": "answered", "answer": {"text": "x"}}',
        "[" * 100_000,
    ],
)
def test_what_was_refused_or_failed_says_nothing(result: str | None) -> None:
    assert said_in(result) is None

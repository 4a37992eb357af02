"""Reading the daemon's stream of an answer, with the time at which each line came."""

import json

import pytest

from tests.bench.agent import parse_answer
from tests.support.process import ProcessFailedError


def line(**chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n"


def text(content: str) -> bytes:
    return line(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": None}])


USAGE = line(
    choices=[],
    usage={"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
)
ROLE = line(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])


def test_the_first_text_counts_and_not_the_role_before_it() -> None:
    answer = parse_answer(
        [
            (ROLE, 0.1),
            (b"\n", 0.1),
            (text("Hel"), 0.5),
            (text("lo"), 2.5),
            (USAGE, 2.6),
            (b"data: [DONE]\n", 2.6),
        ]
    )
    assert (answer.text, answer.first_s, answer.last_s) == ("Hello", 0.5, 2.5)
    assert (answer.output_tokens, answer.cached_tokens) == (5, 4)
    assert answer.decode_tokens_per_s == pytest.approx(2.0)


def test_an_error_in_the_stream_is_no_answer() -> None:
    with pytest.raises(ProcessFailedError, match="out of memory"):
        parse_answer([(text("Hel"), 0.5), (line(error={"message": "out of memory"}), 0.6)])


def test_a_stream_without_text_is_no_answer() -> None:
    with pytest.raises(ProcessFailedError, match="without text"):
        parse_answer([(ROLE, 0.1), (USAGE, 0.2)])

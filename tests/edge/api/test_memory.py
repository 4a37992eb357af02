"""What the local API and the commands take for a fact and for a time: within bounds, or one sentence."""

import pytest

from edge.api.memory import time_of
from edge.api.memory_routes import fact_from, since_of
from shared.errors import RefusedError
from shared.memory.items import NAME_MAX_CHARS, VALUE_MAX_CHARS, Fact
from shared.memory.statements import STATEMENT_MAX_CHARS


def fact(*, text: str = "", subject: str = "fridge", relation: str = "limit", value: str = "8") -> Fact:
    return fact_from(text=text, subject=subject, relation=relation, value=value, is_beside=False)


def test_the_parts_of_a_fact_are_bounded() -> None:
    whole = fact(subject="x" * NAME_MAX_CHARS, relation="y" * NAME_MAX_CHARS, value="z" * VALUE_MAX_CHARS)
    assert len(whole.value) == VALUE_MAX_CHARS
    for beyond in (
        {"subject": "x" * (NAME_MAX_CHARS + 1)},
        {"relation": "x" * (NAME_MAX_CHARS + 1)},
        {"value": "x" * (VALUE_MAX_CHARS + 1)},
    ):
        with pytest.raises(RefusedError) as told:
            fact(**beyond)
        assert told.value.code == "too_long"


def test_a_sentence_is_bounded_and_says_something() -> None:
    whole = fact(text="x" * STATEMENT_MAX_CHARS, subject="", relation="", value="")
    assert whole.value == "x" * STATEMENT_MAX_CHARS
    for text, code in (
        ("x" * (STATEMENT_MAX_CHARS + 1), "too_long"),
        ("...", "invalid"),
        ("\u200b\u202e", "invalid"),
    ):
        with pytest.raises(RefusedError) as told:
            fact(text=text, subject="", relation="", value="")
        assert told.value.code == code


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59+00:00", "9999-12-31T23:59:59-12:00", "noon", ""])
def test_a_time_that_no_record_can_hold_is_refused(time: str) -> None:
    with pytest.raises(RefusedError) as told:
        since_of(time)
    assert told.value.code == "invalid"


def test_a_time_without_a_zone_is_the_devices_own() -> None:
    assert time_of("1970-01-01T00:00:00+00:00") == 0
    assert since_of(None) is None

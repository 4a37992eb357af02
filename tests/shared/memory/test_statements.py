"""Statements: their form is told at once, however they are spaced."""

import time

import pytest

from shared.memory.items import Fact
from shared.memory.statements import DENIALS_MAX, STATEMENT_MAX_CHARS, fact_in, statement_in


def test_many_spaces_in_a_row_do_not_keep_a_device_busy() -> None:
    begun = time.monotonic()
    fact_in("a of" + " " * (STATEMENT_MAX_CHARS - 10) + "x")
    assert time.monotonic() - begun < 1.0


def test_spaces_in_a_row_are_one() -> None:
    assert fact_in("the  fridge's \t limit is  8 °C") == Fact(
        subject="fridge", relation="limit", value="8 °C", said="the fridge's limit is 8 °C"
    )


@pytest.mark.parametrize(
    "request_",
    [
        "Remember that it is not true that the fridge's limit is 8 °C.",
        "Remember it's wrong that the limit of the fridge is 8 °C",
        "Please note that it isn't the case any more that the fridge's limit is 8 °C",
        "Remember that the fridge's limit is not 8 °C.",
        "Remember that the fridge's limit isn't 8 °C any more.",
        "Remember that the limit for the fridge is no longer 8 °C.",
    ],
)
def test_what_is_said_not_to_be_so_denies_a_value_of_its_relation(request_: str) -> None:
    statement = statement_in(request_)
    assert statement is not None
    fact = fact_in(statement)
    told = (fact.subject, fact.relation, fact.value, fact.is_beside)
    assert told == ("fridge", "limit", "not 8 °C", True)
    assert fact.said == statement


def test_what_is_not_so_twice_is_so() -> None:
    fact = fact_in("it is not true that it is not true that the fridge's limit is 8 °C")
    assert (fact.value, fact.is_beside) == ("8 °C", False)
    assert not fact_in("it is wrong that the fridge's limit is not 8 °C").is_beside


def test_denials_within_one_another_have_a_bound() -> None:
    for count in (DENIALS_MAX, DENIALS_MAX + 1):
        assert fact_in("it is not true that " * count + "the door is open").said.endswith("the door is open")


def test_a_sentence_of_unknown_form_is_denied_as_a_whole() -> None:
    said = fact_in("der Schlüssel bei Ann liegt")
    denied = fact_in("es stimmt nicht, dass der Schlüssel bei Ann liegt")
    assert denied.key == said.key
    assert denied.value == f"not {said.value}"


def test_another_state_takes_the_place_of_the_one_before() -> None:
    fact = fact_in("the pump is not running")
    assert (fact.subject, fact.value, fact.is_beside) == ("pump", "not running", False)

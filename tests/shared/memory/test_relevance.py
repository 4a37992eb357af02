"""Whether a fact answers a question: it has to be about the very thing, or it is not told."""

from datetime import UTC, datetime

import pytest

from shared.memory.relevance import bears_on
from shared.memory.statements import fact_in

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("the fridge's limit is 8 °C", "What is the limit of the fridge?"),
        ("the fridge's limit is 8 °C", "What was the fridge's limit on 2026-11-10 at 12:00?"),
        ("the fridge's limit is 8 °C", "Since when is the limit of the fridge what it is?"),
        ("the code of room 12 is 4711", "What is the code of room 12?"),
        ("Anna Meyer's birthday is 3 May", "When is Anna Meyer's birthday?"),
        ("the delivery day is Tuesday", "Which is the delivery day?"),
    ],
)
def test_a_fact_bears_on_what_names_it(said: str, question: str) -> None:
    assert bears_on(question, fact_in(said), NOW)


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("the code of room 12 is 4711", "What is the code of room 13?"),
        ("the code of room 12 is 4711", "What is the code of room 12 B?"),
        ("the fridge's limit is 8 °C", "What is the limit of fridge 2?"),
        ("the fridge's limit is 8 °C", "What is the limit of the oven?"),
        ("the fridge's limit is 8 °C", "What is the colour of the fridge?"),
        ("Anna Meyer's birthday is 3 May", "When is the birthday of Anna Schmidt?"),
        ("Anna Meyer's birthday is 3 May", "What is Anna Meyer's phone number?"),
        ("Anna Meyer's birthday is 3 May", "When is Anna Meyer's sister's birthday?"),
        ("shelf 243 bin 5 holds screws", "What does shelf 9999 bin 5 hold?"),
    ],
)
def test_a_fact_about_something_else_is_not_told(said: str, question: str) -> None:
    assert not bears_on(question, fact_in(said), NOW)

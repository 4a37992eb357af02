"""Two questions are one only if nothing that could matter differs."""

from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.memory.sameness import QUESTION_MAX_CHARS, are_same_statement, is_same_question, stands_alone
from tests.shared.memory.questions import (
    DIFFERENT,
    DIFFERENT_STATEMENTS,
    LEANING,
    SAME,
    SAME_STATEMENTS,
    STANDING_ALONE,
)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_words_for_the_same_question_are_seen_through(one: str, other: str) -> None:
    assert is_same_question(one, other)
    assert is_same_question(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_a_word_that_matters_makes_another_question(one: str, other: str) -> None:
    assert not is_same_question(one, other)
    assert not is_same_question(other, one)


@pytest.mark.slow
def test_no_two_questions_of_different_pairs_are_taken_for_one_but_those_that_are() -> None:
    """The pairs that differ, each against each: what is equal is written nearly alike."""
    asked = sorted({each for pair in DIFFERENT for each in pair})
    blocks = [asked[at : at + 100] for at in range(0, len(asked), 100)]
    taken = {
        (one, other)
        for first, second in combinations_with_replacement(blocks, 2)
        for one, other in product(first, second)
        if one < other and is_same_question(one, other)
    }
    assert taken == {
        ("Does it survive -18 °C?", "Does it survive minus 18 °C?"),
        ("How do I turn off the oven?", "How do I turn the oven off?"),
        ("How do I turn on the oven?", "How do I turn the oven on?"),
        ("Is the output 5 MW?", "Is the output 5MW?"),
        ("Is the output 5 mW?", "Is the output 5mW?"),
        ("Tell me the pump", "What is the pump?"),
        ("What does the pump weigh?", "What is the weight of the pump?"),
        ("What is the limit of fridges?", "What is the limit of the fridge?"),
        ("Who has a key?", "Who has the key?"),
    }


@pytest.mark.parametrize(("one", "other"), SAME_STATEMENTS)
def test_a_statement_in_other_words_is_the_same(one: str, other: str) -> None:
    assert are_same_statement(one, other)
    assert are_same_statement(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_STATEMENTS)
def test_a_statement_that_says_something_else_is_another(one: str, other: str) -> None:
    assert not are_same_statement(one, other)
    assert not are_same_statement(other, one)


@pytest.mark.parametrize("question", STANDING_ALONE)
def test_a_question_that_names_what_it_asks_about_stands_alone(question: str) -> None:
    assert stands_alone(question)


@pytest.mark.parametrize("question", LEANING)
def test_a_question_that_points_elsewhere_does_not(question: str) -> None:
    assert not stands_alone(question)


@pytest.mark.parametrize("text", ["", " ", "?", "...", "the", "please", "\u200b"])
def test_what_says_nothing_is_the_same_only_as_itself(text: str) -> None:
    assert is_same_question(text, text)
    assert not is_same_question(text, "What is the limit?")
    assert not is_same_question("?", "!")


def test_what_is_too_long_to_be_compared_is_the_same_only_if_written_alike() -> None:
    fits = ("Where is the key " + "a" * QUESTION_MAX_CHARS)[:QUESTION_MAX_CHARS]
    assert is_same_question(fits, fits.lower())
    assert is_same_question(fits + "b", fits + "b")
    assert not is_same_question(fits + "b", fits.lower() + "b")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_judged_and_the_order_does_not_matter(one: str, other: str) -> None:
    assert is_same_question(one, other) == is_same_question(other, one)
    assert are_same_statement(one, other) == are_same_statement(other, one)
    assert is_same_question(one, one)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_are_never_taken_for_others(one: int, other: int) -> None:
    assert is_same_question(f"Is part {one} here?", f"Is part {other} here?") == (one == other)

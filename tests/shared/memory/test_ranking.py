"""What was found is put in the order that the question's time, names and kind want."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import to_ms
from shared.memory.ranking import Candidate, described, interest_of, is_named, is_spoken_of, ranked

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def said(text: str, days_ago: float, score: float = 0.5, until_days_ago: float | None = None) -> Candidate:
    until_ms = None if until_days_ago is None else to_ms(NOW - timedelta(days=until_days_ago))
    return Candidate(
        item=text, text=text, score=score, since_ms=to_ms(NOW - timedelta(days=days_ago)), until_ms=until_ms
    )


def order(question: str, *found: Candidate) -> list[str]:
    return [each.item for each in ranked(found, interest_of(question, NOW))]


OLD = said("Cold room 2 runs at 3 °C.", 100)
MIDDLE = said("We changed cold room 2 to 4 °C.", 50)
NEW = said("Cold room 2 is at 5 °C from today.", 2)


def test_of_much_the_same_the_newest_comes_first_where_now_is_asked_about() -> None:
    assert order("What is cold room 2 set to?", OLD, MIDDLE, NEW)[0] == NEW.item


def test_of_a_time_that_is_over_what_was_said_last_before_it_comes_first() -> None:
    assert order("What was cold room 2 set to on 10 October 2026?", OLD, MIDDLE, NEW)[0] == MIDDLE.item


def test_what_was_said_at_the_time_that_is_asked_about_comes_first_even_if_it_is_less_alike() -> None:
    happened = said("The compressor tripped twice.", 50, score=0.3)
    assert order("What trouble was there 50 days ago?", OLD, happened, NEW)[0] == happened.item


def test_a_fact_that_had_ended_by_then_comes_behind_one_that_held() -> None:
    ended = said("cold room 2, limit: 3 °C", 100, until_days_ago=60)
    held = said("cold room 2, limit: 4 °C", 60, until_days_ago=10)
    now = said("cold room 2, limit: 5 °C", 10)
    assert order("What was the limit of cold room 2 on 10 October 2026?", ended, held, now)[0] == held.item
    assert order("What is the limit of cold room 2?", ended, held, now)[0] == now.item


def test_who_asked_the_same_does_not_answer_it() -> None:
    asked = said("What is cold room 2 set to?", 1, score=0.9)
    assert order("What is cold room 2 set to?", asked, OLD) == [OLD.item, asked.item]


def test_another_figure_or_name_is_another_thing() -> None:
    other = said("Cold room 3 runs at 3 °C.", 1, score=0.6)
    assert order("What is cold room 2 set to?", other, OLD)[0] == OLD.item
    anna, anke = said("Anna Berg has 214.", 1), said("Anke Berg has 215.", 1, score=0.6)
    assert order("Which number does Anna Berg have?", anke, anna)[0] == anna.item


def test_figures_of_the_time_are_no_names() -> None:
    assert interest_of("What was cold room 2 set to on 14 July?", NOW).names == {"2"}


def test_of_a_history_every_time_counts_before_a_second_saying_of_one() -> None:
    again = said("So cold room 2 is at 5 °C.", 1.999, score=0.55)
    found = order("How often was cold room 2 changed?", NEW, again, MIDDLE, OLD)
    assert found[-1] in (again.item, NEW.item)


@pytest.mark.parametrize(
    ("question", "wants"),
    [
        ("What is the code?", "now"),
        ("What was the code yesterday?", "then"),
        ("Who is on duty tomorrow?", "now"),
        ("How often did the code change?", "all"),
        ("Since when is the code 4711?", "all"),
    ],
)
def test_what_a_question_wants(question: str, wants: str) -> None:
    assert interest_of(question, NOW).wants == wants


def test_who_is_described_is_named_by_what_was_said_last() -> None:
    first, second = said("Anna Berg looks after the ovens.", 90), said("Mara Holm does the ovens now.", 3)
    unrelated = said("Nils Graf has the flu.", 1)
    question = "What is the extension of whoever looks after the ovens?"
    found = described([first, second, unrelated], interest_of("Who looks after the ovens?", NOW), question)
    assert [name for _, name in found] == ["Mara Holm", "Anna Berg"]


def test_a_question_whose_name_or_figure_nobody_said_is_not_known() -> None:
    about_2 = interest_of("What is cold room 2 set to?", NOW)
    assert is_named([OLD], about_2)
    assert not is_named([OLD], interest_of("What is cold room 7 set to?", NOW))
    assert not is_named([said("What is cold room 2 set to?", 1)], about_2)
    assert not is_named([], about_2)


@pytest.mark.parametrize(
    ("question", "known"),
    [("What is cold room 2 set to?", True), ("Which temperature does cold room 2 have?", True),
     ("Which pressure does cold room 2 have?", False), ("What colour is cold room 2?", False),
     ("Who painted cold room 2?", False)],
)  # fmt: skip
def test_what_nobody_spoke_of_is_not_known(question: str, known: bool) -> None:
    assert is_spoken_of([OLD, MIDDLE, NEW], interest_of(question, NOW)) == known


@given(
    st.sampled_from(
        ["What is it?", "What was it yesterday?", "How often did it change?", "Where is room 3?"]
    ),
    st.lists(st.tuples(st.text(max_size=20), st.floats(0, 1), st.floats(0, 400)), max_size=12),
)
def test_nothing_is_lost_or_made_up(question: str, found: list[tuple[str, float, float]]) -> None:
    candidates = [said(text, days, score) for text, score, days in found]
    assert sorted(order(question, *candidates)) == sorted(each.item for each in candidates)

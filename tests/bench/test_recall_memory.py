"""The memory part of `./run bench recall`: its dialogues and questions are what they are said to be."""

from collections import Counter

import pytest

from shared.memory.sameness import is_same_question
from shared.memory.surroundings import says_nothing
from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import terms
from tests.bench.recall.memory.dialogues import KINDS, Dialogue, dialogues
from tests.bench.recall.memory.measure import SEED, is_met
from tests.bench.recall.memory.questions import NEAR_MISSES, near_misses, paraphrases
from tests.bench.recall.memory.worlds import WORLDS
from tests.shared.memory.questions import DIFFERENT, SAME


@pytest.fixture(scope="module")
def told() -> list[Dialogue]:
    return dialogues(SEED, len(WORLDS))


def test_a_dialogue_is_long_dated_over_months_and_the_same_for_its_seed(told: list[Dialogue]) -> None:
    for each in told:
        assert len(each.turns) >= 60
        assert (each.turns[-1].at - each.turns[0].at).days > 90
        assert [turn.at for turn in each.turns] == sorted(turn.at for turn in each.turns)
    assert dialogues(SEED, 2) == told[:2]
    assert dialogues(SEED + 1, 2) != told[:2]


def test_every_kind_of_question_is_asked_as_often(told: list[Dialogue]) -> None:
    assert set(Counter(question.kind for each in told for question in each.questions).values()) == {5}
    assert {question.kind for each in told for question in each.questions} == set(KINDS)


def test_evidence_is_a_few_turns_that_say_something(told: list[Dialogue]) -> None:
    for each in told:
        for question in each.questions:
            assert 1 <= len(question.evidence) <= 4
            for turns in question.evidence:
                assert turns
                assert not any(says_nothing(each.turns[at].text) for at in turns)
            assert is_met(question, [min(turns) for turns in question.evidence])
            assert not is_met(question, [])


def test_what_is_paraphrased_shares_no_word_that_says_something_with_its_evidence() -> None:
    for world in WORLDS:
        for said, asked in world.hidden:
            assert not (set(terms(said)) & set(terms(asked))) - FUNCTION_WORDS, (said, asked)


def test_near_misses_are_as_many_as_asked_for_and_none_twice() -> None:
    pairs = near_misses(SEED)
    assert len({(pair.one, pair.other) for pair in pairs}) == NEAR_MISSES
    assert all(pair.one != pair.other for pair in pairs)
    assert near_misses(SEED) == pairs
    assert near_misses(SEED + 1) != pairs


def test_no_near_miss_is_taken_for_the_same_question() -> None:
    assert [pair for pair in near_misses(SEED) if is_same_question(pair.one, pair.other)] == []


def test_what_is_measured_is_not_what_the_rules_were_tested_on() -> None:
    tested = {frozenset(pair) for pair in (*SAME, *DIFFERENT)}
    measured = {frozenset((pair.one, pair.other)) for pair in (*paraphrases(), *near_misses(SEED))}
    assert len(paraphrases()) > 100
    assert len(tested & measured) <= 2

"""BM25 by our own arithmetic: the same bits everywhere."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval import keyword
from shared.retrieval.keyword import (
    GROUP_ITEMS,
    PRUNE_MIN_ITEMS,
    QUERY_MAX_TERMS,
    Impacts,
    KeywordQuery,
    information,
)
from shared.retrieval.terms import terms
from tests.support.retrieval import MemoryCollection


def asked(collection: MemoryCollection, query: str) -> KeywordQuery:
    words = terms(query)
    return KeywordQuery(words, collection.impacts(words), collection.norms)


def holding(*texts: str) -> MemoryCollection:
    collection = MemoryCollection()
    for ordinal, text in enumerate(texts):
        heading, _, body = text.rpartition(" / ")
        collection.add(ordinal, text.encode(), body, headings=[heading])
    return collection


def ranked(collection: MemoryCollection, query: str) -> list[int]:
    ordinals, scores = asked(collection, query).best(10)
    order = np.lexsort((ordinals, -scores))
    return [int(ordinal) for ordinal in ordinals[order]]


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    assert ranked(holding("pump oil", "pump seal", "pump valve"), "pump seal")[0] == 1


def test_a_word_in_the_heading_counts_for_more() -> None:
    assert ranked(holding("care / the pump", "pump / the care", "oil / the rest"), "pump") == [1, 0]


def test_a_word_counts_for_more_in_a_short_text() -> None:
    assert ranked(holding("pump and oil and seals and many other things", "pump", "oil"), "pump") == [1, 0]


def test_what_a_question_is_made_with_counts_for_less() -> None:
    collection = holding("what is where", "the gasket", "steel", "iron")
    assert ranked(collection, "what is a gasket") == [1, 0]


def test_a_score_is_the_share_of_the_query_that_is_covered() -> None:
    collection = holding("pump pump pump pump", "oil", "seal")
    _, whole = asked(collection, "pump").best(1)
    _, half = asked(collection, "pump gasket").best(1)
    assert 0.7 < whole[0] < 1.0
    assert half[0] < whole[0] / 2  # nobody has the gasket, which so weighs more than the pump


def test_coverage_is_the_weight_of_the_words_that_are_there() -> None:
    query = asked(holding("pump", "oil", "pump oil"), "pump oil")
    assert [query.coverage(ordinal) for ordinal in range(3)] == [0.5, 0.5, 1.0]


def test_nobody_is_found_by_words_that_nobody_has() -> None:
    ordinals, _ = asked(holding("pump"), "gasket").best(10)
    assert not len(ordinals)
    assert not len(asked(MemoryCollection(), "gasket").best(10)[0])
    assert not len(asked(holding("pump"), "").best(10)[0])


def test_all_that_tie_with_the_last_are_found() -> None:
    ordinals, scores = asked(holding("pump a", "pump b", "pump c", "oil"), "pump").best(1)
    assert ordinals.tolist() == [0, 1, 2]
    assert len(set(scores.tolist())) == 1


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8).map(" x".join), min_size=1, max_size=12
    ),
    st.lists(st.sampled_from("abcdefg"), max_size=5).map(" x".join),
    st.randoms(use_true_random=False),
)
def test_scores_do_not_depend_on_ordinals_or_on_who_else_is_asked_about(
    texts: list[str], query: str, shuffler: random.Random
) -> None:
    places = shuffler.sample(range(40), len(texts))
    here, there = MemoryCollection(), MemoryCollection()
    for ordinal, (place, text) in enumerate(zip(places, texts, strict=True)):
        here.add(ordinal, b"", text)
        there.add(place, b"", text)
    scores = asked(here, query).scores(np.arange(len(texts)))
    assert asked(there, query).scores(np.array(places)).tobytes() == scores.tobytes()
    ordinals, best = asked(here, query).best(100)
    assert best.tobytes() == scores[ordinals].tobytes()
    assert set(ordinals.tolist()) == set(np.flatnonzero(scores).tolist())


@pytest.mark.slow
def test_leaving_out_what_cannot_win_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(4)
    vocabulary = [f"w{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(400)]
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]
    collection = MemoryCollection()
    for ordinal in range(PRUNE_MIN_ITEMS * 2):
        collection.add(ordinal, b"", " ".join(generator.choices(vocabulary, weights, k=25)))
    norms = collection.norms
    for _ in range(20):
        query = generator.sample(vocabulary[:5], 2) + generator.choices(vocabulary, k=3)
        held = collection.impacts(query)
        asked_for = KeywordQuery(query, held, norms)
        ordinals, scores = asked_for.best(20)
        monkeypatch.setattr(keyword, "PRUNE_MIN_ITEMS", 10**9)
        all_ordinals, all_scores = KeywordQuery(query, held, norms).best(20)
        monkeypatch.undo()
        assert ordinals.tolist() == all_ordinals.tolist()
        assert scores.tobytes() == all_scores.tobytes()


def test_a_term_has_the_same_impacts_in_either_form(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = holding(*[f"pump w{number}" if number % 2 else "pump / oil seal" for number in range(40)])
    everywhere = np.arange(40)
    words = terms("pump oil w7")
    dense, norms = collection.impacts(words), collection.norms
    monkeypatch.setattr(keyword, "DENSE_SHARE", 0)
    monkeypatch.setattr(keyword, "PRUNE_MIN_ITEMS", 0)
    sparse = collection.impacts(words)
    assert {each.ordinals is None for each in dense.values()} == {True, False}
    assert all(each.ordinals is not None for each in sparse.values())
    for term, each in dense.items():
        assert each.of(everywhere).tobytes() == sparse[term].of(everywhere).tobytes()
        assert [each.holds(at) for at in range(40)] == [sparse[term].holds(at) for at in range(40)]
    one, other = KeywordQuery(words, dense, norms), KeywordQuery(words, sparse, norms)
    assert one.scores(everywhere).tobytes() == other.scores(everywhere).tobytes()
    assert [each.tobytes() for each in one.best(5)] == [each.tobytes() for each in other.best(5)]


@pytest.mark.parametrize("items", [2 * 7 * GROUP_ITEMS - 1, 2 * 7 * GROUP_ITEMS, 2 * 7 * GROUP_ITEMS + 1])
def test_the_best_are_found_in_blocks_as_they_are_one_by_one(items: int) -> None:
    values = np.random.default_rng(items).integers(0, 500, items).astype(np.float32) / np.float32(500)
    norms = keyword.norms(np.zeros(items, np.uint32), np.ones(items, np.uint32), items=items)
    held = {"pump": Impacts(items, None, values)}
    ordinals, _ = KeywordQuery(["pump"], held, norms).best(7)
    assert ordinals.tolist() == np.flatnonzero(values >= np.sort(values)[-7]).tolist()


@pytest.mark.parametrize(("count", "is_cut"), [(QUERY_MAX_TERMS, False), (QUERY_MAX_TERMS + 1, True)])
def test_of_an_endless_query_the_commonest_words_are_dropped(count: int, is_cut: bool) -> None:
    words = [f"x{chr(97 + number // 26)}{chr(97 + number % 26)}q" for number in range(count - 1)]
    collection = holding(" ".join([*words, "common"]), "common")
    assert (ranked(collection, " ".join([*words, "common"])) == [0]) is is_cut


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_information_is_the_logarithm(frequency: int, others: int) -> None:
    items = frequency + others
    expected = math.log2(1 + (items - frequency + 0.5) / (frequency + 0.5))
    assert information(frequency, items) == pytest.approx(expected, abs=2e-5)


def test_information_is_what_it_always_was() -> None:
    assert [information(*pair) for pair in ((0, 1), (1, 3), (17, 3204), (100_000, 100_000))] == [
        2.0,
        1.4150238037109375,
        7.516815185546875,
        0.0,
    ]

"""The ranking is a function of the content and the query."""

import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.search import (
    KEYWORD_CANDIDATES,
    QUERY_MAX_CHARS,
    VECTOR_CANDIDATES,
    Ranking,
    query_of,
    search,
)
from shared.retrieval.vectors import quantised
from tests.support.retrieval import MemoryCollection

WIDTH = 16
WORDS = [
    "pump",
    "valve",
    "oil",
    "seal",
    "filter",
    "motor",
    "clean",
    "replace",
    "close",
    "open",
    "pressure",
    "leak",
]


def vector_of(text: str) -> bytes:
    """Texts with common words are near one another, as far as so few dimensions allow."""
    total = np.zeros(WIDTH)
    for word in text.split():
        total += np.random.default_rng(sum(word.encode())).normal(size=WIDTH)
    return quantised(total if np.any(total) else np.ones(WIDTH))


def holding(
    texts: Sequence[str], places: Iterable[int] | None = None, **options: Iterable[bytes]
) -> MemoryCollection:
    collection = MemoryCollection(**options)
    for ordinal, text in zip(places or range(len(texts)), texts, strict=False):
        collection.add(ordinal, text.encode(), text, vector=vector_of(text))
    return collection


def content(ranking: Ranking) -> list[tuple[bytes, float, float, float | None]]:
    return [(hit.chunk_id, hit.score, hit.keyword, hit.cosine) for hit in ranking.hits]


def sentences(count: int) -> list[str]:
    generator = random.Random(3)
    made = [" ".join([*generator.choices(WORDS, k=6), f"n{number}"]) for number in range(count)]
    return sorted(made, key=lambda _: generator.random())


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), max_size=12, unique=True
    ),
    st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=4).map(" ".join),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_ranking_is_the_same_bits_whatever_the_ordinals(
    texts: list[str], question: str, has_vector: bool, shuffler: random.Random
) -> None:
    query = query_of(question, vector_of(question) if has_vector else None)
    places = shuffler.sample(range(5_000), len(texts))
    here = search(holding(texts), query, limit=10)
    there = search(holding(texts, places), query, limit=10)
    assert content(here) == content(there)
    assert here.support == there.support
    assert all(0.0 < hit.score <= 1.0 for hit in here.hits)


@pytest.mark.slow
def test_candidates_that_one_side_missed_do_not_change_the_ranking() -> None:
    texts = sentences(600)
    whole = holding(texts)
    for question in ("clean the pump filter", "oil leak at the seal n17", "open valve pressure motor"):
        query = query_of(question, vector_of(question))
        ranking = search(whole, query, limit=10)
        near = whole.nearest(query.vector or b"", VECTOR_CANDIDATES)
        missed = [texts[ordinal].encode() for ordinal in near[40::2]]
        assert content(search(holding(texts, missed=missed), query, limit=10)) == content(ranking)


def test_equal_items_are_ordered_by_chunk_id_and_cut_alike_on_both_sides() -> None:
    count = 3 * KEYWORD_CANDIDATES
    names = [b"%03d" % number for number in range(count)]
    shuffled = random.Random(1).sample(names, count)
    for order in (names, shuffled):
        collection = MemoryCollection()
        for ordinal, name in enumerate(order):
            collection.add(ordinal, name, "pump")
        collection.add(count, b"other", "seal")
        hits = search(collection, query_of("pump"), limit=5).hits
        assert [hit.chunk_id for hit in hits] == names[:5]


def test_both_sides_propose_and_each_is_scored_on_both() -> None:
    collection = MemoryCollection()
    for number in range(30):
        collection.add(number + 2, b"x%d" % number, f"other words {number}", vector=vector_of("motor"))
    collection.add(0, b"words", "gasket kit", vector=vector_of("motor"))
    collection.add(1, b"sense", "ring set", vector=vector_of("seal"))
    ranking = search(collection, query_of("gasket", vector_of("seal")), limit=2)
    assert {hit.chunk_id for hit in ranking.hits} == {b"words", b"sense"}
    assert all(hit.cosine is not None for hit in ranking.hits)


def test_a_search_without_a_vector_goes_by_words() -> None:
    ranking = search(holding(sentences(20)), query_of("n7 pump"), limit=3)
    assert ranking.hits[0].chunk_id.endswith(b"n7")
    assert {hit.cosine for hit in ranking.hits} == {None}


def test_an_item_that_has_no_vector_yet_is_found_by_its_words() -> None:
    collection = holding(sentences(20))
    collection.add(99, b"new", "gasket kit")
    ranking = search(collection, query_of("gasket", vector_of("gasket")), limit=3)
    assert (ranking.hits[0].chunk_id, ranking.hits[0].cosine) == (b"new", None)


def test_a_question_about_something_else_has_no_support() -> None:
    collection = holding(sentences(40))
    assert search(collection, query_of("pump leak n3", vector_of("pump leak n3")), limit=3).support.is_sound
    assert not search(collection, query_of("ballet tickets in Vienna"), limit=3).support.is_sound


def test_the_support_does_not_depend_on_how_many_are_shown() -> None:
    collection = holding(sentences(40))
    query = query_of("pump leak", vector_of("pump leak"))
    assert search(collection, query, limit=1).support == search(collection, query, limit=30).support


@pytest.mark.parametrize("question", ["", "...", "unknown"])
def test_nothing_is_found_by_nothing(question: str) -> None:
    ranking = search(holding(sentences(5)), query_of(question), limit=3)
    assert (ranking.hits, ranking.support.is_sound) == ((), False)


def test_an_empty_collection_answers() -> None:
    assert search(MemoryCollection(), query_of("pump", vector_of("pump")), limit=3).hits == ()


@pytest.mark.parametrize(("length", "is_read"), [(QUERY_MAX_CHARS, True), (QUERY_MAX_CHARS + 1, False)])
def test_an_endless_query_is_read_up_to_its_limit(length: int, is_read: bool) -> None:
    padded = "pump" + " " * (length - 8) + "seal"
    assert ("seal" in query_of(padded).terms) is is_read

"""The stored keyword index depends on the items that are there and on nothing else."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.postings import (
    COUNT_MAX,
    ORDINAL_MAX,
    SEGMENT_ITEMS,
    Change,
    ItemTerms,
    apply_change,
    changes,
    decode,
    item_terms,
)
from tests.support.retrieval import MemoryCollection

WORDS = st.lists(st.sampled_from(["pump", "valve", "oil", "seal", "the"]), max_size=6).map(" ".join)
ORDINALS = st.sampled_from([0, 1, 2, SEGMENT_ITEMS - 1, SEGMENT_ITEMS, SEGMENT_ITEMS + 1, 3 * SEGMENT_ITEMS])
ITEMS = st.dictionaries(ORDINALS, st.tuples(WORDS, WORDS))


def collection(items: dict[int, tuple[str, str]]) -> MemoryCollection:
    made = MemoryCollection()
    for ordinal, (heading, text) in items.items():
        made.add(ordinal, b"%d" % ordinal, text, headings=[heading])
    return made


def counts(item: ItemTerms, term: str) -> tuple[int, int]:
    return item.counts.get(term, (0, 0))


def test_an_item_counts_terms_in_headings_and_body() -> None:
    item = item_terms(["Pump manual", "The pump"], "Oil the pump.")
    assert (counts(item, "pump"), counts(item, "oil")) == ((2, 1), (0, 1))
    assert (item.heading_length, item.body_length) == (4, 3)


@pytest.mark.parametrize("count", [COUNT_MAX, COUNT_MAX + 1])
def test_a_count_has_a_limit_and_a_length_has_none(count: int) -> None:
    item = item_terms([], "pump " * count)
    assert counts(item, "pump") == (0, COUNT_MAX)
    assert item.body_length == count


@pytest.mark.slow
@given(ITEMS)
def test_what_was_stored_is_read_back(items: dict[int, tuple[str, str]]) -> None:
    stored = collection(items)
    for term in ("pump", "valv", "oil", "seal", "the"):
        postings = stored.postings([term]).get(term, decode([]))
        expected = [
            (ordinal, *counts(item_terms([heading], text), term))
            for ordinal, (heading, text) in sorted(items.items())
        ]
        found = zip(
            postings.ordinals.tolist(), postings.headings.tolist(), postings.bodies.tolist(), strict=True
        )
        assert list(found) == [posting for posting in expected if any(posting[1:])]


@pytest.mark.slow
@given(ITEMS, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(items: dict[int, tuple[str, str]], random: Random) -> None:
    shuffled = list(items.items())
    random.shuffle(shuffled)
    assert collection(dict(shuffled)).segments == collection(items).segments


@pytest.mark.slow
@given(ITEMS, ITEMS, st.sets(ORDINALS))
def test_an_update_leaves_what_a_rebuild_makes(
    before: dict[int, tuple[str, str]], added: dict[int, tuple[str, str]], removed: set[int]
) -> None:
    updated = collection(before)
    kept = dict(before)
    for ordinal in removed & before.keys():
        updated.remove(ordinal)
        del kept[ordinal]
    for ordinal, (heading, text) in added.items():
        if ordinal not in kept:
            updated.add(ordinal, b"%d" % ordinal, text, headings=[heading])
            kept[ordinal] = (heading, text)
    assert updated.segments == collection(kept).segments


@pytest.mark.slow
@given(ITEMS)
def test_removing_everything_leaves_nothing(items: dict[int, tuple[str, str]]) -> None:
    stored = collection(items)
    for ordinal in items:
        stored.remove(ordinal)
    assert not stored.segments


def test_an_ordinal_can_change_hands_in_one_step() -> None:
    old, new = item_terms([], "pump oil"), item_terms([], "pump pump seal")
    stored = {key: apply_change(b"", change) for key, change in changes(added={5: old}, removed={}).items()}
    for key, change in changes(added={5: new}, removed={5: old}).items():
        stored[key] = apply_change(stored.get(key, b""), change)
    fresh = {key: apply_change(b"", change) for key, change in changes(added={5: new}, removed={}).items()}
    assert {key: data for key, data in stored.items() if data} == fresh


def test_removing_what_is_not_there_changes_nothing() -> None:
    data = apply_change(b"", Change(added={3: (0, 1)}))
    assert apply_change(data, Change(removed={4})) == data


def test_a_change_of_one_item_in_a_hundred_rewrites_the_segments_of_its_terms_alone() -> None:
    planned = changes(
        added={4 * SEGMENT_ITEMS + 1: item_terms([], "pump oil")}, removed={0: item_terms([], "seal")}
    )
    assert planned.keys() == {("pump", 4), ("oil", 4), ("seal", 0)}


@pytest.mark.parametrize(
    ("ordinal", "is_refused"), [(ORDINAL_MAX, False), (ORDINAL_MAX + 1, True), (-1, True)]
)
def test_an_ordinal_has_a_range(ordinal: int, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(ValueError, match="ordinal"):
            changes(added={ordinal: item_terms([], "pump")}, removed={})
    else:
        assert changes(added={ordinal: item_terms([], "pump")}, removed={})

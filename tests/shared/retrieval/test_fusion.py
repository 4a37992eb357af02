"""One score from two sides, each trusted as far as the query deserves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.fusion import fused

SHARES = st.lists(st.tuples(st.floats(0, 0.99), st.floats(-1, 1)), min_size=1, max_size=30)


def weight(keyword: list[float], cosine: list[float]) -> float:
    found = fused(np.array(keyword), np.array(cosine)).keyword_weight
    assert found is not None
    return found


@pytest.mark.slow
@given(SHARES)
def test_a_score_is_from_0_to_1_and_no_worse_than_both_sides(shares: list[tuple[float, float]]) -> None:
    keyword, cosine = (np.array(side) for side in zip(*shares, strict=True))
    scores = fused(keyword, cosine).scores
    positive = np.maximum(cosine, 0.0)
    assert np.all(scores <= np.maximum(keyword, positive) + 1e-9)
    assert np.all(scores >= np.minimum(keyword, positive) - 1e-9)


@pytest.mark.slow
@given(SHARES)
def test_candidates_below_the_best_of_both_sides_change_nothing(shares: list[tuple[float, float]]) -> None:
    best = [(0.5, 0.6)] * 12
    keyword, cosine = (np.array(side) for side in zip(*best, strict=True))
    more = [(share / 2, angle / 2) for share, angle in shares]
    more_keyword, more_cosine = (np.array(side) for side in zip(*(best + more), strict=True))
    assert fused(keyword, cosine).scores.tolist() == fused(more_keyword, more_cosine).scores[:12].tolist()


def test_keywords_that_cover_little_are_trusted_little() -> None:
    cosine = [0.6, *([0.4] * 11)]
    assert 0.1 * weight([0.1, *([0.06] * 11)], cosine) < 0.5 * weight([0.5, *([0.3] * 11)], cosine)


def test_a_hit_that_stands_out_is_trusted_more_than_one_of_many() -> None:
    cosine = [0.6] * 12
    assert weight([0.5, *([0.05] * 11)], cosine) > weight([0.5] * 12, cosine)


def test_cosines_that_stand_out_are_trusted_more_than_flat_ones() -> None:
    keyword = [0.5, *([0.3] * 11)]
    assert weight(keyword, [0.6, *([0.2] * 11)]) < weight(keyword, [0.6] * 12)


def test_without_cosines_the_keywords_decide() -> None:
    keyword = np.array([0.2, 0.4])
    assert fused(keyword, None).scores.tolist() == [0.2, 0.4]


def test_without_keywords_the_cosines_decide() -> None:
    assert fused(np.zeros(2), np.array([0.2, 0.4])).scores.tolist() == [0.2, 0.4]
    assert fused(np.zeros(2), np.array([-0.2, np.nan])).scores.tolist() == [0.0, 0.0]


def test_an_item_without_a_vector_stands_where_its_keywords_put_it() -> None:
    keyword = np.array([0.5, 0.5, 0.1])
    scores = fused(keyword, np.array([0.6, np.nan, 0.1])).scores
    assert scores[0] == pytest.approx(scores[1])


def test_no_items_have_no_scores() -> None:
    assert fused(np.zeros(0), np.zeros(0)).scores.tolist() == []

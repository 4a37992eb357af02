"""What common words add is kept within a bound, the last that was asked for longest."""

import numpy as np

from shared.library.hot_impacts import HotImpacts
from shared.retrieval.keyword import Impacts

BYTES = 4 * 4
FEW = Impacts(4, None, np.ones(4, np.float32))


def test_as_much_is_kept_as_the_bound_says_and_no_more() -> None:
    hot = HotImpacts(2 * BYTES)
    hot.keep("a", FEW)
    hot.keep("b", FEW)
    assert set(hot.among(["a", "b"])) == {"a", "b"}
    hot.keep("c", FEW)
    assert set(hot.among(["a", "b", "c"])) == {"b", "c"}


def test_what_was_asked_for_last_stays() -> None:
    hot = HotImpacts(2 * BYTES)
    hot.keep("a", FEW)
    hot.keep("b", FEW)
    assert set(hot.among(["a"])) == {"a"}
    hot.keep("c", FEW)
    assert set(hot.among(["a", "b", "c"])) == {"a", "c"}


def test_what_fits_exactly_is_kept_and_a_byte_more_is_not() -> None:
    for bound, is_kept in ((BYTES, True), (BYTES - 1, False)):
        hot = HotImpacts(bound)
        hot.keep("a", FEW)
        assert bool(hot.among(["a"])) is is_kept

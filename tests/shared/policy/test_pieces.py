"""Requests in pieces: what cannot be read, or does not fit, says nothing, and then all bears all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.policy.pieces import cut, told_of

LABELS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).map(tuple)


@given(st.lists(st.tuples(st.text(max_size=5), LABELS), min_size=1, max_size=6))
def test_what_is_told_is_cut_again(pieces: list[tuple[str, tuple[str, ...]]]) -> None:
    request = "".join(text for text, _ in pieces)
    assert cut(request, ("all",), told_of(pieces)) == pieces


@pytest.mark.parametrize(
    "told",
    [
        {}, {"pieces": [[5, 0]]}, {"bears": [[]]}, {"bears": [[]], "pieces": []}, {"bears": [[]], "pieces": [[4, 0]]},
        {"bears": [[]], "pieces": [[6, 0]]}, {"bears": [[]], "pieces": [[5, 1]]}, {"bears": [[]], "pieces": [["5", 0]]},
        {"bears": [[]], "pieces": [5]}, {"bears": [5], "pieces": [[5, 0]]}, {"bears": {}, "pieces": [[5, 0]]},
        {"bears": [[]], "pieces": [[5, None]]}, {"bears": [[]], "pieces": [[5, 0, 0]]},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_leaves_all_with_all_labels(told: dict[str, Any]) -> None:
    assert cut("hello", ("patient",), told) == [("hello", ("patient",))]

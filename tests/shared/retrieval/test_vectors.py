"""Vectors of bytes, compared exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.vectors import WIDTH_MAX, cosines, opened, quantised, units

FLOATS = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).filter(any)


@pytest.mark.slow
@given(FLOATS, FLOATS)
def test_a_cosine_is_near_that_of_the_floats(one: list[float], other: list[float]) -> None:
    a, b = np.array(one), np.array(other)
    expected = float(a @ b / np.sqrt((a @ a) * (b @ b))) if (a @ a) * (b @ b) else None
    if expected is not None:
        assert float(cosines(quantised(one), opened([quantised(other)]))[0]) == pytest.approx(
            expected, abs=0.03
        )


def test_dot_products_of_the_widest_vectors_are_exact() -> None:
    generator = np.random.default_rng(7)
    rows = generator.choice(np.array([-127, 127], np.int8), (50, WIDTH_MAX))
    stored = [row.tobytes() for row in rows]
    exact = rows.astype(np.int64) @ rows[0].astype(np.int64)
    assert (
        cosines(stored[0], opened(stored)).tolist()
        == (exact / (127**2 * WIDTH_MAX)).astype(np.float32).tolist()
    )


@pytest.mark.slow
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_a_cosine_has_the_same_bits_whichever_others_are_beside_it(rows: list[list[float]]) -> None:
    stored = [quantised(row) for row in rows]
    together = cosines(stored[0], opened(stored))
    assert [cosines(stored[0], opened([one])).tobytes() for one in stored] == [
        one.tobytes() for one in together
    ]


def test_equal_vectors_have_cosine_one() -> None:
    vector = quantised([0.3, -0.2, 0.1])
    assert cosines(vector, opened([vector])).tolist() == [1.0]


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [[1.0]]])
def test_what_has_no_direction_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="vector"):
        quantised(values)


@pytest.mark.parametrize(("width", "is_refused"), [(WIDTH_MAX, False), (WIDTH_MAX + 1, True)])
def test_a_vector_has_a_width(width: int, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(ValueError, match="dimensions"):
            quantised([1.0] * width)
    else:
        assert len(quantised([1.0] * width)) == width


def test_vectors_of_another_width_are_not_compared() -> None:
    with pytest.raises(ValueError, match="reshape"):
        opened([quantised([1.0]), quantised([1.0, 1.0])])


def test_no_vectors_have_no_cosines() -> None:
    assert cosines(quantised([1.0]), opened([])).tolist() == []


def test_an_index_gets_unit_vectors() -> None:
    assert float(np.linalg.norm(units(opened([quantised([3.0, 4.0, -1.0])])))) == pytest.approx(1.0)

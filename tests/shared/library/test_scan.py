"""The nearest are found by their signs and their cosines, whatever their ordinals."""

import numpy as np
import pytest

from shared.library.scan import COMPARED, SignScan
from shared.retrieval.vectors import cosines, opened, quantised

WIDTH = 100


def clustered(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(20, WIDTH))
    made = centres[rng.integers(20, size=count)] + 0.6 * rng.normal(size=(count, WIDTH))
    return opened([quantised(each) for each in made])


@pytest.mark.parametrize("count", [1, 40, COMPARED, COMPARED + 1, 3 * COMPARED])
def test_the_nearest_are_those_with_the_highest_cosines(count: int) -> None:
    vectors = clustered(count)
    scan = SignScan(vectors, np.ones(count, np.bool_))
    for at in range(0, count, 97):
        query = vectors[at].tobytes()
        best = np.argsort(-cosines(query, vectors), kind="stable")[:10]
        assert set(best.tolist()) <= set(scan.nearest(query, 20).tolist())


def test_what_is_found_does_not_depend_on_the_ordinals() -> None:
    vectors = np.concatenate([clustered(2 * COMPARED), np.repeat(clustered(1), 50, axis=0)])
    order = np.random.default_rng(5).permutation(len(vectors))
    one, other = (SignScan(each, np.ones(len(each), np.bool_)) for each in (vectors, vectors[order]))
    for at in (0, 7, len(vectors) - 1):
        query = vectors[at].tobytes()
        assert set(one.nearest(query, 10).tolist()) == set(order[other.nearest(query, 10)].tolist())


def test_an_item_without_a_vector_is_not_near_anything() -> None:
    vectors = clustered(30)
    has_vector = np.arange(30) % 2 == 0
    found = SignScan(vectors, has_vector).nearest(vectors[1].tobytes(), 30)
    assert found.tolist() == list(range(0, 30, 2))


def test_nothing_is_near_where_nothing_is() -> None:
    for shape in ((0, WIDTH), (5, 0), (5, WIDTH)):
        scan = SignScan(np.zeros(shape, np.int8), np.zeros(shape[0], np.bool_))
        assert not len(scan.nearest(bytes(shape[1]), 10))

"""`ChromaIndex` and its fake obey one contract; the real one also survives its own loss."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.adapters.index_chroma import ChromaIndex
from edge.ports import VectorIndex
from shared.errors import UnavailableError
from tests.support.vector_index import MemoryVectorIndex

pytestmark = [
    pytest.mark.slow,
    # chromadb's own imports and its telemetry stub warn on Python 3.11 and later.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(params=["memory", "chroma"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    if request.param == "memory":
        yield MemoryVectorIndex()
        return
    chroma = ChromaIndex(tmp_path / "index")
    yield chroma
    chroma.close()


async def test_the_nearest_come_first_with_their_cosine(index: VectorIndex) -> None:
    await index.add(["x", "y", "z"], [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    found = await index.nearest([1.0, 0.0], limit=2)
    assert [key for key, _ in found] == ["x", "z"]
    assert found[1][1] == pytest.approx(0.6, abs=1e-5)


async def test_adding_a_key_again_replaces_its_vector(index: VectorIndex) -> None:
    await index.add(["x"], [[1.0, 0.0]])
    await index.add(["x"], [[0.0, 1.0]])
    assert await index.keys() == {"x"}
    assert (await index.nearest([0.0, 1.0], limit=1))[0][1] == pytest.approx(1.0, abs=1e-5)


async def test_an_empty_index_finds_nothing_and_clear_empties_it(index: VectorIndex) -> None:
    assert await index.nearest([1.0, 0.0], limit=3) == ()
    await index.add(["x"], [[1.0, 0.0]])
    await index.clear()
    assert await index.keys() == frozenset()
    await index.add(["y"], [[1.0, 0.0]])
    assert await index.keys() == {"y"}


async def test_chroma_keeps_its_keys_over_a_close(tmp_path: Path) -> None:
    first = ChromaIndex(tmp_path / "index")
    await first.add(["x"], [[1.0, 0.0]])
    first.close()
    second = ChromaIndex(tmp_path / "index")
    assert await second.keys() == {"x"}
    second.close()


async def test_a_broken_chroma_says_how_to_mend_it_and_rebuild_does(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "chroma.sqlite3").write_bytes(b"this is no database" * 100)
    broken = ChromaIndex(folder)
    with pytest.raises(UnavailableError, match="memory rebuild"):
        await broken.keys()
    await broken.clear()
    await broken.add(["x"], [[1.0, 0.0]])
    assert await broken.keys() == {"x"}
    broken.close()

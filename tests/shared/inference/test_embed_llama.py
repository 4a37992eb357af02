"""Sentence vectors with the real model, against numbers computed from the publisher's own float32 weights."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.embed_llama import CHARACTERS_PER_TOKEN, Embedder
from shared.inference.install import find_installed

pytestmark = pytest.mark.model

LIMIT_S = 60.0
NAME = "all-minilm-l6-v2"
SENTENCES = (
    "The fridge is too warm.",
    "A sensor reads 4.2 degrees Celsius in the cold room.",
    "Ärger mit dem Kühlschrank!",
)
# The first eight of 384 numbers, from a plain float32 computation in numpy (WordPiece, six layers, mean, unit length).
REFERENCE = (
    (-0.00960, 0.02533, -0.02012, 0.07831, 0.07551, -0.00630, -0.08714, -0.02012),
    (0.04135, 0.00743, -0.06678, 0.05286, 0.01289, -0.00083, 0.02158, 0.05204),
    (-0.07675, 0.07164, 0.02735, -0.04415, -0.03468, 0.11854, 0.07064, 0.04096),
)
# Cosines between the sentences in the same computation.
REFERENCE_COSINES = (0.40816, -0.02459, 0.02452)
TOLERANCE = 2e-3


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture
async def embedder(models_dir: Path) -> AsyncIterator[Embedder]:
    embedder = Embedder(path=find_installed(models_dir, NAME).path, name=NAME)
    yield embedder
    await embedder.close()


async def embed(embedder: Embedder, *texts: str) -> list[list[float]]:
    return await asyncio.wait_for(embedder.embed(texts), LIMIT_S)


async def test_vectors_are_those_of_the_publishers_weights(embedder: Embedder) -> None:
    vectors = await embed(embedder, *SENTENCES)
    for vector, reference in zip(vectors, REFERENCE, strict=True):
        assert len(vector) == 384
        assert vector[: len(reference)] == pytest.approx(reference, abs=TOLERANCE)
        assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-5)
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = [cosine(vectors[a], vectors[b]) for a, b in pairs]
    assert found == pytest.approx(REFERENCE_COSINES, abs=TOLERANCE)


async def test_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    together = await embed(embedder, *SENTENCES * 20)  # several passes
    assert len(together) == 60
    for number, sentence in enumerate(SENTENCES):
        (alone,) = await embed(embedder, sentence)
        for at in range(number, 60, 3):
            assert cosine(together[at], alone) > 0.9999


async def test_long_and_short_texts_come_back_in_their_order(embedder: Embedder) -> None:
    """Over several jobs and passes, of which some hold one text and some many."""
    long = " ".join(SENTENCES) * 20
    texts = [f"{long if number % 7 == 0 else ''} {SENTENCES[number % 3]}" for number in range(70)]
    for text, vector in list(zip(texts, await embed(embedder, *texts), strict=True))[::9]:
        assert cosine(vector, (await embed(embedder, text))[0]) > 0.9999


async def test_several_threads_give_the_same_vectors_in_the_same_order(
    embedder: Embedder, models_dir: Path
) -> None:
    several = Embedder(path=find_installed(models_dir, NAME).path, name=NAME, threads=3)
    texts = [f"{SENTENCES[number % 3]} {number}" * (1 + number % 9) for number in range(60)]
    pairs = zip(await embed(several, *texts), await embed(embedder, *texts), strict=True)
    assert min(cosine(one, other) for one, other in pairs) > 0.9999
    await several.close()


async def test_what_is_asked_amid_many_texts_does_not_wait_for_all_of_them(embedder: Embedder) -> None:
    await embed(embedder, "loaded")
    many = asyncio.create_task(embed(embedder, *[SENTENCES[1] * 20] * 40))
    await asyncio.sleep(0)  # the many are asked first
    await embed(embedder, SENTENCES[0])
    assert not many.done()
    await many


async def test_a_text_of_megabytes_is_cut_before_it_is_read(embedder: Embedder) -> None:
    seen = 256 * CHARACTERS_PER_TOKEN
    blank = " " * (seen - 4)
    limit, beyond, empty = await embed(embedder, f"{blank}cold", f"{blank}    cold", "")
    assert cosine(limit, empty) < 0.9
    assert cosine(beyond, empty) > 0.9999


async def test_long_text_is_cut_and_empty_text_has_a_vector(embedder: Embedder) -> None:
    long, longer, empty = await embed(embedder, "cold " * 300, "cold " * 3000, "")
    assert cosine(long, longer) > 0.9999
    assert len(empty) == 384


async def test_control_tokens_in_a_text_are_plain_text(embedder: Embedder) -> None:
    spelt, plain = await embed(embedder, "warm [SEP] [MASK]", "warm")
    assert cosine(spelt, plain) < 0.99


async def test_nothing_is_loaded_for_nothing(embedder: Embedder) -> None:
    assert await embed(embedder) == []
    assert not embedder.loaded


async def test_closed_embedder_can_be_used_again(embedder: Embedder) -> None:
    before = await embed(embedder, SENTENCES[0])
    await embedder.close()
    assert not embedder.loaded
    assert await embed(embedder, SENTENCES[0]) == before


async def test_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    embedder = Embedder(path=tmp_path / "absent.gguf", name=NAME)
    with pytest.raises(ConfigError, match="`covey-edge model install all-minilm-l6-v2`"):
        await embed(embedder, "text")
    await embedder.close()


def test_context_that_no_pass_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 to 512 tokens"):
        Embedder(path=tmp_path / "absent.gguf", name=NAME, context_tokens=1000)

"""One contract for every `EmbeddingModel`: the installed one, and the one of words that stands in for it."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.inference.installed import InstalledEmbedder
from shared.inference.ports import EmbeddingModel
from tests.support.vector_index import WordEmbedder

LIMIT_S = 60.0


@pytest.fixture(params=["words", pytest.param("installed", marks=pytest.mark.model)])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[EmbeddingModel]:
    if request.param == "words":
        yield WordEmbedder("warm", "cold")
        return
    directory: Path = request.getfixturevalue("models_dir")
    installed = InstalledEmbedder(directory)
    yield installed
    await installed.close()


async def embed(model: EmbeddingModel, *texts: str) -> list[list[float]]:
    return await asyncio.wait_for(model.embed(texts), LIMIT_S)


async def test_there_is_one_unit_vector_a_text_in_order(model: EmbeddingModel) -> None:
    vectors = await embed(model, "warm", "cold", "warm")
    assert len(vectors) == 3
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-3)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-2)
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-4)
    assert await embed(model) == []


async def test_tokens_are_counted_without_what_the_model_adds(model: EmbeddingModel) -> None:
    assert [model.count_tokens(text) for text in ("", "warm", "warm and cold")] == [0, 1, 3]
    assert model.text_tokens_max >= 64


async def test_a_model_has_one_fingerprint(model: EmbeddingModel) -> None:
    assert await model.fingerprint() == await model.fingerprint()
    assert len(await model.fingerprint()) == 32


async def test_a_closed_model_can_be_used_again(model: EmbeddingModel) -> None:
    (before,) = await embed(model, "warm")
    assert model.count_tokens("warm") == 1
    await model.close()
    assert (await embed(model, "warm"))[0] == pytest.approx(before, abs=1e-4)
    assert model.count_tokens("warm") == 1

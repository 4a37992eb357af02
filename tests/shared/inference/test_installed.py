"""Models by their names: looked up when they are first needed, and loaded no sooner than that."""

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.install import find_installed, fingerprint_of
from shared.inference.installed import EMBEDDING_MODEL, InstalledEmbedder

SAME_FILE = "8a67aedb06169bd800291e71dec4b768fb75c8eb7f8756e3ecd031f4ad70e709"
"""What the catalogue's safetensors become: hub and devices convert for themselves, and must get the same bytes."""


async def test_a_missing_embedding_model_is_named_when_it_is_needed(tmp_path: Path) -> None:
    embedder = InstalledEmbedder(tmp_path)
    with pytest.raises(ConfigError, match="covey-hub model install all-minilm-l6-v2"):
        await embedder.embed(["text"])
    with pytest.raises(ConfigError, match="covey-edge model install all-minilm-l6-v2"):
        embedder.count_tokens("text")
    with pytest.raises(ConfigError, match="not installed"):
        await embedder.fingerprint()
    await embedder.close()


@pytest.mark.model
async def test_counting_and_the_fingerprint_load_no_weights(models_dir: Path) -> None:
    embedder = InstalledEmbedder(models_dir)
    assert embedder.count_tokens("The fridge is too warm.") == 6
    assert (await embedder.fingerprint()).hex() == fingerprint_of(find_installed(models_dir, EMBEDDING_MODEL))
    loaded = [embedder.is_loaded]
    await embedder.embed(["text"])
    loaded.append(embedder.is_loaded)
    await embedder.close()
    assert [*loaded, embedder.is_loaded] == [False, True, False]


@pytest.mark.model
async def test_a_vector_is_made_of_as_many_tokens_as_the_model_says(models_dir: Path) -> None:
    embedder = InstalledEmbedder(models_dir)
    within = ["warm"] * (embedder.text_tokens_max - 1)
    shorter, whole, longer = await embedder.embed(
        [" ".join(within), " ".join([*within, "cold"]), " ".join([*within, "cold", "sour"])]
    )
    assert longer == pytest.approx(whole, abs=1e-4)
    assert shorter != pytest.approx(whole, abs=1e-4)
    await embedder.close()


@pytest.mark.model
async def test_every_installation_makes_the_same_file(models_dir: Path) -> None:
    assert (await InstalledEmbedder(models_dir).fingerprint()).hex() == SAME_FILE


@pytest.mark.model
async def test_a_model_that_answers_does_not_embed(models_dir: Path) -> None:
    embedder = InstalledEmbedder(models_dir, name="smollm2-135m-instruct")
    with pytest.raises(ConfigError, match="of the kind embedding"):
        await embedder.embed(["text"])
    with pytest.raises(ConfigError, match="of the kind embedding"):
        await embedder.fingerprint()
    await embedder.close()

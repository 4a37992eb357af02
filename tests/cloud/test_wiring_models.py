"""What the hub embeds and answers with, as its settings say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cloud.settings import HubSettings
from cloud.wiring_models import HubModels, models_of
from shared.errors import CapacityError, ConfigError
from shared.inference.ports import Finished, Generation, LanguageModel, Message, TextDelta
from tests.support.model import ScriptedModel
from tests.support.openai_server import open_chat_server, scripted
from tests.support.vector_index import WordEmbedder

LIMIT_S = 60.0
SMALL = "smollm2-135m-instruct"


def models(home: Path, **settings: Any) -> HubModels:
    return models_of(HubSettings.load(home, {"models_dir": home / "models", **settings}))


async def answer(model: LanguageModel | None) -> str:
    assert model is not None
    question = Generation(messages=[Message("user", "Is the fridge too warm?")], max_tokens=8)
    async with asyncio.timeout(LIMIT_S):
        items = [item async for item in model.generate(question)]
    assert isinstance(items[-1], Finished)
    return "".join(item.text for item in items if isinstance(item, TextDelta))


async def test_a_hub_without_models_starts_and_says_what_is_missing_when_it_is_asked(tmp_path: Path) -> None:
    made = models(tmp_path)
    with pytest.raises(ConfigError, match="covey-hub model install qwen2"):
        await answer(made.answers)
    with pytest.raises(ConfigError, match="covey-hub model install all-minilm"):
        await made.embedder.embed(["text"])
    await made.close()


def test_a_hub_may_answer_nothing(tmp_path: Path) -> None:
    assert models(tmp_path, answer_model="").answers is None


async def test_a_server_may_answer_and_gets_the_key_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_text("secret-key\n")
    async with open_chat_server(lambda _request: scripted("It is.")) as server:
        made = models(
            tmp_path,
            answer_model="large",
            answer_model_url=server.base_url,
            answer_model_key_file="server.key",
        )
        assert await answer(made.answers) == "It is."
        assert server.requests[0]["model"] == "large"
        assert server.headers[0]["authorization"] == "Bearer secret-key"
        await made.close()


def test_a_key_file_that_is_not_there_stops_the_hub_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key of the model server .*nowhere\.key"):
        models(tmp_path, answer_model_url="http://127.0.0.1:1/v1", answer_model_key_file="nowhere.key")


class Unloading:
    """Which of the models was closed when."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def models(self) -> HubModels:
        log = self.closed

        class Answers(ScriptedModel):
            async def close(self) -> None:
                log.append("answers")
                raise ConfigError("stuck")

        class Embedder(WordEmbedder):
            async def close(self) -> None:
                log.append("embedder")

        return HubModels(embedder=Embedder(), answers=Answers())


async def test_a_hub_that_stops_unloads_both_in_reverse_order_whatever_happens() -> None:
    unloading = Unloading()
    running = asyncio.create_task(unloading.models().run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(ConfigError, match="stuck"):
        await running
    assert unloading.closed == ["answers", "embedder"]


@pytest.mark.model
async def test_the_installed_models_answer_and_embed(tmp_path: Path, models_dir: Path) -> None:
    made = models(tmp_path, models_dir=models_dir, answer_model=SMALL, answer_model_threads=1)
    assert await answer(made.answers)
    assert [len(vector) for vector in await made.embedder.embed(["warm", "cold"])] == [384, 384]
    await made.close()


@pytest.mark.model
async def test_a_model_that_needs_more_memory_than_allowed_is_not_loaded(
    tmp_path: Path, models_dir: Path
) -> None:
    made = models(tmp_path, models_dir=models_dir, answer_model=SMALL, answer_model_memory_max_mb=64)
    with pytest.raises(CapacityError, match="64 MB") as refused:
        await answer(made.answers)
    assert refused.value.limit == 64
    await made.close()

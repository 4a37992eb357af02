"""What every LanguageModel promises, asked of the scripted, the local and the remote one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from shared.errors import CapacityError, ProtocolError
from shared.inference.install import find_installed
from shared.inference.model_llama import LlamaModel
from shared.inference.model_openai import OpenAIModel
from shared.inference.ports import Finished, Generation, LanguageModel, Message, TextDelta
from tests.support.model import ScriptedModel
from tests.support.openai_server import Script, open_chat_server, scripted

LIMIT_S = 60.0
CONTEXT_TOKENS = 512
SMOLLM = "smollm2-135m-instruct"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city", "people"],
}
FACTS = '{"city": "Paris", "people": 2}'
LONG = "one two three four five six seven eight nine ten"


def ask(text: str = "Count from one to ten.", **options: Any) -> Generation:
    return Generation(
        messages=(Message("system", "Be brief."), Message("user", text)), **{"max_tokens": 24, **options}
    )


def scripted_answer(generation: Generation) -> str:
    return FACTS if generation.json_schema is not None else LONG


def remote_answer(request: dict[str, Any]) -> Script:
    if len(str(request["messages"])) > 4 * CONTEXT_TOKENS:
        return Script(status=400, body=[b'{"error": {"code": "context_length_exceeded"}}'])
    text = FACTS if "response_format" in request else LONG
    words = text.split(" ")
    if len(words) > request["max_tokens"]:
        return scripted(" ".join(words[: request["max_tokens"]]), pieces=2, finish="length")
    return scripted(text)


@pytest.fixture(params=["scripted", pytest.param("llama", marks=pytest.mark.model), "openai"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    match request.param:
        case "scripted":
            yield ScriptedModel(*[scripted_answer] * 8, context_tokens=CONTEXT_TOKENS)
        case "llama":
            installed = find_installed(request.getfixturevalue("models_dir"), SMOLLM)
            model = LlamaModel(
                path=installed.path, name=SMOLLM, context_tokens=CONTEXT_TOKENS, threads=1, idle_unload_s=0
            )
            yield model
            await model.close()
        case "openai":
            async with open_chat_server(remote_answer) as server:
                remote = OpenAIModel(
                    name="remote", base_url=server.base_url, remote_model="m", context_tokens=CONTEXT_TOKENS
                )
                yield remote
                await remote.close()


async def collect(model: LanguageModel, generation: Generation) -> tuple[list[str], Finished]:
    async with asyncio.timeout(LIMIT_S):
        items = [item async for item in model.generate(generation)]
    last = items.pop()
    assert isinstance(last, Finished)
    texts = [item.text for item in items if isinstance(item, TextDelta)]
    assert len(texts) == len(items), "something came after Finished"
    return texts, last


async def test_stream_is_text_and_then_one_finished(model: LanguageModel) -> None:
    texts, finished = await collect(model, ask())
    assert texts
    assert all(texts)
    assert finished.prompt_tokens > 0
    assert 0 <= finished.cached_tokens < finished.prompt_tokens
    assert 0 < finished.output_tokens <= 24
    assert 0 < finished.first_token_ms <= finished.total_ms


async def test_same_generation_at_temperature_zero_gives_the_same_text(model: LanguageModel) -> None:
    await collect(model, ask())  # from here on the prompt is cached in the same way
    first, _ = await collect(model, ask())
    second, _ = await collect(model, ask())
    assert "".join(first) == "".join(second)


async def test_answer_ends_at_max_tokens_with_length(model: LanguageModel) -> None:
    _, finished = await collect(model, ask(max_tokens=3))
    assert finished.finish == "length"
    assert finished.output_tokens <= 5  # the remote one says what its server counted


async def test_stop_string_ends_the_answer_and_is_not_shown(model: LanguageModel) -> None:
    texts, _ = await collect(model, ask())
    whole = "".join(texts)
    stop = whole[4:9]
    texts, finished = await collect(model, ask(stop=(stop,)))
    assert finished.finish == "stop"
    assert "".join(texts) == whole[: whole.index(stop)]


async def test_answer_under_a_schema_is_valid_json_for_it(model: LanguageModel) -> None:
    texts, finished = await collect(
        model, ask("Facts about a city, please.", json_schema=SCHEMA, max_tokens=60)
    )
    value = json.loads("".join(texts))
    assert finished.finish == "stop"
    assert set(value) == {"city", "people"}
    assert value["city"] in ("Paris", "Rome")
    assert isinstance(value["people"], int)


async def test_prompt_without_room_for_an_answer_is_refused_with_the_bound(model: LanguageModel) -> None:
    with pytest.raises(CapacityError) as refused:
        await collect(model, ask("word " * 2 * CONTEXT_TOKENS))
    assert (refused.value.bound, refused.value.limit) == ("context_tokens", CONTEXT_TOKENS)
    assert (await collect(model, ask()))[0]


async def test_nothing_to_generate_is_refused(model: LanguageModel) -> None:
    with pytest.raises(ProtocolError, match="max_tokens"):
        await collect(model, ask(max_tokens=0))


async def test_cancelled_generation_frees_the_model(model: LanguageModel) -> None:
    async with asyncio.timeout(LIMIT_S):
        async with aclosing(model.generate(ask(max_tokens=400))) as stream:
            assert isinstance(await anext(stream), TextDelta)
        assert (await collect(model, ask()))[0]


async def test_generation_closed_before_it_began_does_nothing(model: LanguageModel) -> None:
    await model.generate(ask()).aclose()
    assert (await collect(model, ask()))[0]


async def test_cancelled_task_frees_the_model(model: LanguageModel) -> None:
    began = asyncio.Event()

    async def watch() -> None:
        async for _ in model.generate(ask(max_tokens=400)):
            began.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(LIMIT_S):
        task = asyncio.create_task(watch())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await collect(model, ask()))[0]


async def test_callers_are_served_in_the_order_they_came(model: LanguageModel) -> None:
    order: list[int] = []

    async def one(number: int) -> None:
        await collect(model, ask(f"Say {number}.", max_tokens=4))
        order.append(number)

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one(number))
    assert order == [0, 1, 2, 3]


async def test_closed_model_can_be_used_again(model: LanguageModel) -> None:
    before, _ = await collect(model, ask())
    await model.close()
    await model.close()
    after, _ = await collect(model, ask())
    assert "".join(after) == "".join(before)


def test_names_and_bounds_are_known_without_loading(tmp_path: Path) -> None:
    model = LlamaModel(path=tmp_path / "no", name="m", context_tokens=100, threads=0, idle_unload_s=0)
    assert (model.name, model.context_tokens, model.loaded) == ("m", 100, False)

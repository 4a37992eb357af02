"""The OpenAI adapter against a server that answers well and badly."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from shared.inference.model_openai import MAX_LINE_BYTES, OpenAIModel
from shared.inference.ports import Finished, Generation, Message, TextDelta
from tests.support.openai_server import DONE, ChatServer, Script, chunk, event, open_chat_server, scripted
from tests.support.ports import free_port

LIMIT_S = 10.0
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def model_at(server: ChatServer, **options: Any) -> OpenAIModel:
    return OpenAIModel(
        name="remote", base_url=server.base_url, remote_model="qwen", context_tokens=2048, **options
    )


def ask(text: str = "hello", **options: Any) -> Generation:
    return Generation(messages=(Message("user", text),), **{"max_tokens": 50, **options})


async def collect(model: OpenAIModel, generation: Generation) -> tuple[str, Finished]:
    async with asyncio.timeout(LIMIT_S):
        items = [item async for item in model.generate(generation)]
    last = items.pop()
    assert isinstance(last, Finished)
    return "".join(item.text for item in items if isinstance(item, TextDelta)), last


async def failure(script: Script, **options: Any) -> CoveyError:
    async with open_chat_server(lambda _: script) as server:
        model = model_at(server)
        with pytest.raises(CoveyError) as refused:
            await collect(model, ask(**options))
        await model.close()
    assert "\n" not in str(refused.value)
    return refused.value


async def test_answer_is_streamed_with_the_servers_counts() -> None:
    async with open_chat_server(lambda _: scripted("Guten Tag, ß.")) as server:
        model = model_at(server)
        text, finished = await collect(model, ask())
        await model.close()
    assert text == "Guten Tag, ß."
    assert (finished.finish, finished.prompt_tokens, finished.cached_tokens, finished.output_tokens) == (
        "stop",
        9,
        4,
        5,
    )
    assert 0 < finished.first_token_ms <= finished.total_ms


async def test_request_says_everything_that_the_generation_says() -> None:
    async with open_chat_server(lambda _: scripted('{"a": 1}')) as server:
        model = model_at(server, api_key="secret")
        generation = ask(temperature=0.5, top_p=0.9, seed=3, stop=("END",), json_schema=SCHEMA)
        await collect(model, generation)
        await collect(model, ask())
        await model.close()
    first, second = server.requests
    assert first == {
        "model": "qwen",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 3,
        "stop": ["END"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        },
    }
    assert {"seed", "stop", "response_format"}.isdisjoint(second)
    assert server.headers[0]["authorization"] == "Bearer secret"


async def test_server_without_usage_is_counted_by_its_events() -> None:
    script = Script(body=[chunk("a"), chunk("b"), chunk(finish="length"), DONE])
    async with open_chat_server(lambda _: script) as server:
        model = model_at(server)
        _, finished = await collect(model, ask())
        await model.close()
    assert (finished.finish, finished.output_tokens) == ("length", 2)


async def test_stop_string_is_kept_back_even_if_the_server_ignores_it() -> None:
    script = Script(body=[chunk("one EN"), chunk("D two"), asyncio.Event()])  # and it would go on
    async with open_chat_server(lambda _: script) as server:
        model = model_at(server)
        text, finished = await collect(model, ask(stop=("END",)))
        await model.close()
    assert (text, finished.finish) == ("one ", "stop")


async def test_event_split_over_packets_is_put_together() -> None:
    whole = chunk("äöü") + chunk(finish="stop") + DONE
    script = Script(body=[whole[at : at + 1] for at in range(len(whole))])
    async with open_chat_server(lambda _: script) as server:
        model = model_at(server)
        assert (await collect(model, ask()))[0] == "äöü"
        await model.close()


async def test_cancelled_generation_closes_its_connection_and_frees_the_next_caller() -> None:
    answers = iter([Script(body=[chunk("first"), asyncio.Event()]), scripted("second")])
    async with open_chat_server(lambda _: next(answers)) as server, asyncio.timeout(LIMIT_S):
        model = model_at(server)
        async with aclosing(model.generate(ask())) as stream:
            assert await anext(stream) == TextDelta("first")
        await server.disconnected.wait()
        assert (await collect(model, ask()))[0] == "second"
        await model.close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": {"message": "bad temperature"}}', RefusedError),
        (400, b'{"error": {"message": "too long", "code": "context_length_exceeded"}}', CapacityError),
        (400, b'{"error": {"message": "exceeds the available context size"}}', CapacityError),
        (401, b"", ConfigError),
        (403, b"", ConfigError),
        (404, b'{"error": "no such model"}', ConfigError),
        (422, b"[]", RefusedError),
        (429, b"slow down", UnavailableError),
        (500, b"\xff\xfe", UnavailableError),
        (503, b"x" * 200_000, UnavailableError),
    ],
)
async def test_each_status_is_the_error_that_its_caller_acts_on(
    status: int, body: bytes, kind: type[CoveyError]
) -> None:
    error = await failure(Script(status=status, body=[body] if body else []))
    assert type(error) is kind
    assert len(str(error)) < 400


async def test_too_long_prompt_names_the_bound() -> None:
    error = await failure(Script(status=400, body=[b'{"error": {"code": "context_length_exceeded"}}']))
    assert isinstance(error, CapacityError)
    assert (error.bound, error.limit) == ("context_tokens", 2048)


@pytest.mark.parametrize(
    "body",
    [
        [b"data: {not json\n\n"],
        [b"data: [1]\n\n"],
        [event({"choices": [{"delta": {"content": 3}}]})],
        [event({"choices": [3]})],
        [b"data: \xff\n\n"],
        [b"data: " + b"x" * (MAX_LINE_BYTES + 1)],
        [chunk("text"), DONE],  # no reason why it ended
        [chunk("text"), chunk(finish="content_filter"), DONE],
    ],
)
async def test_broken_stream_breaks_the_contract(body: list[bytes | asyncio.Event | None]) -> None:
    assert isinstance(await failure(Script(body=body)), ProtocolError)


async def test_answer_that_is_not_the_json_asked_for_breaks_the_contract() -> None:
    error = await failure(scripted("Sure! Here is"), json_schema=SCHEMA)
    assert isinstance(error, ProtocolError)


async def test_error_in_the_middle_of_an_answer_is_unavailable() -> None:
    error = await failure(Script(body=[chunk("a"), event({"error": {"message": "out of memory"}})]))
    assert isinstance(error, UnavailableError)
    assert "out of memory" in str(error)


async def test_connection_that_breaks_off_is_unavailable() -> None:
    assert isinstance(await failure(Script(body=[chunk("a"), None])), UnavailableError)


async def test_server_that_is_silent_for_too_long_is_unavailable() -> None:
    async with open_chat_server(lambda _: Script(body=[asyncio.Event()])) as server:
        model = model_at(server, silence_timeout_s=0.05)
        with pytest.raises(UnavailableError):
            await collect(model, ask())
        await model.close()


async def test_server_that_is_not_there_is_unavailable() -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    model = OpenAIModel(name="remote", base_url=address, remote_model="qwen", context_tokens=2048)
    with pytest.raises(UnavailableError, match="is it running"):
        await collect(model, ask())
    await model.close()


@pytest.mark.parametrize("address", ["not an address", "ftp://127.0.0.1/v1", ""])
async def test_impossible_address_is_a_configuration_error(address: str) -> None:
    model = OpenAIModel(name="remote", base_url=address, remote_model="qwen", context_tokens=2048)
    with pytest.raises(ConfigError, match="not the address"):
        await collect(model, ask())
    await model.close()

"""The device's local HTTP API: default deny, OpenAI's shapes, and one sentence with a stable code for every error."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.agent import AgentRunner
from edge.api.app import JOURNAL_PAGE_MAX, build_app
from edge.api.chat import AGENT_MODEL
from edge.api.parts import Api
from edge.drift import Drift
from edge.oversight import Oversight
from edge.ports import Draft, Room
from edge.reading_room import ReadingRoom
from edge.rules import Rules
from edge.settings import EdgeSettings
from edge.watch import Watch
from shared.errors import CapacityError, ConfigError, RefusedError, UnavailableError
from shared.records import DeviceStarted, ModelCalled, NodeMoved, RecordBody
from tests.support.agent import (
    ANSWER,
    FaultyJournal,
    Probe,
    act,
    end_of,
    first_offer,
    make_runner,
    question_of,
    running,
    working,
)
from tests.support.clock import ManualClock
from tests.support.device import signer_from
from tests.support.hub import ScriptedHub
from tests.support.mind import mind_over
from tests.support.model import Reply, ScriptedModel
from tests.support.no_knowledge import no_knowledge
from tests.support.no_questions import no_later_answers
from tests.support.retention import OpenRoom
from tests.support.rules import NoPolicies, OpenRules, open_judge
from tests.support.store import PRINCIPAL, opened_journal, records
from tests.support.waiting import eventually

TOKEN = "the-token"
CHAT = "/v1/chat/completions"


@dataclass
class World:
    """The API and what is behind it."""

    client: httpx.AsyncClient
    journal: SqliteJournal
    runner: AgentRunner
    model: ScriptedModel
    valve: Probe
    links: list[bool] = field(default_factory=list)

    async def chat(self, content: str = "hi", *, model: str = "scripted", **body: Any) -> httpx.Response:
        messages = [{"role": "user", "content": content}]
        return await self.client.post(CHAT, json={"model": model, "messages": messages, **body})


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *script: Any,
    settings: Mapping[str, Any] | None = None,
    context_tokens: int = 2_048,
    token: str = TOKEN,
    room: Room | None = None,
    faulty: Callable[[SqliteJournal], Any] = lambda journal: journal,
    **options: Any,
) -> AsyncIterator[World]:
    model, valve, clock = ScriptedModel(*script, context_tokens=context_tokens), Probe("valve"), ManualClock()
    links: list[bool] = []
    room = room or OpenRoom()

    async def status() -> dict[str, Any]:
        return {"device": None}

    async def twin() -> dict[str, Any]:
        return {"desired": None}

    async def metrics() -> str:
        return ""

    async def refresh_secrets() -> None:
        pass

    async with opened_journal(tmp_path / "store.sqlite") as journal:
        journal_seen = faulty(journal)
        runner = make_runner(journal_seen, model, valve, work=journal, clock=clock, room=room, **options)
        device_settings = EdgeSettings(home=tmp_path, models_dir=tmp_path, **(settings or {}))
        rules = Rules(
            store=NoPolicies(),
            journal=journal_seen,
            clock=clock,
            tools=[],
            facts=lambda: OpenRules.device,
            trusted=lambda: (),
        )
        judge = open_judge(clock)
        mind = mind_over(tmp_path, journal, clock=clock, judge=judge).mind
        oversight = Oversight(
            settings=device_settings,
            rules=rules,
            drift=Drift(tools=[], store=NoPolicies(), journal=journal_seen, drafts=Watch(clock=clock).drafts),
            store=NoPolicies(),
            journal=journal_seen,
            clock=clock,
        )
        knowledge, knowledge_lookup = no_knowledge(tmp_path, journal=journal_seen, clock=clock)
        api = Api(
            knowledge=knowledge,
            knowledge_lookup=knowledge_lookup,
            reading_room=ReadingRoom(
                knowledge=knowledge_lookup, lookup=mind.lookup, judge=judge, model=model
            ),
            settings=device_settings,
            token=token,
            runner=runner,
            model=model,
            journal=journal_seen,
            log=journal,
            work=journal,
            room=room,
            mind=mind,
            judge=judge,
            later_answers=no_later_answers(work=journal, journal=journal_seen, judge=judge, clock=clock),
            clock=clock,
            new_id=lambda: "an-id",
            status=status,
            twin=twin,
            metrics=metrics,
            set_link=links.append,
            refresh_secrets=refresh_secrets,
            oversight=oversight,
        )
        transport = httpx.ASGITransport(app=build_app(api), raise_app_exceptions=True)
        async with (
            running(runner),
            httpx.AsyncClient(
                transport=transport, base_url="http://device", headers={"authorization": f"Bearer {TOKEN}"}
            ) as client,
        ):
            yield World(client, journal, runner, model, valve, links)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as world:
        yield world


def problem(response: httpx.Response, status: int, code: str) -> str:
    """The sentence of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code"}
    assert error["code"] == code
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    message = str(error["message"])
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of an event stream that ended as OpenAI's do."""
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


# --- the door ------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/v1/models"),
    ("POST", CHAT),
    ("GET", "/status"),
    ("GET", "/twin"),
    ("POST", "/tasks"),
    ("GET", "/tasks/x"),
    ("POST", "/tasks/x/cancel"),
    ("POST", "/tasks/x/answer"),
    ("GET", "/journal"),
    ("GET", "/memory?q=x"),
    ("POST", "/memory/rebuild"),
    ("POST", "/link"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{method}-{path}" for method, path in ROUTES])
@pytest.mark.parametrize(
    "header", ["", "Bearer ", "Bearer wrong", "Bearer the-toke", "Basic the-tokenx", "Bearer the-token\u00e9"],
    ids=["none", "empty", "wrong", "cut", "basic", "not-ascii"],
)  # fmt: skip
async def test_nothing_is_served_without_the_token(world: World, method: str, path: str, header: str) -> None:
    headers = {b"authorization": header.encode()}
    response = await world.client.request(method, path, json={"enabled": False, "goal": "x"}, headers=headers)
    assert "api.token" in problem(response, 401, "unauthorized")
    assert world.links == []
    assert await world.journal.open_nodes() == ()


async def test_an_empty_token_is_nobodys_token(tmp_path: Path) -> None:
    async with serving(tmp_path, token="") as world:
        for header in ("", "Bearer ", "Bearer"):
            problem(await world.client.get("/status", headers={"authorization": header}), 401, "unauthorized")


async def test_models_lists_the_agent_and_the_model(world: World) -> None:
    body = (await world.client.get("/v1/models")).json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == [AGENT_MODEL, "scripted"]


# --- chat with the model -------------------------------------------------------------------------------------------


async def test_a_chat_with_the_model_is_answered_in_openais_shape(tmp_path: Path) -> None:
    async with serving(tmp_path, "It is four degrees.") as world:
        body = (await world.chat("how warm?")).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "scripted"
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "It is four degrees."}
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    usage = body["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4


async def test_a_chat_with_the_model_passes_on_what_was_asked_for(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    async with serving(tmp_path, {"a": 1}) as world:
        response = await world.client.post(
            CHAT,
            json={
                "model": "scripted",
                "messages": [
                    {"role": "developer", "content": "Be short."},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "Give"}, {"type": "text", "text": " a."}],
                    },
                ],
                "max_tokens": 50,
                "temperature": 0.5,
                "top_p": 0.9,
                "seed": 7,
                "stop": ["END"],
                "user": "somebody",
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
            },
        )
    assert json.loads(response.json()["choices"][0]["message"]["content"]) == {"a": 1}
    (seen,) = world.model.seen
    assert [(message.role, message.content) for message in seen.messages] == [
        ("system", "Be short."),
        ("user", "Give a."),
    ]
    assert (seen.max_tokens, seen.temperature, seen.top_p, seen.seed, tuple(seen.stop)) == (
        50,
        0.5,
        0.9,
        7,
        ("END",),
    )
    assert seen.json_schema == schema


async def test_an_answer_cut_at_its_limit_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, "one two three four") as world:
        choice = (await world.chat(max_tokens=2)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")


async def test_a_chat_with_the_model_is_journalled_with_its_content(tmp_path: Path) -> None:
    async with serving(tmp_path, "four degrees") as world:
        await world.chat("how warm?")
        (record,) = [each for each in await records(world.journal) if isinstance(each, ModelCalled)]
        assert isinstance(record, ModelCalled)
        assert (record.purpose, record.finish, record.output_tokens, record.task) == ("chat", "stop", 2, None)
        assert record.output is not None
        output = await world.journal.blob(record.output)
        assert output is not None
        assert output.text() == "four degrees"


async def test_a_chat_is_answered_although_the_disk_is_full(tmp_path: Path) -> None:
    async def full(_number: int, _drafts: object) -> None:
        raise CapacityError("The disk is full.", bound="disk", limit=0)

    async with serving(
        tmp_path, "hello", faulty=lambda journal: FaultyJournal(journal, before=full)
    ) as world:
        assert (await world.chat()).json()["choices"][0]["message"]["content"] == "hello"
        assert "disk is full" in problem(
            await world.client.post("/tasks", json={"goal": "x"}), 507, "capacity"
        )


@pytest.mark.parametrize("full_at", [ModelCalled, NodeMoved])
async def test_who_waits_for_a_task_hears_that_the_disk_is_full(
    tmp_path: Path, full_at: type[RecordBody]
) -> None:
    is_full = True

    async def full(_number: int, drafts: Sequence[Draft]) -> None:
        if is_full and any(isinstance(draft.record, full_at) for draft in drafts):
            raise CapacityError("The disk is full.", bound="disk", limit=0)

    async with serving(
        tmp_path, ANSWER, "hello", faulty=lambda journal: FaultyJournal(journal, before=full)
    ) as world:
        async with asyncio.timeout(10):
            answer = await world.chat(model=AGENT_MODEL)
        assert answer.status_code == 507
        (node,) = await world.journal.open_nodes()
        told = answer.json()["error"]
        assert (told["code"], told["task"]) == ("capacity", node.task)
        assert "goes on when there is room" in told["message"]


# --- streaming -----------------------------------------------------------------------------------------------------


async def test_a_stream_has_openais_chunks_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path, "one two three") as world:
        chunks = events(await world.chat(stream=True))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "one"},
        {"content": " two"},
        {"content": " three"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)


async def test_a_stream_ends_with_its_usage_if_that_was_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, "one two") as world:
        chunks = events(await world.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_the_first_word_has_its_own_status(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, UnavailableError("The server is away.")) as world:
        assert problem(await world.chat(stream=stream), 503, "unavailable") == "The server is away."


async def test_what_fails_in_the_middle_of_a_stream_is_its_last_event(tmp_path: Path) -> None:
    class Breaking(ScriptedModel):
        async def generate(self, generation: Any) -> Any:
            async for item in super().generate(generation):
                yield item
                raise UnavailableError("The server broke off.")

    async with serving(tmp_path) as world:
        breaking = Breaking("one two three")
        api_model = world.model
        api_model.generate = breaking.generate  # type: ignore[method-assign]  # breaks after the first word
        chunks = events(await world.chat(stream=True))
    assert chunks[-1] == {
        "error": {"message": "The server broke off.", "type": "server_error", "code": "unavailable"}
    }


# --- chat with the agent -------------------------------------------------------------------------------------------


async def test_a_chat_with_the_agent_is_a_task_with_tools(tmp_path: Path) -> None:
    async with serving(tmp_path, act("valve", to="open"), ANSWER, "It is open.") as world:
        body = (await world.chat("open it", model=AGENT_MODEL)).json()
        assert body["choices"][0]["message"]["content"] == "It is open."
        assert body["usage"]["completion_tokens"] > 3
    assert [arguments for arguments, _ in world.valve.calls] == [{"to": "open"}]


async def test_a_streamed_chat_with_the_agent_shows_only_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, act("valve", to="open"), ANSWER, "It is open.") as world:
        chunks = events(await world.chat("open it", model=AGENT_MODEL, stream=True))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "It is open."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_what_was_said_before_is_the_background_of_the_last_request(tmp_path: Path) -> None:
    async with serving(tmp_path, ANSWER, "Yes.") as world:
        messages = [
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "Who am I?"},
        ]
        await world.client.post(CHAT, json={"model": AGENT_MODEL, "messages": messages})
    prompt = world.model.seen[-1].messages[-1].content
    assert (
        prompt.index("Who am I?")
        < prompt.index("user: My name is Ada.")
        < prompt.index("assistant: Hello Ada.")
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ConfigError("The model x is not installed.", code="model_missing"), 400, "model_missing"),
        (
            CapacityError("The prompt is too long.", bound="context_tokens", limit=1),
            400,
            "context_length_exceeded",
        ),
        (RefusedError("No.", code="forbidden"), 400, "forbidden"),
    ],
    ids=["missing", "context", "refused"],
)
async def test_a_task_that_fails_is_an_error_with_its_sentence(
    tmp_path: Path, stream: bool, error: Any, status: int, code: str
) -> None:
    async with serving(tmp_path, error) as world:
        assert problem(await world.chat(model=AGENT_MODEL, stream=stream), status, code) == str(error)


async def test_a_request_longer_than_the_context_is_refused_as_openai_does(tmp_path: Path) -> None:
    async with serving(tmp_path, context_tokens=512) as world:
        for model in (AGENT_MODEL, "scripted"):
            problem(await world.chat("word " * 3_000, model=model), 400, "context_length_exceeded")


async def test_who_stops_listening_does_not_stop_the_task(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with serving(tmp_path, ANSWER, Reply("done", gate=gate)) as world:
        listening = asyncio.create_task(world.chat("do it", model=AGENT_MODEL))
        await eventually(lambda: len(world.model.seen) == 2)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        (node,) = await world.journal.open_nodes()
        gate.set()
        assert (await end_of(world.runner, node.task)).text == "done"


async def test_who_hangs_up_on_the_model_cancels_it_and_the_call_is_journalled_as_cancelled(
    tmp_path: Path,
) -> None:
    pause = asyncio.Event()
    async with serving(tmp_path, Reply("one two three", pause=pause, pause_after=1), "next") as world:
        listening = asyncio.create_task(world.chat())
        await eventually(lambda: world.model.seen)
        await asyncio.sleep(0.01)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await eventually(lambda: world.model.cancelled)
        assert (await world.chat()).json()["choices"][0]["message"]["content"] == "next"
        finishes = [
            record.finish for record in await records(world.journal) if isinstance(record, ModelCalled)
        ]
    assert finishes == ["cancelled", "stop"]


# --- what is refused -----------------------------------------------------------------------------------------------


async def test_an_unknown_model_is_404_and_names_those_there_are(world: World) -> None:
    message = problem(await world.chat(model="gpt-9"), 404, "model_not_found")
    assert "'covey'" in message
    assert "'scripted'" in message


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (b'{"model": "scripted"}', "messages"),
        (b'{"model": "scripted", "messages": []}', "messages"),
        (b'{"model": "scripted", "messages": [{"role": "tool", "content": "x"}]}', "messages.0.role"),
        (
            b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
            "max_tokens",
        ),
        (
            b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "temperature": 9}',
            "temperature",
        ),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "\\ud800"}]}', ""),
        (b"[" * 100_000, "body"),
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "not-utf8",
        "no-messages",
        "none",
        "role",
        "max",
        "temperature",
        "surrogate",
        "deep",
    ],
)
async def test_a_body_that_is_wrong_is_400_and_says_where(world: World, body: bytes, place: str) -> None:
    message = problem(await world.client.post(CHAT, content=body), 400, "invalid")
    assert place in message
    assert world.model.seen == []


@pytest.mark.parametrize(
    ("body", "word"), [({"n": 2}, "n must be 1"), ({"logprobs": True}, "log prob"), ({"tools": [{}]}, "covey")],
    ids=["n", "logprobs", "tools"],
)  # fmt: skip
async def test_what_a_device_does_not_do_is_refused_and_not_ignored(
    world: World, body: dict[str, Any], word: str
) -> None:
    assert word in problem(await world.chat(**body), 400, "unsupported")


async def test_the_agent_does_not_ignore_a_schema(world: World) -> None:
    response = await world.chat(model=AGENT_MODEL, response_format={"type": "json_object"})
    assert "'scripted'" in problem(response, 400, "unsupported")
    assert await world.journal.open_nodes() == ()


async def test_an_agents_answer_that_breaks_off_is_an_error_and_not_said_twice(tmp_path: Path) -> None:
    class Breaking(ScriptedModel):
        async def generate(self, generation: Any) -> Any:
            async for item in super().generate(generation):
                yield item
                if generation.json_schema is None:
                    raise UnavailableError("The server broke off.")

    async with serving(tmp_path) as world:
        breaking = Breaking(ANSWER, "one two three")
        world.model.generate = breaking.generate  # type: ignore[method-assign]  # breaks after the first word
        chunks = events(await world.chat(model=AGENT_MODEL, stream=True))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-1]] == ["", "one"]
    assert chunks[-1]["error"]["message"].startswith("The server broke off. The task ")


async def test_a_schema_that_cannot_be_enforced_is_refused(world: World) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    response = await world.chat(response_format=response_format)
    assert response.status_code == 400
    assert world.model.seen == []


async def test_a_json_schema_format_without_a_schema_is_refused(world: World) -> None:
    response = await world.chat(response_format={"type": "json_schema"})
    problem(response, 400, "invalid")


async def test_a_body_at_the_limit_is_read_and_one_beyond_is_413(tmp_path: Path) -> None:
    async with serving(tmp_path, "ok", settings={"body_max_bytes": 2_000}) as world:
        body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "x"}]}).encode()
        full = body + b" " * (2_000 - len(body))
        assert (await world.client.post(CHAT, content=full)).status_code == 200
        assert "2000 bytes" in problem(await world.client.post(CHAT, content=full + b" "), 413, "capacity")


@pytest.mark.parametrize("path", [CHAT, "/tasks"])
async def test_a_goal_at_the_limit_is_taken_and_one_beyond_is_413(tmp_path: Path, path: str) -> None:
    def body(goal: str) -> dict[str, Any]:
        chat = {"model": AGENT_MODEL, "messages": [{"role": "user", "content": goal}]}
        return chat if path == CHAT else {"goal": goal}

    async with serving(tmp_path, ANSWER, "ok", settings={"goal_max_bytes": 64}) as world:
        assert (await world.client.post(path, json=body("é" * 32))).status_code in (200, 202)
        problem(await world.client.post(path, json=body("é" * 32 + "x")), 413, "capacity")
        if path == "/tasks":
            await eventually(lambda: len(world.model.seen) == 2)


async def test_too_many_open_tasks_is_429(tmp_path: Path) -> None:
    async with serving(tmp_path, Reply(json.dumps(ANSWER), gate=asyncio.Event()), tasks_max_open=1) as world:
        assert (await world.client.post("/tasks", json={"goal": "1"})).status_code == 202
        problem(await world.client.post("/tasks", json={"goal": "2"}), 429, "capacity")


async def test_a_bug_is_500_without_its_insides(tmp_path: Path) -> None:
    def bug(_: object) -> str:
        raise KeyError("secret")

    async with serving(tmp_path, bug) as world:
        assert "secret" not in problem(await world.chat(), 500, "internal")


# --- tasks ---------------------------------------------------------------------------------------------------------


async def test_a_task_is_accepted_runs_in_the_background_and_can_be_looked_at(tmp_path: Path) -> None:
    async with serving(tmp_path, act("valve", to="open"), ANSWER, "Done.") as world:
        response = await world.client.post("/tasks", json={"goal": "open it"})
        assert response.status_code == 202
        task = response.json()["task"]
        await end_of(world.runner, task)
        shown = (await world.client.get(f"/tasks/{task}")).json()
    assert (shown["state"], shown["goal"], shown["result"], shown["origin"]) == (
        "succeeded", "open it", "Done.", "local",
    )  # fmt: skip
    assert [(effect["kind"], effect["name"], effect["ok"]) for effect in shown["effects"]] == [
        ("model", "act", True),
        ("tool", "valve", True),
        ("model", "act", True),
        ("model", "answer", True),
    ]
    assert json.loads(shown["effects"][1]["arguments"]) == {"to": "open"}


@pytest.mark.parametrize(
    "body",
    [{}, {"goal": ""}, {"goal": 1}, {"goal": "x", "limits": {}}],
    ids=["none", "empty", "number", "extra"],
)
async def test_a_task_that_is_wrong_is_400(world: World, body: dict[str, Any]) -> None:
    problem(await world.client.post("/tasks", json=body), 400, "invalid")


async def test_a_running_task_can_be_cancelled_once(tmp_path: Path) -> None:
    async with serving(tmp_path, Reply(json.dumps(ANSWER), gate=asyncio.Event())) as world:
        task = (await world.client.post("/tasks", json={"goal": "x"})).json()["task"]
        await eventually(lambda: world.model.seen)
        assert (await world.client.post(f"/tasks/{task}/cancel")).json() == {
            "task": task,
            "state": "cancelled",
        }
        assert (await world.client.get(f"/tasks/{task}")).json()["state"] == "cancelled"
        problem(await world.client.post(f"/tasks/{task}/cancel"), 404, "not_found")


async def test_a_cancelled_task_is_said_to_who_waits_for_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, Reply(json.dumps(ANSWER), gate=asyncio.Event())) as world:
        listening = asyncio.create_task(world.chat(model=AGENT_MODEL))
        await eventually(lambda: world.model.seen)
        (node,) = await world.journal.open_nodes()
        await world.client.post(f"/tasks/{node.task}/cancel")
        assert "cancelled" in problem(await listening, 400, "asked")


async def test_an_unknown_task_is_404(world: World) -> None:
    for method, path in (
        ("GET", "/tasks/nobodys"),
        ("POST", "/tasks/nobodys/cancel"),
        ("GET", "/tasks/%2e%2e"),
    ):
        problem(await world.client.request(method, path), 404, "not_found")


async def test_a_question_is_answered_once_and_only_if_asked(tmp_path: Path) -> None:
    async def hang(_: Mapping[str, object]) -> object:
        await asyncio.Event().wait()
        raise AssertionError("for ever is over")

    valve = Probe("valve", is_idempotent=False, outcome=hang)
    async with (
        opened_journal(tmp_path / "store.sqlite") as journal,
        working(journal, ScriptedModel(first_offer), valve, name="before") as runner,
    ):
        task = await runner.submit("open")
        await eventually(lambda: valve.calls)
    async with serving(tmp_path, ANSWER, "ok") as world:
        question = await question_of(world.runner, task)
        shown = (await world.client.get(f"/tasks/{task}")).json()
        assert (shown["state"], shown["effects"][question.call]["is_asked"]) == ("waiting", True)
        body = {"call": question.call, "happened": True}
        problem(await world.client.post(f"/tasks/{task}/answer", json={**body, "call": 0}), 409, "not_asked")
        assert (await world.client.post(f"/tasks/{task}/answer", json=body)).json()["happened"] is True
        problem(await world.client.post(f"/tasks/{task}/answer", json=body), 409, "not_asked")
        assert (await end_of(world.runner, task)).text == "ok"


# --- journal, status, link -----------------------------------------------------------------------------------------


async def test_the_journal_is_read_page_by_page(world: World) -> None:
    for number in range(5):
        record = DeviceStarted(at_ms=number, version="1", was_clean=True)
        await world.journal.append(Draft(record), durable=False)
    page = (await world.client.get("/journal", params={"after": 2, "limit": 2})).json()["records"]
    assert [(record["seq"], record["kind"], record["at_ms"]) for record in page] == [
        (3, "device.started", 2),
        (4, "device.started", 3),
    ]
    assert len(page[0]["hash"]) == 64
    assert len((await world.client.get("/journal")).json()["records"]) == 5
    assert (await world.client.get("/journal", params={"after": 5})).json() == {"records": []}


async def test_the_orders_are_read_too_also_what_is_no_record(world: World) -> None:
    hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
    hub.orders.append_bytes(b"\xff")
    await world.journal.receive(hub.batch_of_orders())
    (record,) = (await world.client.get("/journal", params={"lane": "orders"})).json()["records"]
    assert (record["kind"], record["poison"]) == ("?", "not well-formed CBOR")


@pytest.mark.parametrize(
    "params",
    [
        {"after": "x"},
        {"limit": "1e3"},
        {"lane": "secrets"},
        {"limit": "-1"},
        {"limit": "0"},
        {"after": "9" * 30},
    ],
    ids=["after", "limit", "lane", "negative", "zero", "huge"],
)
async def test_a_page_that_makes_no_sense_is_400(world: World, params: dict[str, str]) -> None:
    problem(await world.client.get("/journal", params=params), 400, "invalid")


async def test_a_page_is_bounded(world: World) -> None:
    drafts = [Draft(DeviceStarted(at_ms=1, version="1", was_clean=True))] * (JOURNAL_PAGE_MAX + 1)
    await world.journal.append(*drafts, durable=False)
    page = (await world.client.get("/journal", params={"limit": 10**9})).json()["records"]
    assert len(page) == JOURNAL_PAGE_MAX


async def test_what_was_done_is_found_by_its_words(tmp_path: Path) -> None:
    async with serving(tmp_path, ANSWER, "The door is closed.", ANSWER, "It is noon.") as world:
        for goal in ("look at the door", "what time is it"):
            await world.chat(goal, model=AGENT_MODEL)
        found = (await world.client.get("/memory", params={"q": 'doors" OR goal:*', "limit": 5})).json()
        assert found["ranked_by"] == "keywords"
        # "what time is it" leans on the question before, and is found after it.
        assert [item["text"] for item in found["found"]] == ["The door is closed.", "It is noon."]
        assert (await world.client.post("/memory/rebuild")).json() == {"items": 2}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"q": " "},
        {"q": "x" * 2_001},
        {"q": "x", "limit": "0"},
        {"q": "x", "limit": "101"},
        {"q": "x", "limit": "y"},
    ],
    ids=["none", "blank", "long", "zero", "many", "word"],
)
async def test_a_search_that_makes_no_sense_is_400(world: World, params: dict[str, str]) -> None:
    problem(await world.client.get("/memory", params=params), 400, "invalid")


async def test_the_link_is_switched(world: World) -> None:
    assert (await world.client.post("/link", json={"enabled": False})).json() == {"enabled": False}
    await world.client.post("/link", json={"enabled": True})
    problem(await world.client.post("/link", json={"enabled": "perhaps"}), 400, "invalid")
    assert world.links == [False, True]

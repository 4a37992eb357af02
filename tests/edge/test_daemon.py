"""The daemon's life, and that the `openai` client works against its local API unchanged."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from edge.identity import Identity
from shared.blobs import Blob
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError, UnavailableError
from shared.ids import Principal
from shared.records import DeviceStarted, TwinDesired
from tests.support.agent import ANSWER, Probe, act, end_of
from tests.support.daemon import TOKEN, RunningDaemon, daemon_in
from tests.support.device import signer_from
from tests.support.hub import ScriptedHub
from tests.support.memory_broker import MemoryBroker
from tests.support.memory_link import MemoryLink
from tests.support.model import Reply, ScriptedModel
from tests.support.store import PRINCIPAL, kinds, records
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


def client_of(device: RunningDaemon, *, token: str = TOKEN) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{device.url}/v1", api_key=token, max_retries=0)


# --- the openai client ---------------------------------------------------------------------------------------------


async def test_openai_client_chats_with_the_model(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel("It is noon.")) as device, client_of(device) as client:
        answer = await client.chat.completions.create(model="scripted", messages=HI)
    assert answer.choices[0].message.content == "It is noon."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


async def test_openai_client_hears_the_words_while_they_are_made(tmp_path: Path) -> None:
    pause = asyncio.Event()
    model = ScriptedModel(Reply("one two three", pause=pause, pause_after=2))
    async with daemon_in(tmp_path, model) as device, client_of(device) as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        words: list[str] = []
        usage = None
        async with asyncio.timeout(20):
            async for chunk in stream:
                if chunk.usage is not None:
                    usage = chunk.usage
                words += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                if len(words) == 2:
                    pause.set()  # had nothing come before the end, this would wait for ever
    assert words == ["one", " two", " three"]
    assert usage is not None
    assert usage.completion_tokens == 3


async def test_openai_client_gets_an_answer_under_a_json_schema(tmp_path: Path) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"warm": {"type": "boolean"}},
        "required": ["warm"],
    }
    async with daemon_in(tmp_path, ScriptedModel({"warm": True})) as device, client_of(device) as client:
        answer = await client.chat.completions.create(
            model="scripted",
            messages=HI,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        )
    assert json.loads(answer.choices[0].message.content or "") == {"warm": True}


async def test_openai_client_chats_with_the_agent(tmp_path: Path) -> None:
    valve = Probe("valve")
    model = ScriptedModel(act("valve", to="open"), ANSWER, "It is open.")
    async with daemon_in(tmp_path, model, tools=[valve.tool()]) as device, client_of(device) as client:
        answer = await client.chat.completions.create(model="covey", messages=HI)
        listed = [each.id async for each in client.models.list()]
    assert answer.choices[0].message.content == "It is open."
    assert len(valve.calls) == 1
    assert listed == ["covey", "scripted"]


async def test_openai_client_raises_its_own_errors_with_our_sentences(tmp_path: Path) -> None:
    model = ScriptedModel(ConfigError("The model is not installed.", code="model_missing"))
    async with daemon_in(tmp_path, model) as device:
        async with client_of(device, token="wrong") as stranger:
            with pytest.raises(openai.AuthenticationError, match="bearer token"):
                await stranger.chat.completions.create(model="covey", messages=HI)
        async with client_of(device) as client:
            with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-9' here"):
                await client.chat.completions.create(model="gpt-9", messages=HI)
            with pytest.raises(openai.BadRequestError, match="not installed"):
                await client.chat.completions.create(model="covey", messages=HI)


async def test_a_client_that_hangs_up_frees_the_model_for_the_next(tmp_path: Path) -> None:
    model = ScriptedModel(Reply("one two", pause=asyncio.Event(), pause_after=1), "next")
    async with daemon_in(tmp_path, model) as device, client_of(device) as client:
        stream = await client.chat.completions.create(model="scripted", messages=HI, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        async with asyncio.timeout(20):
            answer = await client.chat.completions.create(model="scripted", messages=HI)
    assert answer.choices[0].message.content == "next"
    assert model.cancelled == 1


# --- life ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_daemon_begins_and_ends_in_the_journal_and_knows_a_clean_stop(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel()):
        assert json.loads((tmp_path / "api.json").read_text())["url"].startswith("http://127.0.0.1:")
    assert not (tmp_path / "api.json").exists()
    async with daemon_in(tmp_path, ScriptedModel()) as device:
        assert await kinds(device.journal) == ["device.started", "device.stopped", "device.started"]
        started = [record for record in await records(device.journal) if isinstance(record, DeviceStarted)]
        assert [record.was_clean for record in started] == [True, True]


async def test_status_tells_what_there_is(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel()) as device:
        status = (await device.client.get("/status")).json()
    assert (status["device"], status["link"]["state"], status["issues"]) == (None, "not enrolled", [])
    assert status["journal"] == {"head": 1, "acknowledged": 0, "waiting": 1}
    assert status["tasks"] == {"open": 0, "current": None}
    assert status["model"]["chat_as"] == ["covey", "scripted"]
    assert status["rss_mb"] > 10


@pytest.mark.slow
async def test_a_task_that_runs_when_the_daemon_stops_goes_on_at_the_next_start(tmp_path: Path) -> None:
    model = ScriptedModel(Reply("too late", gate=asyncio.Event()))
    async with daemon_in(tmp_path, model) as device:
        task = (await device.client.post("/tasks", json={"goal": "count"})).json()["task"]
        await eventually(lambda: model.seen)
        assert (await device.client.get("/status")).json()["tasks"] == {"open": 1, "current": task}
    async with daemon_in(tmp_path, ScriptedModel("done")) as device:
        assert (await end_of(device.daemon.runner, task)).text == "done"


async def test_work_that_waits_is_an_issue_with_its_reason(tmp_path: Path) -> None:
    model = ScriptedModel(UnavailableError("The model server is away."))
    async with daemon_in(tmp_path, model) as device:
        task = (await device.client.post("/tasks", json={"goal": "count"})).json()["task"]
        await eventually(lambda: device.daemon.runner.problem)
        issues = (await device.client.get("/status")).json()["issues"]
        assert issues == [{"part": "work", "message": "The model server is away."}]
        await device.client.post(f"/tasks/{task}/cancel")
        await eventually(lambda: device.daemon.runner.problem is None)
        assert (await device.client.get("/status")).json()["issues"] == []


async def test_a_device_that_is_not_enrolled_has_no_link_to_switch(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel()) as device:
        response = await device.client.post("/link", json={"enabled": False})
    assert response.status_code == 503
    assert "covey-edge enroll" in response.json()["error"]["message"]


def enrolled(home: Path) -> tuple[Identity, MemoryLink, ScriptedHub]:
    signer = signer_from(PRINCIPAL)
    hub = ScriptedHub(PRINCIPAL, device=signer.public)
    identity = Identity(
        principal=Principal.parse(PRINCIPAL),
        hub_url="https://hub.invalid",
        signer=signer,
        trust=hub.trusted,
        broker=BrokerAddress(host="hub.invalid", port=8883),
        ca_path=home / "ca",
        certificate_path=home / "crt",
        key_path=home / "key",
    )
    link = MemoryLink(MemoryBroker(), subscriptions=(), will=lambda _: ("will", b"gone"))
    return identity, link, hub


@pytest.mark.slow
async def test_a_link_that_a_person_stopped_stays_stopped_over_a_restart(tmp_path: Path) -> None:
    identity, link, _ = enrolled(tmp_path)
    async with daemon_in(tmp_path, ScriptedModel(), identity=identity, link=link) as device:
        await eventually(lambda: link.is_connected)
        await device.client.post("/link", json={"enabled": False})
        await eventually(lambda: not link.is_connected)
        assert (await device.client.get("/status")).json()["link"]["state"] == "paused"
    identity, link, _ = enrolled(tmp_path)
    async with daemon_in(tmp_path, ScriptedModel(), identity=identity, link=link) as device:
        assert (await device.client.get("/status")).json()["link"]["state"] == "paused"
        assert link.connections == []
        await device.client.post("/link", json={"enabled": True})
        await eventually(lambda: link.is_connected)
        status = (await device.client.get("/status")).json()
    assert (status["device"], status["link"]["state"]) == (PRINCIPAL, "connected")


async def test_another_connection_with_its_identity_is_an_issue(tmp_path: Path) -> None:
    identity, link, _ = enrolled(tmp_path)
    async with daemon_in(tmp_path, ScriptedModel(), identity=identity, link=link) as device:
        await eventually(lambda: link.is_connected)
        link.take_over()
        await eventually(lambda: len(link.connections) == 2)
        (issue,) = (await device.client.get("/status")).json()["issues"]
        assert issue["part"] == "identity"
        assert "Another device uses this identity" in issue["message"]


async def test_a_device_that_no_hub_ever_answered_waits_for_approval(tmp_path: Path) -> None:
    identity, link, _ = enrolled(tmp_path)
    waiting = replace(identity, needs_approval=True)
    async with daemon_in(tmp_path, ScriptedModel(), identity=waiting, link=link) as device:
        await eventually(lambda: link.is_connected)
        (issue,) = (await device.client.get("/status")).json()["issues"]
        assert issue["part"] == "approval"
        assert "waits for approval" in issue["message"]


async def test_a_part_that_fails_is_an_issue_and_the_rest_goes_on(tmp_path: Path) -> None:
    identity, link, _ = enrolled(tmp_path)

    failed: list[bool] = []

    def broken() -> None:
        failed.append(True)
        raise RuntimeError("a bug with a secret")

    link.events = broken  # type: ignore[assignment,method-assign]  # a link with a bug
    async with daemon_in(tmp_path, ScriptedModel("still here"), identity=identity, link=link) as device:
        await eventually(lambda: failed)
        await asyncio.sleep(0)
        issues = (await device.client.get("/status")).json()["issues"]
        assert [(issue["part"], "secret" in issue["message"]) for issue in issues] == [("link", False)]
        body = {"model": "covey", "messages": [{"role": "user", "content": "hi"}]}
        answer = await device.client.post("/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "still here"


async def test_a_running_daemon_takes_the_hubs_settings_up_in_all_its_parts(tmp_path: Path) -> None:
    hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
    wanted = {
        "tasks_max_open": 1,
        "telemetry": "off",
        "journal_max_bytes": 2_000_000,
        "journal_keep_bytes": 1_000_000,
        "metrics_max_bytes": 65_536,
    }
    content = Blob(salt=bytes(16), content=json.dumps(wanted).encode())
    hub.order(TwinDesired(at_ms=1, revision=4, document=content.ref()), content)
    thinking = Reply("{}", gate=asyncio.Event())
    async with daemon_in(tmp_path, ScriptedModel(thinking)) as device:
        await device.journal.receive(hub.batch_of_orders())
        await device.daemon.desired.take_up()

        assert not device.daemon.telemetry.schedule.is_on
        status = (await device.client.get("/status")).json()
        assert status["settings"]["applied"] == 4
        twin = (await device.client.get("/twin")).json()
        assert twin["desired"]["document"] == wanted
        assert wanted.items() <= twin["applied"]["document"].items()
        assert device.journal.gauge.hard_max_bytes == 2_000_000 + 16_777_216
        assert (await device.client.post("/tasks", json={"goal": "one"})).status_code == 202
        assert (await device.client.post("/tasks", json={"goal": "two"})).status_code == 429

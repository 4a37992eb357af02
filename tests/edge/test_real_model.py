"""The daemon and the commands as real processes with a real small model."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from shared.records import parse_record
from tests.support.edge_cli import covey_edge, daemon, sentence

pytestmark = [pytest.mark.model, pytest.mark.slow]

SMALL = "smollm2-135m-instruct"
REFUSED = 77
WAIT_S = 120.0

SENSOR = """
model = "smollm2-135m-instruct"
model_context_tokens = 2048
index = "off"

[[sensors]]
name = "fridge"
kind = "csv"
path = "fridge.csv"
quantity = "temperature"
unit = "°C"
low = 2
high = 8
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "edge.toml").write_text(SENSOR)
    (home / "fridge.csv").write_text("value\n4.5\n")
    return home


@pytest.fixture
def url(home: Path, models_dir: Path) -> Iterator[str]:
    with daemon(home, models=models_dir) as process:
        match = process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=WAIT_S)
        yield match[1]


@pytest.fixture
def client(home: Path, url: str) -> Iterator[openai.OpenAI]:
    token = (home / "api.token").read_text().strip()
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=WAIT_S) as client:
        yield client


# --- the openai client against the real daemon ---------------------------------------------------------------------


def test_openai_client_and_the_real_model(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(
        model=SMALL, messages=[{"role": "user", "content": "Say hello."}], max_tokens=20
    )
    assert plain.choices[0].message.content
    assert plain.usage is not None
    assert plain.usage.prompt_tokens > 5
    assert 1 <= plain.usage.completion_tokens <= 20

    pieces, finish = [], None
    for chunk in client.chat.completions.create(
        model=SMALL,
        messages=[{"role": "user", "content": "Count from one to ten."}],
        max_tokens=40,
        stream=True,
    ):
        pieces.append(chunk.choices[0].delta.content or "")
        finish = chunk.choices[0].finish_reason or finish
    assert len([piece for piece in pieces if piece]) > 1
    assert finish in ("stop", "length")

    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer"}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    constrained = client.chat.completions.create(
        model=SMALL,
        messages=[{"role": "user", "content": "Describe a bag of apples."}],
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "apples", "schema": schema}},
    )
    answer = json.loads(constrained.choices[0].message.content or "")
    assert answer["colour"] in ("red", "green")
    assert isinstance(answer["count"], int)


def test_openai_client_and_the_agent_with_the_real_model(client: openai.OpenAI, home: Path) -> None:
    answer = client.chat.completions.create(
        model="covey", messages=[{"role": "user", "content": "What is the temperature of the fridge?"}]
    )
    assert answer.choices[0].message.content
    assert kinds(home).count("tool.result") >= 1
    # The tool was called, and the model was shown what it said.
    assert any("4.5 °C" in text for text in contents(home))


def test_a_prompt_longer_than_the_context_is_openais_error(client: openai.OpenAI) -> None:
    for model in (SMALL, "covey"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "word " * 3_000}], max_tokens=10
            )
        assert caught.value.code == "context_length_exceeded"


# --- ask -----------------------------------------------------------------------------------------------------------


def test_ask_works_without_a_daemon_and_is_journalled(home: Path, models_dir: Path) -> None:
    outcome = covey_edge("ask", "What is the temperature of the fridge?", home=home, models=models_dir)
    assert outcome.code == 0, outcome
    assert outcome.out.strip()
    assert outcome.err == ""
    written = kinds(home)
    ended = len(written) - written[::-1].index("node.moved")
    assert written[ended : ended + 2] == ["policy.decided", "memory.written"], "and it is remembered"
    assert covey_edge("journal", "verify", home=home).code == 0


def test_ask_goes_to_the_running_daemon(home: Path, models_dir: Path, url: str) -> None:
    assert url
    outcome = covey_edge("ask", "What time is it?", "--json", home=home, models=models_dir)
    assert outcome.code == 0, outcome
    assert json.loads(outcome.out)["answer"]
    assert kinds(home).count("device.started") == 1


def test_ask_with_a_request_longer_than_the_context_is_one_sentence(home: Path, models_dir: Path) -> None:
    message = sentence(covey_edge("ask", "word " * 2_500, home=home, models=models_dir), REFUSED)
    assert "too long" in message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("no manifest", "is not installed"),
        ("no file", "is missing"),
        ("shorter than its manifest", "bytes instead of"),
        ("truncated", "truncated"),
        ("not a GGUF", "is not a GGUF file"),
        ("empty", "GGUF"),
        ("damaged manifest", "is damaged"),
    ],
)
def test_a_model_file_that_is_wrong_is_one_sentence_that_says_how_to_install_it(
    home: Path, models_dir: Path, tmp_path: Path, spoil: str, words: str
) -> None:
    outcome = covey_edge("ask", "hi", home=home, models=spoiled(models_dir, tmp_path / "models", spoil))
    message = sentence(outcome, REFUSED)
    assert words in message
    assert f"covey-edge model install {SMALL}" in message


def test_a_model_for_embeddings_cannot_be_asked(home: Path, models_dir: Path) -> None:
    outcome = covey_edge("ask", "hi", "--model", "all-minilm-l6-v2", home=home, models=models_dir)
    sentence(outcome, REFUSED)


# --- kill -9 -------------------------------------------------------------------------------------------------------


def test_a_daemon_killed_in_the_middle_of_a_task_finishes_it_without_repeating_a_finished_call(
    home: Path, models_dir: Path
) -> None:
    process = daemon(home, models=models_dir)
    with process:
        address = process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=WAIT_S)[1]
        goal = "What is the temperature of the fridge? Then tell a very long story about it."
        task = call(home, address, "POST", "/tasks", {"goal": goal})["task"]
        process.wait_until(lambda: "tool.result" in kinds(home) or None, "to call its tool", timeout_s=WAIT_S)
        process.kill()
    before = effects(home)
    assert [name for name, result in before if result is not None].count("read_sensor") == 1
    assert state(home) == "running", "it was killed in the middle"
    process = daemon(home, models=models_dir)
    with process:
        address = process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=WAIT_S)[1]
        shown: dict[str, Any] = {}

        def has_ended() -> bool | None:
            shown.update(call(home, address, "GET", f"/tasks/{task}"))
            return shown["state"] not in ("running", "offered") or None

        process.wait_until(has_ended, "to finish the task", timeout_s=WAIT_S)
    assert shown["state"] == "succeeded"
    assert shown["result"]
    after = effects(home)
    assert after[: len(before)] == before, "what was finished stays as it was"
    tools = [name for name, _ in after if name in ("read_sensor", "now")]
    assert kinds(home).count("tool.intent") == kinds(home).count("tool.result") == len(tools)
    assert covey_edge("journal", "verify", home=home).code == 0


# --- looking into the store ----------------------------------------------------------------------------------------


def query(home: Path, statement: str) -> list[Any]:
    path = home / "store.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def kinds(home: Path) -> list[str]:
    rows = query(
        home, "SELECT data FROM record JOIN lane ON lane.id = lane_id WHERE name = 'journal' ORDER BY seq"
    )
    return [getattr(parse_record(row[0]), "kind", "?") for row in rows]


def contents(home: Path) -> list[str]:
    return [row[0].decode() for row in query(home, "SELECT content FROM blob")]


def effects(home: Path) -> list[tuple[str, bytes | None]]:
    return [(row[0], row[1]) for row in query(home, "SELECT name, result_hash FROM effect ORDER BY call")]


def state(home: Path) -> str:
    return str(query(home, "SELECT state FROM node")[0][0])


def call(
    home: Path, address: str, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    token = (home / "api.token").read_text().strip()
    response = httpx.request(
        method, address + path, json=body, headers={"authorization": f"Bearer {token}"}, trust_env=False
    )
    assert response.is_success, response.text
    answer: dict[str, Any] = response.json()
    return answer


def spoiled(models_dir: Path, copy: Path, spoil: str) -> Path:
    """A models directory whose small model is wrong in one way."""
    if spoil == "no manifest":
        copy.mkdir()
        return copy
    manifest = json.loads((models_dir / SMALL / "manifest.json").read_text())
    with (models_dir / SMALL / manifest["file"]).open("rb") as file:
        content = file.read(8 << 20)
    if spoil == "not a GGUF":
        content = b"a letter to grandmother\n" * 1_000
    if spoil == "empty":
        content = b""
    if spoil != "shorter than its manifest":
        manifest["size_bytes"] = len(content)
    (copy / SMALL).mkdir(parents=True)
    if spoil != "no file":
        (copy / SMALL / manifest["file"]).write_bytes(content)
    text = json.dumps(manifest)
    (copy / SMALL / "manifest.json").write_text(text[:-20] if spoil == "damaged manifest" else text)
    return copy

"""The device's doctor on its models: there, whole, or a server with its key."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge.checks import model
from edge.checks.subject import Subject
from shared.findings import Finding, State
from shared.inference.install import MANIFEST
from shared.inference.installed import EMBEDDING_MODEL


def found_in(subject: Subject) -> dict[str, Finding]:
    return {each.name: each for each in model.check(subject)}


def with_settings(subject: Subject, **changes: object) -> Subject:
    return replace(subject, settings=subject.settings.model_copy(update=changes))


def test_a_missing_model_fails_and_a_missing_memory_model_is_told(alone: Subject) -> None:
    found = found_in(with_settings(alone, index="on"))
    name, models = alone.settings.model, alone.settings.models_dir
    assert found["model"].state is State.FAIL
    assert found["model"].command == f"covey-edge model install {name} --models-dir {models}"
    assert found["memory model"].state is State.WARN
    assert (
        found["memory model"].command == f"covey-edge model install {EMBEDDING_MODEL} --models-dir {models}"
    )


def test_without_an_index_no_memory_model_is_missed(alone: Subject) -> None:
    assert set(found_in(alone)) == {"model"}


def test_a_server_answers_without_a_model_here_but_needs_its_key(alone: Subject, tmp_path: Path) -> None:
    remote = with_settings(alone, model_url="https://models.example/v1")
    assert found_in(remote)["model"].state is State.OK
    key = tmp_path / "key"
    remote = with_settings(remote, model_api_key_file=key)
    assert found_in(remote)["model"].state is State.FAIL
    key.write_text("secret")
    assert found_in(remote)["model"].state is State.OK


@pytest.fixture
def installed(alone: Subject) -> Path:
    """A model of a few bytes, installed as far as the doctor looks."""
    folder = alone.settings.models_dir / alone.settings.model
    folder.mkdir(parents=True)
    file = folder / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    manifest = {
        "name": alone.settings.model,
        "kind": "chat",
        "file": file.name,
        "sha256": "00" * 32,
        "size_bytes": 64,
        "context_tokens": 2_048,
        "modified_ns": 0,
        "installed_at": "2026-01-01T00:00:00Z",
        "preparation": "none",
        "delivered": [{"name": file.name, "sha256": "00" * 32, "size_bytes": 64, "source": "https://x"}],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return file


def test_an_installed_model_is_well_and_one_that_was_altered_fails(alone: Subject, installed: Path) -> None:
    assert found_in(alone)["model"].state is State.OK
    installed.write_bytes(bytes(64))
    assert "no model file" in found_in(alone)["model"].sentence
    installed.write_bytes(b"GGUF")
    assert found_in(alone)["model"].state is State.FAIL
    installed.unlink()
    assert found_in(alone)["model"].state is State.FAIL

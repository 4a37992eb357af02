"""`covey-hub model …`: the commands are those of the device (`tests/shared/inference`); the folder is the hub's."""

import json
from pathlib import Path

import pytest

from cloud.__main__ import run


def test_models_lie_where_the_hubs_settings_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hub.toml").write_text('models_dir = "models"\n')
    assert run(["--home", str(tmp_path), "model", "remove", "all-minilm-l6-v2"]) == 78
    assert f"not installed in {tmp_path / 'models'}" in capsys.readouterr().err


def test_an_unknown_model_is_one_sentence_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "install", "gpt", "--models-dir", str(tmp_path), "--home", str(tmp_path)]) == 78
    shown = capsys.readouterr().err
    assert shown.startswith("covey-hub: There is no model 'gpt' in the catalogue; it has smollm2")
    assert shown.count("\n") == 1


@pytest.mark.model
def test_the_models_of_a_device_on_this_machine_are_the_hubs_too(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVEY_MODELS_DIR", str(models_dir))
    assert run(["model", "list", "--json", "--home", str(tmp_path)]) == 0
    installed = {row["name"]: row["installed"] for row in json.loads(capsys.readouterr().out)}
    assert installed["all-minilm-l6-v2"]["path"].startswith(str(models_dir))

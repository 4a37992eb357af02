"""`… model …` as a person types it; errors come out as one kind, which both command lines show."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from shared.errors import ConfigError
from shared.inference.commands import model_commands


def unasked(_context: typer.Context) -> Path:
    raise AssertionError("the folder was given")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(model_commands(unasked), list(arguments))


def test_list_shows_the_catalogue_and_what_is_installed(tmp_path: Path) -> None:
    shown = run("list", "--models-dir", str(tmp_path))
    assert shown.exit_code == 0
    assert "smollm2-135m-instruct" in shown.output
    assert "yes" not in shown.output


def test_the_folder_of_the_program_is_taken_where_none_is_named(tmp_path: Path) -> None:
    group = model_commands(lambda _context: tmp_path)
    failed = CliRunner().invoke(group, ["remove", "smollm2-135m-instruct"])
    assert f"not installed in {tmp_path}" in str(failed.exception)


def test_list_as_json_can_be_read_by_a_program(tmp_path: Path) -> None:
    rows = json.loads(run("list", "--json", "--models-dir", str(tmp_path)).output)
    assert {row["name"]: row["installed"] for row in rows} == {
        "smollm2-135m-instruct": None,
        "all-minilm-l6-v2": None,
        "qwen2.5-coder-1.5b-instruct": None,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("install", "gpt"), "no model 'gpt'"),
        (("install", "smollm2-135m-instruct", "--from", "/nowhere"), "does not exist"),
        (("bench", "smollm2-135m-instruct"), "`covey-edge model install smollm2-135m-instruct`"),
        (("remove", "smollm2-135m-instruct"), "is not installed"),
    ],
)
def test_failures_are_configuration_errors(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    failed = run(*arguments, "--models-dir", str(tmp_path))
    assert isinstance(failed.exception, ConfigError)
    assert words in str(failed.exception)


@pytest.mark.model
def test_bench_prints_its_figures(models_dir: Path) -> None:
    options = ("--json", "--threads", "1", "--models-dir", str(models_dir))
    chat = json.loads(run("bench", "smollm2-135m-instruct", *options).output)
    assert set(chat) == {
        "name",
        "kind",
        "load_ms",
        "resident_mb",
        "prompt_tokens_per_s",
        "decode_tokens_per_s",
    }
    embedding = json.loads(run("bench", "all-minilm-l6-v2", *options).output)
    assert embedding["texts_per_s"] > 0
    assert embedding["resident_mb"] > 20

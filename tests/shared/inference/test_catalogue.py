"""The shipped catalogue, and what a catalogue may not say."""

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.catalogue import HttpsSource, ModelKind, WheelsSource, load_catalogue

ENTRY = """
[[models]]
name = "{name}"
title = "A model"
kind = "chat"
licence = "MIT"
context_tokens = 512
memory_mb = 10
prepare = "none"
[[models.files]]
name = "{file}"
size_bytes = {size}
sha256 = "{sha}"
sources = [
    {{ kind = "https", url = "{url}" }},
    {{ kind = "wheels", parts = [{{ release = "a==1", member = "m", size_bytes = 3, sha256 = "{sha}" }}] }},
]
"""
GOOD = {"name": "m", "file": "m.gguf", "size": "3", "sha": "a" * 64, "url": "https://example.org/m.gguf"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    return path


def test_shipped_catalogue_has_a_chat_model_for_small_boards_one_with_judgement_and_embeddings() -> None:
    kinds = {entry.name: entry.kind for entry in load_catalogue().models}
    assert kinds == {
        "smollm2-135m-instruct": ModelKind.CHAT,
        "qwen2.5-coder-1.5b-instruct": ModelKind.CHAT,
        "all-minilm-l6-v2": ModelKind.EMBEDDING,
    }


def test_every_shipped_file_names_its_publisher_first_and_packages_second() -> None:
    for entry in load_catalogue().models:
        for file in entry.files:
            publisher, packages = file.sources
            assert isinstance(publisher, HttpsSource)
            assert isinstance(packages, WheelsSource)
            if len(packages.parts) == 1:
                assert packages.parts[0].sha256 == file.sha256


def test_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no model 'gpt'.*smollm2-135m-instruct"):
        load_catalogue().entry("gpt")


def test_own_catalogue_is_read(tmp_path: Path) -> None:
    entry = load_catalogue(write(tmp_path, ENTRY.format(**GOOD))).entry("m")
    assert entry.delivered_bytes == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "../m"}, "name"),
        ({"file": "../m.gguf"}, "files"),
        ({"file": "m.bin"}, "one GGUF file"),
        ({"size": "4"}, "do not add up"),
        ({"sha": "A" * 64}, "sha256"),
        ({"url": "http://example.org/m.gguf"}, "not an https address"),
        ({"url": "file:///etc/passwd"}, "not an https address"),
        ({"url": 'https://example.org/x" }, { kind = "ftp", url = "x'}, "sources"),
    ],
)
def test_wrong_entry_is_refused_with_its_place(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_catalogue(write(tmp_path, ENTRY.format(**{**GOOD, **changed})))


def test_plain_http_is_taken_from_this_machine_only(tmp_path: Path) -> None:
    text = ENTRY.format(**{**GOOD, "url": "http://127.0.0.1:9/m.gguf"})
    assert load_catalogue(write(tmp_path, text)).entry("m").name == "m"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY.format(**GOOD) * 2, "same name"),
        (ENTRY.format(**GOOD).replace("licence", "license"), "licen"),
        ("models = 3", "models"),
        ("[[", "not valid TOML"),
    ],
)
def test_wrong_catalogue_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load_catalogue(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_absent_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_catalogue(tmp_path / "absent.toml")

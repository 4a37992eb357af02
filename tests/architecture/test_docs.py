"""What a person can set or run is in README.md.

Why: a setting that is not documented does not exist for its user, and one that is documented but gone is a lie.
"""

import re
import subprocess

import pytest
from pydantic import BaseModel

from cloud.settings import HubSettings
from edge.settings import EdgeSettings
from tests.architecture.tree import ROOT

README = ROOT / "README.md"


def setting_names(model: type[BaseModel]) -> set[str]:
    """The fields of a settings model and of the models inside it, by their own names."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for inner in models_in(field.annotation):
            names |= setting_names(inner)
    return names


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The settings models that a type mentions: itself, or inside `tuple[X, ...]`, `X | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


@pytest.mark.parametrize("settings", [EdgeSettings, HubSettings], ids=lambda settings: str(settings.__name__))
def test_every_setting_is_documented(settings: type[BaseModel]) -> None:
    documented = set(re.findall(r"`([a-z][a-z0-9_.]*)`", README.read_text(encoding="utf-8")))
    documented |= {name.rpartition(".")[2] for name in documented}
    names = setting_names(settings)
    assert names
    assert sorted(names - documented) == []


@pytest.mark.parametrize("settings", [EdgeSettings, HubSettings], ids=lambda settings: str(settings.__name__))
def test_settings_are_frozen_and_refuse_unknown_keys(settings: type[BaseModel]) -> None:
    assert settings.model_config.get("frozen") is True
    assert settings.model_config.get("extra") == "forbid"


def test_every_command_of_run_is_in_the_readme() -> None:
    text = subprocess.run(
        ["./run", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    commands = re.findall(r"^  ([a-z]+) {2,}|^  ([a-z]+) [\[A-Z]", text, re.MULTILINE)
    names = {first or second for first, second in commands} - {"help"}
    assert {"demo", "test", "check", "bench"} <= names
    readme = README.read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"./run {name}" not in readme] == []


def test_names_of_nested_settings_are_found() -> None:
    class Inner(BaseModel):
        ping_timeout_s: float

    class Outer(BaseModel):
        inner: tuple[Inner, ...] | None
        plain: int

    assert setting_names(Outer) == {"inner", "plain", "ping_timeout_s"}

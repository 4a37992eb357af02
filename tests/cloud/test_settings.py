"""Settings: defaults, file, flags; and what is not a setting is an error that names it."""

from pathlib import Path

import pytest

from cloud.settings import HubSettings
from shared.errors import ConfigError


def test_flags_stand_above_the_file_and_the_file_above_defaults(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text('port = 9000\npublic_host = "hub.example"\n')
    settings = HubSettings.load(tmp_path, {"port": 9001, "host": None})
    assert (settings.port, settings.public_host, settings.host) == (9001, "hub.example", "127.0.0.1")
    assert settings.url == "https://hub.example:9001"
    assert settings.local_url == "https://127.0.0.1:9001"
    assert settings.database == f"sqlite:///{tmp_path}/hub.sqlite"


def test_the_home_directory_comes_from_the_environment_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVEY_HUB_HOME", str(tmp_path / "there"))
    assert HubSettings.load(None, {}).home == tmp_path / "there"
    assert HubSettings.load(tmp_path, {}).home == tmp_path
    monkeypatch.setenv("COVEY_HUB_HOME", "")
    assert HubSettings.load(None, {}).home == Path.home() / ".covey" / "hub"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 9000", "There is no hub setting 'prot'"),
        ("port = 0", "The hub setting 'port' is wrong"),
        ('port = "http"', "The hub setting 'port' is wrong"),
        ('mqtt_url = "mqtt://plain:1883"', "The hub setting 'mqtt_url' is wrong"),
        ("port =", "is not valid TOML"),
        ('home = "/tmp/x"', "`home` cannot be set in"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "hub.toml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        HubSettings.load(tmp_path, {})
    assert "hub.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in HubSettings.model_fields.items() if not field.description] == []

"""Settings: defaults, file, flags; and what is not a setting is an error that names it."""

from pathlib import Path

import pytest

from cloud.settings import HubSettings, find_token_file
from edge.settings import default_models_dir
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


def test_the_token_file_is_the_one_given_else_of_the_environment_else_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVEY_HUB_TOKEN_FILE", raising=False)
    assert find_token_file(None, tmp_path) == tmp_path / "admin.token"
    monkeypatch.setenv("COVEY_HUB_TOKEN_FILE", "~/viewer.token")
    assert find_token_file(None, tmp_path) == Path.home() / "viewer.token"
    assert find_token_file(tmp_path / "other", tmp_path) == tmp_path / "other"


def test_models_are_where_the_settings_say_else_the_environment_else_where_devices_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVEY_MODELS_DIR", raising=False)
    assert HubSettings.load(tmp_path, {}).models_directory == default_models_dir()
    monkeypatch.setenv("COVEY_MODELS_DIR", str(tmp_path / "there"))
    assert HubSettings.load(tmp_path, {}).models_directory == tmp_path / "there" == default_models_dir()
    (tmp_path / "hub.toml").write_text('models_dir = "models"\n')
    assert HubSettings.load(tmp_path, {}).models_directory == tmp_path / "models"


@pytest.mark.parametrize(
    ("setting", "limit", "beyond"),
    [
        ("embedding_threads", 256, 257),
        ("embedding_idle_unload_s", 86_400, 86_401),
        ("answer_model_context_tokens", 512, 511),
        ("answer_model_context_tokens", 131_072, 131_073),
        ("answer_model_threads", 256, 257),
        ("answer_model_idle_unload_s", 0, -1),
        ("answer_model_memory_max_mb", 64, 63),
        ("answer_model", "", "../model"),
        ("embedding_model", "m", ""),
        ("answer_model_url", "http://127.0.0.1:8080/v1", "127.0.0.1:8080"),
    ],
)
def test_settings_of_models_are_bounded(
    tmp_path: Path, setting: str, limit: float | str, beyond: float | str
) -> None:
    assert getattr(HubSettings.load(tmp_path, {setting: limit}), setting) == limit
    with pytest.raises(ConfigError, match=setting):
        HubSettings.load(tmp_path, {setting: beyond})


def test_proxies_are_addresses_or_networks(tmp_path: Path) -> None:
    named = HubSettings(home=tmp_path, trusted_proxies=("10.0.0.0/8", "2001:db8::1"))
    assert named.trusted_proxies == ("10.0.0.0/8", "2001:db8::1")
    (tmp_path / "hub.toml").write_text('trusted_proxies = ["proxy.example"]\n')
    with pytest.raises(ConfigError, match="trusted_proxies"):
        HubSettings.load(tmp_path, {})


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

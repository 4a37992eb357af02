"""Board profiles are settings of the very model that the daemon loads."""

from pathlib import Path

import pytest

from edge.settings import load_settings, profiles
from shared.errors import ConfigError
from shared.inference.catalogue import load_catalogue


def test_the_three_boards_have_profiles() -> None:
    assert {"raspberry-pi-5", "raspberry-pi-zero-2w", "container"} <= set(profiles())


@pytest.mark.parametrize("profile", profiles())
def test_a_profile_loads_and_bounds_what_a_board_must_bound(profile: str, tmp_path: Path) -> None:
    settings, origins = load_settings(home=tmp_path, profile=profile)
    entry = load_catalogue().entry(settings.model)
    assert settings.model_threads >= 1
    assert settings.model_memory_max_mb is not None
    # A model that its own board could not load would be a profile that lies.
    assert entry.memory_mb <= settings.model_memory_max_mb
    assert {origins[name] for name in ("model", "model_threads", "model_memory_max_mb", "index")} == {
        f"profile {profile}"
    }


def test_the_smallest_board_does_without_an_index() -> None:
    assert load_settings(home=Path("/tmp/unused"), profile="raspberry-pi-zero-2w")[0].index == "off"


@pytest.mark.parametrize("name", ["raspberry-pi-6", "../container", "", "container/../container"])
def test_an_unknown_profile_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="container"):
        load_settings(home=tmp_path, profile=name)

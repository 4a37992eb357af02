"""What start-up makes in the device's home: the local API's token, and nothing that others may read."""

from pathlib import Path

import pytest

from edge.wiring import API_TOKEN_BYTES, load_api_token
from shared.errors import ConfigError


def test_the_token_is_made_once_long_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = load_api_token(path)
    assert len(token) >= API_TOKEN_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_api_token(path) == token
    assert load_api_token(tmp_path / "other.token") != token
    assert sorted(file.name for file in tmp_path.iterdir()) == ["api.token", "other.token"]


@pytest.mark.parametrize("left", ["", "\n", "abc\n"])
def test_a_token_that_a_full_disk_left_empty_or_half_is_made_anew(tmp_path: Path, left: str) -> None:
    path = tmp_path / "api.token"
    path.write_text(left)
    token = load_api_token(path)
    assert len(token) >= API_TOKEN_BYTES
    assert load_api_token(path) == token


def test_a_token_file_that_is_noise_or_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match="holds no token; remove it"):
        load_api_token(path)
    with pytest.raises(ConfigError, match="Cannot read or write"):
        load_api_token(tmp_path / "nowhere" / "api.token")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="Cannot read or write"):
        load_api_token(path)

"""Enrolment before anything is sent: addresses that are none."""

from pathlib import Path

import pytest

from edge.identity import enrol
from shared.enrolment import Token
from shared.errors import ConfigError

TOKEN = Token(url="https://hub.example.org:8443", ca=bytes(32), id="a" * 16, secret=bytes(32)).text()


@pytest.mark.parametrize(
    "url", ["https://example..com", "https://[::1", "http://127.0.0.1:1", "hub.example.org", "https://"]
)
def test_an_address_that_is_none_is_said_in_one_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address of a hub"):
        enrol(tmp_path, token_text=TOKEN, device=None, hub_url=url)
    assert list(tmp_path.iterdir()) == []

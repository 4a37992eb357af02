"""Whether HTTPS answers as this hub, with a certificate that devices would take."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud.adapters.health_http import ask_version
from cloud.identity import Paths, open_identity
from shared.errors import ProtocolError, UnavailableError
from tests.support.https_server import answering
from tests.support.ports import free_port

HEALTH = b'{"status": "ok", "version": "1.2.3"}'


def identity(directory: Path, *, made: datetime) -> Paths:
    return open_identity(directory, hosts=["localhost"], trust_domain="covey.internal", now=made).paths


def test_the_hub_s_version_is_told(tmp_path: Path) -> None:
    paths = identity(tmp_path, made=datetime.now(UTC))
    with answering(paths, body=HEALTH, at=datetime.now(UTC)) as url:
        assert ask_version(url, paths.ca) == "1.2.3"


def test_an_expired_certificate_is_not_taken(tmp_path: Path) -> None:
    paths = identity(tmp_path, made=datetime.now(UTC) - timedelta(days=91))
    with (
        answering(paths, body=HEALTH, at=datetime.now(UTC)) as url,
        pytest.raises(ProtocolError, match="no valid certificate"),
    ):
        ask_version(url, paths.ca)


def test_what_is_no_hub_and_what_is_away_are_told_apart(tmp_path: Path) -> None:
    paths = identity(tmp_path, made=datetime.now(UTC))
    with (
        answering(paths, body=b"Welcome!", at=datetime.now(UTC)) as url,
        pytest.raises(ProtocolError, match="not a hub"),
    ):
        ask_version(url, paths.ca)
    with pytest.raises(UnavailableError, match="Nothing answers"):
        ask_version(f"https://localhost:{free_port()}", paths.ca)

"""What a device may ask its hub over HTTPS without a token: version and time, also when a clock is far off."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud.identity import Paths, open_identity
from edge.adapters.hub_http import ask_hub
from shared.errors import ProtocolError, UnavailableError
from tests.support.https_server import answering
from tests.support.ports import free_port

AT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
HEALTH = b'{"status": "ok", "version": "1.2.3"}'


def identity(directory: Path, *, made: datetime) -> Paths:
    return open_identity(directory, hosts=["localhost"], trust_domain="covey.internal", now=made).paths


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=200), timedelta(days=-200)])
def test_version_and_time_are_told_whatever_the_dates_of_the_certificate_say(
    tmp_path: Path, age: timedelta
) -> None:
    """A clock that is half a year off takes a good certificate for an expired one, or for one of the future."""
    paths = identity(tmp_path, made=datetime.now(UTC) - age)
    with answering(paths, body=HEALTH, at=AT) as url:
        hub = ask_hub(url, paths.ca)
    assert (hub.version, hub.at) == ("1.2.3", AT)
    assert abs(datetime.now(UTC) - hub.ours) < timedelta(minutes=1)


def test_a_hub_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    paths = identity(tmp_path / "one", made=datetime.now(UTC))
    other = identity(tmp_path / "other", made=datetime.now(UTC))
    with (
        answering(other, body=HEALTH, at=AT) as url,
        pytest.raises(ProtocolError, match="no certificate of this hub's authority"),
    ):
        ask_hub(url, paths.ca)


@pytest.mark.parametrize(("body", "status"), [(b"Welcome!", 200), (b"{}", 200), (HEALTH, 404)])
def test_what_is_no_hub_is_said(tmp_path: Path, body: bytes, status: int) -> None:
    paths = identity(tmp_path, made=datetime.now(UTC))
    with (
        answering(paths, body=body, at=AT, status=status) as url,
        pytest.raises(ProtocolError, match="not a hub"),
    ):
        ask_hub(url, paths.ca)


def test_a_hub_that_is_away_is_unavailable(tmp_path: Path) -> None:
    paths = identity(tmp_path, made=datetime.now(UTC))
    with pytest.raises(UnavailableError, match="does not answer"):
        ask_hub(f"https://localhost:{free_port()}", paths.ca)

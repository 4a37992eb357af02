"""Every test of twins runs on SQLite, and again on PostgreSQL (marker `postgres`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hub(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with hub_api(tmp_path / "hub", clock, url=url) as api:
        yield api

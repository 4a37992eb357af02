"""A hub for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock) as api:
        yield api

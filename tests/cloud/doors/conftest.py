"""One world for the tests of a file: making it takes longer than walking through it."""

from collections.abc import Iterator

import pytest

from tests.cloud.doors.world import World, open_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("doors") / "hub") as opened:
        yield opened

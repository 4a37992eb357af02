"""One real hub with its broker for all tests at the door, and devices that are enrolled at it for real."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.fleet import in_memory
from tests.support.hub_database import migrated_postgres
from tests.support.raw_device import RawDevice
from tests.support.real_hub import RealHub

_names = count(1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """The hubs of a test stand on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        yield
        return
    with migrated_postgres(request.getfixturevalue("postgres_server")) as url:
        in_memory.hub_url.set(url)
        yield
        in_memory.hub_url.set(None)


@pytest.fixture(scope="session")
def real_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """`covey-hub up`. Tests share it, so each takes devices of its own and leaves the hub as it is."""
    with RealHub(tmp_path_factory.mktemp("door") / "hub") as hub:
        yield hub


@pytest.fixture
def raw_device(real_hub: RealHub, tmp_path: Path) -> Iterator[Callable[[], RawDevice]]:
    """Makes enrolled, connected devices, with new names."""
    with ExitStack() as stack:

        def make() -> RawDevice:
            name = f"raw-{next(_names)}"
            return stack.enter_context(RawDevice(real_hub.enrol(name, tmp_path / name)))

        yield make

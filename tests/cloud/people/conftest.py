"""A hub with its page's door; over PostgreSQL too (marker `postgres`) for tests that are marked with `on_both`.

Making a hub takes longer than most of these tests, so they share one, with nothing in its database.
"""

from collections.abc import Iterator

import pytest

from tests.cloud.hub_api import HubApi, hub_api
from tests.cloud.people.visitors import PATIENT, emptied
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_postgres
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="package")
def hub_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubApi]:
    with hub_api(tmp_path_factory.mktemp("people") / "hub", ManualClock(), **PATIENT) as api:
        yield api


@pytest.fixture(scope="package")
def hub_on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[HubApi]:
    home = tmp_path_factory.mktemp("people") / "hub"
    with migrated_postgres(postgres_server) as url, hub_api(home, ManualClock(), url=url, **PATIENT) as api:
        yield api


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> HubApi:
    """As new."""
    shared = request.getfixturevalue(f"hub_on_{getattr(request, 'param', 'sqlite')}")
    assert isinstance(shared, HubApi)
    return emptied(shared)

"""One hub process for all tests of the package, a browser for each module, an empty database for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from sqlalchemy import delete
from sqlmodel import SQLModel

from tests.cloud.dashboard.pages.browser import Chromium, HubPage, PageHub, open_browser


@pytest.fixture(scope="package")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHub]:
    with PageHub(tmp_path_factory.mktemp("page")) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Chromium]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def hub(running_hub: PageHub) -> PageHub:
    """The same hub for all, with nothing in its database."""
    with running_hub.database.write() as session:
        for table in reversed(SQLModel.metadata.sorted_tables):
            if table.name != "lease":
                session.execute(delete(table))
    return running_hub


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Chromium, hub: PageHub) -> AsyncIterator[HubPage]:
    """A tab before the sign-in. Afterwards: nothing left our origin, nothing went wrong, nothing foreign ran."""
    async with chromium.page(hub) as opened:
        yield opened
    opened.check()

"""The page as part of the hub's process: it stops in order, comes back, and can be left out."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.cloud.dashboard.pages.browser import PageHub, open_browser

pytestmark = pytest.mark.slow

BACK_MS = 40_000
"""A browser tries again with pauses that grow to some seconds."""


@pytest.mark.browser
async def test_the_hub_stops_in_order_while_a_page_is_open_and_the_page_comes_back(tmp_path: Path) -> None:
    hub = await asyncio.to_thread(PageHub, tmp_path)
    try:
        await asyncio.to_thread(hub.start)
        async with open_browser() as chromium, chromium.page(hub) as page:
            await page.sign_in()
            assert await asyncio.to_thread(hub.stop) == 0
            assert "Traceback" not in hub.process.output()
            await expect(page.tab.locator(".live")).to_contain_text("No news for", timeout=BACK_MS)
            await asyncio.to_thread(hub.start)
            # Sessions are in the database: nobody has to sign in again.
            await expect(page.tab.locator(".live")).to_have_text("Live", timeout=BACK_MS)
    finally:
        await asyncio.to_thread(hub.close)


@pytest.mark.parametrize("dashboard", ["on", "off"])
def test_a_hub_without_the_page_has_none_and_loads_nothing_of_it(tmp_path: Path, dashboard: str) -> None:
    with PageHub(tmp_path, settings={"dashboard": dashboard}) as hub:
        paths = ("/", "/dashboard/", "/dashboard/sign-in")
        with hub.http() as client:
            answers = [client.get(path).status_code for path in paths]
            del client.headers["authorization"]
            stranger = [client.get(path).status_code for path in paths]
        # With the page its paths are not the bearer token's.
        assert answers == ([303, 401, 200] if dashboard == "on" else [404] * 3)
        assert stranger == ([303, 401, 200] if dashboard == "on" else [401] * 3)
        libraries = Path(f"/proc/{hub.process.pid}/maps").read_text()
        assert ("aiohttp" in libraries) is (dashboard == "on")  # comes with NiceGUI and nothing else

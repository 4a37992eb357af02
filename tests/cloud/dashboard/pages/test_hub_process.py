"""The page as part of the hub's process: it stops in order, comes back, and can be left out."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.cloud.dashboard.pages.browser import PageHub, open_browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BACK_MS = 40_000
"""A browser tries again with pauses that grow to some seconds."""


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
            # Sessions live in the process that began them.
            await page.tab.goto(page.url)
            await page.sign_in()
            await expect(page.tab.locator(".live")).to_have_text("Live")
    finally:
        await asyncio.to_thread(hub.close)


async def test_a_hub_without_the_page_has_none_and_loads_nothing_of_it(tmp_path: Path) -> None:
    hub = await asyncio.to_thread(PageHub, tmp_path, settings={"dashboard": "off"})
    try:
        await asyncio.to_thread(hub.start)
        with hub.http() as client:
            answers = [client.get(path).status_code for path in ("/", "/dashboard/", "/dashboard/sign-in")]
            stranger = httpx.get(f"{hub.url}/dashboard/", verify=False, trust_env=False)
        assert answers == [404, 404, 404]
        assert stranger.status_code == 401
        maps = Path(f"/proc/{hub.process.pid}/maps").read_text()
        assert not re.search("nicegui|orjson", maps)
    finally:
        await asyncio.to_thread(hub.close)

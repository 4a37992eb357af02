"""Sign-in by an identity provider in a real browser: the one that decides which cookies travel with which request."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.cloud.dashboard.pages.browser import PageHub, open_browser
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, running_provider

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def test_a_browser_goes_to_the_provider_and_comes_back_signed_in(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    with running_provider() as provider:
        settings = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret_file": str(secret),
            "oidc_label": "Example Ltd",
            "oidc_auto_create_role": "viewer",
        }
        hub = await asyncio.to_thread(PageHub, tmp_path, settings=settings)
        try:
            await asyncio.to_thread(hub.start)
            async with open_browser() as chromium, chromium.page(hub) as page:
                await page.tab.goto(f"{page.url}?sort=lag")
                await page.tab.get_by_role("link", name="Sign in with Example Ltd").click()
                await page.wait_live()
                assert page.tab.url == f"{page.url}?sort=lag"
                await expect(page.tab.get_by_role("link", name="carol · main")).to_be_visible()
                assert page.errors == []
                assert {"/authorize", "/token", "/jwks"} <= set(provider.asked)
        finally:
            await asyncio.to_thread(hub.close)

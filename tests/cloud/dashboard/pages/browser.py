"""A real browser at a real hub's page, and the hub: one process with HTTPS over a database that the test writes to.

    async with open_browser() as browser, browser.page(hub) as page:
        await page.sign_in()
        await change(hub, lambda session: add_device(session, "fridge-1", now=now()))
        await expect(page.cell("fridge-1", "Presence")).to_have_text("●online", timeout=NEWS_MS)

A page notes every request that its browser makes, every error that its console tells, and every alert. At the end
nothing may have left the hub's own origin, and no script of a foreign hand may have run.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, Response, async_playwright
from sqlmodel import Session

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.schema import migrate
from tests.cloud.dashboard.rows import principal_of
from tests.support.ports import free_port
from tests.support.real_hub import PROGRAM, RealHub

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOAD_MS: Final = 20_000
"""For a page to be there, on a machine that is busy otherwise."""
NEWS_MS: Final = 2_000
"""Within this a change must be on the page."""
LAPTOP: Final = (1366, 768)
PHONE: Final = (390, 844)


class PageHub(RealHub):
    """Serves the page and the API; nothing is ingested, so only the test changes the database."""

    def __init__(self, directory: Path, *, settings: Mapping[str, object] | None = None) -> None:
        home = directory / "hub"
        values = {
            "mqtt_url": f"mqtts://localhost:{free_port()}",
            "presence_will_grace_s": 300,  # a death stays in doubt until the test says that it is believed
            **(settings or {}),
        }
        super().__init__(
            home,
            settings=values,
            # NiceGUI behaves otherwise in what it takes for a test.
            program=("env", "-u", "PYTEST_CURRENT_TEST", *PROGRAM),
            command=("serve", "--role", "api"),
        )
        self.database = Database(str(values.get("database_url", f"sqlite:///{home / 'hub.sqlite'}")))
        migrate(self.database)

    @property
    def admin_token(self) -> str:
        return (self.home / "admin.token").read_text().strip()

    def close(self) -> None:
        super().close()
        self.database.close()


@dataclass
class HubPage:
    """One tab. `requests`: every address that its browser asked for."""

    tab: Page
    hub: RealHub
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.hub.url}/dashboard/"

    async def open(self, path: str = "") -> None:
        """Returns when the page is built and its socket is open: from then on it hears of changes."""
        await self.tab.goto(self.url + path)
        await self.wait_live()

    async def sign_in(self, path: str = "", token: str | None = None) -> None:
        await self.tab.goto(self.url + path)
        await self.tab.get_by_label("Admin token").fill(
            token or (self.hub.home / "admin.token").read_text().strip()
        )
        await self.tab.get_by_role("button", name="Use the token").click()
        await self.wait_live()

    async def wait_live(self) -> None:
        await self.tab.locator(".content").wait_for(timeout=LOAD_MS)
        await self.tab.wait_for_function("window.did_handshake === true", timeout=LOAD_MS)

    def row(self, name: str) -> Locator:
        return self.tab.locator(f'tr[data-device="main.{name}"]')

    def cell(self, name: str, label: str) -> Locator:
        return self.row(name).locator(f'td[data-label="{label}"]')

    async def names(self) -> list[str]:
        return await self.tab.locator("table.fleet tbody th a").all_inner_texts()

    def part(self, name: str) -> Locator:
        """A section of a device's page."""
        return self.tab.locator(f'[data-part="{name}"]')

    def note(self, request: Request) -> None:
        self.requests.append(request.url)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def look(self, response: Response) -> None:
        if response.status >= 500:
            self.errors.append(f"{response.status} {response.url}")

    def check(self) -> None:
        """Nothing left our origin, nothing went wrong, nothing asked for attention."""
        assert self.requests
        assert self.foreign_requests() == []
        assert self.errors == []
        assert self.alerts == []

    def foreign_requests(self) -> list[str]:
        ours = urlsplit(self.url).netloc
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != ours
        ]


@dataclass
class Chromium:
    """A running browser; each page is a person of its own, without the others' cookies."""

    browser: Browser

    @asynccontextmanager
    async def page(
        self, hub: RealHub, *, size: tuple[int, int] = LAPTOP, **options: Any
    ) -> AsyncIterator[HubPage]:
        context = await self.browser.new_context(
            ignore_https_errors=True, viewport={"width": size[0], "height": size[1]}, **options
        )
        try:
            yield await self.tab(await context.new_page(), hub)
        finally:
            await context.close()

    async def tab(self, tab: Page, hub: RealHub) -> HubPage:
        page = HubPage(tab, hub)
        tab.on("request", page.note)
        tab.on("websocket", lambda socket: page.requests.append(socket.url))
        tab.on("console", page.hear)
        tab.on("pageerror", lambda error: page.errors.append(str(error)))
        tab.on("response", page.look)
        tab.on("dialog", lambda dialog: page.alerts.append(dialog.message))
        return page

    @classmethod
    def of(cls, browser: Browser) -> Self:
        return cls(browser)


async def change(hub: PageHub, work: Callable[[Session], Any]) -> None:
    """Write to the hub's database as another process would: in a transaction of its own."""

    def write() -> None:
        with hub.database.write() as session:
            work(session)

    await asyncio.to_thread(write)


def updated(name: str, **values: Any) -> Callable[[Session], None]:
    """For `change`: a device's row."""

    def work(session: Session) -> None:
        device = session.get(Device, principal_of(name))
        assert device is not None
        for key, value in values.items():
            setattr(device, key, value)

    return work


def now() -> datetime:
    return datetime.now(tz=UTC)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Chromium]:
    """Debian's Chromium, for one test."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("there is no chromium on the PATH; ./run test installs what is missing", pytrace=False)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield Chromium(browser)
        finally:
            await browser.close()

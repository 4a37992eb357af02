"""The fleet page in a real browser, served by a real hub process over a database that the test changes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets
from playwright.async_api import expect
from sqlalchemy import delete
from sqlmodel import Session, SQLModel

from cloud.dashboard.door import COOKIE
from cloud.dashboard.query import PAGE_ROWS
from cloud.devices.tables import Device
from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import Lane
from tests.cloud.dashboard.browser import LAPTOP, NEWS_MS, PHONE, Chromium, HubPage, PageHub, open_browser
from tests.cloud.dashboard.rows import add_device, add_fleet, add_lane, principal_of, started

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

WAIT_S = 20.0
HUGE = 10_000
PAGE_MAX_BYTES = 400_000
"""Of the page's own document: fifty rows, whatever the fleet."""


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHub]:
    with PageHub(tmp_path_factory.mktemp("page")) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Chromium]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def hub(running_hub: PageHub) -> PageHub:
    """The same hub for all, with an empty database for each."""
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
    assert opened.foreign_requests() == []
    assert opened.requests
    assert opened.errors == []
    assert opened.alerts == []


async def change(hub: PageHub, work: Callable[[Session], Any]) -> None:
    """As another process would: in a transaction of its own."""

    def write() -> None:
        with hub.database.write() as session:
            work(session)

    await asyncio.to_thread(write)


def now() -> datetime:
    return datetime.now(tz=UTC)


def ago(seconds: float) -> datetime:
    return now() - timedelta(seconds=seconds)


def updated(name: str, **values: Any) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        device = session.get(Device, principal_of(name))
        assert device is not None
        for key, value in values.items():
            setattr(device, key, value)

    return work


def lane_moved(key: int, **values: Any) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        lane = session.get(LaneRow, key)
        assert lane is not None
        for name, value in values.items():
            setattr(lane, name, value)

    return work


# ---------------------------------------------------------------- who gets in


async def test_nothing_of_the_page_is_open_to_who_has_not_signed_in(hub: PageHub, page: HubPage) -> None:
    await page.sign_in()
    seen = {url.partition("?")[0].replace("wss:", "https:") for url in page.requests} - {f"{page.url}sign-in"}
    assert len(seen) > 10  # NiceGUI's own routes among them
    authority = ssl.create_default_context(cafile=str(hub.home / "identity" / "ca.pem"))
    for headers in ({}, {"Authorization": f"Bearer {hub.admin_token}"}, {"Cookie": f"{COOKIE}=wrong"}):
        async with httpx.AsyncClient(verify=authority, headers=headers, trust_env=False) as stranger:
            statuses = {url: (await stranger.get(url)).status_code for url in seen}
        assert set(statuses.values()) == {401}, statuses


async def test_a_socket_needs_a_session_and_one_of_our_pages(hub: PageHub, page: HubPage) -> None:
    await page.sign_in()
    (session_id,) = [
        cookie["value"] for cookie in await page.tab.context.cookies() if cookie.get("name") == COOKIE
    ]
    socket = next(url for url in page.requests if url.startswith("wss:"))
    authority = ssl.create_default_context(cafile=str(hub.home / "identity" / "ca.pem"))
    cookie, ours = {"Cookie": f"{COOKIE}={session_id}"}, hub.url

    async def knock(origin: str | None, headers: dict[str, str]) -> int:
        try:
            async with websockets.connect(
                socket,
                ssl=authority,
                origin=origin,
                additional_headers=headers,
                proxy=None,  # type: ignore[arg-type]  # a NewType of str
            ) as connection:
                await connection.recv()
        except websockets.InvalidStatus as refused:
            return refused.response.status_code
        return 101

    async with asyncio.timeout(WAIT_S):
        assert await knock(ours, cookie) == 101
        assert await knock(ours, {}) == 403
        assert await knock(ours, {"Cookie": f"{COOKIE}=wrong"}) == 403
        assert await knock(ours, {"Authorization": f"Bearer {hub.admin_token}"}) == 403
        assert await knock("https://evil.test", cookie) == 403
        assert await knock(None, cookie) == 403


async def test_a_message_to_the_hub_is_bounded(hub: PageHub, page: HubPage) -> None:
    await page.sign_in()
    await page.tab.evaluate("window.socket.emit('event', {client_id: window.clientId, x: 'x'.repeat(70000)})")
    # The hub closes the connection; the browser opens another and goes on where it was.
    await page.tab.wait_for_function("window.socket.connected === false")
    await page.tab.wait_for_function("window.socket.connected === true", timeout=WAIT_S * 1_000)
    await expect(page.tab.locator(".live")).to_have_text("Live")


async def test_a_wrong_token_is_told_and_the_right_one_leads_where_one_wanted_to_go(
    hub: PageHub, page: HubPage
) -> None:
    await change(hub, lambda session: add_device(session, "fridge-1", now=now()))
    tab = page.tab
    await tab.goto(f"{page.url}device/{principal_of('fridge-1')}")
    await tab.get_by_label("Admin token").fill("not-it")
    await tab.get_by_role("button", name="Sign in").click()
    await expect(tab.get_by_role("alert")).to_contain_text("That is not the admin token")
    page.errors.clear()  # the browser's console tells of the 403
    assert await tab.locator(".content").count() == 0
    # One wrong token costs a second.
    await expect(tab.get_by_label("Admin token")).to_be_focused()
    await tab.wait_for_timeout(1_000)
    await tab.get_by_label("Admin token").fill(hub.admin_token)
    await tab.get_by_role("button", name="Sign in").click()
    await page.wait_live()
    assert tab.url == f"{page.url}device/{principal_of('fridge-1')}"
    await expect(tab.locator("h1")).to_have_text("fridge-1")


async def test_signing_out_ends_every_tab_of_the_session(page: HubPage) -> None:
    await page.sign_in()
    other = await page.tab.context.new_page()
    await other.goto(page.url)
    await other.wait_for_function("window.did_handshake === true")
    await page.tab.get_by_role("button", name="Sign out").click()
    await expect(page.tab.get_by_label("Admin token")).to_be_visible()
    await other.wait_for_function("window.socket.connected === false")
    await page.tab.goto(page.url)
    await expect(page.tab.get_by_label("Admin token")).to_be_visible()
    await other.close()


async def test_the_policy_of_content_lets_no_script_in_that_is_not_ours(page: HubPage) -> None:
    await page.sign_in()
    ran = await page.tab.evaluate(
        """() => {
            window.ran = [];
            const inline = document.createElement('script');
            inline.textContent = "window.ran.push('inline')";
            document.body.append(inline);
            const holder = document.createElement('div');
            holder.innerHTML = '<img src="data:," onerror="window.ran.push(\\'handler\\')">';
            document.body.append(holder);
            return new Promise((resolve) => setTimeout(() => resolve(window.ran), 300));
        }"""
    )
    assert ran == []
    assert any("Content Security Policy" in error for error in page.errors)
    page.errors.clear()


# ---------------------------------------------------------------- live


async def test_an_empty_fleet_says_what_to_do_and_shows_the_first_device_at_once(
    hub: PageHub, page: HubPage
) -> None:
    await page.sign_in()
    await expect(page.tab.locator(".empty")).to_contain_text("No device is enrolled yet")
    await expect(page.tab.locator(".empty")).to_contain_text("covey-hub token create")
    await change(hub, lambda session: add_device(session, "fridge-1", now=now()))
    await expect(page.cell("fridge-1", "Presence")).to_have_text("●online", timeout=NEWS_MS)
    await expect(page.tab.locator(".empty")).to_be_hidden()


async def test_a_device_falls_behind_is_cut_off_and_returns_without_a_reload(
    hub: PageHub, page: HubPage
) -> None:
    keys: list[int] = []

    def begin(session: Session) -> None:
        add_device(session, "fridge-1", now=now())
        records = [started(to_ms(ago(90)))]
        lane = add_lane(session, "fridge-1", Lane.JOURNAL, now=now(), records=records)
        assert lane.id is not None
        keys.append(lane.id)

    await change(hub, begin)
    await page.sign_in()
    await page.tab.evaluate("window.isStillTheSamePage = true")
    await expect(page.cell("fridge-1", "Journal lag")).to_have_text("none")

    await change(hub, lane_moved(keys[0], writer_head=1_205, writer_bytes=171_000))
    await expect(page.cell("fridge-1", "Journal lag")).to_contain_text("1,204 records", timeout=NEWS_MS)
    await expect(page.cell("fridge-1", "Journal lag")).to_contain_text("1 min 3")  # seconds go on
    await expect(page.cell("fridge-1", "Waiting")).to_have_text("171 kB")
    await expect(page.tab.locator(".totals")).to_contain_text("1,204 journal records and 171 kB are waiting")

    await change(hub, updated("fridge-1", died_at=now()))
    await expect(page.cell("fridge-1", "Broker session")).to_contain_text("reported gone", timeout=NEWS_MS)
    await change(hub, updated("fridge-1", died_at=None, broker_online=False, broker_at=now()))
    await expect(page.cell("fridge-1", "Presence")).to_have_text("○offline", timeout=NEWS_MS)
    await expect(page.cell("fridge-1", "Broker session")).to_contain_text("gone")
    await expect(page.tab.get_by_role("status").filter(has_text="fridge-1 is offline")).to_have_count(1)
    await expect(page.tab.get_by_role("button", name="1 offline")).to_be_visible()

    back = {"broker_online": True, "broker_at": now(), "last_hello_at": now(), "last_ack_at": now()}
    await change(hub, updated("fridge-1", **back))
    await change(hub, lane_moved(keys[0], head_seq=1_205))
    await expect(page.cell("fridge-1", "Presence")).to_have_text("●online", timeout=NEWS_MS)
    await expect(page.cell("fridge-1", "Journal lag")).to_have_text("none", timeout=NEWS_MS)
    await expect(page.cell("fridge-1", "Waiting")).to_have_text("0 B")
    assert await page.tab.evaluate("window.isStillTheSamePage") is True


async def test_ages_tick_by_the_hubs_clock_without_news(hub: PageHub, chromium: Chromium) -> None:
    await change(hub, lambda session: add_device(session, "fridge-1", now=now(), hello_s=100))
    async with chromium.page(hub) as page:
        # A browser whose clock is a day behind.
        await page.tab.add_init_script("const real = Date.now; Date.now = () => real() - 86400000;")
        await page.sign_in()
        await expect(page.cell("fridge-1", "Last hello")).to_contain_text("1 min 4")
        await expect(page.cell("fridge-1", "Last hello")).to_contain_text("1 min 5", timeout=WAIT_S * 1_000)


async def test_only_what_changed_is_sent(hub: PageHub, page: HubPage) -> None:
    await change(hub, lambda session: add_fleet(session, 40, now=now()))
    frames: list[str] = []
    page.tab.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(str(data))))
    await page.sign_in()
    frames.clear()
    await change(hub, updated("dev-00007", broker_online=False, broker_at=now()))
    await expect(page.cell("dev-00007", "Presence")).to_have_text("○offline", timeout=NEWS_MS)
    told = "".join(frames)
    assert "main.dev-00007" in told
    others = [number for number in range(40) if number != 7 and f"main.dev-{number:05d}" in told]
    assert others == []
    assert len(told) < 20_000


async def test_a_page_can_be_stopped_and_goes_on(hub: PageHub, page: HubPage) -> None:
    await change(hub, lambda session: add_device(session, "fridge-1", now=now()))
    await page.sign_in()
    await page.tab.get_by_role("button", name="Pause").click()
    await expect(page.tab.locator(".live")).to_contain_text("Paused")
    await change(hub, updated("fridge-1", broker_online=False, broker_at=now()))
    await page.tab.wait_for_timeout(1_500)
    await expect(page.cell("fridge-1", "Presence")).to_have_text("●online")
    await page.tab.get_by_role("button", name="Go on").click()
    await expect(page.cell("fridge-1", "Presence")).to_have_text("○offline", timeout=NEWS_MS)


# ---------------------------------------------------------------- ten thousand rows


async def test_ten_thousand_devices_are_paged_and_ordered_by_the_hub(hub: PageHub, page: HubPage) -> None:
    await change(hub, lambda session: add_fleet(session, HUGE, now=now()))
    sizes: list[int] = []
    documents: list[int] = []
    page.tab.on(
        "websocket", lambda socket: socket.on("framereceived", lambda data: sizes.append(len(str(data))))
    )

    async def measure(response: Any) -> None:
        if response.url == page.url and response.status == 200:
            documents.append(len(await response.body()))

    page.tab.on("response", measure)
    await page.sign_in()
    rows = page.tab.locator("table.fleet tbody tr")
    await expect(rows).to_have_count(PAGE_ROWS)
    await expect(page.tab.locator(".pager")).to_contain_text("1–50 of 10,000")
    await expect(page.tab.locator(".totals")).to_contain_text("10,000 devices")
    assert documents
    assert max(documents) < PAGE_MAX_BYTES

    sizes.clear()
    await page.tab.get_by_role("button", name="Next").click()
    await expect(page.row("dev-00050")).to_be_visible()
    await expect(rows).to_have_count(PAGE_ROWS)
    assert sum(sizes) < PAGE_MAX_BYTES
    await page.tab.get_by_role("button", name="Last").click()
    await expect(page.row("dev-09999")).to_be_visible()
    await expect(page.tab.locator(".pager")).to_contain_text("9,951–10,000 of 10,000")
    await expect(page.tab.get_by_role("button", name="Next")).to_be_disabled()

    await page.tab.get_by_role("button", name="Journal lag").click()
    await expect(page.row("dev-09990")).to_be_visible()
    assert (await page.names())[:3] == ["dev-09990", "dev-09980", "dev-09970"]
    await expect(page.tab.get_by_role("columnheader", name="Journal lag")).to_have_attribute(
        "aria-sort", "descending"
    )
    await page.tab.get_by_role("button", name="Last record").click()
    await expect(page.row("dev-00000")).to_be_visible()

    await page.tab.get_by_label("Search").fill("dev-0123")
    await expect(page.tab.locator(".pager")).to_contain_text("1–10 of 10")
    await page.tab.get_by_label("Site").select_option("site-2")
    await expect(page.tab.locator(".pager")).to_contain_text("1–1 of 1")
    # What is asked for stands in the address: a reload shows the same.
    assert "text=dev-0123" in page.tab.url
    await page.tab.reload()
    await page.wait_live()
    await expect(page.tab.get_by_label("Search")).to_have_value("dev-0123")
    await expect(page.tab.get_by_label("Site")).to_have_value("site-2")
    await expect(rows).to_have_count(1)
    await page.tab.get_by_label("Search").fill("nobody")
    await expect(page.tab.locator(".empty")).to_contain_text("No device is like that")
    await page.tab.get_by_role("link", name="Clear filters").first.click()
    await expect(page.tab.locator(".pager")).to_contain_text("of 10,000")


# ---------------------------------------------------------------- hands and eyes


async def test_filters_by_presence_and_by_need_are_toggles(hub: PageHub, page: HubPage) -> None:
    def add(session: Session) -> None:
        add_device(session, "here", now=now())
        add_device(session, "gone", now=now(), is_connected=False)
        add_device(session, "full", now=now(), conditions={"journal_full": to_ms(now())})

    await change(hub, add)
    await page.sign_in()
    offline = page.tab.get_by_role("button", name="1 offline")
    await offline.click()
    await expect(page.tab.locator("table.fleet tbody tr")).to_have_count(1)
    assert await page.names() == ["gone"]
    await expect(offline).to_have_attribute("aria-pressed", "true")
    await offline.click()
    await expect(page.tab.locator("table.fleet tbody tr")).to_have_count(3)
    await page.tab.get_by_role("button", name="1 with conditions").click()
    await expect(page.tab.locator("table.fleet tbody tr")).to_have_count(1)
    assert await page.names() == ["full"]


async def test_everything_can_be_reached_and_used_by_keyboard(hub: PageHub, page: HubPage) -> None:
    await change(hub, lambda session: add_fleet(session, 3, now=now()))
    await page.sign_in()
    await page.tab.keyboard.press("Tab")
    await expect(page.tab.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.tab.keyboard.press("Enter")
    reached: list[str] = []
    for _ in range(40):
        await page.tab.keyboard.press("Tab")
        name = await page.tab.evaluate(
            "(document.activeElement.textContent || document.activeElement.id || '').trim()"
        )
        reached.append(name)
        if name == "dev-00000":
            break
    assert any("online" in name for name in reached)
    assert any("filter-text" in name for name in reached)
    assert any("Journal lag" in name for name in reached)
    await page.tab.keyboard.press("Enter")
    await expect(page.tab.locator("h1")).to_have_text("dev-00000")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_all_of_a_row_and_scrolls_only_down(
    hub: PageHub, chromium: Chromium, scheme: str
) -> None:
    def add(session: Session) -> None:
        add_device(session, "fridge-1", now=now(), site="s" * 40, conditions={"c" * 60: 1})
        add_lane(session, "fridge-1", Lane.JOURNAL, now=now(), records=[started(to_ms(now()))], ahead=10**9)

    await change(hub, add)
    async with chromium.page(hub, size=PHONE, color_scheme=scheme) as page:
        await page.sign_in()
        assert await page.tab.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        for label in ("Presence", "Broker session", "Last hello", "Last ack", "Last record", "Journal lag"):
            await expect(page.cell("fridge-1", label)).to_be_visible()
        background = await page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(14, 20, 18)") is (scheme == "dark")
        await page.open(f"device/{principal_of('fridge-1')}")
        assert await page.tab.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        assert page.errors == []


CONTRAST = """() => {
    const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll('.content *, .top *')) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!text || !element.checkVisibility() || element.closest('[disabled], .unseen')) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push([element.className, element.textContent.slice(0, 30), ratio]);
    }
    return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_stands_out_from_its_ground(hub: PageHub, chromium: Chromium, scheme: str) -> None:
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3)."""

    def add(session: Session) -> None:
        add_device(session, "online", now=now(), conditions={"journal_full": to_ms(now())}, site="berlin")
        add_device(session, "stale", now=now(), hello_s=4_000, ack_s=4_000, record_s=4_000)
        add_device(
            session, "halted", now=now(), status="quarantined", status_reason="fork", is_connected=False
        )
        week = 9 * 86_400.0
        long_ago = now() - timedelta(days=20)
        add_device(session, "lost", now=now(), hello_s=week, ack_s=week, record_s=week, enrolled_at=long_ago)
        add_lane(session, "halted", Lane.JOURNAL, now=now(), records=[started(1)], forked_at_seq=1)

    await change(hub, add)
    async with chromium.page(hub, size=LAPTOP, color_scheme=scheme) as page:
        await page.sign_in()
        await expect(page.tab.locator("table.fleet tbody tr")).to_have_count(4)
        assert await page.tab.evaluate(CONTRAST) == []
        for name in ("online", "halted"):
            await page.open(f"device/{principal_of(name)}")
            assert await page.tab.evaluate(CONTRAST) == []


def test_the_hub_stops_in_order_while_pages_are_open(tmp_path: Path) -> None:
    async def look() -> int | None:
        async with open_browser() as chromium, chromium.page(hub) as page:
            await page.sign_in()
            return await asyncio.to_thread(hub.stop)

    with PageHub(tmp_path) as hub:
        assert asyncio.run(look()) == 0
        assert "Traceback" not in hub.process.output()

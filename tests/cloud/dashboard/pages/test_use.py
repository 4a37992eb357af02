"""Looking for devices and looking at them: ten thousand rows, filters, keyboard, phone, contrast."""

from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.dashboard.query import PAGE_ROWS
from shared.clock import to_ms
from shared.ids import Lane
from tests.cloud.dashboard.pages.browser import LAPTOP, PHONE, Chromium, HubPage, PageHub, change, now
from tests.cloud.dashboard.rows import add_device, add_fleet, add_lane, principal_of, started

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HUGE = 10_000
PAGE_MAX_BYTES = 400_000
"""Of the page's own document: fifty rows, whatever the fleet."""


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
    first = page.tab.locator("table.fleet tbody th a").first
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
    await page.tab.get_by_role("button", name="Last", exact=True).click()
    await expect(page.row("dev-09999")).to_be_visible()
    await expect(page.tab.locator(".pager")).to_contain_text("9,951–10,000 of 10,000")
    await expect(page.tab.get_by_role("button", name="Next")).to_be_disabled()

    await page.tab.get_by_role("button", name="Journal lag").click()
    await expect(first).to_have_text("dev-09990")
    assert (await page.names())[:3] == ["dev-09990", "dev-09980", "dev-09970"]
    await expect(page.tab.get_by_role("columnheader", name="Journal lag")).to_have_attribute(
        "aria-sort", "descending"
    )
    await page.tab.get_by_role("button", name="Last record").click()
    await expect(first).to_have_text("dev-00000")

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

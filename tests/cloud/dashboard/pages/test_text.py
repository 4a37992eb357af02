"""Text from devices stays text, whatever it contains: markup, templates, scripts, characters that turn or hide.

Most of it could not get into a hub's database: names and codes are checked at the door. The page does not rely on that.
"""

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.dashboard.shown import shown
from shared.clock import to_ms
from tests.cloud.dashboard.hostile import HOSTILE, add_everything
from tests.cloud.dashboard.pages.browser import NEWS_MS, HubPage, PageHub, change, now, updated
from tests.cloud.dashboard.rows import add_device, principal_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

UNTOUCHED = """() => ({
    pwned: window.pwned ?? null,
    elements: [...document.querySelectorAll('.content *')].map((each) => each.tagName.toLowerCase())
        .filter((tag) => ['img', 'iframe', 'svg', 'script', 'style', 'object'].includes(tag)),
    handlers: [...document.querySelectorAll('.content *')].flatMap((each) => each.getAttributeNames())
        .filter((name) => name.startsWith('on')),
    addresses: [...document.querySelectorAll('.content a')].map((each) => new URL(each.href))
        .filter((url) => url.origin !== location.origin).map(String),
})"""


async def test_the_fleet_shows_it_as_it_is(hub: PageHub, page: HubPage) -> None:
    def add(session: Session) -> None:
        for kind, text in HOSTILE.items():
            add_device(
                session,
                kind,
                now=now(),
                site=text,
                group=text,
                version=text,
                status="quarantined",
                status_reason=text,
                conditions={text: to_ms(now())},
            )

    await change(hub, add)
    await page.sign_in()
    for kind, text in HOSTILE.items():
        row = page.row(kind)
        assert await row.locator(".where bdi").text_content() == f"{shown(text)} · {shown(text)}"
        assert await row.locator(".badge.bad bdi").text_content() == f"quarantined: {shown(text)}"
        assert await row.locator(".badge.warn bdi").text_content() == shown(text)
    offered = await page.tab.locator("#filter-site option").all_text_contents()
    assert set(offered) == {"all sites", *(shown(text) for text in HOSTILE.values())}
    # And also what arrives later, by push.
    for kind, text in HOSTILE.items():
        await change(hub, updated(kind, conditions={f"{text}2": to_ms(now())}))
    for kind, text in HOSTILE.items():
        badge = page.row(kind).locator(".badge.warn bdi")
        await expect(badge).to_have_text(shown(f"{text}2"), timeout=NEWS_MS)
    await untouched(page)


async def test_a_filter_by_such_text_comes_back_out_of_the_address(hub: PageHub, page: HubPage) -> None:
    text = HOSTILE["image"]
    await change(hub, lambda session: add_device(session, "plain", now=now(), site=text))
    await change(hub, lambda session: add_device(session, "other", now=now(), site="berlin"))
    await page.sign_in()
    await page.tab.get_by_label("Site").select_option(label=shown(text))
    await expect(page.tab.locator(".pager")).to_contain_text("1–1 of 1")
    await page.tab.reload()
    await page.wait_live()
    assert await page.names() == ["plain"]
    await expect(page.tab.get_by_label("Site")).to_have_value(text)
    await untouched(page)


async def test_a_devices_page_shows_it_as_it_is(hub: PageHub, page: HubPage) -> None:
    def add(session: Session) -> None:
        for kind, text in HOSTILE.items():
            add_everything(session, kind, text, now=now())

    await change(hub, add)
    await page.sign_in()
    for kind, text in HOSTILE.items():
        await page.open(f"device/{principal_of(kind)}")
        content = await page.tab.locator(".content").text_content() or ""
        # Site, group, labels, version, reason, condition, dead letter, setting, series, unit, refusal, ...
        assert content.count(shown(text)) >= 12, kind
        await expect(page.part("identity")).to_contain_text(f"{shown(text)}={shown(text)}")
        await expect(page.part("letters")).to_contain_text(shown(text))
        await expect(
            page.part("settings").locator("tbody th").filter(has_text=shown(text))
        ).not_to_have_count(0)
        await expect(page.part("metrics").locator("canvas")).to_have_count(2)
        for canvas in await page.part("metrics").locator("canvas").all():
            await canvas.hover()  # its tooltip
        await untouched(page)


async def test_a_device_whose_name_is_hostile_has_a_page(hub: PageHub, page: HubPage) -> None:
    name = "<img src=x onerror=window.pwned=1>"
    await change(hub, lambda session: add_device(session, name, now=now()))
    await page.sign_in()
    link = page.tab.locator("table.fleet tbody th a")
    await expect(link).to_have_text(name)
    await link.click()
    await page.wait_live()
    await expect(page.tab.locator("h1")).to_have_text(name)
    assert await page.tab.title() == f"main.{name} · Covey"
    await untouched(page)


async def test_what_a_person_types_is_text_as_well(hub: PageHub, page: HubPage) -> None:
    await change(hub, lambda session: add_device(session, "plain", now=now()))
    await page.sign_in()
    for text in HOSTILE.values():
        await page.tab.get_by_label("Search").fill(text)
        await expect(page.tab.locator(".empty")).to_contain_text("No device is like that")
    await page.tab.goto(f"{page.url}device/%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E")
    await expect(page.tab.locator("h2")).to_have_text("<img src=x onerror=window.pwned=1>")
    page.errors = [error for error in page.errors if "404" not in error]
    await untouched(page)


async def untouched(page: HubPage) -> None:
    nothing: dict[str, object] = {"pwned": None, "elements": [], "handlers": [], "addresses": []}
    assert await page.tab.evaluate(UNTOUCHED) == nothing

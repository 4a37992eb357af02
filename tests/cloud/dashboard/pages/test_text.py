"""Text from devices stays text, whatever it contains: markup, templates, scripts, characters that turn or hide.

Most of it could not get into a hub's database: names and codes are checked at the door. The page does not rely on that.
"""

from datetime import timedelta

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.dashboard.shown import shown
from cloud.devices.tables import Refusal
from cloud.journal.repository import insert_records, key_of
from cloud.journal.tables import DeadLetter, LaneGap
from cloud.telemetry.tables import DeviceMetrics
from cloud.twins.tables import DeviceTwin, TwinLayer
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import MetricsWindow, Series
from tests.cloud.dashboard.pages.browser import NEWS_MS, HubPage, PageHub, change, now, updated
from tests.cloud.dashboard.rows import add_device, add_lane, principal_of, started

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HOSTILE = {
    "image": "<img src=x onerror=window.pwned=1>",
    "script": "</script><script>window.pwned=1</script>",
    "svg": "<svg/onload=window.pwned=1>",
    "vue": "{{constructor.constructor('window.pwned=1')()}}",
    "template": "`${window.pwned=1}`",
    "entity": "&lt;b&gt;bold&lt;/b&gt;",
    "quote": "\"'><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "address": "javascript:window.pwned=1",
    "turned": "live\u202egpj.exe\u2066x",
    "control": "a\x1b[31m\x07\rb",
    "hidden": "zero\u200bwidth\ufeff",
    "colon": ":onclick=window.pwned=1",
}
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
            add_everything(session, kind, text)

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


def add_everything(session: Session, name: str, text: str) -> None:
    """A device with `text` wherever a device's word can get."""
    at_ms = to_ms(now())
    principal = principal_of(name)
    add_device(
        session,
        name,
        now=now(),
        site=text,
        group=text,
        version=text,
        labels={text: text},
        conditions={text: at_ms},
        status="quarantined",
        status_reason=text,
        certificate_not_after=now() + timedelta(days=1),
    )
    lane = add_lane(session, name, Lane.JOURNAL, now=now(), records=[started(at_ms)], phase=text[:16])
    key = key_of(lane)
    lane.close_reason, lane.closed_at = text[:32], now()
    # A record of another program: its kind is what that says it is.
    insert_records(session, [(key, 2, bytes(32), text[:32], at_ms, b"\xff")])
    lane.head_seq = 2
    session.add(DeadLetter(lane_id=key, seq=2, reason=text, at=now()))
    session.add(
        LaneGap(lane_id=key, first_seq=3, last_seq=3, after_hash=bytes(32), reason=text[:16], at=now())
    )
    session.add(Refusal(principal=principal, reason=text[:32], count=1, last_at=now()))
    document = {"a": text, text: [text]}
    session.add(
        TwinLayer(tenant="main", scope="device", name=name, revision=1, document=document, updated_at=now())
    )
    session.add(
        DeviceTwin(
            principal=principal,
            reported_revision=1,
            reported={"a": {text: text}},
            refused={text: text},
            reported_at=now(),
        )
    )
    measured = Series(name="plain", unit="%", count=1, min=1, max=1, mean=1, last=1)
    window = MetricsWindow(at_ms=at_ms - 1_000, span_ms=1_000, series=(measured,))
    add_lane(session, name, Lane.METRICS, now=now(), records=[window])
    latest = {text: {"value": 1.5, "unit": text, "at_ms": at_ms}}
    session.add(DeviceMetrics(principal=principal, latest=latest))


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

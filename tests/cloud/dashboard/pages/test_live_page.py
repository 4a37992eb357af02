"""What changes is on the page within two seconds, without a reload, and nothing else is sent."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import Lane
from tests.cloud.dashboard.pages.browser import NEWS_MS, Chromium, HubPage, PageHub, change, now, updated
from tests.cloud.dashboard.rows import add_device, add_fleet, add_lane, started

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

WAIT_MS = 20_000


def ago(seconds: float) -> datetime:
    return now() - timedelta(seconds=seconds)


def lane_moved(key: int, **values: Any) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        lane = session.get(LaneRow, key)
        assert lane is not None
        for name, value in values.items():
            setattr(lane, name, value)

    return work


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
    await change(hub, lambda session: add_device(session, "fridge-1", now=now(), hello_s=107))
    async with chromium.page(hub) as page:
        # A browser whose clock is a day behind.
        await page.tab.add_init_script("const real = Date.now; Date.now = () => real() - 86400000;")
        await page.sign_in()
        await expect(page.cell("fridge-1", "Last hello")).to_contain_text("1 min 4")
        await expect(page.cell("fridge-1", "Last hello")).to_contain_text("1 min 5", timeout=WAIT_MS)


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

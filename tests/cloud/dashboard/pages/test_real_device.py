"""The whole way: a real device over a bad link, a real hub with its broker, a real browser that is never reloaded."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from playwright.async_api import expect

from tests.cloud.dashboard.pages.browser import NEWS_MS, open_browser
from tests.support.real_device import RealDevice
from tests.support.real_hub import READY_TIMEOUT_S, SETTINGS, RealHub
from tests.support.tcp_proxy import Link, Network

pytestmark = [pytest.mark.browser, pytest.mark.broker, pytest.mark.slow]

NAME = "fridge-1"
LATENCY_S = 1.0
BACKLOG_RECORDS = 5_000
"""Several batches: on a link that is a second late, each way, they take a while."""


@dataclass
class World:
    hub: RealHub
    device: RealDevice
    link: Link

    async def until(self, condition: Callable[[Any], bool], what: str) -> None:
        """Until the hub's API says so of the device."""

        def wait() -> None:
            self.hub.process.wait_until(
                lambda: condition(self.hub.device(NAME)), what, timeout_s=READY_TIMEOUT_S
            )

        await asyncio.to_thread(wait)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    hub = RealHub(tmp_path / "hub", settings={**SETTINGS, "presence_will_grace_s": 0})
    device = RealDevice(NAME, tmp_path / NAME)
    with Network(Random(4)) as network, hub:
        link = network.link(hub.mqtt_port)
        hub.enrol(NAME, device.home)
        enrolment = device.home / "identity" / "enrolment.json"
        facts = json.loads(enrolment.read_text())
        facts["broker"]["port"] = link.port
        enrolment.write_text(json.dumps(facts))
        device.configure()
        device.may_write(50)
        yield World(hub, device, link)
        device.process.stop()


def lag_of(view: Any) -> int:
    return max((lane["lag"] for lane in view["lanes"] if lane["lane"] == "journal"), default=0)


async def test_a_device_falls_behind_is_cut_off_and_returns(world: World) -> None:
    hub, device, link = world.hub, world.device, world.link
    async with open_browser() as chromium, chromium.page(hub) as page:
        await page.sign_in()
        await page.tab.evaluate("window.isStillTheSamePage = true")
        presence, lag = page.cell(NAME, "Presence"), page.cell(NAME, "Journal lag")
        await expect(presence).to_have_text("○offline")
        await expect(page.cell(NAME, "Broker session")).to_have_text("never seen")

        await asyncio.to_thread(device.process.start)
        await world.until(lambda view: view["presence"]["last_record_at"] is not None, "to hear the device")
        await expect(presence).to_have_text("●online", timeout=NEWS_MS)
        await expect(page.cell(NAME, "Last record")).to_contain_text("ago", timeout=NEWS_MS)

        link.delay(latency_s=LATENCY_S)
        device.may_write(BACKLOG_RECORDS)
        await world.until(lambda view: lag_of(view) > 0, "to know that the device is ahead")
        await expect(lag).to_contain_text("records", timeout=NEWS_MS)

        link.close()
        link.cut()
        await world.until(lambda view: not view["presence"]["broker_online"], "to hear that it is gone")
        await expect(presence).to_have_text("○offline", timeout=NEWS_MS)
        await expect(page.cell(NAME, "Broker session")).to_contain_text("gone")

        link.release()
        link.open()
        await world.until(lambda view: view["presence"]["broker_online"], "to see it again")
        await expect(presence).to_have_text("●online", timeout=NEWS_MS)
        await world.until(
            lambda view: lag_of(view) == 0 and head_of(view) >= BACKLOG_RECORDS, "to have all that it wrote"
        )
        await expect(lag).to_have_text("none", timeout=NEWS_MS)
        assert await page.tab.evaluate("window.isStillTheSamePage") is True
        page.check()


def head_of(view: Any) -> int:
    heads: list[int] = [lane["head_seq"] for lane in view["lanes"] if lane["lane"] == "journal"]
    return max(heads)

"""The page of one device: what needs a look with its command, logs, settings, measurements, records; live as well."""

import pytest
from playwright.async_api import expect
from sqlmodel import Session

from cloud.devices.tables import Device
from cloud.journal.repository import insert_records, key_of
from cloud.journal.tables import DeadLetter, LaneGap, LaneRow
from cloud.telemetry.tables import DeviceMetrics
from cloud.twins.tables import DeviceTwin, TwinLayer
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import DeviceStopped, MetricsWindow, Series, encode_record
from tests.cloud.dashboard.pages.browser import NEWS_MS, HubPage, PageHub, change, now, updated
from tests.cloud.dashboard.rows import add_device, add_lane, principal_of, started

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATH = f"device/{principal_of('fridge-1')}"


def window(at_ms: int, value: float) -> MetricsWindow:
    measured = Series(name="cpu.busy", unit="%", count=3, min=0, max=100, mean=value, last=value)
    return MetricsWindow(at_ms=at_ms, span_ms=10_000, series=(measured,))


class Fridge:
    """A device with everything, and what may happen to it."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, int] = {}

    def add(self, session: Session) -> None:
        at_ms = to_ms(now())
        add_device(session, "fridge-1", now=now(), site="berlin", labels={"site": "berlin", "row": "7"})
        journal = add_lane(
            session,
            "fridge-1",
            Lane.JOURNAL,
            now=now(),
            records=[started(at_ms - 1), started(at_ms)],
            ahead=5,
        )
        windows = [window(at_ms - 1_000 * number, 40 + number % 7) for number in range(30, 0, -1)]
        metrics = add_lane(session, "fridge-1", Lane.METRICS, now=now(), records=windows, head_seq=42)
        orders = add_lane(session, "fridge-1", Lane.ORDERS, now=now(), records=[started(1)] * 3, acked=1)
        self.lanes = {
            lane: key_of(row)
            for lane, row in zip(
                (Lane.JOURNAL, Lane.METRICS, Lane.ORDERS), (journal, metrics, orders), strict=True
            )
        }
        gap = LaneGap(
            lane_id=key_of(metrics), first_seq=31, last_seq=42, after_hash=bytes(32), reason="shed", at=now()
        )
        session.add(gap)
        session.add(DeadLetter(lane_id=key_of(journal), seq=2, reason="no such node", at=now()))
        document = {"log_level": "debug", "wait": {"s": 60}}
        session.add(
            TwinLayer(tenant="main", scope="fleet", name="", revision=4, document=document, updated_at=now())
        )
        session.add(
            DeviceTwin(
                principal=principal_of("fridge-1"),
                reported_revision=3,
                reported={"log_level": "info", "wait": {"s": 60}},
                reported_at=now(),
            )
        )

    def reports_settings(self, session: Session) -> None:
        twin = session.get(DeviceTwin, principal_of("fridge-1"))
        assert twin is not None
        twin.reported_revision, twin.reported = 4, {"log_level": "debug", "wait": {"s": 60}}

    def appends(self, session: Session) -> None:
        lane = session.get(LaneRow, self.lanes[Lane.JOURNAL])
        assert lane is not None
        record = DeviceStopped(at_ms=to_ms(now()))
        insert_records(
            session, [(key_of(lane), 3, bytes(32), record.kind, record.at_ms, encode_record(record))]
        )
        lane.head_seq, lane.last_at_ms = 3, record.at_ms

    def forks(self, session: Session) -> None:
        lane = session.get(LaneRow, self.lanes[Lane.JOURNAL])
        device = session.get(Device, principal_of("fridge-1"))
        assert lane is not None
        assert device is not None
        lane.forked_at_seq = 1
        device.status, device.status_reason = "quarantined", "fork"

    def measures(self, session: Session) -> None:
        lane = session.get(LaneRow, self.lanes[Lane.METRICS])
        assert lane is not None
        record = window(to_ms(now()), 97)
        insert_records(
            session, [(key_of(lane), 43, bytes(32), record.kind, record.at_ms, encode_record(record))]
        )
        lane.head_seq = 43
        latest = {
            "cpu.busy": {"value": 97.0, "unit": "%", "at_ms": record.at_ms},
            "disk.free": {"value": 3.25, "unit": "GB", "at_ms": record.at_ms},
        }
        session.add(DeviceMetrics(principal=principal_of("fridge-1"), latest=latest, shed_count=12))


async def test_a_device_is_shown_with_all_that_is_known(hub: PageHub, page: HubPage) -> None:
    await change(hub, Fridge().add)
    await page.sign_in(PATH)
    await expect(page.part("head")).to_contain_text("fridge-1")
    await expect(page.part("head")).to_contain_text("online")
    await expect(page.part("identity")).to_contain_text("row=7, site=berlin")
    await expect(page.part("presence")).to_contain_text("5 records")

    logs = page.part("logs")
    await expect(logs).to_contain_text("2 orders wait for the device")
    journal = logs.get_by_role("row").filter(has_text="journal")
    await expect(journal.locator('[data-label="Behind"]')).to_contain_text("5 (")
    metrics = logs.get_by_role("row").filter(has_text="metrics that made room")
    await expect(metrics.locator('[data-label="Gaps"]')).to_have_text("31–42: metrics that made room")

    settings = page.part("settings")
    await expect(settings).to_contain_text("wants 4, runs 3")
    differing = settings.get_by_role("row").filter(has_text="log_level")
    await expect(differing.locator('[data-label="Desired"]')).to_have_text('"debug"')
    await expect(differing.locator('[data-label="Reported"]')).to_have_text('"info"')
    await expect(settings).to_contain_text("1 other agrees.")

    letters = page.part("letters").get_by_role("row").filter(has_text="no such node")
    await expect(letters).to_contain_text("waits for a decision")
    remedies = page.part("remedies")
    await expect(remedies).to_contain_text("1 record was not understood or not applied")
    await expect(remedies).to_contain_text("covey-hub device deadletters main.fridge-1 --retry")

    await expect(page.part("records").locator("tbody tr")).to_have_count(2)
    await expect(page.part("records")).to_contain_text("device.started")
    await expect(page.part("metrics").locator("canvas")).to_have_count(1)
    await expect(page.part("metrics").get_by_role("img")).to_have_attribute(
        "aria-label", "Course of cpu.busy"
    )
    assert await has_ink(page)


async def test_what_happens_to_it_is_shown_without_a_reload(hub: PageHub, page: HubPage) -> None:
    fridge = Fridge()
    await change(hub, fridge.add)
    await page.sign_in(PATH)
    await page.tab.evaluate("window.isStillTheSamePage = true")

    await change(hub, fridge.appends)
    await expect(page.part("records").locator("tbody tr").first).to_contain_text(
        "device.stopped", timeout=NEWS_MS
    )
    await expect(page.part("presence")).to_contain_text("4 records")

    await change(hub, fridge.measures)
    await expect(page.part("metrics")).to_contain_text("97 %", timeout=NEWS_MS)
    await expect(page.part("metrics")).to_contain_text("3.25 GB")
    await expect(page.part("metrics")).to_contain_text("dropped 12 windows")

    await change(hub, fridge.reports_settings)
    await expect(page.part("settings")).to_contain_text("in step at 4", timeout=NEWS_MS)
    await expect(page.part("settings")).to_contain_text("All 2 desired settings are as the device reports")

    await change(hub, fridge.forks)
    await expect(page.part("remedies")).to_contain_text(
        "The journal log is forked after record 1", timeout=NEWS_MS
    )
    await expect(page.part("remedies")).to_contain_text("covey-hub device resolve main.fridge-1")
    await expect(page.part("head")).to_contain_text("quarantined")
    await expect(page.part("logs")).to_contain_text("forked after 1")

    await change(hub, updated("fridge-1", broker_online=False, broker_at=now()))
    await expect(page.part("head")).to_contain_text("offline", timeout=NEWS_MS)
    await expect(page.part("presence")).to_contain_text("gone")
    await expect(page.tab.get_by_role("status").filter(has_text="The device is offline")).to_have_count(1)
    assert await page.tab.evaluate("window.isStillTheSamePage") is True


async def test_measurements_go_back_as_far_as_one_asks(hub: PageHub, page: HubPage) -> None:
    def add(session: Session) -> None:
        at_ms = to_ms(now())
        add_device(session, "fridge-1", now=now())
        old = [window(at_ms - 3 * 3_600_000 - 1_000 * number, 10) for number in range(5, 0, -1)]
        add_lane(session, "fridge-1", Lane.METRICS, now=now(), records=old)

    await change(hub, add)
    await page.sign_in(PATH)
    await expect(page.part("metrics")).to_contain_text("No measurement of this time has arrived")
    await page.tab.get_by_role("button", name="24 hours").click()
    await expect(page.part("metrics")).to_contain_text("10 %")
    await expect(page.tab.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    await page.tab.get_by_role("button", name="1 hour").click()
    await expect(page.part("metrics")).to_contain_text("No measurement of this time has arrived")


async def test_a_device_that_is_not_enrolled_is_said_so(hub: PageHub, page: HubPage) -> None:
    await page.sign_in("device/main.nobody")
    await expect(page.tab.locator("h1")).to_have_text("There is no such device")
    await expect(page.tab.locator(".content")).to_contain_text("covey-hub device list")
    page.errors = [error for error in page.errors if "404" not in error]


async def has_ink(page: HubPage) -> bool:
    """Whether something of the page's brand colour is on the chart."""
    script = """() => {
        const canvas = document.querySelector('[data-part=metrics] canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 0; i < data.length; i += 4)
            if (data[i] < 60 && data[i + 1] > 80 && data[i + 2] < 120 && data[i + 3] > 200) count++;
        return count;
    }"""
    return int(await page.tab.evaluate(script)) > 20

"""The device's page in a real browser: signing in, asking, agreeing, stopping; hostile text stays text."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, ViewportSize, expect

from edge.blobs import make_blob
from edge.ports import Draft
from shared.records import HubAsked, NodeAmended
from tests.cloud.dashboard.pages.browser import open_browser
from tests.support.agent import ANSWER, Probe, act
from tests.support.daemon import TOKEN, RunningDaemon, daemon_in
from tests.support.device import task_id_from
from tests.support.model import ScriptedModel
from tests.support.policy import PERMIT_ALL, package_of
from tests.support.policy_device import sealed_bundle
from tests.support.rules import SIGNER, TRUST
from tests.support.work import done

pytestmark = pytest.mark.browser

PHONE: Final = ViewportSize(width=390, height=844)
EVIL: Final = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
PACKAGE: Final = """
    lease: 7d
    roles: {chief: {local: true, within: 10m}, remote: {local: false, within: 10m}}
    tools:
      valve:
        side_effect: irreversible
        sink: false
        parameters: {to: {type: string, max_length: 200}}
        result: {labels: []}
"""


def asks(role: str) -> str:
    return (
        PERMIT_ALL
        + f"""@id("ask") @reason("The {role} agrees first.") @approval("{role}")
        forbid (principal, action == Action::"valve", resource) unless {{ context.approved_by.contains("{role}") }};
        """
    )


class Kiosk:
    """A tab on a device's page. `foreign`: what its browser asked of others; `alerts`: what scripts said."""

    def __init__(self, tab: Page, device: RunningDaemon, valve: Probe) -> None:
        self.tab, self.device, self.valve = tab, device, valve
        self.foreign: list[str] = []
        self.alerts: list[str] = []
        self.errors: list[str] = []
        tab.on("request", lambda request: self._note(request.url))
        tab.on("dialog", lambda dialog: self.alerts.append(dialog.message))
        tab.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, url: str) -> None:
        if not url.startswith(f"{self.device.url}/"):
            self.foreign.append(url)

    async def sign_in(self) -> None:
        await self.tab.goto(f"{self.device.url}/")
        await self.tab.get_by_label("This device's token").fill(TOKEN)
        await self.tab.keyboard.press("Enter")
        await expect(self.tab.get_by_role("heading", name="Status")).to_be_visible()

    async def ask(self, question: str) -> None:
        await self.tab.get_by_label("Your question").fill(question)
        await self.tab.keyboard.press("Enter")

    @property
    def cards(self) -> Any:
        return self.tab.locator("#approvals li")


@asynccontextmanager
async def kiosk(
    home: Path, *script: Any, rules: str | None = None, opens: str = "all"
) -> AsyncIterator[Kiosk]:
    valve = Probe("valve", choices=({"to": opens},))
    options: dict[str, Any] = {} if rules is None else {"is_permissive": False, **TRUST}
    async with daemon_in(home, ScriptedModel(*script), tools=[valve.tool()], **options) as device:
        if rules is not None:
            sealed = sealed_bundle(package_of(PACKAGE), rules, [SIGNER])
            answer = await device.client.post("/policy", json={"bundle": b64encode(sealed).decode()})
            assert answer.status_code == 200, answer.text
        async with open_browser() as chromium:
            context = await chromium.browser.new_context(viewport=PHONE)
            page = Kiosk(await context.new_page(), device, valve)
            yield page
            assert (page.foreign, page.alerts, page.errors) == ([], [], [])
            await context.close()


async def test_a_person_signs_in_and_sees_what_the_device_is_doing(tmp_path: Path) -> None:
    async with kiosk(tmp_path, rules=PERMIT_ALL) as page:
        await page.tab.goto(f"{page.device.url}/")
        await page.tab.get_by_label("This device's token").fill("a guess")
        await page.tab.get_by_role("button", name="Sign in").click()
        await expect(page.tab.get_by_role("alert")).to_have_text("That is not this device's token.")
        await page.sign_in()
        await expect(page.tab.locator("#state")).to_have_text("idle")
        facts = page.tab.locator("#facts")
        await expect(facts).to_contain_text("test, version 1")
        await expect(facts).to_contain_text("they hold until")
        await expect(facts).to_contain_text("not enrolled")
        await page.tab.reload()
        await expect(page.tab.get_by_role("heading", name="Status")).to_be_visible()
        await page.tab.get_by_role("button", name="Sign out").click()
        await expect(page.tab.get_by_label("This device's token")).to_be_focused()
        assert await page.tab.evaluate("document.cookie") == ""


async def test_a_question_is_answered_as_text(tmp_path: Path) -> None:
    async with kiosk(tmp_path, ANSWER, EVIL) as page:
        await page.sign_in()
        await page.ask(EVIL)
        await expect(page.tab.locator(".asked")).to_have_text(EVIL)
        await expect(page.tab.locator(".answer")).to_have_text(EVIL)
        assert await page.tab.locator("#talk img, #talk script").count() == 0


async def test_an_answer_of_the_hub_that_came_later_is_shown_as_text(tmp_path: Path) -> None:
    async with kiosk(tmp_path) as page:
        task, later = task_id_from("asked"), make_blob(EVIL.encode())
        await page.device.journal.append(*done(task), durable=True)
        asked = HubAsked(at_ms=1, task=task, node=0, call=1, question=make_blob(b"Which?").ref())
        amended = NodeAmended(at_ms=2, task=task, node=0, call=1, result=later.ref())
        await page.device.journal.append(Draft(asked), durable=True)
        await page.sign_in()
        await expect(page.tab.get_by_role("heading", name="Later answers from the hub")).to_be_hidden()
        await page.device.journal.append(Draft(amended, (later,)), durable=True)
        await expect(page.tab.locator("#later .later")).to_have_text(EVIL)
        assert await page.tab.locator("#later img, #later script").count() == 0


async def test_somebody_on_site_agrees_to_these_very_arguments_and_the_answer_comes(tmp_path: Path) -> None:
    script = (act("valve", to=EVIL), "It is open.")
    async with kiosk(tmp_path, *script, rules=asks("chief"), opens=EVIL) as page:
        await page.sign_in()
        await page.ask("Open the valve.")
        await expect(page.cards).to_contain_text("valve")
        await expect(page.cards.locator("pre")).to_have_text(re.compile(r"onerror"))
        await expect(page.cards).to_contain_text("Rule ask")
        await expect(page.cards).to_contain_text("left, then it is a no.")
        await expect(page.tab.locator("#state")).to_have_text("waits for people")
        assert page.valve.calls == []
        await page.cards.get_by_role("button", name="Yes, as chief").click()
        await expect(page.tab.get_by_role("alert")).to_contain_text("Say who you are first")
        await expect(page.tab.get_by_label("Your name, for the record")).to_be_focused()
        await page.tab.keyboard.type("ann")
        await page.cards.get_by_role("button", name="Yes, as chief").focus()
        await page.tab.keyboard.press("Enter")
        await expect(page.tab.locator(".answer")).to_have_text("It is open.")
        await expect(page.tab.get_by_text("Nothing waits for anybody's agreement.")).to_be_visible()
        assert [arguments for arguments, _ in page.valve.calls] == [{"to": EVIL}]


async def test_a_no_on_the_page_is_a_no(tmp_path: Path) -> None:
    script = (act("valve", to="all"), "It stays shut.")
    async with kiosk(tmp_path, *script, rules=asks("chief")) as page:
        await page.sign_in()
        await page.ask("Open the valve.")
        await page.tab.get_by_label("Your name, for the record").fill("ann")
        await page.cards.get_by_role("button", name="No, as chief").click()
        await expect(page.tab.locator(".answer")).to_have_text("It stays shut.")
        assert page.valve.calls == []


async def test_where_only_the_hub_may_agree_the_page_offers_no_buttons(tmp_path: Path) -> None:
    async with kiosk(tmp_path, act("valve", to="all"), rules=asks("remote")) as page:
        await page.sign_in()
        await page.ask("Open the valve.")
        await expect(page.cards).to_contain_text("Only people at the hub may agree: remote.")
        assert await page.cards.get_by_role("button").count() == 0


async def test_the_device_is_stopped_and_let_go_on(tmp_path: Path) -> None:
    async with kiosk(tmp_path) as page:
        await page.sign_in()
        await page.tab.get_by_role("button", name="Stop this device").click()
        await page.tab.get_by_role("button", name="Leave it").click()
        await expect(page.tab.locator("#state")).to_have_text("idle")
        await page.tab.get_by_role("button", name="Stop this device").click()
        await page.tab.get_by_role("button", name="Stop it").click()
        await expect(page.tab.locator("#state")).to_have_text("stopped by local")
        await expect(page.tab.locator("#issues")).to_contain_text("This device is stopped")
        await page.tab.get_by_role("button", name="Let it go on").click()
        await expect(page.tab.locator("#state")).to_have_text("idle")


async def test_everything_has_a_name_and_a_size_for_fingers(tmp_path: Path) -> None:
    async with kiosk(tmp_path, act("valve", to="all"), rules=asks("chief")) as page:
        await page.sign_in()
        await page.ask("Open the valve.")
        await expect(page.cards).to_contain_text("valve")
        for control in await page.tab.locator("button:visible, input:visible, textarea:visible").all():
            box = await control.bounding_box()
            assert box is not None
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            assert await control.evaluate("each => each.labels?.length || each.textContent.trim().length")
        wide = await page.tab.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide

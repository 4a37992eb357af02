"""Who gets into the page, and what a page may do, in a real browser at a real hub."""

import asyncio
import ssl

import httpx
import pytest
import websockets
from playwright.async_api import expect
from sqlalchemy import delete
from sqlmodel import Session
from websockets.typing import Origin

from cloud.dashboard.door import COOKIE
from cloud.people.tables import BrowserSession
from tests.cloud.dashboard.pages.browser import LOAD_MS, HubPage, PageHub, change, now
from tests.cloud.dashboard.rows import add_device, principal_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

WAIT_S = 20.0


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
    cookie, ours = {"Cookie": f"{COOKIE}={session_id}"}, Origin(hub.url)

    async def knock(origin: Origin | None, headers: dict[str, str]) -> int:
        try:
            async with websockets.connect(
                socket,
                ssl=authority,
                origin=origin,
                additional_headers=headers,
                proxy=None,
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
        assert await knock(Origin("https://evil.test"), cookie) == 403
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
    await tab.get_by_role("button", name="Use the token").click()
    await expect(tab.get_by_role("alert")).to_contain_text("That is not the admin token")
    page.errors.clear()  # the browser's console tells of the 403
    assert await tab.locator(".content").count() == 0
    await expect(tab.get_by_label("Admin token")).to_be_focused()
    await tab.get_by_label("Admin token").fill(hub.admin_token)
    await tab.get_by_role("button", name="Use the token").click()
    await page.wait_live()
    assert tab.url == f"{page.url}device/{principal_of('fridge-1')}"
    await expect(tab.locator("h1")).to_have_text("fridge-1")


async def test_a_person_signs_in_by_name_and_sees_the_own_tenant_alone(hub: PageHub, page: HubPage) -> None:
    def add(session: Session) -> None:
        add_device(session, "fridge-1", now=now())
        add_device(session, "fridge-2", tenant="acme", now=now())

    await change(hub, add)
    authority = ssl.create_default_context(cafile=str(hub.home / "identity" / "ca.pem"))
    headers = {"Authorization": f"Bearer {hub.admin_token}"}
    body = {"name": "ada", "password": "correct horse battery", "tenant": "main", "role": "viewer"}
    async with httpx.AsyncClient(verify=authority, headers=headers, trust_env=False) as client:
        assert (await client.post(f"{hub.url}/v1/users", json=body)).status_code == 201
    tab = page.tab
    await tab.goto(page.url)
    await expect(tab.get_by_label("Name")).to_be_focused()
    await expect(tab.get_by_label("Admin token")).to_be_hidden()
    await tab.get_by_label("Name").fill("ada")
    await tab.get_by_label("Password").fill("correct horse battery")
    await tab.get_by_role("button", name="Sign in").click()
    await page.wait_live()
    assert await page.names() == ["fridge-1"]
    await tab.get_by_role("link", name="ada · main").click()
    await expect(tab.get_by_role("heading", name="Your account")).to_be_visible()
    await tab.get_by_role("button", name="Sign out").click()
    await expect(tab.get_by_label("Name")).to_be_visible()


async def test_a_page_closes_when_its_session_is_ended_at_another_process(
    hub: PageHub, page: HubPage
) -> None:
    await page.sign_in()
    await change(hub, lambda session: session.execute(delete(BrowserSession)))
    await expect(page.tab.get_by_role("heading", name="Sign in to Covey")).to_be_visible(timeout=LOAD_MS)
    page.errors.clear()  # the browser's console tells that its socket was refused


async def test_signing_out_ends_every_tab_of_the_session(page: HubPage) -> None:
    await page.sign_in()
    other = await page.tab.context.new_page()
    await other.goto(page.url)
    await other.wait_for_function("window.did_handshake === true")
    await page.tab.get_by_role("button", name="Sign out").click()
    await expect(page.tab.get_by_label("Admin token")).to_be_visible()
    # The other one's socket is cut, and it finds out why.
    await expect(other.get_by_label("Admin token")).to_be_visible(timeout=LOAD_MS)
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

"""The page's way in, over HTTP: sign in, reach what the page needs and nothing else, from this device's page alone."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from edge.api.entrance import COOKIE, PAGE_HEADER
from edge.api.page import FILES
from tests.edge.api.test_app import TOKEN, World, serving
from tests.support.agent import ANSWER

HERE = "http://127.0.0.1:8765"
PAGE = {PAGE_HEADER: "1", "authorization": ""}


def at(
    world: World,
    path: str,
    method: str = "GET",
    *,
    host: str = HERE,
    headers: Mapping[str, str] | None = None,
    json: object = None,
) -> httpx.Request:
    """What a browser sends."""
    return world.client.build_request(method, f"{host}{path}", headers={**PAGE, **(headers or {})}, json=json)


async def signed_in(world: World) -> dict[str, str]:
    """A browser's headers."""
    answer = await world.client.send(at(world, "/page/session", "POST", json={"token": TOKEN}))
    assert (answer.status_code, answer.content) == (204, b"")
    world.client.cookies.clear()
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


async def test_the_page_needs_no_credential_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        for path, (_, kind) in FILES.items():
            answer = await world.client.send(at(world, path))
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["cache-control"] == "no-store"


async def test_a_name_that_points_here_from_elsewhere_gets_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        cookie = await signed_in(world)
        for path in ("/", "/status"):
            answer = await world.client.send(at(world, path, host="http://evil.example", headers=cookie))
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_unknown")
        sign_in = at(world, "/page/session", "POST", host="http://evil.example", json={"token": TOKEN})
        assert (await world.client.send(sign_in)).status_code == 403


async def test_a_name_in_the_settings_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path, settings={"page_hosts": ("kiosk.lan",)}) as world:
        assert (await world.client.send(at(world, "/", host="http://kiosk.lan:8765"))).status_code == 200


async def test_another_token_signs_nobody_in(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        answer = await world.client.send(at(world, "/page/session", "POST", json={"token": "guess"}))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert "set-cookie" not in answer.headers


async def test_a_signed_in_browser_reaches_what_the_page_needs(tmp_path: Path) -> None:
    async with serving(tmp_path, ANSWER, "Hello.") as world:
        cookie = await signed_in(world)
        for path in ("/status", "/policy", "/approvals"):
            assert (await world.client.send(at(world, path, headers=cookie))).status_code == 200
        body = {"model": "covey", "messages": [{"role": "user", "content": "hi"}]}
        answer = await world.client.send(at(world, "/v1/chat/completions", "POST", headers=cookie, json=body))
        assert answer.json()["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/journal"), ("GET", "/memory?q=x"), ("GET", "/twin"), ("GET", "/metrics"), ("POST", "/policy"),
        ("POST", "/link"), ("POST", "/secrets/refresh"), ("POST", "/memory/rebuild"),
    ],
)  # fmt: skip
async def test_a_signed_in_browser_reaches_nothing_else(tmp_path: Path, method: str, path: str) -> None:
    async with serving(tmp_path) as world:
        cookie = await signed_in(world)
        assert (await world.client.send(at(world, path, method, headers=cookie))).status_code == 401


async def test_what_a_foreign_page_makes_a_browser_send_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        cookie = await signed_in(world)
        for headers in ({PAGE_HEADER: ""}, {"origin": "http://evil.example"}, {"origin": "null"}):
            forged = at(world, "/stop", "POST", headers={**cookie, **headers}, json={"stopped": True})
            answer = await world.client.send(forged)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_the_page")
        assert not (await world.client.get("/policy")).json()["stopped_by"]


async def test_signing_out_takes_the_cookie_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        answer = await world.client.send(at(world, "/page/session", "DELETE"))
        assert answer.headers["set-cookie"].startswith(f"{COOKIE}=; ")


async def test_a_program_with_the_token_needs_no_page(tmp_path: Path) -> None:
    """Its requests bear what no page can make a browser send."""
    async with serving(tmp_path) as world:
        assert (await world.client.get("http://a.name/status")).status_code == 200

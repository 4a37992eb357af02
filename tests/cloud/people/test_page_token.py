"""A token for the command line from the account page: for who signs in without a password of the hub's."""

import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cloud.dashboard.door import ACCOUNT_PATH, COOKIE, SIGN_IN_PATH
from cloud.people.sign_in import FRESH, SIGN_INS_PER_USER_MAX
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi
from tests.cloud.people.visitors import (
    BROWSER,
    add_user,
    browser,
    cookie_of,
    csrf_of,
    deeds,
    program,
    signed_in,
)

TOKEN = re.compile(r"covey1t\.[a-z2-7]{16}\.[A-Za-z0-9_-]{43}")


def ask(visitor: TestClient, *, csrf: str | None = None, headers: dict[str, str] | None = None) -> Any:
    fields = {"token": "new", "csrf": csrf_of(visitor) if csrf is None else csrf}
    return visitor.post(ACCOUNT_PATH, data=fields, headers=headers or {})


def token_of(visitor: TestClient) -> str:
    answer = ask(visitor)
    assert answer.status_code == 200, answer.text
    (token,) = TOKEN.findall(answer.text)
    return str(token)


def status(hub: HubApi, token: str) -> int:
    return int(program(hub, token).get("/v1/me").status_code)


def test_the_page_gives_a_token_of_ones_own_and_shows_it_once(hub: HubApi) -> None:
    add_user(hub, "ada", "author")
    visitor = signed_in(hub, "ada")
    token = token_of(visitor)
    assert TOKEN.search(visitor.get(ACCOUNT_PATH).text) is None
    me = program(hub, token).get("/v1/me").json()
    assert (me["person"], me["tenant"], me["permissions"]) == ("ada", "main", ["author", "read"])
    (made,) = deeds(hub, "api_token.create")
    assert (made["actor"], made["detail"]["label"]) == ("ada", "sign-in")
    (view,) = hub.get("/v1/api-tokens")
    assert view["created_by"] == "ada"
    hub.clock.advance(timedelta(seconds=hub.settings.api_token_ttl_s))
    assert status(hub, token) == 401


def test_it_is_for_the_tenant_that_is_looked_at_and_no_more_than_the_role_there(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "ada", "admin")
    assert hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"}).is_success
    visitor = signed_in(hub, "ada")
    assert visitor.post(ACCOUNT_PATH, data={"tenant": "acme", "csrf": csrf_of(visitor)}).status_code == 303
    me = program(hub, token_of(visitor)).get("/v1/me").json()
    assert (me["tenant"], me["permissions"]) == ("acme", ["read"])


def test_a_session_that_was_left_open_gives_none(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "ada")
    assert hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"}).is_success
    visitor = signed_in(hub, "ada")
    hub.clock.advance(FRESH)
    token_of(visitor)
    hub.clock.advance(timedelta(seconds=1))
    # Looking at another tenant makes a new session, and is no new sign-in.
    assert visitor.post(ACCOUNT_PATH, data={"tenant": "acme", "csrf": csrf_of(visitor)}).status_code == 303
    answer = ask(visitor)
    assert (answer.status_code, "sign out and in again" in answer.text) == (409, True)
    assert TOKEN.search(answer.text) is None
    assert len(deeds(hub, "api_token.create")) == 1


@pytest.mark.parametrize("csrf", ["", "0" * 64])
def test_a_form_of_another_page_gets_none(hub: HubApi, csrf: str) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    answer = ask(visitor, csrf=csrf)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    foreign = {**BROWSER, "Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    answer = ask(visitor, headers=foreign)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert deeds(hub, "api_token.create") == []


def test_a_bearer_token_gets_none_here(hub: HubApi) -> None:
    add_user(hub, "ada")
    token = token_of(signed_in(hub, "ada"))
    answer = program(hub, token).post(ACCOUNT_PATH, data={"token": "new"}, follow_redirects=False)
    assert answer.status_code == 401


def test_the_admin_token_is_nobodys_own(hub: HubApi) -> None:
    visitor = browser(hub)
    assert visitor.post(SIGN_IN_PATH, data={"token": ADMIN_TOKEN}).status_code == 303
    assert "Get a token" in visitor.get(ACCOUNT_PATH).text
    assert "<section hidden>\n<h2>Use the command line" in visitor.get(ACCOUNT_PATH).text
    answer = ask(visitor)
    assert (answer.status_code, "nobody's own" in answer.text.replace("&#x27;", "'")) == (409, True)


def test_it_ends_with_the_user_and_counts_among_the_sign_ins(hub: HubApi) -> None:
    add_user(hub, "ada")
    first = newest = token_of(signed_in(hub, "ada"))
    for _ in range(SIGN_INS_PER_USER_MAX - 1):
        hub.clock.advance(timedelta(seconds=1))
        newest = token_of(signed_in(hub, "ada"))
    assert (status(hub, first), status(hub, newest)) == (200, 200)
    newest = token_of(signed_in(hub, "ada"))
    assert (status(hub, first), status(hub, newest)) == (401, 200)
    hub.post("/v1/users/ada/disable")
    assert status(hub, newest) == 401


def test_a_cookie_of_a_session_that_ended_gets_none(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    thief = browser(hub)
    csrf, cookie = csrf_of(visitor), cookie_of(visitor)
    hub.post("/v1/users/ada/disable")
    thief.cookies.set(COOKIE, cookie)
    assert ask(thief, csrf=csrf).status_code == 401

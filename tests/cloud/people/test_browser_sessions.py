"""Sessions of browsers: in the database, bound in time and number, sealed, and never made to act by a foreign page."""

from datetime import timedelta

import pytest
from sqlmodel import select

from cloud.dashboard.door import ACCOUNT_PATH, COOKIE, SIGN_IN_PATH, SIGN_OUT_PATH
from cloud.people.browser_sessions import SESSIONS_PER_USER_MAX
from cloud.people.tables import BrowserSession
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi
from tests.cloud.people.visitors import (
    BROWSER,
    PASSWORD,
    add_user,
    browser,
    cookie_of,
    csrf_of,
    deeds,
    is_signed_in,
    on_both,
    sign_in,
    signed_in,
)


def rows(hub: HubApi) -> list[BrowserSession]:
    with hub.database.read() as session:
        return list(session.exec(select(BrowserSession)).all())


def test_the_cookie_is_for_this_host_its_pages_and_a_time(hub: HubApi) -> None:
    add_user(hub, "ada")
    answer = sign_in(browser(hub), "ada")
    (cookie,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith(COOKIE)]
    attributes = {part.lower() for part in cookie.split("; ")[1:]}
    assert attributes == {
        "httponly",
        "secure",
        "samesite=strict",
        "path=/",
        f"max-age={hub.settings.dashboard_session_s}",
    }
    assert len(cookie.split("=")[1].split(";")[0]) >= 43  # 256 bits


def test_each_sign_in_has_a_new_id_whatever_cookie_came_with_it(hub: HubApi) -> None:
    add_user(hub, "ada")
    fixed = "an-id-that-an-attacker-chose-before-the-sign-in"
    visitor = browser(hub)
    visitor.cookies.set(COOKIE, fixed, domain="hub.test")
    given = sign_in(visitor, "ada").cookies[COOKIE]
    assert given != fixed
    assert sign_in(browser(hub), "ada").cookies[COOKIE] != given
    stranger = browser(hub)
    stranger.cookies.set(COOKIE, fixed)
    assert not is_signed_in(stranger)


@pytest.mark.parametrize("forged", ["", "x", "x" * 43, "x" * 5_000, "%00", "../../x", '"'])
def test_a_forged_cookie_opens_nothing(hub: HubApi, forged: str) -> None:
    add_user(hub, "ada")
    signed_in(hub, "ada")
    stranger = browser(hub)
    stranger.cookies.set(COOKIE, forged)
    assert not is_signed_in(stranger)
    stranger.cookies.set(COOKIE, rows(hub)[0].id_sha256.hex())  # what the database holds is no id
    assert not is_signed_in(stranger)


@on_both
def test_a_session_ends_with_its_time_however_much_it_is_used(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    half_an_hour = timedelta(minutes=30)
    for _ in range(hub.settings.dashboard_session_s // 1_800 - 1):
        hub.clock.advance(half_an_hour)
        assert is_signed_in(visitor)
    hub.clock.advance(half_an_hour)
    assert not is_signed_in(visitor)


def test_a_session_ends_when_it_is_not_used(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    hub.clock.advance(seconds=hub.settings.dashboard_idle_s - 1)
    assert is_signed_in(visitor)
    hub.clock.advance(seconds=hub.settings.dashboard_idle_s)
    assert not is_signed_in(visitor)


@on_both
def test_a_page_that_stays_open_counts_as_use(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    (row,) = rows(hub)
    hub.clock.advance(seconds=hub.settings.dashboard_idle_s - 1)
    assert list(hub.people.sessions.still_good([row.id_sha256])) == [row.id_sha256]
    hub.clock.advance(seconds=hub.settings.dashboard_idle_s - 1)
    assert is_signed_in(visitor)


def test_signing_out_ends_that_session_alone(hub: HubApi) -> None:
    add_user(hub, "ada")
    leaving, staying = signed_in(hub, "ada"), signed_in(hub, "ada")
    kept = cookie_of(leaving)
    assert leaving.post(SIGN_OUT_PATH, data={"csrf": csrf_of(leaving)}).status_code == 303
    leaving.cookies.set(COOKIE, kept)
    assert not is_signed_in(leaving)
    assert is_signed_in(staying)
    assert [entry["actor"] for entry in deeds(hub, "session.end")] == ["ada"]


@on_both
def test_one_browser_more_than_the_bound_ends_the_oldest_session(hub: HubApi) -> None:
    add_user(hub, "ada")
    oldest = signed_in(hub, "ada")
    second = oldest
    for _ in range(SESSIONS_PER_USER_MAX - 1):
        hub.clock.advance(seconds=1)
        second = signed_in(hub, "ada")
    assert is_signed_in(oldest)
    signed_in(hub, "ada")
    assert not is_signed_in(oldest)
    assert is_signed_in(second)
    assert len(rows(hub)) == SESSIONS_PER_USER_MAX


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_name", "root"),
        ("user_name", "boss"),
        ("tenant", "*"),
        ("expires_at", None),
        ("mac", bytes(32)),
    ],
)
@on_both
def test_a_session_row_that_was_tampered_with_opens_nothing(hub: HubApi, column: str, value: object) -> None:
    add_user(hub, "ada")
    add_user(hub, "boss", "admin", "*")
    visitor = signed_in(hub, "ada")
    with hub.database.write() as session:
        (row,) = session.exec(select(BrowserSession)).all()
        setattr(row, column, hub.clock.now() + timedelta(days=9) if value is None else value)
        session.add(row)
    assert not is_signed_in(visitor)


def test_a_changed_role_ends_the_session(hub: HubApi) -> None:
    add_user(hub, "ada", "admin")
    visitor = signed_in(hub, "ada")
    assert hub.client.put("/v1/users/ada/roles/main", json={"role": "viewer"}).status_code == 200
    assert not is_signed_in(visitor)
    assert "viewer" in signed_in(hub, "ada").get(ACCOUNT_PATH).text


@pytest.mark.parametrize("token", ["", "0" * 64, "another's"])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (SIGN_OUT_PATH, {}),
        (ACCOUNT_PATH, {"tenant": "acme"}),
        (
            ACCOUNT_PATH,
            {"current": PASSWORD, "new": "mallory's own password", "again": "mallory's own password"},
        ),
    ],
)
def test_a_form_without_the_sessions_own_token_changes_nothing(
    hub: HubApi, path: str, fields: dict[str, str], token: str
) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "ada")
    add_user(hub, "mallory")
    hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"})
    given = csrf_of(signed_in(hub, "mallory")) if token == "another's" else token
    visitor = signed_in(hub, "ada")
    answer = visitor.post(path, data={**fields, "csrf": given})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert "set-cookie" not in answer.headers
    assert is_signed_in(visitor)
    assert sign_in(browser(hub), "ada").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_even_with_the_token_a_foreign_page_is_refused(hub: HubApi, headers: dict[str, str]) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    csrf = csrf_of(visitor)
    answer = visitor.post(SIGN_OUT_PATH, data={"csrf": csrf}, headers={**BROWSER, **headers})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert visitor.post(SIGN_IN_PATH, data={"name": "x"}, headers={**BROWSER, **headers}).status_code == 403
    assert is_signed_in(visitor)


@on_both
def test_who_has_several_tenants_chooses_one_of_them(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    hub.post("/v1/tenants", {"name": "other"})
    add_user(hub, "ada", "admin")
    hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"})
    visitor = signed_in(hub, "ada")
    before = cookie_of(visitor)

    def choose(tenant: str) -> int:
        answer = visitor.post(ACCOUNT_PATH, data={"tenant": tenant, "csrf": csrf_of(visitor)})
        return int(answer.status_code)

    assert "admin" in visitor.get(ACCOUNT_PATH).text
    assert choose("acme") == 303
    assert cookie_of(visitor) != before
    shown = visitor.get(ACCOUNT_PATH).text
    assert "<dd>acme</dd>" in shown
    assert "<dd>viewer</dd>" in shown
    for foreign in ("other", "*", "nosuch", "'; --"):
        assert choose(foreign) == 404
    old = browser(hub)
    old.cookies.set(COOKIE, before)
    assert not is_signed_in(old)


def test_an_administrator_of_the_hub_may_look_at_any_tenant(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "boss", "admin", "*")
    visitor = signed_in(hub, "boss")
    assert "<dd>all tenants</dd>" in visitor.get(ACCOUNT_PATH).text
    assert visitor.post(ACCOUNT_PATH, data={"tenant": "acme", "csrf": csrf_of(visitor)}).status_code == 303
    assert "<dd>acme</dd>" in visitor.get(ACCOUNT_PATH).text


@on_both
def test_a_person_changes_the_own_password(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor, other = signed_in(hub, "ada"), signed_in(hub, "ada")
    new = "another good password"

    def change(current: str, new: str, again: str) -> tuple[int, str]:
        fields = {"current": current, "new": new, "again": again, "csrf": csrf_of(visitor)}
        answer = visitor.post(ACCOUNT_PATH, data=fields)
        return answer.status_code, answer.text

    assert change("wrong", new, new)[0] == 403
    assert change(PASSWORD, "short", "short")[0] == 422
    assert change(PASSWORD, new, "not the same one")[0] == 409
    assert change(PASSWORD, new, new)[0] == 303
    assert is_signed_in(visitor)
    assert not is_signed_in(other)
    assert sign_in(browser(hub), "ada", PASSWORD).status_code == 403
    assert sign_in(browser(hub), "ada", new).status_code == 303


def test_who_has_got_hold_of_a_session_cannot_guess_the_password_on(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    new = "another good password"
    fields = {"current": "wrong", "new": new, "again": new, "csrf": csrf_of(visitor)}
    assert [visitor.post(ACCOUNT_PATH, data=fields).status_code for _ in range(4)] == [403, 403, 403, 429]


def test_sessions_of_the_admin_token_end_when_there_is_another_token(
    hub: HubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = browser(hub)
    assert visitor.post(SIGN_IN_PATH, data={"token": ADMIN_TOKEN}).status_code == 303
    assert is_signed_in(visitor)
    hub.people.seals._root_credential = b"of another token"
    assert not is_signed_in(visitor)


def test_another_tenant_is_looked_at_no_longer_than_the_first(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "ada")
    assert hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"}).is_success
    visitor = signed_in(hub, "ada")
    found = hub.people.sessions.find(cookie_of(visitor), "")
    assert found is not None
    hub.clock.advance(timedelta(minutes=30))
    chosen = hub.people.sessions.find(hub.people.sessions.choose(found, "acme"), "")
    assert chosen is not None
    assert (chosen.caller.tenant, chosen.expires_at) == ("acme", found.expires_at)


def test_a_session_whose_last_use_was_written_in_opens_nothing(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    with hub.database.write() as session:
        row = session.exec(select(BrowserSession)).one()
        row.seen_at += timedelta(minutes=1)
        session.add(row)
    assert not is_signed_in(visitor)

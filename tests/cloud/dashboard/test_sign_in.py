"""Signing in with the admin token, over the hub's application without NiceGUI."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cloud.app import create_app
from cloud.dashboard.attempts import Attempts
from cloud.dashboard.door import COOKIE, HOME_PATH, SIGN_IN_PATH, SIGN_OUT_PATH, DashboardDoor
from cloud.dashboard.sessions import Sessions
from cloud.dashboard.sign_in import FORM_MAX_BYTES, sign_in_routes
from tests.cloud.hub_api import ADMIN_TOKEN
from tests.support.clock import ManualClock

LIFETIME = timedelta(hours=12)
BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}


@pytest.fixture
def browser(clock: ManualClock) -> Iterator[TestClient]:
    sessions = Sessions(clock=clock, lifetime=LIFETIME)
    app = create_app(
        version="0",
        admin_token=ADMIN_TOKEN,
        body_max_bytes=65_536,
        open_routers=[
            sign_in_routes(admin_token=ADMIN_TOKEN, sessions=sessions, attempts=Attempts(clock=clock))
        ],
        admin_routers=[],
        doors=[DashboardDoor(sessions=sessions, clock=clock)],
    )
    with TestClient(app, base_url="https://hub.test", headers=BROWSER, follow_redirects=False) as client:
        yield client


def sign_in(browser: TestClient, token: str, path: str = SIGN_IN_PATH) -> Any:
    return browser.post(path, data={"token": token})


def is_signed_in(browser: TestClient) -> bool:
    """The page itself is not there: signed in, one gets as far as to hear that."""
    return {404: True, 401: False}[browser.get(HOME_PATH).status_code]


def test_the_right_token_signs_in(browser: TestClient) -> None:
    assert not is_signed_in(browser)
    answer = sign_in(browser, ADMIN_TOKEN)
    assert (answer.status_code, answer.headers["location"]) == (303, HOME_PATH)
    assert is_signed_in(browser)
    assert browser.get(SIGN_IN_PATH).headers["location"] == HOME_PATH


def test_the_cookie_is_for_this_host_its_pages_and_a_time(browser: TestClient) -> None:
    parts = sign_in(browser, ADMIN_TOKEN).headers["set-cookie"].split("; ")
    assert parts[0].startswith(f"{COOKIE}=")
    attributes = {part.lower() for part in parts[1:]}
    expected = {"httponly", "secure", "samesite=strict", "path=/", f"max-age={int(LIFETIME.total_seconds())}"}
    assert attributes == expected
    assert ADMIN_TOKEN not in parts[0]


def test_a_token_pasted_with_its_line_end_is_the_token(browser: TestClient) -> None:
    assert sign_in(browser, f"  {ADMIN_TOKEN}\n").status_code == 303


@pytest.mark.parametrize("token", ["", "wrong", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "\x00", "ü" * 100])
def test_another_token_does_not(browser: TestClient, token: str) -> None:
    answer = sign_in(browser, token)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "That is not the admin token" in answer.text
    assert not is_signed_in(browser)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token",
        b"%",
        b"\xff\xfe",
        b"token=" + b"x" * FORM_MAX_BYTES,
        b"&".join([b"a=b"] * 100),
        b'{"token": 1}',
    ],
)
def test_a_form_that_is_none_of_ours_is_a_wrong_token(browser: TestClient, body: bytes) -> None:
    answer = browser.post(SIGN_IN_PATH, content=body)
    assert answer.status_code == 403
    assert not is_signed_in(browser)


def test_after_a_wrong_token_even_the_right_one_waits(browser: TestClient, clock: ManualClock) -> None:
    for _ in range(3):
        clock.advance(seconds=60)
        assert sign_in(browser, "wrong").status_code == 403
    answer = sign_in(browser, ADMIN_TOKEN)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
    assert "Try again in 4 s" in answer.text
    assert not is_signed_in(browser)
    clock.advance(seconds=4)
    assert sign_in(browser, ADMIN_TOKEN).status_code == 303


def test_a_wrong_token_is_logged_by_its_address_and_never_itself(
    browser: TestClient, caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    with caplog.at_level(logging.DEBUG):
        sign_in(browser, "hunter2hunter2")
        clock.advance(seconds=60)
        sign_in(browser, ADMIN_TOKEN)
    assert "a wrong admin token was given at the page from testclient" in caplog.text
    assert "signed in at the page from testclient" in caplog.text
    assert "hunter2" not in caplog.text
    assert ADMIN_TOKEN not in caplog.text


def test_signing_out_ends_the_session_and_takes_the_cookie(browser: TestClient) -> None:
    sign_in(browser, ADMIN_TOKEN)
    kept = browser.cookies[COOKIE]
    answer = browser.post(SIGN_OUT_PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN_PATH)
    assert not is_signed_in(browser)
    browser.cookies.set(COOKIE, kept)
    assert not is_signed_in(browser)


def test_a_link_cannot_sign_anybody_out(browser: TestClient) -> None:
    sign_in(browser, ADMIN_TOKEN)
    assert browser.get(SIGN_OUT_PATH).status_code == 405
    assert is_signed_in(browser)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("/dashboard/device/main.a", "/dashboard/device/main.a"),
        ("/dashboard/?sort=lag", "/dashboard/?sort=lag"),
        ("https://evil.test/dashboard/", HOME_PATH),
        ("//evil.test/dashboard/", HOME_PATH),
        ("/dashboard/\\evil", HOME_PATH),
        ("/v1/devices", HOME_PATH),
        ("javascript:alert(1)", HOME_PATH),
        ("/dashboard/\r\nSet-Cookie: x=y", HOME_PATH),
    ],
)
def test_one_arrives_where_one_wanted_to_go_if_that_is_ours(
    browser: TestClient, wanted: str, expected: str
) -> None:
    answer = browser.post(SIGN_IN_PATH, params={"next": wanted}, data={"token": ADMIN_TOKEN})
    assert answer.headers["location"] == expected


def test_what_stands_in_the_address_does_not_get_into_the_page_as_markup(browser: TestClient) -> None:
    answer = browser.get(f'{SIGN_IN_PATH}?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&x="><script>')
    assert answer.status_code == 200
    assert "<script" not in answer.text


def test_the_form_is_no_part_of_the_api_document(browser: TestClient) -> None:
    document = browser.get("/v1/openapi.json", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}).json()
    assert [path for path in document["paths"] if "dashboard" in path] == []

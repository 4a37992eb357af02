"""Signing in with the admin token: the expert's way, over the hub's application without NiceGUI."""

import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cloud.dashboard.door import COOKIE, HOME_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from cloud.dashboard.forms import FORM_MAX_BYTES
from cloud.people.attempts import FREE_FAILURES
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi
from tests.cloud.people.visitors import browser as browser_of
from tests.cloud.people.visitors import csrf_of, is_signed_in
from tests.support.clock import ManualClock


@pytest.fixture
def browser(hub: HubApi) -> TestClient:
    return browser_of(hub)


def sign_in(browser: TestClient, token: str, path: str = SIGN_IN_PATH) -> Any:
    return browser.post(path, data={"token": token})


def test_the_right_token_signs_in(browser: TestClient) -> None:
    assert not is_signed_in(browser)
    answer = sign_in(browser, ADMIN_TOKEN)
    assert (answer.status_code, answer.headers["location"]) == (303, HOME_PATH)
    assert is_signed_in(browser)
    assert browser.get(SIGN_IN_PATH).headers["location"] == HOME_PATH
    assert ADMIN_TOKEN not in browser.cookies[COOKIE]


def test_a_token_pasted_with_its_line_end_is_the_token(browser: TestClient) -> None:
    assert sign_in(browser, f"  {ADMIN_TOKEN}\n").status_code == 303


@pytest.mark.parametrize("token", ["wrong", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "\x00", "ü" * 100])
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
        b"token=",
        b"%",
        b"\xff\xfe",
        b"token=" + b"x" * FORM_MAX_BYTES,
        b"&".join([b"a=b"] * 100),
        b'{"token": 1}',
    ],
)
def test_a_form_that_is_none_of_ours_lets_nobody_in(browser: TestClient, body: bytes) -> None:
    answer = browser.post(SIGN_IN_PATH, content=body)
    assert answer.status_code == 403
    assert not is_signed_in(browser)


def test_after_wrong_tokens_even_the_right_one_waits(browser: TestClient, clock: ManualClock) -> None:
    for _ in range(FREE_FAILURES):
        assert sign_in(browser, "wrong").status_code == 403
    answer = sign_in(browser, ADMIN_TOKEN)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert "Try again in 1 s" in answer.text
    assert not is_signed_in(browser)
    clock.advance(seconds=1)
    assert sign_in(browser, ADMIN_TOKEN).status_code == 303


def test_a_wrong_token_is_never_logged(
    browser: TestClient, caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    with caplog.at_level(logging.DEBUG):
        sign_in(browser, "hunter2hunter2")
        clock.advance(seconds=60)
        sign_in(browser, ADMIN_TOKEN)
    assert "hunter2" not in caplog.text
    assert ADMIN_TOKEN not in caplog.text


def test_signing_out_ends_the_session_and_takes_the_cookie(browser: TestClient) -> None:
    sign_in(browser, ADMIN_TOKEN)
    kept = browser.cookies[COOKIE]
    answer = browser.post(SIGN_OUT_PATH, data={"csrf": csrf_of(browser)})
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

"""Signing in by name and password, at the hub's real door."""

import logging
from datetime import timedelta

import pyotp
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete
from sqlmodel import select

from cloud.audit.tables import AuditEntry
from cloud.dashboard.door import COOKIE, HOME_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from cloud.dashboard.sign_in import KNOWN_COOKIE
from cloud.people.attempts import FREE_FAILURES, WAIT_MAX_S, Attempts
from cloud.people.passwords import Cost, Passwords
from cloud.people.tables import SignInAttempts, User
from tests.cloud.hub_api import ADMIN_TOKEN, CHEAP, HubApi
from tests.cloud.people.visitors import (
    PASSWORD,
    add_user,
    browser,
    csrf_of,
    deeds,
    enrol_totp,
    is_signed_in,
    on_both,
    program,
    sign_in,
    signed_in,
)


def fail(visitor: TestClient, name: str, times: int) -> list[int]:
    return [sign_in(visitor, name, "not the password").status_code for _ in range(times)]


def forget_failures(hub: HubApi) -> None:
    with hub.database.write() as session:
        session.execute(delete(SignInAttempts))


def test_name_and_password_sign_in(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = browser(hub)
    assert not is_signed_in(visitor)
    answer = sign_in(visitor, " Ada ", PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, HOME_PATH)
    assert is_signed_in(visitor)
    assert "operator" in visitor.get("/dashboard/account").text


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "not the password"),
        ("ada", ""),
        ("nobody", PASSWORD),
        ("", ""),
        ("root", ADMIN_TOKEN),
        ("a" * 5_000, PASSWORD),
        ("ada\x00", PASSWORD),
        ("ada", "ü" * 1_000),
    ],
)
def test_anything_else_does_not_and_reads_the_same(hub: HubApi, name: str, password: str) -> None:
    add_user(hub, "ada")
    visitor = browser(hub)
    answer = sign_in(visitor, name, password)
    assert answer.status_code == 403
    assert "Name, password or code is wrong" in answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert not is_signed_in(visitor)


def test_an_unknown_name_costs_a_hash_as_well(hub: HubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(hub, "ada")
    judged: list[bool] = []
    fits = Passwords.fits

    def counted(self: Passwords, password: str, hashed: str | None) -> bool:
        judged.append(hashed is None)
        return fits(self, password, hashed)

    monkeypatch.setattr(Passwords, "fits", counted)
    sign_in(browser(hub), "ada", "not the password")
    sign_in(browser(hub), "nobody", "not the password")
    assert judged == [False, True]


@on_both
def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    hub.post("/v1/users/ada/disable")
    assert not is_signed_in(visitor)
    assert sign_in(visitor, "ada").status_code == 403
    hub.post("/v1/users/ada/enable")
    assert not is_signed_in(visitor)
    assert sign_in(visitor, "ada").status_code == 303


def test_without_a_role_nobody_gets_in_and_is_told_why(hub: HubApi) -> None:
    add_user(hub, "ada")
    assert hub.client.delete("/v1/users/ada/roles/main").status_code == 204
    answer = sign_in(browser(hub), "ada")
    assert answer.status_code == 403
    assert "no role on this hub" in answer.text


def test_another_password_ends_every_session(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitors = [signed_in(hub, "ada"), signed_in(hub, "ada")]
    new = "another good password"
    assert hub.client.put("/v1/users/ada/password", json={"password": new}).status_code == 200
    assert [is_signed_in(visitor) for visitor in visitors] == [False, False]
    assert sign_in(browser(hub), "ada", PASSWORD).status_code == 403
    assert sign_in(browser(hub), "ada", new).status_code == 303


@on_both
def test_a_hash_of_older_parameters_is_made_anew_at_sign_in(hub: HubApi) -> None:
    add_user(hub, "ada")
    older = Passwords(Cost(time_cost=2, memory_kib=8, lanes=1)).hash(PASSWORD)
    with hub.database.write() as session:
        user = session.get(User, "ada")
        assert user is not None
        user.password_hash = older
        hub.people.seals.seal(user)
        session.add(user)
    signed_in(hub, "ada")
    with hub.database.read() as session:
        user = session.get(User, "ada")
        assert user is not None
        assert user.password_hash is not None
        assert user.password_hash != older
        assert not Passwords(CHEAP).is_outdated(user.password_hash)
    signed_in(hub, "ada")


@on_both
def test_a_code_is_asked_for_counts_once_and_may_be_a_step_off(hub: HubApi) -> None:
    add_user(hub, "ada")
    codes = enrol_totp(hub, "ada")
    used = codes.at(hub.clock.now())
    assert sign_in(browser(hub), "ada").status_code == 403
    assert sign_in(browser(hub), "ada", code="000000").status_code == 403
    # The code that confirmed the enrolment is used up.
    assert sign_in(browser(hub), "ada", code=used).status_code == 403
    hub.clock.advance(seconds=90)
    now = hub.clock.now()
    for steps, status in (
        (-2, 403),
        (2, 403),
        (-1, 303),
        (-1, 403),
        (1, 303),
        (0, 403),  # older than one that was used
    ):
        code = codes.at(now + timedelta(seconds=30 * steps))
        assert sign_in(browser(hub), "ada", code=code).status_code == status, steps
        forget_failures(hub)


def test_a_right_code_without_the_password_is_worth_nothing(hub: HubApi) -> None:
    add_user(hub, "ada")
    codes = enrol_totp(hub, "ada")
    hub.clock.advance(seconds=90)
    code = codes.at(hub.clock.now())
    assert sign_in(browser(hub), "ada", "not the password", code).status_code == 403
    assert sign_in(browser(hub), "ada", PASSWORD, code).status_code == 303  # and it was not used up


def test_an_admin_resets_codes_of_a_lost_phone(hub: HubApi) -> None:
    add_user(hub, "ada")
    enrol_totp(hub, "ada")
    assert hub.client.delete("/v1/users/ada/totp").json()["has_totp"] is False
    assert sign_in(browser(hub), "ada").status_code == 303


def test_an_enrolment_needs_a_code_of_its_own_secret_in_time(hub: HubApi) -> None:
    add_user(hub, "ada")
    add_user(hub, "bob")
    made = hub.post("/v1/users/ada/totp")

    def confirm(name: str, ticket: str, code: str) -> str:
        answer = hub.client.put(f"/v1/users/{name}/totp", json={"ticket": ticket, "code": code})
        return "" if answer.is_success else str(answer.json()["code"])

    codes = pyotp.TOTP(made["secret"])
    right = codes.at(hub.clock.now())
    assert confirm("ada", made["ticket"], "000000" if right != "000000" else "111111") == "code_wrong"
    assert confirm("bob", made["ticket"], right) == "ticket_invalid"
    assert confirm("ada", made["ticket"][:-2] + "00", right) == "ticket_invalid"
    assert confirm("ada", "", right) == "ticket_invalid"
    hub.clock.advance(seconds=600)
    assert confirm("ada", made["ticket"], codes.at(hub.clock.now())) == "ticket_invalid"
    assert hub.get("/v1/users/ada")["has_totp"] is False


@on_both
def test_failures_cost_a_wait_that_doubles_and_has_a_bound(hub: HubApi) -> None:
    add_user(hub, "ada")
    visitor = browser(hub)
    assert fail(visitor, "ada", FREE_FAILURES) == [403] * FREE_FAILURES
    waits = []
    for _ in range(9):
        answer = sign_in(visitor, "ada")
        assert answer.status_code == 429  # even the right one waits
        waits.append(int(answer.headers["retry-after"]))
        hub.clock.advance(seconds=waits[-1])
        assert fail(visitor, "ada", 1) == [403]
    assert waits == [1, 2, 4, 8, 16, 32, WAIT_MAX_S, WAIT_MAX_S, WAIT_MAX_S]
    hub.clock.advance(seconds=WAIT_MAX_S)
    assert sign_in(visitor, "ada").status_code == 303
    assert fail(visitor, "ada", FREE_FAILURES) == [403] * FREE_FAILURES  # forgotten by the success


def from_address(hub: HubApi, address: str) -> TestClient:
    return TestClient(
        hub.client.app,
        base_url="https://hub.test",
        headers={"Origin": "https://hub.test"},
        follow_redirects=False,
        client=(address, 4_711),
    )


def test_a_name_is_slowed_down_from_many_addresses_too(hub: HubApi) -> None:
    add_user(hub, "ada")
    statuses = [fail(from_address(hub, f"198.51.100.{n}"), "ada", 1)[0] for n in range(FREE_FAILURES + 1)]
    assert statuses == [403] * FREE_FAILURES + [429]
    assert fail(from_address(hub, "198.51.100.99"), "bob", 1) == [403]


def test_a_stranger_cannot_lock_out_a_browser_that_signed_in_before(hub: HubApi) -> None:
    add_user(hub, "ada")
    hers = from_address(hub, "192.0.2.1")
    assert sign_in(hers, "ada").status_code == 303
    assert hers.post(SIGN_OUT_PATH, data={"csrf": csrf_of(hers)}).status_code == 303
    for n in range(20):
        fail(from_address(hub, f"198.51.100.{n}"), "ada", 1)
    assert sign_in(from_address(hub, "192.0.2.2"), "ada").status_code == 429  # another browser waits
    assert sign_in(hers, "ada").status_code == 303


def test_the_mark_of_a_known_browser_is_of_one_name_and_cannot_be_forged(hub: HubApi) -> None:
    add_user(hub, "ada")
    add_user(hub, "bob")
    mark = signed_in(hub, "bob").cookies[KNOWN_COOKIE]
    for n in range(FREE_FAILURES):
        fail(from_address(hub, f"198.51.100.{n}"), "ada", 1)
    for forged in (mark, mark[:-1] + "0", "a.9999999999999.b", "", "..", "x" * 4_000):
        visitor = from_address(hub, "192.0.2.7")
        visitor.cookies.set(KNOWN_COOKIE, forged)
        assert sign_in(visitor, "ada").status_code == 429, forged


@on_both
def test_many_tries_at_once_count_before_they_are_judged(hub: HubApi) -> None:
    attempts = hub.people.sign_in._attempts
    keys = attempts.keys("192.0.2.1", "ada", now=hub.clock.now())
    waits = []
    for _ in range(5):
        with hub.database.write() as session:
            waits.append(attempts.begin(session, keys, now=hub.clock.now()))
    assert waits == [0, 0, 0, 1, 1]


@on_both
def test_the_table_of_failures_is_bounded_and_holds_no_name(hub: HubApi) -> None:
    attempts = Attempts(bytes(32), rows_max=6)
    for number in range(10):
        keys = attempts.keys(f"198.51.100.{number}", f"name-{number}", now=hub.clock.now())
        with hub.database.write() as session:
            attempts.begin(session, keys, now=hub.clock.now())
        hub.clock.advance(seconds=1)
    with hub.database.read() as session:
        rows = session.exec(select(SignInAttempts)).all()
    assert len(rows) <= 6
    assert not any("name" in row.key for row in rows)


@on_both
def test_success_and_failure_are_in_the_audit_log_without_what_was_typed(
    hub: HubApi, caplog: pytest.LogCaptureFixture
) -> None:
    add_user(hub, "ada")
    with caplog.at_level(logging.DEBUG):
        sign_in(browser(hub), "ada", "hunter2hunter2")
        sign_in(browser(hub), "my secret typed as name", "hunter2hunter2")
        signed_in(hub, "ada")
    refused = deeds(hub, "session.refuse")
    assert [entry["detail"]["reason"] for entry in refused] == ["wrong_password", "unknown_name"]
    assert refused[0]["target"] == "ada"
    assert refused[1]["target"].startswith("unknown:")
    (begun,) = deeds(hub, "session.begin")
    assert (begun["actor"], begun["tenant"], begun["address"]) == ("ada", "main", "testclient")
    with hub.database.read() as session:
        everything = b"".join(session.exec(select(AuditEntry.entry)).all())
    for secret in ("hunter2", "secret typed", PASSWORD):
        assert secret.encode() not in everything
        assert secret not in caplog.text


def test_the_sign_in_page_offers_the_token_only_folded_once_there_are_users(hub: HubApi) -> None:
    assert "<details open>" in browser(hub).get(SIGN_IN_PATH).text
    add_user(hub, "ada")
    assert "<details >" in browser(hub).get(SIGN_IN_PATH).text
    assert 'hidden>\n<div class="or"' in browser(hub).get(SIGN_IN_PATH).text  # no identity provider


def test_what_was_typed_comes_back_as_text(hub: HubApi) -> None:
    add_user(hub, "ada")
    answer = sign_in(browser(hub), '"><script>alert(1)</script>')
    assert "<script" not in answer.text


def test_a_session_is_no_bearer_token_and_a_bearer_token_no_session(hub: HubApi) -> None:
    add_user(hub, "ada", "admin")
    visitor = signed_in(hub, "ada")
    assert program(hub, visitor.cookies[COOKIE]).get("/v1/users").status_code == 401
    assert visitor.get("/v1/users").status_code == 401
    stranger = browser(hub)
    stranger.cookies.set(COOKIE, ADMIN_TOKEN)
    assert not is_signed_in(stranger)

"""Somebody can write to the hub's database, but not read its keys: what they write lets nobody in, and shows."""

from typing import Any

import pytest
from sqlmodel import Session

from cloud.checks.people import check
from cloud.checks.subject import Subject
from cloud.people.passwords import Passwords
from cloud.people.tables import Membership, User
from shared.enrolment import BrokerAddress
from shared.findings import State
from tests.cloud.hub_api import CHEAP, HubApi
from tests.cloud.people.visitors import (
    PASSWORD,
    add_user,
    browser,
    deeds,
    enrol_totp,
    is_signed_in,
    on_both,
    sign_in,
    signed_in,
)


def user_of(session: Session, name: str) -> User:
    user = session.get(User, name)
    assert user is not None
    return user


def subject_of(hub: HubApi) -> Subject:
    return Subject(
        settings=hub.settings,
        clock=hub.clock,
        version="0",
        identity=hub.identity,
        database=hub.database,
        has_tables=True,
        processes=(),
        broker=BrokerAddress(host="127.0.0.1", port=8883),
        has_own_broker=True,
    )


@pytest.mark.parametrize(
    "values",
    [
        {"password_hash": Passwords(CHEAP).hash("mallory's own password")},
        {"is_disabled": False},
        {"totp_secret": None},
        {"oidc_issuer": "https://evil.test", "oidc_subject": "mallory"},
        {"totp_last_step": 1},
        {"mac": bytes(32)},
        {"mac": b"short"},
    ],
)
def test_a_users_row_that_was_tampered_with_lets_nobody_in(
    hub: HubApi, values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    add_user(hub, "ada")
    visitor = signed_in(hub, "ada")
    if "is_disabled" in values:
        hub.post("/v1/users/ada/disable")
    if "totp_secret" in values:
        enrol_totp(hub, "ada")
    with hub.database.write() as session:
        row = user_of(session, "ada")
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)
    assert not is_signed_in(visitor)
    for password in (PASSWORD, "mallory's own password"):
        assert sign_in(browser(hub), "ada", password).status_code == 403
    assert caplog.text.count("the user ada was changed behind the hub's back") == 1  # once, however often
    assert {entry["detail"]["reason"] for entry in deeds(hub, "session.refuse")} == {"row_tampered"}
    assert hub.get("/v1/users/ada")["is_sound"] is False


def test_a_role_that_was_raised_counts_for_nothing(hub: HubApi) -> None:
    add_user(hub, "ada", "viewer")
    with hub.database.write() as session:
        membership = session.get(Membership, ("ada", "main"))
        assert membership is not None
        membership.role = "admin"
        session.add(membership)
    answer = sign_in(browser(hub), "ada")
    assert (answer.status_code, "no role" in answer.text) == (403, True)


def test_a_role_that_was_written_in_counts_for_nothing(hub: HubApi) -> None:
    add_user(hub, "ada", "viewer")
    with hub.database.write() as session:
        old = session.get(Membership, ("ada", "main"))
        assert old is not None
        session.add(Membership(user_name="ada", tenant="*", role="admin", mac=old.mac))
    me = signed_in(hub, "ada").get("/dashboard/account").text
    assert "<dd>main</dd>" in me
    assert "<dd>viewer</dd>" in me


def test_a_user_that_was_written_in_cannot_sign_in(hub: HubApi) -> None:
    add_user(hub, "ada", "admin", "*")
    with hub.database.write() as session:
        ada = user_of(session, "ada")
        session.add(
            User(name="mallory", password_hash=ada.password_hash, created_at=ada.created_at, mac=ada.mac)
        )
        session.flush()
        session.add(Membership(user_name="mallory", tenant="*", role="admin", mac=bytes(32)))
    assert sign_in(browser(hub), "mallory").status_code == 403


@on_both
def test_a_change_of_something_else_does_not_make_a_tampered_row_good(hub: HubApi) -> None:
    add_user(hub, "ada")
    with hub.database.write() as session:
        row = user_of(session, "ada")
        row.password_hash = Passwords(CHEAP).hash("mallory's own password")
        session.add(row)
    for method, path, body in (
        ("POST", "/v1/users/ada/enable", None),
        ("POST", "/v1/users/ada/disable", None),
        ("PUT", "/v1/users/ada/password", {"password": "another good password"}),
        ("DELETE", "/v1/users/ada/totp", None),
    ):
        assert hub.refusal(method, path, body) == (409, "row_tampered")
    assert sign_in(browser(hub), "ada", "mallory's own password").status_code == 403
    assert hub.client.delete("/v1/users/ada").status_code == 204  # the way out
    add_user(hub, "ada")
    assert sign_in(browser(hub), "ada").status_code == 303


@on_both
def test_the_doctor_names_what_was_changed(hub: HubApi) -> None:
    add_user(hub, "ada")
    add_user(hub, "bob")
    (well,) = check(subject_of(hub))
    assert well.state is State.OK
    with hub.database.write() as session:
        row = user_of(session, "ada")
        row.is_disabled = True
        session.add(row)
        membership = session.get(Membership, ("bob", "main"))
        assert membership is not None
        membership.role = "admin"
        session.add(membership)
    (found,) = check(subject_of(hub))
    assert found.state is State.FAIL
    assert "the user ada" in found.sentence
    assert "the role of bob in main" in found.sentence

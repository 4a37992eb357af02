"""Signing in for an API token: by password and code, at the hub's real door; what is done with it its user did."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cloud.people.attempts import FREE_FAILURES
from cloud.people.sign_in import SIGN_INS_PER_USER_MAX
from tests.cloud.hub_api import HubApi, hub_api
from tests.cloud.people.visitors import PASSWORD, add_user, deeds, enrol_totp, on_both, program
from tests.support.clock import ManualClock

PATH = "/v1/sign-in"
FLEET = "/v1/twins/fleet"


def stranger(hub: HubApi) -> TestClient:
    return TestClient(hub.client.app, raise_server_exceptions=False)


def ask(hub: HubApi, name: str, password: str = PASSWORD, **more: Any) -> tuple[int, Any]:
    answer = stranger(hub).post(PATH, json={"name": name, "password": password, **more})
    return answer.status_code, answer.json()


def token_of(hub: HubApi, name: str, **more: Any) -> str:
    status, body = ask(hub, name, **more)
    assert status == 201, body
    return str(body["token"])


def works(hub: HubApi, token: str) -> bool:
    return program(hub, token).get("/v1/me").status_code == 200


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_password_that_is_no_text_is_a_wrong_one(hub: HubApi, name: str) -> None:
    add_user(hub, "ada")
    body = b'{"name": "%s", "password": "half a character: \\ud800"}' % name.encode()
    answer = stranger(hub).post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (403, "sign_in_refused")


@on_both
def test_a_token_is_its_users_own(hub: HubApi) -> None:
    add_user(hub, "ada", "author")
    status, body = ask(hub, " Ada ")
    assert status == 201
    view = body["view"]
    assert (view["created_by"], view["role"], view["tenant"], view["label"]) == (
        "ada",
        "author",
        "main",
        "sign-in",
    )
    me = program(hub, body["token"]).get("/v1/me").json()
    assert (me["name"], me["tenant"], me["permissions"]) == (
        f"token:{view['id']}",
        "main",
        ["author", "read"],
    )
    begun, made = deeds(hub, "session.begin"), deeds(hub, "api_token.create")
    assert [(entry["actor"], entry["detail"]["for"]) for entry in begun] == [("ada", "api_token")]
    assert [(entry["actor"], entry["target"]) for entry in made] == [("ada", view["id"])]
    hub.clock.advance(timedelta(seconds=hub.settings.api_token_ttl_s))
    assert not works(hub, body["token"])


def test_its_tenant_role_and_life_are_chosen_within_what_the_user_has(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    hub.post("/v1/tenants", {"name": "globex"})
    add_user(hub, "ada", "operator")
    assert hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"}).is_success
    assert ask(hub, "ada", tenant="acme")[1]["view"]["role"] == "viewer"
    assert ask(hub, "ada", role="viewer")[1]["view"]["role"] == "viewer"
    for more in (
        {"tenant": "globex"},
        {"tenant": "nowhere"},
        {"tenant": "*"},
        {"tenant": "acme", "role": "operator"},
        {"role": "admin"},
    ):
        assert (ask(hub, "ada", **more)[0], ask(hub, "ada", **more)[1]["code"]) == (403, "forbidden"), more
        hub.clock.advance(timedelta(minutes=20))
    too_long = hub.settings.api_token_max_s + 1
    assert ask(hub, "ada", ttl_s=too_long)[1]["code"] == "invalid"
    add_user(hub, "boss", "admin", "*")
    assert ask(hub, "boss")[1]["view"]["tenant"] == "*"
    assert ask(hub, "boss", tenant="globex")[1]["view"]["tenant"] == "globex"
    assert ask(hub, "boss", tenant="nowhere")[1]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "not the password"), ("nobody", PASSWORD), ("root", "x")]
)
def test_anything_wrong_reads_the_same_and_is_counted(hub: HubApi, name: str, password: str) -> None:
    add_user(hub, "ada")
    answers = [ask(hub, name, password) for _ in range(FREE_FAILURES)]
    assert {status for status, _ in answers} == {403}
    assert {body["code"] for _, body in answers} == {"sign_in_refused"}
    status, body = ask(hub, "ada")
    assert (status, body["code"]) == (429, "wait")
    assert len(deeds(hub, "session.refuse")) == FREE_FAILURES


def test_a_code_is_asked_for_and_counts_once(hub: HubApi) -> None:
    add_user(hub, "ada")
    codes = enrol_totp(hub, "ada")
    hub.clock.advance(timedelta(seconds=60))
    code = codes.at(hub.clock.now())
    assert ask(hub, "ada")[1]["code"] == "sign_in_refused"
    assert ask(hub, "ada", code=code, role="admin")[1]["code"] == "forbidden"
    assert ask(hub, "ada", code=code)[1]["code"] == "sign_in_refused"
    hub.clock.advance(timedelta(seconds=60))
    assert works(hub, token_of(hub, "ada", code=codes.at(hub.clock.now())))


@on_both
def test_tokens_of_sign_ins_end_with_the_password_and_the_oldest_with_one_too_many(hub: HubApi) -> None:
    add_user(hub, "ada")
    first = token_of(hub, "ada")
    hub.clock.advance(timedelta(seconds=1))
    others = [token_of(hub, "ada") for _ in range(SIGN_INS_PER_USER_MAX - 1)]
    assert works(hub, first)
    others.append(token_of(hub, "ada"))
    assert not works(hub, first)
    assert all(works(hub, token) for token in others)
    new = {"password": "another good password"}
    assert hub.client.put("/v1/users/ada/password", json=new).is_success
    assert not any(works(hub, token) for token in others)


def test_other_codes_end_the_tokens_of_sign_ins(hub: HubApi) -> None:
    add_user(hub, "ada")
    token = token_of(hub, "ada")
    enrol_totp(hub, "ada")
    assert not works(hub, token)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", ManualClock(), two_person_actions=("twin.fleet",)) as hub:
        yield hub


@pytest.mark.slow
def test_two_people_who_signed_in_carry_out_the_two_person_rule(strict: HubApi) -> None:
    for name in ("ann", "ben"):
        add_user(strict, name, "admin", "*")
    ann, again, ben = (program(strict, token_of(strict, name)) for name in ("ann", "ann", "ben"))
    asked = ann.put(FLEET, json={"document": {"log_level": "debug"}})
    assert asked.status_code == 202, asked.text
    proposal = asked.json()
    agree = f"/v1/proposals/{proposal['id']}/agree"
    for same in (ann, again):
        answer = same.post(agree, json={"content_sha256": proposal["content_sha256"]})
        assert (answer.status_code, answer.json()["code"]) == (403, "same_person")
    agreed = ben.post(agree, json={"content_sha256": proposal["content_sha256"]})
    assert agreed.is_success, agreed.text
    assert strict.get(FLEET)["document"] == {"log_level": "debug"}

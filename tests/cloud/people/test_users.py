"""Who is in charge of whom: users, roles and tenants, at the API."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from cloud.people import repository
from cloud.people.tables import User
from shared.enrolment import Token
from shared.errors import RefusedError
from tests.cloud.hub_api import HubApi, enrol_request
from tests.cloud.people.visitors import (
    PASSWORD,
    add_user,
    api_token,
    browser,
    deeds,
    on_both,
    program,
    sign_in,
)
from tests.support.device import signer_from


@pytest.fixture
def tenants(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    hub.post("/v1/tenants", {"name": "globex"})


def admin_of(hub: HubApi, tenant: str) -> TestClient:
    return program(hub, api_token(hub, role="admin", tenant=tenant)[0])


def refusal(client: TestClient, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer = client.request(method, path, json=body)
    assert answer.is_error, answer.text
    return answer.status_code, answer.json()["code"]


@on_both
def test_a_user_is_made_shown_and_deleted(hub: HubApi) -> None:
    add_user(hub, "ada@example.org", "author")
    user = hub.get("/v1/users/ada@example.org")
    assert user["roles"] == [{"tenant": "main", "role": "author"}]
    assert (user["has_password"], user["has_totp"], user["is_sound"]) == (True, False, True)
    assert "hash" not in str(user)
    assert hub.client.delete("/v1/users/ada@example.org").status_code == 204
    assert hub.refusal("GET", "/v1/users/ada@example.org") == (404, "user_unknown")
    assert [entry["action"] for entry in deeds(hub, "user.delete")] == ["user.delete"]


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "-a", "a" * 65, "a/b", "../a", "a\n", "é", "a<b>", "token:x", "%2e"]
)
def test_a_name_that_is_none_is_refused(hub: HubApi, name: str) -> None:
    assert hub.client.post("/v1/users", json={"name": name}).status_code == 422


@pytest.mark.parametrize("name", ["root", "hub", "unknown", "oidc", "ada"])
def test_a_name_that_is_taken_is_refused(hub: HubApi, name: str) -> None:
    add_user(hub, "ada")
    assert hub.refusal("POST", "/v1/users", {"name": name}) == (409, "user_exists")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "x" * 12,
        "passwordpassword",
        "Password1234!",
        "qwertyuiop123",
        "adalovelace1",
        "adalovelaceadalovelace",
        "123456789012",
        "changeme!!!!!",
        "tab\tin the password",
        "ü" * 129,
    ],
)
def test_a_password_that_is_guessed_first_is_refused(hub: HubApi, password: str) -> None:
    body = {"name": "adalovelace", "password": password}
    answer = hub.client.post("/v1/users", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] in ("password_weak", "invalid")
    assert password not in answer.text


@on_both
def test_users_are_listed_page_by_page(hub: HubApi) -> None:
    for number in range(5):
        add_user(hub, f"user-{number}", password=None)
    first = hub.get("/v1/users", limit=3)
    assert [user["name"] for user in first["users"]] == ["user-0", "user-1", "user-2"]
    last = hub.get("/v1/users", limit=3, after=first["next"])
    assert [user["name"] for user in last["users"]] == ["user-3", "user-4"]
    assert last["next"] is None


@on_both
def test_an_admin_of_a_tenant_manages_its_people_alone(hub: HubApi, tenants: None) -> None:
    add_user(hub, "gil", tenant="globex")
    acme = admin_of(hub, "acme")
    made = {"name": "ada", "password": PASSWORD, "tenant": "acme", "role": "admin"}
    assert acme.post("/v1/users", json=made).status_code == 201
    assert [user["name"] for user in acme.get("/v1/users").json()["users"]] == ["ada"]
    for method, path, body in (
        ("GET", "/v1/users/gil", None),
        ("DELETE", "/v1/users/gil", None),
        ("POST", "/v1/users/gil/disable", None),
        ("POST", "/v1/users/gil/enable", None),
        ("PUT", "/v1/users/gil/password", {"password": PASSWORD}),
        ("POST", "/v1/users/gil/totp", None),
        ("DELETE", "/v1/users/gil/totp", None),
        ("PUT", "/v1/users/gil/roles/acme", {"role": "viewer"}),
        ("PUT", "/v1/users/gil/roles/globex", {"role": "admin"}),
        ("DELETE", "/v1/users/gil/roles/globex", None),
    ):
        # In the same words as of a name that nobody has.
        assert refusal(acme, method, path, body) == (404, "user_unknown"), path
        nobody = acme.request(method, path.replace("gil", "nobody"), json=body).json()
        assert (
            nobody["message"].replace("nobody", "gil")
            == acme.request(method, path, json=body).json()["message"]
        )
    assert hub.get("/v1/users/gil")["roles"] == [{"tenant": "globex", "role": "operator"}]


def test_nobody_gives_what_is_not_theirs_to_give(hub: HubApi, tenants: None) -> None:
    add_user(hub, "ada", tenant="acme")
    acme = admin_of(hub, "acme")
    made = {"name": "eve", "password": PASSWORD}
    assert refusal(acme, "POST", "/v1/users", made) == (403, "forbidden")
    assert refusal(acme, "POST", "/v1/users", {**made, "tenant": "*", "role": "viewer"}) == (403, "forbidden")
    foreign = {**made, "tenant": "globex", "role": "viewer"}
    assert refusal(acme, "POST", "/v1/users", foreign) == (404, "tenant_unknown")
    assert refusal(acme, "PUT", "/v1/users/ada/roles/*", {"role": "admin"}) == (403, "forbidden")
    assert refusal(acme, "PUT", "/v1/users/ada/roles/globex", {"role": "admin"}) == (404, "tenant_unknown")
    assert refusal(acme, "DELETE", "/v1/users/ada/roles/*") == (403, "forbidden")
    for method, path, body in (
        ("GET", "/v1/tenants", None),
        ("POST", "/v1/tenants", {"name": "mine"}),
        ("DELETE", "/v1/tenants/globex", None),
    ):
        assert refusal(acme, method, path, body) == (403, "forbidden")
    assert hub.refusal("GET", "/v1/users/eve") == (404, "user_unknown")
    assert hub.get("/v1/users/ada")["roles"] == [{"tenant": "acme", "role": "operator"}]


def test_who_also_belongs_elsewhere_is_not_one_tenants_to_change(hub: HubApi, tenants: None) -> None:
    add_user(hub, "ada", tenant="acme")
    hub.client.put("/v1/users/ada/roles/globex", json={"role": "viewer"})
    add_user(hub, "boss", "admin", "*")
    hub.client.put("/v1/users/boss/roles/acme", json={"role": "viewer"})
    acme = admin_of(hub, "acme")
    for name in ("ada", "boss"):
        # The other tenants' roles do not even show.
        assert [role["tenant"] for role in acme.get(f"/v1/users/{name}").json()["roles"]] == ["acme"]
        for method, path, body in (
            ("PUT", "password", {"password": PASSWORD}),
            ("POST", "disable", None),
            ("POST", "totp", None),
            ("DELETE", "totp", None),
        ):
            assert refusal(acme, method, f"/v1/users/{name}/{path}", body) == (403, "forbidden")
        assert refusal(acme, "DELETE", f"/v1/users/{name}") == (403, "forbidden")
    assert acme.put("/v1/users/ada/roles/acme", json={"role": "viewer"}).status_code == 200
    assert acme.delete("/v1/users/ada/roles/acme").status_code == 204
    assert hub.get("/v1/users/ada")["roles"] == [{"tenant": "globex", "role": "viewer"}]


@pytest.mark.parametrize("role", ["viewer", "operator", "author"])
def test_whoever_is_no_admin_manages_nobody(hub: HubApi, role: str) -> None:
    add_user(hub, "ada")
    client = program(hub, api_token(hub, role=role)[0])
    for method, path, body in (
        ("GET", "/v1/users", None),
        ("GET", "/v1/users/ada", None),
        ("POST", "/v1/users", {"name": "eve"}),
        ("DELETE", "/v1/users/ada", None),
        ("POST", "/v1/users/ada/disable", None),
        ("POST", "/v1/users/ada/enable", None),
        ("PUT", "/v1/users/ada/password", {"password": PASSWORD}),
        ("POST", "/v1/users/ada/totp", None),
        ("PUT", "/v1/users/ada/totp", {"ticket": "", "code": "000000"}),
        ("DELETE", "/v1/users/ada/totp", None),
        ("PUT", "/v1/users/ada/roles/main", {"role": "admin"}),
        ("DELETE", "/v1/users/ada/roles/main", None),
        ("GET", "/v1/tenants", None),
        ("POST", "/v1/tenants", {"name": "mine"}),
        ("GET", "/v1/api-tokens", None),
        ("POST", "/v1/api-tokens", {"label": "x", "role": role}),
        ("DELETE", "/v1/api-tokens/aaaaaaaaaaaaaaaa", None),
    ):
        assert refusal(client, method, path, body) == (403, "forbidden"), path
    assert client.get("/v1/me").json()["permissions"] == sorted(client.get("/v1/me").json()["permissions"])


@on_both
def test_the_last_administrators_way_in_stays_but_for_the_admin_token(hub: HubApi) -> None:
    add_user(hub, "boss", "admin", "*")
    add_user(hub, "second", "admin", "*")
    everywhere = program(hub, api_token(hub, role="admin", tenant="*")[0])
    assert everywhere.post("/v1/users/second/disable").status_code == 200
    for method, path, body in (
        ("POST", "/v1/users/boss/disable", None),
        ("DELETE", "/v1/users/boss", None),
        ("DELETE", "/v1/users/boss/roles/*", None),
        ("PUT", "/v1/users/boss/roles/*", {"role": "viewer"}),
    ):
        assert refusal(everywhere, method, path, body) == (403, "last_administrator"), path
    assert sign_in(browser(hub), "boss").status_code == 303
    assert everywhere.post("/v1/users/second/enable").status_code == 200
    assert everywhere.delete("/v1/users/boss").status_code == 204
    assert hub.client.delete("/v1/users/second").status_code == 204  # with the admin token


def test_who_another_hubs_provider_knows_is_no_way_in(hub: HubApi) -> None:
    add_user(hub, "boss", "admin", "*")
    elsewhere = {"oidc_subject": "sub-1", "oidc_issuer": "https://elsewhere.test"}
    hub.post("/v1/users", {"name": "away", "role": "admin", "tenant": "*", **elsewhere})
    everywhere = program(hub, api_token(hub, role="admin", tenant="*")[0])
    assert refusal(everywhere, "POST", "/v1/users/boss/disable") == (403, "last_administrator")


@pytest.mark.parametrize("field", ["oidc_subject", "oidc_issuer"])
@pytest.mark.parametrize("character", ["\n", "\x00", "\x1b", "\x7f", "\x85"])
def test_subjects_and_issuers_have_no_control_characters(hub: HubApi, field: str, character: str) -> None:
    body = {"name": "ada", "oidc_subject": "sub-1", "oidc_issuer": "https://elsewhere.test"}
    body[field] += character
    assert hub.refusal("POST", "/v1/users", body) == (422, "invalid")


@on_both
def test_tenants_are_made_and_removed_when_nothing_is_in_them(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    assert hub.refusal("POST", "/v1/tenants", {"name": "acme"}) == (409, "tenant_exists")
    add_user(hub, "ada", tenant="acme")
    (tenant,) = [each for each in hub.get("/v1/tenants") if each["name"] == "acme"]
    assert (tenant["devices"], tenant["people"]) == (0, 1)
    assert hub.refusal("DELETE", "/v1/tenants/acme") == (409, "tenant_in_use")
    hub.client.delete("/v1/users/ada")
    assert hub.client.delete("/v1/tenants/acme").status_code == 204
    assert hub.refusal("DELETE", "/v1/tenants/acme") == (404, "tenant_unknown")
    wanted = {"name": "eve", "tenant": "acme", "role": "viewer"}
    assert hub.refusal("POST", "/v1/users", wanted) == (404, "tenant_unknown")
    # What was the old one's would be the new one's: settings, proposals, entries of the audit log.
    assert hub.refusal("POST", "/v1/tenants", {"name": "acme"}) == (409, "tenant_gone")


@on_both
def test_nobody_is_let_into_a_tenant_that_is_not_there(hub: HubApi) -> None:
    assert hub.refusal("POST", "/v1/tokens", {"tenant": "acme"}) == (404, "tenant_unknown")
    batch = {"tenant": "acme", "count": 2}
    assert hub.refusal("POST", "/v1/tokens/batch", batch) == (404, "tenant_unknown")
    patch = {"patch": {"log_level": "debug"}}
    assert hub.refusal("PATCH", "/v1/twins/fleet?tenant=acme", patch) == (404, "tenant_unknown")
    hub.post("/v1/tenants", {"name": "acme"})
    token = Token.parse(hub.post("/v1/tokens", {"tenant": "acme", "device": "late"})["token"])
    assert hub.client.delete("/v1/tenants/acme").status_code == 204
    request = enrol_request(token, signer=signer_from("late"))
    assert hub.refusal("POST", "/v1/enroll", request)[1] == "token_revoked"


@on_both
def test_a_user_who_goes_lets_no_device_in_any_more(hub: HubApi) -> None:
    add_user(hub, "ada", "admin")
    signed_in = hub.client.post("/v1/sign-in", json={"name": "ada", "password": PASSWORD})
    bearer = signed_in.json()["token"]
    made = program(hub, bearer).post("/v1/tokens", json={"device": "late"})
    assert hub.client.delete("/v1/users/ada").status_code == 204
    request = enrol_request(Token.parse(made.json()["token"]), signer=signer_from("late"))
    assert hub.refusal("POST", "/v1/enroll", request)[1] == "token_revoked"


def test_each_deed_is_in_the_audit_log(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    add_user(hub, "ada")
    hub.client.put("/v1/users/ada/roles/acme", json={"role": "viewer"})
    hub.client.delete("/v1/users/ada/roles/acme")
    hub.post("/v1/users/ada/disable")
    hub.post("/v1/users/ada/enable")
    hub.client.put("/v1/users/ada/password", json={"password": "another good password"})
    _, token = api_token(hub)
    hub.client.delete(f"/v1/api-tokens/{token}")
    told = [
        ("tenant.create", "acme"),
        ("user.create", "ada"),
        ("user.grant", "ada"),
        ("user.revoke", "ada"),
        ("user.disable", "ada"),
        ("user.enable", "ada"),
        ("user.set_password", "ada"),
        ("api_token.create", token),
        ("api_token.revoke", token),
    ]
    for action, target in told:
        (entry,) = deeds(hub, action)
        assert (entry["target"], entry["actor"], entry["means"]) == (target, "root", "admin_token")
    assert "another good password" not in str([deeds(hub, action) for action, _ in told])


def test_a_change_that_is_refused_leaves_no_trace(hub: HubApi) -> None:
    add_user(hub, "boss", "admin", "*")
    everywhere = program(hub, api_token(hub, role="admin", tenant="*")[0])
    assert refusal(everywhere, "DELETE", "/v1/users/boss")[0] == 403
    assert deeds(hub, "user.delete") == []
    assert hub.get("/v1/users/boss")["is_sound"] is True


def test_who_am_i_says_it(hub: HubApi) -> None:
    me = hub.get("/v1/me")
    assert (me["name"], me["tenant"], me["means"]) == ("root", None, "admin_token")
    token, token_id = api_token(hub, role="viewer")
    me = program(hub, token).get("/v1/me").json()
    assert me == {
        "name": f"token:{token_id}",
        "person": "",
        "tenant": "main",
        "permissions": ["read"],
        "means": "api_token",
    }


@on_both
def test_of_two_who_make_the_same_user_at_once_one_is_refused(hub: HubApi) -> None:
    add_user(hub, "ada")
    with hub.database.read() as session:
        known = repository.user(session, "ada")
    assert known is not None
    same = User(name="ada", created_at=known.created_at, mac=known.mac)
    with hub.database.write() as session, pytest.raises(RefusedError) as refused:
        repository.store(session, same)
    assert refused.value.code == "changed_meanwhile"

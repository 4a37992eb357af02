"""An enrolment token is good as long as whoever made it may let devices in."""

from collections.abc import Callable

import pytest

from cloud.caller import Role
from cloud.people import api_tokens
from cloud.people.tables import ApiToken
from shared.enrolment import Token
from tests.cloud.consent.people import Person, change_role, credential, person, revoke
from tests.cloud.hub_api import HubApi, enrol_request


def made_by(who: Person, device: str) -> Token:
    status, made = who.call("POST", "/v1/tokens", {"device": device})
    assert status == 201, made
    return Token.parse(made["token"])


def disable(hub: HubApi, who: Person) -> None:
    hub.post(f"/v1/users/{who.name}/disable")


def lower(hub: HubApi, who: Person) -> None:
    change_role(hub, who.name, Role.OPERATOR)


def move(hub: HubApi, who: Person) -> None:
    assert hub.client.delete(f"/v1/users/{who.name}/roles/main").status_code == 204


def tamper(hub: HubApi, who: Person) -> None:
    with hub.database.write() as session:
        row = session.get(ApiToken, who.caller.name.removeprefix("token:"))
        assert row is not None
        row.created_by = "root"  # as if the hub's administrator had made it
        session.add(row)


@pytest.mark.parametrize("lose", [disable, lower, move, revoke, tamper])
def test_whoever_lost_the_right_lets_nobody_in_by_an_old_token(
    hub: HubApi, lose: Callable[[HubApi, Person], None]
) -> None:
    ada = person(hub, "ada")
    token = made_by(ada, "fridge-1")
    lose(hub, ada)
    assert hub.refusal("POST", "/v1/enroll", enrol_request(token)) == (403, "token_revoked")
    assert hub.get("/v1/devices")["devices"] == []


def test_who_is_let_in_again_has_good_tokens_again(hub: HubApi) -> None:
    ada = person(hub, "ada")
    token = made_by(ada, "fridge-1")
    disable(hub, ada)
    assert hub.refusal("POST", "/v1/enroll", enrol_request(token)) == (403, "token_revoked")
    hub.post("/v1/users/ada/enable")
    assert hub.post("/v1/enroll", enrol_request(token))["principal"] == "main.fridge-1"


def test_a_token_of_a_program_ends_with_the_program_that_made_the_program(hub: HubApi) -> None:
    ada = person(hub, "ada")
    program = credential(hub, ada.caller)
    token, other = made_by(program, "fridge-1"), made_by(program, "fridge-2")
    hub.post("/v1/enroll", enrol_request(token))
    revoke(hub, ada)
    assert hub.refusal("POST", "/v1/enroll", enrol_request(other)) == (403, "token_revoked")


def test_a_credential_that_has_ended_by_its_time_takes_no_token_with_it(hub: HubApi) -> None:
    ada = person(hub, "ada")
    short = credential(hub, ada.caller, life_h=1)
    status, made = short.call("POST", "/v1/tokens", {"device": "fridge-1", "ttl_s": 7_200})
    assert status == 201, made
    hub.clock.advance(seconds=5_400)
    hub.post("/v1/enroll", enrol_request(Token.parse(made["token"])))


def test_a_sign_in_that_was_ended_takes_no_token_with_it(hub: HubApi) -> None:
    """As each does when somebody has signed in often, or has another password."""
    ada = person(hub, "ada")
    with hub.database.write() as session:
        row = session.get(ApiToken, ada.caller.name.removeprefix("token:"))
        assert row is not None
        row.label = api_tokens.SIGN_IN_LABEL
        session.add(row)
    token = made_by(ada, "fridge-1")
    revoke(hub, ada)
    hub.post("/v1/enroll", enrol_request(token))

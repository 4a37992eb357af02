"""Sign-in by an identity provider: a real one, and everything that may be wrong with what comes back from it."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from cloud.adapters.oidc_authlib import AuthlibProvider, Client
from cloud.dashboard.door import ACCOUNT_PATH, COOKIE, PROVIDER_PATH, RETURN_PATH, SIGN_IN_PATH
from cloud.dashboard.sign_in import FLOW_COOKIE
from cloud.settings import HubSettings
from shared.errors import ConfigError
from tests.cloud.hub_api import HubApi, hub_api
from tests.cloud.people.visitors import (
    PATIENT,
    browser,
    csrf_of,
    deeds,
    emptied,
    is_signed_in,
    program,
)
from tests.support.clock import ManualClock
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_provider
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider, running_hub: HubApi) -> Iterator[OidcProvider]:
    """As new: a test may have spoilt it."""
    key = running.key
    fresh = {
        "shown": [key],
        "subject": "carol-at-the-provider",
        "name": "carol",
        "algorithm": "RS256",
        "claims": {},
        "without": (),
        "sign": running.signed,
        "lets_codes_come_twice": False,
        "now": lambda: running_hub.clock.now().timestamp(),
        "asked": [],
        "redeemed": [],
    }
    for name, value in fresh.items():
        setattr(running, name, value)
    yield running
    running.key = key


@contextmanager
def a_hub(directory: Path, clock: ManualClock, provider: OidcProvider, **settings: Any) -> Iterator[HubApi]:
    adapter = AuthlibProvider(
        provider.issuer, Client(id=CLIENT_ID, secret=CLIENT_SECRET), keys_refetch_min_s=0
    )
    known = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT_ID, "oidc_label": "Example & Sons"}
    with hub_api(directory, clock, provider=adapter, **known, **PATIENT, **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory: pytest.TempPathFactory, running: OidcProvider) -> Iterator[HubApi]:
    with a_hub(tmp_path_factory.mktemp("oidc") / "hub", ManualClock(), running) as opened:
        yield opened


@pytest.fixture
def hub(running_hub: HubApi, provider: OidcProvider) -> HubApi:
    emptied(running_hub)
    body = {"name": "carol", "oidc_subject": "carol-at-the-provider", "tenant": "main", "role": "operator"}
    running_hub.post("/v1/users", body)
    return running_hub


def leave(visitor: TestClient, **params: str) -> str:
    """Go to the provider; the address that it sends the browser back to."""
    away = visitor.get(PROVIDER_PATH, params=params)
    assert away.status_code == 303, away.text
    answer = httpx.get(away.headers["location"], trust_env=False)
    assert answer.status_code == 303
    return str(answer.headers["location"])


def come_back(visitor: TestClient, address: str) -> Any:
    parts = urlsplit(address)
    assert parts.path == RETURN_PATH
    # The provider's redirect comes from another site, without the session's cookie and without an Origin.
    headers = {"Sec-Fetch-Site": "cross-site"}
    return visitor.get(f"{parts.path}?{parts.query}", headers=headers)


def test_the_provider_lets_a_bound_user_in(hub: HubApi, provider: OidcProvider) -> None:
    visitor = browser(hub)
    assert "Sign in with Example &amp; Sons" in visitor.get(SIGN_IN_PATH).text
    answer = come_back(visitor, leave(visitor, next="/dashboard/device/main.a"))
    assert answer.status_code == 200
    assert 'content="0;url=/dashboard/device/main.a"' in answer.text
    assert is_signed_in(visitor)
    assert FLOW_COOKIE not in visitor.cookies
    (begun,) = deeds(hub, "session.begin")
    assert (begun["actor"], begun["detail"]) == ("carol", {"how": "oidc"})
    (form,) = provider.redeemed
    assert form["grant_type"] == "authorization_code"
    assert len(form["code_verifier"]) >= 43  # RFC 7636, section 4.1


def test_who_signs_in_by_the_provider_gets_a_token_for_the_command_line(
    hub: HubApi, provider: OidcProvider
) -> None:
    visitor = browser(hub)
    come_back(visitor, leave(visitor))
    page = visitor.get(ACCOUNT_PATH).text
    assert "covey-hub" in page
    answer = visitor.post(ACCOUNT_PATH, data={"token": "new", "csrf": csrf_of(visitor)})
    found = re.search(r"covey1t\.[a-z2-7]{16}\.[A-Za-z0-9_-]{43}", answer.text)
    assert found is not None, answer.text
    me = program(hub, found[0]).get("/v1/me").json()
    assert (me["person"], me["tenant"]) == ("carol", "main")


def test_what_is_sent_to_the_provider_is_fresh_each_time_and_tells_no_secret(hub: HubApi) -> None:
    queries = []
    for _ in range(2):
        away = browser(hub).get(PROVIDER_PATH)
        queries.append(
            {name: values[0] for name, values in parse_qs(urlsplit(away.headers["location"]).query).items()}
        )
        cookie = away.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "secure" in cookie
        assert "samesite=lax" in cookie
        assert queries[-1]["nonce"] not in cookie
    for name in ("state", "nonce", "code_challenge"):
        assert queries[0][name] != queries[1][name]
        assert len(queries[0][name]) >= 43
    assert CLIENT_SECRET not in str(queries)
    assert queries[0]["redirect_uri"] == f"{hub.settings.url}{RETURN_PATH}"


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_asymmetric_signatures_count(hub: HubApi, provider: OidcProvider, algorithm: str) -> None:
    if algorithm == "ES256":
        provider.key = ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"})
        provider.shown = [provider.key]
    provider.algorithm = algorithm
    visitor = browser(hub)
    assert come_back(visitor, leave(visitor)).status_code == 200


def none(claims: dict[str, Any]) -> str:
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'kid': 'rsa-1'})}.{part(claims)}."


def by_the_secret(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), ["HS256"])


@cache
def foreign_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2_048, {"kid": kid})


def by_another_key(claims: dict[str, Any]) -> str:
    other = foreign_key("rsa-1")
    return jwt.encode({"alg": "RS256", "kid": "rsa-1"}, claims, other, ["RS256"])


def by_an_unknown_key(claims: dict[str, Any]) -> str:
    other = foreign_key("rsa-9")
    return jwt.encode({"alg": "RS256", "kid": "rsa-9"}, claims, other, ["RS256"])


def by_a_key_within(claims: dict[str, Any]) -> str:
    other = foreign_key("rsa-1")
    header = {"alg": "RS256", "kid": "rsa-1", "jwk": other.as_dict(private=False)}
    return jwt.encode(header, claims, other, ["RS256"])


@pytest.mark.parametrize("sign", [none, by_the_secret, by_another_key, by_an_unknown_key, by_a_key_within])
def test_a_signature_that_is_not_the_providers_lets_nobody_in(
    hub: HubApi, provider: OidcProvider, sign: Callable[[dict[str, Any]], str]
) -> None:
    provider.sign = sign
    refused(hub, "its signature is not the provider")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "another"}, "it answers another sign-in"),
        ({"nonce": None}, "it answers another sign-in"),
        ({"aud": "somebody-else"}, "it is for somebody else"),
        ({"aud": [CLIENT_ID, "somebody-else"]}, "it is for somebody else"),
        ({"aud": [CLIENT_ID, "b"], "azp": "b"}, "it is for somebody else"),
        ({"azp": "somebody-else"}, "it is for somebody else"),
        ({"aud": []}, "it is for somebody else"),
        ({"aud": None}, "it is for somebody else"),
        ({"iss": "https://evil.test"}, "another provider issued it"),
        ({"exp": 1}, "it has expired"),
        ({"exp": "soon"}, "it has no times"),
        ({"iat": 99_999_999_999}, "it is of the future"),
        ({"nbf": 99_999_999_999}, "it is of the future"),
        ({"sub": ""}, "it names nobody"),
        ({"sub": 7}, "it names nobody"),
        ({"sub": "x" * 256}, "it names nobody"),
    ],
)
def test_an_id_token_that_says_something_else_lets_nobody_in(
    hub: HubApi, provider: OidcProvider, claims: dict[str, Any], why: str
) -> None:
    provider.claims = claims
    refused(hub, why)


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "iat", "nonce"])
def test_an_id_token_without_a_claim_lets_nobody_in(hub: HubApi, provider: OidcProvider, name: str) -> None:
    provider.without = (name,)
    refused(hub, "does not count")


def test_an_id_token_for_several_counts_if_it_was_given_to_us(hub: HubApi, provider: OidcProvider) -> None:
    provider.claims = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    visitor = browser(hub)
    assert come_back(visitor, leave(visitor)).status_code == 200


def test_a_new_key_of_the_provider_is_found(hub: HubApi, provider: OidcProvider) -> None:
    visitor = browser(hub)
    assert come_back(visitor, leave(visitor)).status_code == 200
    provider.key = foreign_key("rsa-2")
    provider.shown = [provider.key]
    visitor = browser(hub)
    assert come_back(visitor, leave(visitor)).status_code == 200


def test_an_answer_counts_once(hub: HubApi, provider: OidcProvider) -> None:
    provider.lets_codes_come_twice = True  # the hub must see it by itself
    visitor = browser(hub)
    address = leave(visitor)
    kept = visitor.cookies[FLOW_COOKIE]
    assert come_back(visitor, address).status_code == 200
    again = browser(hub)
    again.cookies.set(FLOW_COOKIE, kept)
    answer = come_back(again, address)
    assert (answer.status_code, COOKIE in again.cookies) == (400, False)
    assert "was used already" in answer.text


def test_a_code_that_was_used_is_refused_by_the_provider(hub: HubApi) -> None:
    first, second = browser(hub), browser(hub)
    used = leave(first)
    assert come_back(first, used).status_code == 200
    state = parse_qs(urlsplit(leave(second)).query)["state"][0]
    code = parse_qs(urlsplit(used).query)["code"][0]
    answer = come_back(second, f"{RETURN_PATH}?code={code}&state={state}")
    assert (answer.status_code, is_signed_in(second)) == (403, False)


def test_an_answer_to_another_browser_lets_nobody_in(hub: HubApi, provider: OidcProvider) -> None:
    attacker, victim = browser(hub), browser(hub)
    address = leave(attacker)
    for visitor in (browser(hub), victim):
        if visitor is victim:
            leave(victim)  # has a sign-in of its own under way
        answer = come_back(visitor, address)
        assert (answer.status_code, is_signed_in(visitor)) == (400, False)
    assert provider.redeemed == []  # it was not even asked


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=x",
        "state=x",
        "code=x&state=",
        "error=access_denied&state={state}",
        "code=&state={state}",
        f"code={'x' * 5_000}&state={{state}}",
        "code=x&state={state}&iss=https://evil.test",
        "code=wrong&state={state}",
    ],
)
def test_an_answer_that_is_none_lets_nobody_in(hub: HubApi, query: str) -> None:
    visitor = browser(hub)
    state = parse_qs(urlsplit(leave(visitor)).query)["state"][0]
    answer = come_back(visitor, f"{RETURN_PATH}?{query.format(state=state)}")
    assert answer.status_code in (400, 403)
    assert not is_signed_in(visitor)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("cookie", ["", "00", "zz", "00" * 40, "00" * 4_000])
def test_a_forged_cookie_of_a_sign_in_is_worth_nothing(hub: HubApi, cookie: str) -> None:
    visitor = browser(hub)
    address = leave(visitor)
    visitor.cookies.clear()
    visitor.cookies.set(FLOW_COOKIE, cookie)
    assert come_back(visitor, address).status_code == 400


def test_a_sign_in_that_took_too_long_is_over(hub: HubApi) -> None:
    visitor = browser(hub)
    address = leave(visitor)
    hub.clock.advance(seconds=600)
    assert come_back(visitor, address).status_code == 400


def test_who_is_not_bound_is_not_let_in_whatever_the_name(hub: HubApi, provider: OidcProvider) -> None:
    provider.subject, provider.name = "mallory-at-the-provider", "carol"
    visitor = browser(hub)
    answer = come_back(visitor, leave(visitor))
    assert (answer.status_code, is_signed_in(visitor)) == (403, False)
    assert "this hub does not" in answer.text
    (entry,) = deeds(hub, "session.refuse")
    assert "mallory" not in str(entry)


def test_a_disabled_user_is_not_let_in_by_the_provider_either(hub: HubApi) -> None:
    hub.post("/v1/users/carol/disable")
    visitor = browser(hub)
    assert come_back(visitor, leave(visitor)).status_code == 403
    assert not is_signed_in(visitor)


@pytest.mark.slow
def test_unknown_people_are_made_users_only_if_the_settings_say_so(
    tmp_path: Path, clock: ManualClock, provider: OidcProvider
) -> None:
    provider.now = lambda: clock.now().timestamp()
    with a_hub(tmp_path / "hub", clock, provider, oidc_auto_create_role="viewer") as hub:
        hub.post("/v1/users", {"name": "taken"})
        names = []
        for subject, wish in (
            ("s-1", "Carol"),
            ("s-2", "taken"),
            ("s-3", "root"),
            ("s-4", "<b>"),
            ("s-1", "x"),
        ):
            provider.subject, provider.name = subject, wish
            visitor = browser(hub)
            assert come_back(visitor, leave(visitor)).status_code == 200
            names.append(deeds(hub, "session.begin")[-1]["actor"])
        assert names[0] == names[4] == "carol"
        assert all(name.startswith("oidc-") for name in names[1:4])
        user = hub.get("/v1/users/carol")
        assert user["roles"] == [{"tenant": "main", "role": "viewer"}]
        assert (user["oidc_issuer"], user["oidc_subject"]) == (provider.issuer, "s-1")
        assert len(deeds(hub, "user.create")) == 5


@pytest.mark.slow
def test_who_would_be_made_a_user_again_is_disabled_and_not_deleted(
    tmp_path: Path, clock: ManualClock, provider: OidcProvider
) -> None:
    provider.now = lambda: clock.now().timestamp()
    with a_hub(tmp_path / "hub", clock, provider, oidc_auto_create_role="operator") as hub:
        visitor = browser(hub)
        assert come_back(visitor, leave(visitor)).status_code == 200
        assert hub.refusal("DELETE", "/v1/users/carol") == (409, "user_returns")
        hub.post("/v1/users/carol/disable")
        visitor = browser(hub)
        assert come_back(visitor, leave(visitor)).status_code == 403
        hub.post("/v1/users", {"name": "local"})
        assert hub.client.delete("/v1/users/local").status_code == 204


def test_a_subject_is_bound_to_one_user(hub: HubApi) -> None:
    body = {"name": "eve", "oidc_subject": "carol-at-the-provider", "tenant": "main", "role": "admin"}
    assert hub.refusal("POST", "/v1/users", body) == (409, "subject_taken")


@pytest.mark.slow
def test_a_provider_that_is_away_is_told(tmp_path: Path, clock: ManualClock) -> None:
    adapter = AuthlibProvider(f"http://127.0.0.1:{free_port()}", Client(id=CLIENT_ID, secret=None))
    with hub_api(tmp_path / "hub", clock, provider=adapter) as hub:
        for _ in range(2):  # the second time it is not even asked
            answer = browser(hub).get(PROVIDER_PATH)
            assert answer.status_code == 503
            assert "The identity provider does not answer" in answer.text


@pytest.mark.slow
def test_a_provider_that_calls_itself_otherwise_is_not_asked(
    tmp_path: Path, clock: ManualClock, provider: OidcProvider
) -> None:
    adapter = AuthlibProvider(f"{provider.issuer}/", Client(id=CLIENT_ID, secret=CLIENT_SECRET))
    with hub_api(tmp_path / "hub", clock, provider=adapter) as hub:
        assert browser(hub).get(PROVIDER_PATH).status_code == 400


@pytest.mark.slow
def test_without_a_provider_there_is_no_way_to_one(tmp_path: Path, clock: ManualClock) -> None:
    with hub_api(tmp_path / "hub", clock) as hub:
        assert browser(hub).get(PROVIDER_PATH).status_code == 404
        assert browser(hub).get(f"{RETURN_PATH}?code=x&state=x").status_code == 404


@pytest.mark.parametrize(
    "issuer", ["http://example.org", "ftp://x", "https://", "example.org", "https://a?b"]
)
def test_a_provider_is_reached_by_https(tmp_path: Path, issuer: str) -> None:
    with pytest.raises(ConfigError, match="oidc_issuer"):
        HubSettings.load(tmp_path, {"oidc_issuer": issuer})


def refused(hub: HubApi, why: str) -> None:
    visitor = browser(hub)
    answer = come_back(visitor, leave(visitor))
    assert answer.status_code == 403
    assert why in answer.text.replace("&#x27;", "'")
    assert COOKIE not in visitor.cookies
    assert not is_signed_in(visitor)

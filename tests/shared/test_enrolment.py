"""Enrolment tokens and the proof that spends them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.enrolment import EnrolRequest, EnrolResponse, Token, is_proven, proof_input
from shared.errors import ConfigError
from tests.support.device import bytes_from, signer_from

TOKEN = Token(
    url="https://hub.example:8443", ca=bytes(32), id="abcdefgh234567ab", secret=bytes_from("secret", 32)
)


def request(**spoiled: object) -> EnrolRequest:
    signer = signer_from("fridge-1")
    fields: dict[str, object] = {
        "token_id": TOKEN.id,
        "secret": TOKEN.secret,
        "csr_pem": "PEM",
        "signing_public": signer.public,
        "signing_proof": signer.sign(proof_input(b"csr", TOKEN.secret)),
    }
    return EnrolRequest.model_validate({**fields, **spoiled})


def test_a_token_is_one_line_that_comes_back_whole() -> None:
    text = TOKEN.text()
    assert text.startswith("covey1.")
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert Token.parse(f"  {text}\n") == TOKEN


@given(st.integers(min_value=1, max_value=len(TOKEN.text()) - 1))
@pytest.mark.slow
def test_a_token_that_was_cut_in_copying_is_told_from_a_whole_one(length: int) -> None:
    with pytest.raises(ConfigError, match="not a whole enrolment token") as caught:
        Token.parse(TOKEN.text()[:length])
    assert caught.value.code == "token_malformed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "covey1.",
        "covey2." + TOKEN.text().removeprefix("covey1."),
        TOKEN.text().removeprefix("covey1."),
        TOKEN.text() + "!",
        TOKEN.text() + "AAAA",
        TOKEN.text().replace("covey1.", "covey1.covey1."),
        "covey1." + "A" * 3_000,
        TOKEN.model_copy(update={"v": 2}).text(),
        TOKEN.model_copy(update={"url": "http://hub.example"}).text(),
        TOKEN.model_copy(update={"url": "https://hub.example/../evil"}).text(),
        TOKEN.model_copy(update={"secret": b"short"}).text(),
    ],
)
def test_what_is_no_token_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(ConfigError, match="copy the whole line"):
        Token.parse(text)


def test_a_proof_binds_key_request_and_token_together() -> None:
    assert is_proven(request(), b"csr")
    assert not is_proven(request(), b"other csr")
    assert not is_proven(request(secret=bytes(32)), b"csr")
    assert not is_proven(request(signing_public=signer_from("other").public), b"csr")
    assert not is_proven(request(signing_proof=bytes(64)), b"csr")


def test_bytes_travel_as_base64_and_nothing_else() -> None:
    sent = json.loads(request().model_dump_json())
    assert base64.b64decode(sent["secret"]) == TOKEN.secret
    assert EnrolRequest.model_validate_json(json.dumps(sent)) == request()
    for bad in ("***", base64.b64encode(bytes(31)).decode(), base64.urlsafe_b64encode(b"\xff" * 32).decode()):
        with pytest.raises(ValueError, match="secret"):
            EnrolRequest.model_validate_json(json.dumps({**sent, "secret": bad}))


def test_an_answer_survives_the_journey() -> None:
    answer = EnrolResponse.model_validate(
        {
            "principal": "main.fridge-1",
            "certificate_pem": "C",
            "ca_pem": "A",
            "hub_signing_public": bytes(32),
            "hub_kid": bytes(8),
            "broker": {"host": "hub.example", "port": 8883},
            "certificate_not_after": "2026-04-01T12:00:00Z",
        }
    )
    assert EnrolResponse.model_validate_json(answer.model_dump_json()) == answer
    assert answer.certificate_not_after.tzinfo is not None

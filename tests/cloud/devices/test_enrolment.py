"""Letting devices in: tokens are good once, for a time, for one name; what is forged is refused."""

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.db import Database
from cloud.devices.enrolment import enrol
from cloud.devices.tables import EnrolmentToken
from shared.enrolment import BrokerAddress, EnrolRequest, EnrolResponse
from shared.errors import RefusedError
from tests.cloud.hub_api import HubApi, enrol_request, hub_api, make_csr
from tests.support.clock import ManualClock
from tests.support.device import signer_from


def test_a_token_makes_a_device_a_member_with_a_certificate_of_its_own(hub: HubApi) -> None:
    token = hub.token(device="fridge-1", labels={"site": "a"}, ttl_s=60)
    del hub.client.headers["Authorization"]  # a device has no admin token
    ca = hub.client.get("/v1/ca").text
    assert (
        hashlib.sha256(x509.load_pem_x509_certificate(ca.encode()).public_bytes(Encoding.DER)).digest()
        == token.ca
    )
    response = EnrolResponse.model_validate(hub.client.post("/v1/enroll", json=enrol_request(token)).json())
    hub.client.headers["Authorization"] = "Bearer an-admin-token"

    certificate = x509.load_pem_x509_certificate(response.certificate_pem.encode())
    root, issuing = x509.load_pem_x509_certificates(response.ca_pem.encode())
    certificate.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    assert x509.load_pem_x509_certificates(response.certificate_pem.encode()) == [certificate, issuing]
    assert certificate.subject.rfc4514_string() == "CN=main.fridge-1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://covey.internal/main/fridge-1"
    ]
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert response.certificate_not_after - hub.clock.now() == hub.settings.renewal_rules.life
    assert (response.hub_signing_public, response.hub_kid) == (
        hub.identity.signer.public,
        hub.identity.signer.kid,
    )
    assert (response.broker.host, response.broker.port) == ("hub.test", 8883)

    device = hub.get("/v1/devices/fridge-1")
    assert (device["principal"], device["status"], device["labels"]) == (
        "main.fridge-1",
        "active",
        {"site": "a"},
    )
    (row,) = hub.get("/v1/tokens")
    assert row["used_by"] == "main.fridge-1"


def test_the_hub_keeps_no_secret_of_a_token(hub: HubApi) -> None:
    token = hub.token(device="fridge-1")
    with hub.database.read() as session:
        row = session.get(EnrolmentToken, token.id)
        assert row is not None
        assert token.secret.hex() not in str(row)
        assert row.secret_sha256 == hashlib.sha256(token.secret).hexdigest()


def test_a_used_token_is_refused(hub: HubApi) -> None:
    token = hub.token()
    hub.post("/v1/enroll", enrol_request(token, device="fridge-1"))
    again = enrol_request(token, device="fridge-2", signer=signer_from("other"))
    assert hub.refusal("POST", "/v1/enroll", again) == (403, "token_used")


def test_a_token_is_good_until_the_last_second_and_not_after(hub: HubApi) -> None:
    first, second = hub.token(device="one", ttl_s=60), hub.token(device="two", ttl_s=60)
    hub.clock.advance(seconds=59)
    hub.post("/v1/enroll", enrol_request(first))
    hub.clock.advance(seconds=1)
    assert hub.refusal("POST", "/v1/enroll", enrol_request(second)) == (403, "token_expired")


def test_a_forged_token_is_refused_and_the_real_one_stays_good(hub: HubApi) -> None:
    token = hub.token(device="fridge-1")
    forged = token.model_copy(update={"secret": bytes(32)})
    unknown = token.model_copy(update={"id": "a" * 16})
    for bad in (forged, unknown):
        assert hub.refusal("POST", "/v1/enroll", enrol_request(bad)) == (403, "token_unknown")
    hub.post("/v1/enroll", enrol_request(token))


def test_a_name_that_is_taken_is_refused_for_tokens_and_for_enrolment(hub: HubApi) -> None:
    early = hub.token(device="fridge-1")
    open_name = hub.token()
    hub.device("fridge-1")
    assert hub.refusal("POST", "/v1/tokens", {"device": "fridge-1"}) == (409, "device_exists")
    assert hub.refusal("POST", "/v1/enroll", enrol_request(early)) == (409, "device_exists")
    taken = enrol_request(open_name, device="fridge-1")
    assert hub.refusal("POST", "/v1/enroll", taken) == (409, "device_exists")
    # A refusal that is not about the token leaves it good.
    assert hub.post("/v1/enroll", enrol_request(open_name, device="fridge-2"))["principal"] == "main.fridge-2"


def test_a_token_is_only_for_the_device_it_names(hub: HubApi) -> None:
    token = hub.token(device="fridge-1")
    other = enrol_request(token, device="fridge-2")
    assert hub.refusal("POST", "/v1/enroll", other) == (409, "device_mismatch")
    assert hub.refusal("POST", "/v1/enroll", enrol_request(hub.token())) == (400, "device_missing")


def test_a_signing_key_serves_one_device_only(hub: HubApi) -> None:
    hub.device("fridge-1")
    clone = enrol_request(hub.token(device="fridge-2"), signer=signer_from("fridge-1"))
    assert hub.refusal("POST", "/v1/enroll", clone) == (409, "key_exists")


def _with_other_csr(request: dict[str, Any]) -> None:
    request["csr_pem"] = make_csr()[0]


def _with_other_key(request: dict[str, Any]) -> None:
    request["signing_public"] = base64.b64encode(signer_from("other").public).decode()


def _with_flipped_proof(request: dict[str, Any]) -> None:
    proof = bytearray(base64.b64decode(request["signing_proof"]))
    proof[5] ^= 1
    request["signing_proof"] = base64.b64encode(bytes(proof)).decode()


def _with_rsa_csr(request: dict[str, Any]) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    request["csr_pem"] = csr.public_bytes(Encoding.PEM).decode()


def _with_spoiled_csr(request: dict[str, Any]) -> None:
    request["csr_pem"] = request["csr_pem"].replace("A", "B", 3)


def _with_oversized_csr(request: dict[str, Any]) -> None:
    request["csr_pem"] = "A" * 8_193


def _with_unknown_field(request: dict[str, Any]) -> None:
    request["role"] = "admin"


def _with_short_secret(request: dict[str, Any]) -> None:
    request["secret"] = "c2hvcnQ="


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_with_other_csr, (403, "proof_invalid")),
        (_with_other_key, (403, "proof_invalid")),
        (_with_flipped_proof, (403, "proof_invalid")),
        (_with_rsa_csr, (400, "csr_invalid")),
        (_with_spoiled_csr, (400, "csr_invalid")),
        (_with_oversized_csr, (422, "invalid")),
        (_with_unknown_field, (422, "invalid")),
        (_with_short_secret, (422, "invalid")),
    ],
)
def test_a_spoiled_request_is_refused_and_the_token_stays_good(
    hub: HubApi, spoil: Callable[[dict[str, Any]], None], expected: tuple[int, str]
) -> None:
    token = hub.token(device="fridge-1")
    request = enrol_request(token)
    spoil(request)
    assert hub.refusal("POST", "/v1/enroll", request) == expected
    hub.post("/v1/enroll", enrol_request(token))


def _race(hub: HubApi) -> None:
    token = hub.token()
    contenders = 8
    requests = [
        EnrolRequest.model_validate(
            enrol_request(token, device=f"device-{number}", signer=signer_from(f"racer {number}"))
        )
        for number in range(contenders)
    ]

    def contend(request: EnrolRequest) -> str:
        try:
            with hub.database.write() as session:
                answer = enrol(
                    session,
                    request,
                    identity=hub.identity,
                    seals=hub.people.seals,
                    broker=BrokerAddress(host="hub.test", port=8883),
                    now=hub.clock.now(),
                )
        except RefusedError as error:
            return error.code
        return answer.principal

    with ThreadPoolExecutor(contenders) as threads:
        outcomes = list(threads.map(contend, requests))
    (winner,) = [outcome for outcome in outcomes if outcome != "token_used"]
    (device,) = hub.get("/v1/devices")["devices"]
    assert device["principal"] == winner
    assert hub.get("/v1/tokens")[0]["used_by"] == winner


def test_of_many_at_once_one_spends_the_token(hub: HubApi) -> None:
    _race(hub)


@pytest.mark.postgres
def test_of_many_at_once_one_spends_the_token_on_postgresql(
    tmp_path: Any, clock: ManualClock, hub_postgres: str
) -> None:
    with hub_api(tmp_path / "hub", clock, url=hub_postgres) as hub:
        assert isinstance(hub.database, Database)
        assert not hub.database.is_sqlite
        _race(hub)

"""Renewing certificates at the hub: over the link and over HTTPS, on SQLite and PostgreSQL."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlmodel import select

from cloud.audit.tables import AuditEntry
from cloud.devices.tables import Device, DeviceCertificateRow, DeviceStatus
from cloud.identity import open_identity
from shared.enrolment import Token, proof_input
from shared.errors import ConfigError
from shared.gate import close
from shared.ids import HUB, Principal
from shared.keys import Signer
from shared.renewal import RENEW_PATH, RenewRequest, RenewResponse, renewal_proof_input
from shared.topics import Channel, device_topic
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, bytes_from, signer_from

LIFE = timedelta(days=30)
GRACE = timedelta(days=10)
INTERVAL_S = 600
TlsKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hub(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with hub_api(
        tmp_path / "hub",
        clock,
        url=url,
        device_certificate_days=LIFE.days,
        device_renewal_grace_days=GRACE.days,
        device_renewal_interval_s=INTERVAL_S,
    ) as api:
        yield api


def csr_over(key: Any, name: str = "whatever") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    return csr.public_bytes(Encoding.DER)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Enrolled:
    """A device with a TLS key of its own, which no connection needs here."""

    hub: HubApi
    name: str
    signer: Signer
    key: TlsKey
    certificate_pem: str
    asked: int = 0

    @property
    def principal(self) -> str:
        return f"main.{self.name}"

    def request(self, key: Any = None, **changes: Any) -> RenewRequest:
        self.asked += 1
        nonce = bytes_from(f"{self.name} {self.asked}")
        return RenewRequest(nonce=nonce, csr=csr_over(key or new_key()), **changes)

    def sealed(self, request: RenewRequest, **changes: Any) -> bytes:
        fields = {"issuer": self.principal, "audience": HUB, "message_id": bytes(16), "signer": self.signer}
        return close(request, **{**fields, **changes})

    def body(self, request: RenewRequest | None = None, **changes: Any) -> dict[str, Any]:
        sealed = changes.pop("sealed", None) or self.sealed(request or self.request())
        key = changes.pop("key", self.key)
        pem = changes.pop("certificate_pem", self.certificate_pem)
        sha256 = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256())
        data = renewal_proof_input(sha256, sealed)
        proof = (
            key.sign(data)
            if isinstance(key, ed25519.Ed25519PrivateKey)
            else key.sign(data, ec.ECDSA(hashes.SHA256()))
        )
        return {
            "device": self.principal,
            "request": base64.b64encode(sealed).decode(),
            "certificate_pem": pem,
            "proof": base64.b64encode(proof).decode(),
            **changes,
        }

    def row(self) -> Device:
        with self.hub.database.read() as session:
            row = session.get(Device, self.principal)
            assert row is not None
            session.expunge(row)
            return row

    def set_status(self, status: DeviceStatus) -> None:
        with self.hub.database.write() as session:
            row = session.get(Device, self.principal)
            assert row is not None
            row.status = status.value

    def certificates(self) -> list[DeviceCertificateRow]:
        with self.hub.database.read() as session:
            rows = session.exec(
                select(DeviceCertificateRow)
                .where(DeviceCertificateRow.principal == self.principal)
                .order_by("made_at")
            ).all()
            for row in rows:
                session.expunge(row)
            return list(rows)


def enrol(hub: HubApi, name: str = "fridge-1", *, key: TlsKey | None = None, **more: Any) -> Enrolled:
    key = key or new_key()
    token: Token = hub.token(device=name)
    signer = signer_from(name)
    csr = csr_over(key)
    sealing = more.pop("sealing_public", None)
    body = {
        "token_id": token.id,
        "secret": base64.b64encode(token.secret).decode(),
        "csr_pem": x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM).decode(),
        "signing_public": base64.b64encode(signer.public).decode(),
        "signing_proof": base64.b64encode(signer.sign(proof_input(csr, token.secret, sealing))).decode(),
        **({} if sealing is None else {"sealing_public": base64.b64encode(sealing).decode()}),
        **more,
    }
    response = hub.post("/v1/enroll", body)
    return Enrolled(hub, name, signer, key, response["certificate_pem"])


def stranger_may_ask(hub: HubApi) -> None:
    del hub.client.headers["Authorization"]


# --- over HTTPS ----------------------------------------------------------------------------------------------------


def test_an_ended_certificate_is_renewed_by_proof_of_both_keys(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE + GRACE - timedelta(seconds=1))
    stranger_may_ask(hub)
    key = new_key()

    answer = hub.post(RENEW_PATH, device.body(device.request(key, sealing_public=bytes(32))))

    made = x509.load_pem_x509_certificate(answer["certificate_pem"].encode())
    assert made.subject.rfc4514_string() == "CN=main.fridge-1"
    assert made.public_key() == key.public_key()
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://covey.internal/main/fridge-1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_after_utc == hub.clock.now() + LIFE
    row, kept = device.row(), device.certificates()
    assert row.certificate_sha256 == kept[-1].sha256 == made.fingerprint(hashes.SHA256()).hex()
    assert row.certificate_not_after == made.not_valid_after_utc
    assert row.sealing_public == bytes(32)
    assert row.signing_public == device.signer.public
    with hub.database.read() as session:
        entry = session.exec(select(AuditEntry).where(AuditEntry.action == "device.renew")).one()
        assert (entry.tenant, entry.actor, entry.target) == ("main", device.principal, device.principal)


def test_a_certificate_of_an_ed25519_key_proves_as_well(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub, key=ed25519.Ed25519PrivateKey.generate())
    hub.clock.advance(LIFE)
    hub.post(RENEW_PATH, device.body())


def test_beyond_the_grace_nothing_is_renewed(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE + GRACE)
    assert hub.refusal("POST", RENEW_PATH, device.body()) == (403, "grace_over")


@pytest.mark.parametrize("status", [DeviceStatus.PENDING, DeviceStatus.QUARANTINED])
def test_a_device_that_is_not_active_is_refused(hub: HubApi, status: DeviceStatus) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE)
    device.set_status(status)
    before = device.row().certificate_sha256
    assert hub.refusal("POST", RENEW_PATH, device.body()) == (403, "device_not_active")
    assert device.row().certificate_sha256 == before


def test_a_revoked_device_is_refused(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    device.set_status(DeviceStatus.REVOKED)
    hub.clock.advance(LIFE)
    assert hub.refusal("POST", RENEW_PATH, device.body()) == (403, "renewal_refused")


def test_a_certificate_that_was_revoked_renews_nothing(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE)
    with hub.database.write() as session:
        for row in session.exec(select(DeviceCertificateRow)).all():
            row.revoked_at = hub.clock.now()
    assert hub.refusal("POST", RENEW_PATH, device.body()) == (403, "renewal_refused")


Forge = Callable[[Enrolled, Enrolled], dict[str, Any]]

FORGED: dict[str, Forge] = {
    "a proof by another TLS key": lambda device, _other: device.body(key=new_key()),
    "another device's certificate": lambda device, other: device.body(
        key=other.key, certificate_pem=other.certificate_pem
    ),
    "another device's signing key": lambda device, other: device.body(
        sealed=device.sealed(device.request(), signer=other.signer)
    ),
    "another device's name in the envelope": lambda device, other: device.body(
        sealed=device.sealed(device.request(), issuer=other.principal)
    ),
    "a request for another reader": lambda device, other: device.body(
        sealed=device.sealed(device.request(), audience=other.principal)
    ),
    "the name of another device": lambda device, other: device.body(device=other.principal),
    "a device that does not exist": lambda device, _other: device.body(device="main.nobody"),
    "a certificate of another authority": lambda device, _other: device.body(
        certificate_pem=_self_signed(device)
    ),
    "a proof for another request": lambda device, _other: {
        **device.body(),
        "proof": device.body()["proof"],
    },
    "a flipped bit in the request": lambda device, _other: _flipped(device.body(), "request"),
    "a flipped bit in the proof": lambda device, _other: _flipped(device.body(), "proof"),
    "no envelope": lambda device, _other: device.body(sealed=b"\x00"),
    "no certificate": lambda device, _other: {**device.body(), "certificate_pem": "-----BEGIN"},
}


def _flipped(body: dict[str, Any], name: str) -> dict[str, Any]:
    raw = bytearray(base64.b64decode(body[name]))
    raw[len(raw) // 2] ^= 1
    return {**body, name: base64.b64encode(raw).decode()}


def _self_signed(device: Enrolled) -> str:
    """The right name and the right key, signed by that key itself."""
    old = x509.load_pem_x509_certificate(device.certificate_pem.encode())
    assert isinstance(device.key, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(device.key.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .sign(device.key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_request_is_refused_without_detail(how: str, hub: HubApi) -> None:
    """P8 P25"""
    device, other = enrol(hub), enrol(hub, "fridge-2")
    hub.clock.advance(LIFE)
    before = [each.row().certificate_sha256 for each in (device, other)]
    stranger_may_ask(hub)
    assert hub.refusal("POST", RENEW_PATH, FORGED[how](device, other)) == (403, "renewal_refused")
    assert [each.row().certificate_sha256 for each in (device, other)] == before


MALFORMED: tuple[dict[str, Any], ...] = (
    {"device": "../../etc"},
    {"device": "main.*"},
    {"request": "not base64!"},
    {"request": ""},
    {"request": "A" * 40_000},
    {"proof": 7},
    {"certificate_pem": "x" * 40_000},
    {"more": 1},
)


def test_a_malformed_body_is_refused(hub: HubApi) -> None:
    device = enrol(hub)
    hub.clock.advance(LIFE)
    for spoil in MALFORMED:
        assert hub.refusal("POST", RENEW_PATH, {**device.body(), **spoil}) == (422, "invalid"), spoil


def test_a_replayed_request_gives_the_same_key_again_at_most_and_not_often(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE)
    key = new_key()
    body = device.body(device.request(key))
    hub.post(RENEW_PATH, body)
    assert hub.refusal("POST", RENEW_PATH, body) == (429, "renewed_lately")
    hub.clock.advance(timedelta(seconds=INTERVAL_S))
    again = hub.post(RENEW_PATH, body)
    made = x509.load_pem_x509_certificate(again["certificate_pem"].encode())
    assert made.public_key() == key.public_key(), "of use only to who has that key"


def test_a_renewal_is_for_a_new_key(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    hub.clock.advance(LIFE)
    assert hub.refusal("POST", RENEW_PATH, device.body(device.request(device.key))) == (400, "csr_invalid")


def test_the_signing_key_is_not_certified_for_tls(hub: HubApi) -> None:
    device = enrol(hub)
    hub.clock.advance(LIFE)
    signing = device.signer._private
    assert hub.refusal("POST", RENEW_PATH, device.body(device.request(signing))) == (409, "key_exists")


WEAK: dict[str, Callable[[], Any]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 1024),
    "DSA": lambda: dsa.generate_private_key(1024),
    "P-192": lambda: ec.generate_private_key(ec.SECP192R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


def test_weak_and_unusual_keys_are_not_certified(hub: HubApi) -> None:
    device = enrol(hub)
    hub.clock.advance(LIFE)
    for kind, make in WEAK.items():
        request = RenewRequest(nonce=bytes(16), csr=csr_over(make()))
        assert hub.refusal("POST", RENEW_PATH, device.body(request)) == (400, "csr_invalid"), kind


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _csr: b"\x30\x03",
    "cut short": lambda csr: csr[:-5],
    "signed by another key": lambda csr: csr[:-3] + bytes([csr[-3] ^ 1]) + csr[-2:],
}


def test_a_request_that_is_no_csr_is_refused(hub: HubApi) -> None:
    device = enrol(hub)
    hub.clock.advance(LIFE)
    for how, spoil in SPOILT.items():
        request = RenewRequest(nonce=bytes(16), csr=spoil(csr_over(new_key())))
        assert hub.refusal("POST", RENEW_PATH, device.body(request)) == (400, "csr_invalid"), how


def test_the_certificate_before_the_last_one_renews_if_the_answer_was_lost(hub: HubApi) -> None:
    """P25: the hub had made one, and the device never got it."""
    device = enrol(hub)
    hub.clock.advance(LIFE)
    hub.post(RENEW_PATH, device.body())
    hub.clock.advance(timedelta(seconds=INTERVAL_S))
    hub.post(RENEW_PATH, device.body())
    assert len(device.certificates()) >= 2


def test_certificates_that_ended_long_ago_are_forgotten(hub: HubApi) -> None:
    device = enrol(hub)
    for _ in range(6):
        hub.clock.advance(LIFE - timedelta(days=1))
        device.key, key = new_key(), device.key
        body = device.body(device.request(device.key), key=key)
        device.certificate_pem = hub.post(RENEW_PATH, body)["certificate_pem"]
    assert len(device.certificates()) <= 4


# --- over the link -------------------------------------------------------------------------------------------------


def linked(device: Enrolled) -> ScriptedDevice:
    script = ScriptedDevice(device.principal, hub=device.hub.identity.signer, key=device.signer)
    answers = _heard(device, Channel.HELLO, script.hello(), Channel.HELLO_ACK)
    script.open(answers[0])
    return script


def _heard(device: Enrolled, channel: Channel, message: bytes, answer: Channel) -> list[bytes]:
    outcome = device.hub.deliver(device_topic(device.principal, channel), message)
    topic = device_topic(device.principal, answer)
    return [each.message for each in outcome.outgoing if each.topic == topic]


def ask(device: Enrolled, script: ScriptedDevice, request: RenewRequest) -> RenewResponse:
    (raw,) = _heard(device, Channel.RENEW, script.close(request), Channel.RENEW_ACK)
    response = script.hear_renewed(raw)
    assert response.nonce == request.nonce
    return response


def test_a_device_renews_within_its_session(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    script = linked(device)
    hub.clock.advance(LIFE * 2 / 3)
    key = new_key()
    response = ask(device, script, device.request(key, sealing_public=bytes(32)))
    made = x509.load_der_x509_certificate(response.chain[0])
    assert made.public_key() == key.public_key()
    assert made.subject.rfc4514_string() == "CN=main.fridge-1"
    assert response.refused == ""
    row = device.row()
    assert row.certificate_sha256 == made.fingerprint(hashes.SHA256()).hex()
    assert row.sealing_public == bytes(32)
    with hub.database.read() as session:
        entry = session.exec(select(AuditEntry).where(AuditEntry.action == "device.renew")).one()
        assert entry.target == device.principal


def test_a_request_of_no_session_is_not_answered(hub: HubApi) -> None:
    """P8 P25"""
    device = enrol(hub)
    linked(device)
    hub.clock.advance(LIFE * 2 / 3)
    before = device.row().certificate_sha256
    raw = device.sealed(device.request())
    assert _heard(device, Channel.RENEW, raw, Channel.RENEW_ACK) == []
    assert device.row().certificate_sha256 == before


def test_a_replayed_request_is_not_answered(hub: HubApi) -> None:
    """P8 P25"""
    device = enrol(hub)
    script = linked(device)
    hub.clock.advance(LIFE * 2 / 3)
    raw = script.close(device.request())
    assert len(_heard(device, Channel.RENEW, raw, Channel.RENEW_ACK)) == 1
    assert _heard(device, Channel.RENEW, raw, Channel.RENEW_ACK) == []


def test_a_device_cannot_renew_for_another(hub: HubApi) -> None:
    """P8 P25"""
    device, other = enrol(hub), enrol(hub, "fridge-2")
    script = linked(device)
    linked(other)
    hub.clock.advance(LIFE * 2 / 3)
    before = other.row().certificate_sha256
    raw = script.close(device.request())
    assert hub.deliver(device_topic(other.principal, Channel.RENEW), raw).outgoing == []
    assert other.row().certificate_sha256 == before


def test_asked_too_often_the_hub_says_when_to_come_back(hub: HubApi) -> None:
    """P25"""
    device = enrol(hub)
    script = linked(device)
    response = ask(device, script, device.request())
    assert (response.refused, response.chain) == ("renewed_lately", ())
    assert 0 < response.retry_after_s <= INTERVAL_S
    hub.clock.advance(timedelta(seconds=INTERVAL_S))
    assert ask(device, script, device.request()).chain


def test_a_bad_request_over_the_link_is_told_and_costs_nothing_else(hub: HubApi) -> None:
    device = enrol(hub)
    script = linked(device)
    hub.clock.advance(LIFE * 2 / 3)
    request = RenewRequest(nonce=bytes(16), csr=csr_over(rsa.generate_private_key(65537, 1024)))
    assert ask(device, script, request).refused == "csr_invalid"
    assert ask(device, script, device.request()).chain


def test_a_clock_of_the_hub_that_was_years_ahead_does_not_lock_devices_out(hub: HubApi) -> None:
    device = enrol(hub)
    script = linked(device)
    now = hub.clock.now()
    hub.clock.set(now + timedelta(days=700))
    assert ask(device, script, device.request()).chain, "made in the future"
    hub.clock.set(now)
    assert ask(device, script, device.request()).chain


@pytest.mark.parametrize("years", [-56, 64])
def test_a_hub_whose_clock_is_decades_off_certifies_nothing_and_says_so(hub: HubApi, years: int) -> None:
    device = enrol(hub)
    script = linked(device)
    hub.clock.set(hub.clock.now() + timedelta(days=365 * years))
    assert ask(device, script, device.request()).refused == "hub_clock"


@pytest.mark.parametrize("years", [-56, 64])
def test_a_hub_whose_clock_is_decades_off_does_not_start(
    tmp_path: Path, clock: ManualClock, years: int
) -> None:
    def opened() -> object:
        return open_identity(
            tmp_path / "identity", hosts=["hub.test"], trust_domain="covey.internal", now=clock.now()
        )

    opened()
    right = clock.now()
    clock.set(right + timedelta(days=365 * years))
    with pytest.raises(ConfigError, match=r"The clock says .* set the clock"):
        opened()
    clock.set(right)
    opened()


# --- enrolment -----------------------------------------------------------------------------------------------------


def test_enrolment_tells_the_key_for_secrets_under_its_proof(hub: HubApi) -> None:
    sealing = bytes_from("sealing") + bytes_from("more")
    device = enrol(hub, sealing_public=sealing)
    assert device.row().sealing_public == sealing


def test_a_key_for_secrets_that_the_proof_does_not_cover_is_refused(hub: HubApi) -> None:
    token = hub.token(device="fridge-1")
    signer, csr = signer_from("fridge-1"), csr_over(new_key())
    body = {
        "token_id": token.id,
        "secret": base64.b64encode(token.secret).decode(),
        "csr_pem": x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM).decode(),
        "signing_public": base64.b64encode(signer.public).decode(),
        "signing_proof": base64.b64encode(signer.sign(proof_input(csr, token.secret))).decode(),
        "sealing_public": base64.b64encode(bytes(32)).decode(),
    }
    assert hub.refusal("POST", "/v1/enroll", body) == (403, "proof_invalid")


def test_a_life_of_seconds_is_not_due_when_it_begins(tmp_path: Path, clock: ManualClock) -> None:
    """The day by which certificates are dated back would else be most of it."""
    identity = open_identity(tmp_path, hosts=["hub.test"], trust_domain="covey.internal", now=clock.now())
    csr = x509.load_der_x509_csr(csr_over(new_key()))
    life = timedelta(seconds=30)
    made = x509.load_pem_x509_certificate(
        identity.certify_device(csr, Principal("main", "one"), now=clock.now(), life=life).pem.encode()
    )
    assert clock.now() - made.not_valid_before_utc <= life
    assert made.not_valid_after_utc == clock.now() + life

"""Certificates that must let nobody in, at the real broker, and requests for them, at the real HTTPS door.

Most of them the hub would never make: here they are made with its own authority's key, so that it is the broker that
refuses them. What a certificate's subject alternative names say the broker does not read: the common name is who
somebody is, and both are the hub's decision, whatever a request asks for.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.identity import load_identity, open_identity
from cloud.keys.authorities import Issuer
from shared.enrolment import ENROL_PATH, EnrolRequest, Token, proof_input
from shared.keys import Signer
from shared.topics import Channel, device_topic, every_device
from tests.support.ingest import started
from tests.support.raw_device import NOT_AUTHORIZED, NotConnectedError, RawConnection, RawDevice
from tests.support.real_hub import RealHub

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[], RawDevice]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
NAME: Final = "main.intruder"
DAY: Final = timedelta(days=1)
SEQUENCE, BIT_STRING = 0x30, 0x03
ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA1: Final = bytes.fromhex("300906072a8648ce3d0401")
"""Of the algorithms' identifiers in DER (RFC 5758, section 3.2)."""
WEAK: Final = "DEFAULT@SECLEVEL=0"
"""Our side shows what OpenSSL would not let it show otherwise."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a stranger shows to the broker: certificates, its own first, and its key."""

    chain: Sequence[x509.Certificate]
    key: Key

    def write(self, directory: Path) -> tuple[Path, Path]:
        paths = directory / "shown.pem", directory / "shown.key"
        paths[0].write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in self.chain))
        paths[1].write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    key: Key,
    issuer: Issuer | None,
    *,
    name: str = NAME,
    begins: timedelta = -DAY,
    ends: timedelta = DAY,
    is_ca: bool = False,
    signer: Key | None = None,
    issuer_name: x509.Name | None = None,
) -> x509.Certificate:
    """As the hub makes them, but for what is asked. `issuer` None: signed by itself, or by `signer`."""
    now = datetime.now(UTC)
    with warnings.catch_warnings(action="ignore"):  # that a name has an unusual length
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)])
    signing = signer or (key if issuer is None else issuer.key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (subject if issuer is None else issuer.certificate.subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return builder.sign(signing, hashes.SHA256())


def issuer_of(hub: RealHub) -> Issuer:
    """The authority that signs devices' certificates now."""
    return load_identity(hub.home / "identity", trust_domain="covey.internal").issuers[-1]


def chain_of(issuer: Issuer) -> list[x509.Certificate]:
    return [issuer.certificate]


def expired(issuer: Issuer, _: Path) -> Shown:
    key = p256()
    return Shown([certificate(key, issuer, begins=-2 * DAY, ends=-DAY), *chain_of(issuer)], key)


def not_yet_valid(issuer: Issuer, _: Path) -> Shown:
    key = p256()
    return Shown([certificate(key, issuer, begins=DAY, ends=2 * DAY), *chain_of(issuer)], key)


def self_signed(_: Issuer, __: Path) -> Shown:
    key = p256()
    return Shown([certificate(key, None)], key)


def self_signed_authority(_: Issuer, __: Path) -> Shown:
    key = p256()
    return Shown([certificate(key, None, is_ca=True)], key)


def of_another_hub(_: Issuer, directory: Path) -> Shown:
    other = open_identity(
        directory / "other", hosts=["localhost"], trust_domain="other.example", now=datetime.now(UTC)
    )
    key = p256()
    return Shown([certificate(key, other.issuers[-1]), *chain_of(other.issuers[-1])], key)


def of_an_authority_of_the_same_name(issuer: Issuer, _: Path) -> Shown:
    """Another key under our authority's name."""
    key, forger = p256(), p256()
    made = certificate(key, None, signer=forger, issuer_name=issuer.certificate.subject)
    return Shown([made, *chain_of(issuer)], key)


def signed_by_a_device(issuer: Issuer, _: Path) -> Shown:
    """A device's certificate (CA = false) used as an authority."""
    device, key = p256(), p256()
    leaf = certificate(device, issuer, name="main.leaf")
    made = certificate(key, None, signer=device, issuer_name=leaf.subject)
    return Shown([made, leaf, *chain_of(issuer)], key)


def signed_by_a_device_with_authority(issuer: Issuer, _: Path) -> Shown:
    """A device's certificate with CA = true: our authority may have none below it (path length 0)."""
    device, key = p256(), p256()
    leaf = certificate(device, issuer, name="main.leaf", is_ca=True)
    made = certificate(key, None, signer=device, issuer_name=leaf.subject)
    return Shown([made, leaf, *chain_of(issuer)], key)


def weak_rsa(issuer: Issuer, _: Path) -> Shown:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
    return Shown([certificate(key, issuer), *chain_of(issuer)], key)


def weak_curve(issuer: Issuer, _: Path) -> Shown:
    key = ec.generate_private_key(ec.SECP192R1())
    return Shown([certificate(key, issuer), *chain_of(issuer)], key)


def signed_with_sha1(issuer: Issuer, _: Path) -> Shown:
    key = p256()
    proper = certificate(key, issuer)
    body = proper.tbs_certificate_bytes.replace(ECDSA_SHA256, ECDSA_SHA1, 1)
    content = body[_header_bytes(body) :]
    der = with_sha1(_der(SEQUENCE, content), issuer.key)
    return Shown([x509.load_der_x509_certificate(der), *chain_of(issuer)], key)


def with_sha1(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """What is to be signed, in DER, under a signature that our libraries no longer make."""
    signature = key.sign(body, ec.ECDSA(hashes.SHA1()))
    return _der(SEQUENCE, body + ECDSA_SHA1 + _der(BIT_STRING, b"\0" + signature))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _header_bytes(der: bytes) -> int:
    return 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)


UNFIT: Final = (
    expired,
    not_yet_valid,
    self_signed,
    self_signed_authority,
    of_another_hub,
    of_an_authority_of_the_same_name,
    signed_by_a_device,
    signed_by_a_device_with_authority,
    weak_rsa,
    weak_curve,
    signed_with_sha1,
)


def connection(hub: RealHub, shown: Shown, directory: Path) -> RawConnection:
    certificate_path, key_path = shown.write(directory)
    return RawConnection(
        host="localhost",
        port=hub.mqtt_port,
        ca=hub.home / "identity" / "ca.pem",
        certificate=certificate_path,
        key=key_path,
        ciphers=WEAK,
    )


def test_a_certificate_as_the_hub_makes_them_is_let_in(real_hub: RealHub, tmp_path: Path) -> None:
    """So what the others are refused for is what is wrong with them."""
    issuer, key = issuer_of(real_hub), p256()
    with connection(real_hub, Shown([certificate(key, issuer), *chain_of(issuer)], key), tmp_path):
        pass


@pytest.mark.parametrize("make", UNFIT, ids=lambda make: make.__name__.replace("_", " "))
def test_an_unfit_certificate_is_not_let_in(
    make: Callable[[Issuer, Path], Shown], real_hub: RealHub, tmp_path: Path
) -> None:
    stranger = connection(real_hub, make(issuer_of(real_hub), tmp_path), tmp_path)
    with pytest.raises(NotConnectedError), stranger:
        pass


NAMES: Final = {
    "a wildcard of one level": "main.+",
    "a wildcard of all levels": "#",
    "a slash": "main.x/state",
    "dots and slashes": "../main.intruder",
    "a zero byte": "main.fridge\x00.other",
    "too long": "main." + "a" * 300,
    "nothing": "",
    "the hub's own": "hub ",
    "a dollar": "$share",
}


@pytest.mark.parametrize("which", NAMES)
def test_a_name_that_is_none_gives_no_way_to_anybody_s_topics(
    which: str, real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    victim = raw_device()
    issuer, key = issuer_of(real_hub), p256()
    shown = Shown([certificate(key, issuer, name=NAMES[which]), *chain_of(issuer)], key)
    with ExitStack() as open_until_done:
        try:
            stranger = open_until_done.enter_context(connection(real_hub, shown, tmp_path))
        except NotConnectedError:
            return  # that is the best answer
        hello = device_topic(victim.principal, Channel.HELLO)
        assert _publish(stranger, hello) == NOT_AUTHORIZED
        for filter_ in (every_device(Channel.STATE), f"covey/1/d/{victim.principal}/#", "#"):
            with suppress(NotConnectedError):
                stranger.subscribe(filter_)
        victim.link()
        victim.script.journal.append(started())
        assert victim.send(victim.script.journal).upto == 1
        assert [topic for topic in stranger.heard if victim.principal in topic] == []
    assert real_hub.refusals(victim.name) == {}


def _publish(stranger: RawConnection, topic: str) -> str:
    try:
        return stranger.publish(topic, b"forged")
    except NotConnectedError:
        return NOT_AUTHORIZED


# --- what a request asks for


def spend(
    hub: RealHub, token: Token, csr: x509.CertificateSigningRequest | None, *, pem: str = ""
) -> httpx.Response:
    """Enrol with this request over the real HTTPS."""
    signer = Signer(Ed25519PrivateKey.generate())
    der = b"" if csr is None else csr.public_bytes(Encoding.DER)
    request = EnrolRequest(
        token_id=token.id,
        secret=token.secret,
        csr_pem=pem if csr is None else csr.public_bytes(Encoding.PEM).decode(),
        signing_public=signer.public,
        signing_proof=signer.sign(proof_input(der, token.secret)),
    )
    with hub.http() as client:
        return client.post(
            ENROL_PATH,
            content=request.model_dump_json(exclude_none=True),
            headers={"content-type": "application/json"},
        )


def csr_over(
    key: Key, *extensions: x509.ExtensionType, name: str = "device"
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    for each in extensions:
        builder = builder.add_extension(each, critical=True)
    if isinstance(key, Ed25519PrivateKey):
        return builder.sign(key, None)
    return builder.sign(key, hashes.SHA256())


def csr_with_sha1() -> x509.CertificateSigningRequest:
    key = p256()
    return x509.load_der_x509_csr(with_sha1(csr_over(key).tbs_certrequest_bytes, key))


def weak_requests() -> dict[str, Callable[[], x509.CertificateSigningRequest]]:
    return {
        "RSA of 1024 bits": lambda: csr_over(
            rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
        ),
        "RSA of 2048 bits": lambda: csr_over(
            rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        ),
        "P-192": lambda: csr_over(ec.generate_private_key(ec.SECP192R1())),
        "P-224": lambda: csr_over(ec.generate_private_key(ec.SECP224R1())),
        "SHA-1": csr_with_sha1,
    }


@pytest.mark.parametrize("which", weak_requests())
def test_a_weak_request_is_refused_and_spends_nothing(which: str, real_hub: RealHub) -> None:
    name = f"weak-{which.lower().replace(' ', '-')}"
    token = Token.parse(real_hub.token(name))
    answer = spend(real_hub, token, weak_requests()[which]())
    assert (answer.status_code, answer.json()["code"]) == (400, "csr_invalid")
    assert spend(real_hub, token, csr_over(p256())).status_code == 200


def test_a_request_decides_neither_name_nor_use_nor_life(real_hub: RealHub) -> None:
    token = Token.parse(real_hub.token("modest-1"))
    asked = csr_over(
        p256(),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName(
            [
                x509.UniformResourceIdentifier("spiffe://covey.internal/main/victim"),
                x509.UniformResourceIdentifier("spiffe://covey.internal/other/victim"),
                x509.DNSName("localhost"),
            ]
        ),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        name="hub",
    )
    answer = spend(real_hub, token, asked)
    assert answer.status_code == 200, answer.text
    made = x509.load_pem_x509_certificates(answer.json()["certificate_pem"].encode())[0]
    assert [each.value for each in made.subject] == ["main.modest-1"]
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [each.value for each in names] == ["spiffe://covey.internal/main/modest-1"]
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    "pem", ["", "-----BEGIN CERTIFICATE REQUEST-----\n", "garbage"], ids=["none", "cut", "junk"]
)
def test_a_request_that_is_none_is_refused(pem: str, real_hub: RealHub) -> None:
    answer = spend(real_hub, Token.parse(real_hub.token(None)), None, pem=pem)
    assert (answer.status_code, answer.json()["code"]) == (400, "csr_invalid")


def test_a_request_that_another_key_signed_is_refused(real_hub: RealHub) -> None:
    der = bytearray(csr_over(p256()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der))
    answer = spend(real_hub, Token.parse(real_hub.token(None)), forged)
    assert (answer.status_code, answer.json()["code"]) == (400, "csr_invalid")


def test_a_token_of_another_hub_is_unknown(real_hub: RealHub) -> None:
    token = Token.parse(real_hub.token(None))
    other = token.model_copy(update={"id": "b" * 16, "secret": bytes(32)})
    answer = spend(real_hub, other, csr_over(p256()))
    assert (answer.status_code, answer.json()["code"]) == (403, "token_unknown")

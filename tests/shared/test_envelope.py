"""The envelope is COSE_Sign1 as published, and of that only the narrow part the protocol uses."""

from typing import Final

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.cbor import encode
from shared.envelope import HEADER_MAX_BYTES, Header, is_signed_by, seal, signing_input, unwrap
from shared.errors import ProtocolError
from shared.keys import KEY_ID_BYTES, Signer, TrustedKey
from tests.vectors.values import DEVICE, DEVICE_KEY, DEVICE_SIGNER, OTHER_KEY

# cose-wg/Examples, eddsa-examples/eddsa-sig-01.json ("EdDSA-01: EdDSA - 25519 - sign0"). Its key is RFC 8032's test 1.
COSE_PRIVATE: Final = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
COSE_PUBLIC: Final = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
COSE_EXAMPLE: Final = bytes.fromhex(
    "D28445A201270300A10442313154546869732069732074686520636F6E74656E742E5840"
    "7142FD2FF96D56DB85BEE905A76BA1D0B7321A95C8C4D3607C5781932B7AFB87"
    "11497DFA751BF40B58B3BCC32300B1487F3DB34085EEF013BF08F4A44D6FEF0D"
)

HEADER: Final = Header(
    content_type="application/vnd.covey.test+cbor",
    kid=DEVICE_SIGNER.kid,
    issuer=DEVICE,
    audience="hub",
    message_id=b"id",
)
NAMES: Final = st.text(min_size=1, max_size=20)


def map_of(header: Header) -> dict[object, object]:
    """The protected header as the protocol writes it down, independently of the code that does."""
    return {
        1: -8,
        3: header.content_type,
        4: header.kid,
        15: {1: header.issuer, 3: header.audience, 7: header.message_id},
        "covey": header.version,
    }


def signed(
    fields: dict[object, object],
    *,
    payload: bytes = b"payload",
    external: bytes = HEADER.content_type.encode(),
    signer: Signer = DEVICE_SIGNER,
    unprotected: object = None,
) -> bytes:
    """A COSE_Sign1 with any protected header, rightly signed."""
    protected = cbor2.dumps(fields)
    signature = signer.sign(cbor2.dumps(["Signature1", protected, external, payload]))
    parts = [protected, {} if unprotected is None else unprotected, payload, signature]
    return cbor2.dumps(cbor2.CBORTag(18, parts))


def signature_of(size: int) -> bytes:
    """An envelope whose signature has `size` bytes."""
    parts = cbor2.loads(seal(HEADER, b"", DEVICE_SIGNER)).value
    return cbor2.dumps(cbor2.CBORTag(18, [*parts[:3], bytes(size)]))


def test_a_signature_is_byte_for_byte_that_of_the_published_cose_example() -> None:
    """P5."""
    protected, unprotected, payload, signature = cbor2.loads(COSE_EXAMPLE).value
    assert (protected.hex(), unprotected, payload) == ("a201270300", {4: b"11"}, b"This is the content.")
    to_sign = signing_input(protected=protected, payload=payload, external=b"")
    signer = Signer(Ed25519PrivateKey.from_private_bytes(COSE_PRIVATE))
    assert signer.public == COSE_PUBLIC
    assert signer.sign(to_sign) == signature
    assert TrustedKey(owner=DEVICE, public=COSE_PUBLIC).verifies(signature, to_sign)


def test_the_published_cose_example_is_none_of_our_envelopes() -> None:
    """P5: its header is not ours, and part of it is unprotected."""
    with pytest.raises(ProtocolError):
        unwrap(COSE_EXAMPLE)


def test_an_envelope_is_the_tagged_structure_that_another_cbor_library_reads() -> None:
    """P5."""
    tagged = cbor2.loads(seal(HEADER, b"payload", DEVICE_SIGNER))
    assert tagged.tag == 18
    protected, unprotected, payload, signature = tagged.value
    assert cbor2.loads(protected) == map_of(HEADER)
    assert (unprotected, payload, len(signature)) == ({}, b"payload", 64)


def test_an_envelope_made_elsewhere_by_the_same_rules_is_read() -> None:
    """P5."""
    envelope = unwrap(signed(map_of(HEADER)))
    assert envelope.header == HEADER
    assert is_signed_by(envelope, DEVICE_KEY)


@given(NAMES, NAMES, NAMES, st.binary(max_size=30), st.binary(max_size=100), st.sampled_from([None, "zstd"]))
@pytest.mark.slow
def test_what_was_sealed_is_unwrapped(
    content_type: str, issuer: str, audience: str, message_id: bytes, payload: bytes, encoding: None
) -> None:
    """P5."""
    header = Header(
        content_type=content_type,
        kid=DEVICE_SIGNER.kid,
        issuer=issuer,
        audience=audience,
        message_id=message_id,
        encoding=encoding,
    )
    envelope = unwrap(seal(header, payload, DEVICE_SIGNER))
    assert (envelope.header, envelope.payload) == (header, payload)
    assert is_signed_by(envelope, DEVICE_KEY)
    assert not is_signed_by(envelope, OTHER_KEY)


def test_the_signature_covers_the_exact_payload_bytes() -> None:
    """P5. Also when other bytes mean the same: 1 as one byte and as two."""
    raw = seal(HEADER, b"\x01", DEVICE_SIGNER)
    other = raw.replace(b"\x41\x01", b"\x42\x18\x01")
    assert other != raw
    assert unwrap(other).payload == b"\x18\x01"
    assert not is_signed_by(unwrap(other), DEVICE_KEY)


def test_a_signature_without_the_content_type_as_external_data_does_not_verify() -> None:
    """P5: a signature that the key made for another purpose is none for this one."""
    for external in (b"", b"application/vnd.covey.other+cbor"):
        assert not is_signed_by(unwrap(signed(map_of(HEADER), external=external)), DEVICE_KEY)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({1: -7}, id="other-algorithm"),
        pytest.param({1: None}, id="no-algorithm"),
        pytest.param({3: 60}, id="content-type-as-number"),
        pytest.param({4: b""}, id="empty-key-id"),
        pytest.param({4: b"\x00" * (KEY_ID_BYTES - 1)}, id="short-key-id"),
        pytest.param({4: b"\x00" * (KEY_ID_BYTES + 1)}, id="long-key-id"),
        pytest.param({4: "12345678"}, id="key-id-as-text"),
        pytest.param({15: {}}, id="no-claims"),
        pytest.param({15: {1: DEVICE, 3: "hub"}}, id="no-message-id"),
        pytest.param({15: {1: DEVICE, 3: "hub", 7: b"id", 4: 2_000_000_000}}, id="claim-more"),
        pytest.param({15: {1: DEVICE, 3: ["hub", "else"], 7: b"id"}}, id="two-audiences"),
        pytest.param({"covey": "1"}, id="version-as-text"),
        pytest.param({"enc": "gzip"}, id="unknown-encoding"),
        pytest.param({"enc": ["zstd"]}, id="encoding-as-list"),
        pytest.param({2: ["covey"]}, id="critical-parameters"),
        pytest.param({5: bytes(12)}, id="parameter-more"),
        pytest.param({"note": "x"}, id="private-parameter-more"),
        pytest.param({15: {1: "x" * HEADER_MAX_BYTES, 3: "hub", 7: b"id"}}, id="header-too-large"),
    ],
)
def test_a_header_that_is_not_exactly_ours_is_refused_though_it_is_signed(
    change: dict[object, object],
) -> None:
    """P5."""
    unwrap(signed(map_of(HEADER)))
    with pytest.raises(ProtocolError):
        unwrap(signed(map_of(HEADER) | change))


@pytest.mark.parametrize("missing", [1, 3, 4, 15, "covey"])
def test_a_header_without_one_of_its_parameters_is_refused(missing: object) -> None:
    """P5."""
    fields = map_of(HEADER)
    del fields[missing]
    with pytest.raises(ProtocolError):
        unwrap(signed(fields))


@pytest.mark.parametrize("unprotected", [{4: b"12345678"}, {"note": 1}, {1: -8}, [], b"", 0], ids=repr)
def test_anything_outside_the_signature_is_refused(unprotected: object) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        unwrap(signed(map_of(HEADER), unprotected=unprotected))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xd2", id="tag-only"),
        pytest.param(b"\xd2\x80", id="no-parts"),
        pytest.param(b"\xd2\xf6", id="null"),
        pytest.param(b"\xd2" + encode([b"", {}, b""]), id="three-parts"),
        pytest.param(b"\xd2" + encode([b"", {}, b"", b"", b""]), id="five-parts"),
        pytest.param(b"\xd2" + encode([b"", {}, None, bytes(64)]), id="detached-payload"),
        pytest.param(b"\xd2" + encode([b"", {}, b"", bytes(64)]), id="empty-header"),
        pytest.param(signature_of(63), id="short-signature"),
        pytest.param(signature_of(65), id="long-signature"),
        pytest.param(b"\xd2" + encode([{}, {}, b"", bytes(64)]), id="header-not-bytes"),
        pytest.param(b"\xd1" + seal(HEADER, b"", DEVICE_SIGNER)[1:], id="tag-of-mac0"),
        pytest.param(b"\xd8\x12" + seal(HEADER, b"", DEVICE_SIGNER)[1:], id="tag-in-two-bytes"),
        pytest.param(b"\xd2\xd2" + seal(HEADER, b"", DEVICE_SIGNER)[1:], id="tag-twice"),
        pytest.param(seal(HEADER, b"", DEVICE_SIGNER)[1:], id="untagged"),
        pytest.param(seal(HEADER, b"", DEVICE_SIGNER) + b"\x00", id="byte-more"),
        pytest.param(seal(HEADER, b"", DEVICE_SIGNER) + b"\x18", id="beginning-of-another-item"),
    ],
)
def test_another_structure_is_refused(raw: bytes) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        unwrap(raw)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_envelope_or_a_protocol_error(data: bytes) -> None:
    """P5."""
    for raw in (data, b"\xd2" + data, b"\xd2" + encode([data, {}, b"", bytes(64)])):
        with pytest.raises(ProtocolError):
            unwrap(raw)

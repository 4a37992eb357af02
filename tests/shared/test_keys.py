"""Ed25519 keys: the published examples of RFC 8032, and trust that comes from the reader's own list."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.keys import KEY_ID_BYTES, KeyRing, Signer, TrustedKey, key_id
from tests.vectors.values import DEVICE, DEVICE_KEY, DEVICE_SIGNER, OTHER_KEY

RFC_8032 = [
    pytest.param(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        id="test-1",
    ),
    pytest.param(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        id="test-2",
    ),
]


@pytest.mark.parametrize(("private", "public", "data", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(private: str, public: str, data: str, signature: str) -> None:
    """P6."""
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private)))
    assert signer.public.hex() == public
    assert signer.sign(bytes.fromhex(data)).hex() == signature
    key = TrustedKey(owner=DEVICE, public=bytes.fromhex(public))
    assert key.verifies(bytes.fromhex(signature), bytes.fromhex(data))


def test_a_key_id_is_the_first_eight_bytes_of_the_keys_hash() -> None:
    """P6."""
    public = DEVICE_SIGNER.public
    assert key_id(public) == hashlib.sha256(public).digest()[:KEY_ID_BYTES]
    assert DEVICE_SIGNER.kid == DEVICE_KEY.kid == key_id(public)


@given(st.binary(max_size=40))
def test_a_signature_is_one_keys_over_exactly_one_text(data: bytes) -> None:
    """P6."""
    signature = DEVICE_SIGNER.sign(data)
    assert DEVICE_KEY.verifies(signature, data)
    assert not DEVICE_KEY.verifies(signature, data + b"\x00")
    assert not OTHER_KEY.verifies(signature, data)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_size_is_none(size: int) -> None:
    """P6."""
    assert not DEVICE_KEY.verifies(bytes(size), b"data")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_of_another_size_is_refused(size: int) -> None:
    """P6."""
    with pytest.raises(ProtocolError):
        TrustedKey(owner=DEVICE, public=bytes(size))


def test_a_ring_knows_its_own_keys_also_revoked_ones_and_no_others() -> None:
    """P6."""
    revoked = TrustedKey(owner=DEVICE, public=DEVICE_SIGNER.public, is_revoked=True)
    ring = KeyRing((revoked,))
    found = ring.key(DEVICE_SIGNER.kid)
    assert found is revoked
    assert found.is_revoked
    assert ring.key(OTHER_KEY.kid) is None
    assert ring.key(b"") is None

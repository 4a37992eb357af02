"""Secrets sealed to one device (rule P26)."""

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CapacityError, ProtocolError, RefusedError
from shared.sealed_box import (
    BOX_MAX_BYTES,
    BOX_OVERHEAD_BYTES,
    SECRET_MAX_BYTES,
    Sealing,
    check_name,
    check_value,
    open_secret,
    seal_secret,
)

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SEALING = Sealing(device="main.till", name="POS_TOKEN", version=3)
VALUE = "correct horse battery"


def test_p26_a_box_opens_for_its_device_name_and_version() -> None:
    box = seal_secret(PUBLIC, VALUE, SEALING)
    assert open_secret(KEY, box, SEALING) == VALUE
    assert len(box) == len(VALUE) + BOX_OVERHEAD_BYTES
    assert VALUE.encode() not in box


@pytest.mark.parametrize(
    "other",
    [
        Sealing(device="main.till-2", name="POS_TOKEN", version=3),
        Sealing(device="main.till", name="MAIL_TOKEN", version=3),
        Sealing(device="main.till", name="POS_TOKEN", version=2),
    ],
)
def test_p26_a_box_opens_as_no_other(other: Sealing) -> None:
    box = seal_secret(PUBLIC, VALUE, SEALING)
    with pytest.raises(ProtocolError) as refused:
        open_secret(KEY, box, other)
    assert refused.value.code == "box_unreadable"
    assert VALUE not in str(refused.value)


def test_p26_a_box_opens_with_no_other_key() -> None:
    box = seal_secret(PUBLIC, VALUE, SEALING)
    with pytest.raises(ProtocolError):
        open_secret(X25519PrivateKey.generate(), box, SEALING)


@given(st.data())
def test_p26_a_box_that_was_changed_or_cut_does_not_open(data: st.DataObject) -> None:
    box = bytearray(seal_secret(PUBLIC, VALUE, SEALING))
    if data.draw(st.booleans()):
        # Also in the top bit of the ephemeral key, which X25519 ignores: the key schedule covers its bytes.
        box[data.draw(st.integers(0, len(box) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        box = box[: data.draw(st.integers(0, len(box) - 1))]
    with pytest.raises(ProtocolError):
        open_secret(KEY, bytes(box), SEALING)


def test_a_box_is_what_rfc_9180_says() -> None:
    """The same scheme written down once more, from the RFC's sections 4, 4.1, 5.1 and 5.2."""
    box = seal_secret(PUBLIC, VALUE, SEALING)
    enc, ciphertext = box[:32], box[32:]
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"
    dh = KEY.exchange(X25519PublicKey.from_public_bytes(enc))
    prk = extract(b"", b"HPKE-v1" + kem + b"eae_prk" + dh)
    shared = expand(prk, b"\x00\x20HPKE-v1" + kem + b"shared_secret" + enc + PUBLIC, 32)
    psk_id = extract(b"", b"HPKE-v1" + suite + b"psk_id_hash")
    info = extract(b"", b"HPKE-v1" + suite + b"info_hash" + SEALING.info())
    context = b"\x00" + psk_id + info
    secret = extract(shared, b"HPKE-v1" + suite + b"secret")
    key = expand(secret, b"\x00\x20HPKE-v1" + suite + b"key" + context, 32)
    nonce = expand(secret, b"\x00\x0cHPKE-v1" + suite + b"base_nonce" + context, 12)
    assert ChaCha20Poly1305(key).decrypt(nonce, ciphertext, b"") == VALUE.encode()


def test_the_longest_secret_fits_and_one_more_byte_does_not() -> None:
    longest = "abcdefgh" + "x" * (SECRET_MAX_BYTES - 8)
    box = seal_secret(PUBLIC, longest, SEALING)
    assert len(box) == BOX_MAX_BYTES
    assert open_secret(KEY, box, SEALING) == longest
    with pytest.raises(CapacityError):
        seal_secret(PUBLIC, longest + "x", SEALING)


@pytest.mark.parametrize(
    "value", ["", "short-7", "aaaaaaaaaaaa", "abcabcabcabc", "12345678\x00", "\ud800abcdefgh"]
)
def test_a_value_that_cannot_be_told_from_other_text_is_refused(value: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_value(value)
    assert not value or value not in str(refused.value)


@pytest.mark.parametrize("name", ["", "token", "1TOKEN", "A" * 65, "A-B", "A B", "../A", "Ä", "TOKEN\n"])
def test_a_name_that_could_mean_something_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(RefusedError):
        check_name(name)
    assert check_name("POS_TOKEN_2") == "POS_TOKEN_2"


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32)])
def test_a_sealing_key_that_is_none_is_refused(public: bytes) -> None:
    with pytest.raises(ProtocolError):
        seal_secret(public, VALUE, SEALING)


def extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, material, sha256)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    assert length <= 32
    return hmac.digest(key, info + b"\x01", sha256)[:length]

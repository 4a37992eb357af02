"""Signed tree heads: who may sign one, for what it counts, and how it is written down."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.gate import close
from shared.ids import EVERYONE, HUB
from shared.keys import KeyRing, Purpose, Signer, TrustedKey
from shared.merkle import EMPTY_ROOT
from shared.messages import Ack
from shared.tree_head import TEXT_PREFIX, TreeHead, head_text, open_head, parse_head_text, sign_head

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"audit").digest()))
RING = KeyRing((TrustedKey(owner=HUB, public=SIGNER.public, purpose=Purpose.AUDIT),))
HEAD = TreeHead(size=7, root=EMPTY_ROOT, chain=bytes(32), at_ms=1, previous=b"", root_key=bytes(32))


def test_p24_a_head_is_believed_from_an_audit_key_only() -> None:
    envelope = sign_head(HEAD, SIGNER)
    assert open_head(envelope, RING) == HEAD
    for purpose in (Purpose.ORDERS, Purpose.POLICY):
        ring = KeyRing((TrustedKey(owner=HUB, public=SIGNER.public, purpose=purpose),))
        with pytest.raises(ProtocolError) as refused:
            open_head(envelope, ring)
        assert refused.value.code == "wrong_purpose"
    with pytest.raises(ProtocolError) as unknown:
        open_head(envelope, KeyRing(()))
    assert unknown.value.code == "unknown_key"


def test_p24_what_was_signed_for_something_else_is_no_head() -> None:
    ack = Ack(lane="journal", epoch=bytes(16), upto=0, hash=bytes(32), credit=0)
    other = close(ack, issuer=HUB, audience=EVERYONE, message_id=b"", signer=SIGNER)
    addressed = close(HEAD, issuer=HUB, audience="acme.fridge-1", message_id=b"", signer=SIGNER)
    for envelope, code in ((other, "wrong_type"), (addressed, "wrong_recipient"), (b"", "malformed")):
        with pytest.raises(ProtocolError) as refused:
            open_head(envelope, RING)
        assert refused.value.code == code


@given(st.data())
def test_p24_a_flipped_bit_of_a_head_is_found(data: st.DataObject) -> None:
    envelope = bytearray(sign_head(HEAD, SIGNER))
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        open_head(bytes(envelope), RING)


@given(st.binary(max_size=300))
def test_a_head_survives_being_written_down(envelope: bytes) -> None:
    text = head_text(envelope)
    assert text.startswith(TEXT_PREFIX)
    assert parse_head_text(f"  {text}\n") == envelope


@pytest.mark.parametrize(
    "text", ["", "covey-head1.é", "covey-head1.a", "head1.AAAA", "covey-head1." + "A" * 5_000]
)
def test_text_that_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="tree head"):
        parse_head_text(text)

"""Content beside the chain is found, and only found, by the salted hash that its record names."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.blobs import BLOB_MAX_BYTES, SALT_BYTES, Blob, BlobRef

SALTS = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)


def test_a_reference_is_the_hash_of_salt_and_content_with_the_contents_size() -> None:
    """P4."""
    blob = Blob(salt=bytes(16), content=b"hello")
    assert blob.ref() == BlobRef(hash=hashlib.sha256(bytes(16) + b"hello").digest(), size=5)


@given(SALTS, SALTS, st.binary(max_size=64), st.binary(max_size=64))
def test_blobs_share_a_reference_only_if_salt_and_content_are_the_same(
    salt: bytes, other_salt: bytes, content: bytes, other: bytes
) -> None:
    """P4."""
    first, second = Blob(salt=salt, content=content), Blob(salt=other_salt, content=other)
    assert (first.ref() == second.ref()) == (first == second)


def test_the_same_content_under_another_salt_cannot_be_recognised() -> None:
    """P4: short or guessable content does not show in its hash."""
    yes = Blob(salt=b"\x01" * 16, content=b"yes").ref()
    assert yes.hash != Blob(salt=b"\x02" * 16, content=b"yes").ref().hash
    assert yes.hash != hashlib.sha256(b"yes").digest()


def test_content_is_bounded_at_64_kib() -> None:
    """P4."""
    assert Blob(salt=bytes(16), content=bytes(BLOB_MAX_BYTES)).ref().size == 65_536
    with pytest.raises(ValidationError):
        Blob(salt=bytes(16), content=bytes(BLOB_MAX_BYTES + 1))
    with pytest.raises(ValidationError):
        BlobRef(hash=bytes(32), size=BLOB_MAX_BYTES + 1)


@pytest.mark.parametrize("size", [0, SALT_BYTES - 1, SALT_BYTES + 1])
def test_a_salt_has_its_size(size: int) -> None:
    """P4. A salt of any length would let bytes wander from content to salt under the same hash."""
    with pytest.raises(ValidationError):
        Blob(salt=bytes(size), content=b"x")


def test_text_that_is_no_text_is_shown_with_replacement_characters() -> None:
    assert Blob(salt=bytes(16), content=b"\xffok").text() == "\N{REPLACEMENT CHARACTER}ok"

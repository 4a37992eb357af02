"""What comes along with an order: both of its parts, within its bound, and nothing else."""

import cbor2
import pytest

from shared.errors import ProtocolError
from shared.knowledge.inline import INLINE_MAX_BYTES, Inline, unwrap, wrap

FRAME_BYTES = len(cbor2.dumps({"format": 1, "lead": b"1", "pack": bytes(60_000)}, canonical=True)) - 60_000


def test_what_was_wrapped_is_unwrapped() -> None:
    inline = Inline(lead=b"delta", pack=b"pack")
    data = wrap(inline)
    assert data is not None
    assert unwrap(data) == inline


def test_what_fills_the_bound_travels_and_a_byte_more_does_not() -> None:
    """P29"""
    fits = wrap(Inline(lead=b"1", pack=bytes(INLINE_MAX_BYTES - FRAME_BYTES)))
    assert fits is not None
    assert len(fits) == INLINE_MAX_BYTES
    assert wrap(Inline(lead=b"1", pack=bytes(INLINE_MAX_BYTES - FRAME_BYTES + 1))) is None
    with pytest.raises(ProtocolError, match="larger than it may be"):
        unwrap(fits + b"\0")


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", cbor2.dumps([1, b"lead", b""]), cbor2.dumps({"format": 2, "lead": b"1", "pack": b""})],
)
def test_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unwrap(data)

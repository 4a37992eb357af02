"""CBOR (RFC 8949) as the protocol allows it: one item, definite lengths, no tags, no duplicate keys, bounded depth
(rule P5).

Tags are refused because decoding them runs code of the library's choosing (regular expressions, dates, cyclic
values) over bytes that nobody has verified yet. For the same reason map keys are text or bytes: keys whose hashes
collide on purpose would make a small message expensive. Only the envelope's own header has integer keys, and is short.
"""

from io import BytesIO
from typing import Final, Never

import cbor2

from shared.errors import ProtocolError

MAX_DEPTH: Final = 16


def _refuse_tag(*_: object) -> Never:
    raise ValueError("the protocol has no tagged items")


class _EveryTag(dict[int, cbor2.SemanticDecoderCallback]):
    """Also those that a later version of the library learns to decode."""

    def __missing__(self, tag: int) -> cbor2.SemanticDecoderCallback:
        return _refuse_tag


_EVERY_TAG: Final = _EveryTag()


def encode(value: object) -> bytes:
    """Encode plain values. The bytes are what travels, is hashed and is signed; nothing is re-encoded to verify."""
    return cbor2.dumps(value)


def decode(data: bytes, *, has_integer_keys: bool = False) -> object:
    """Raises `ProtocolError` on anything but exactly one well-formed item."""
    try:
        decoder = cbor2.CBORDecoder(
            BytesIO(data),
            semantic_decoders=_EVERY_TAG,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=not has_integer_keys,
        )
        value: object = decoder.decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ProtocolError("The bytes are not well-formed CBOR.") from error
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return value
    raise ProtocolError("Bytes follow the end of the CBOR item.")

"""CBOR (RFC 8949) as the protocol allows it: one item, definite lengths, no tags, no duplicate keys, bounded depth
(rule P5).

Tags are refused because decoding them runs code of the library's choosing (regular expressions, dates, cyclic
values) over bytes that nobody has verified yet. For the same reason map keys are text or bytes: keys whose hashes
collide on purpose would make a small message expensive. Only the envelope's own header has integer keys, and is short.
"""

from collections.abc import Sequence
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
_MALFORMED: Final = (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError)


def encode(value: object) -> bytes:
    """Encode plain values. The bytes are what travels, is hashed and is signed; nothing is re-encoded to verify."""
    return cbor2.dumps(value)


def decode(data: bytes, *, has_integer_keys: bool = False) -> object:
    """Raises `ProtocolError` on anything but exactly one well-formed item."""
    try:
        decoder = _decoder(BytesIO(data), has_integer_keys=has_integer_keys)
        value: object = decoder.decode()
    except _MALFORMED as error:
        raise ProtocolError("The bytes are not well-formed CBOR.") from error
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return value
    raise ProtocolError("Bytes follow the end of the CBOR item.")


def decode_each(items: Sequence[bytes]) -> list[object]:
    """`decode` of each, with one decoder for all of them. Raises `ProtocolError` if any is not exactly one item."""
    stream = BytesIO(b"".join(items))
    decoder = _decoder(stream, has_integer_keys=False)
    values: list[object] = []
    end = 0
    try:
        for item in items:
            values.append(decoder.decode())
            end += len(item)
            # An item that ends elsewhere than its bytes do has borrowed from its neighbour, or left it something.
            if stream.tell() != end:
                raise ProtocolError("The bytes are not exactly one CBOR item.")
    except _MALFORMED as error:
        raise ProtocolError("The bytes are not well-formed CBOR.") from error
    return values


def _decoder(stream: BytesIO, *, has_integer_keys: bool) -> cbor2.CBORDecoder:
    return cbor2.CBORDecoder(
        stream,
        semantic_decoders=_EVERY_TAG,
        max_depth=MAX_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=not has_integer_keys,
    )

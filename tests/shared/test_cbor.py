"""Only the plain part of CBOR gets in, and whatever else arrives is an error and never a crash."""

from io import BytesIO

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.cbor import MAX_DEPTH, decode, encode
from shared.errors import ProtocolError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x01"


@given(PLAIN)
@pytest.mark.slow
def test_plain_values_read_back(value: object) -> None:
    """P5."""
    assert decode(encode(value)) == value


@settings(max_examples=300)
@given(st.binary(max_size=64))
@pytest.mark.slow
def test_any_bytes_are_a_value_or_a_protocol_error(data: bytes) -> None:
    """P5."""
    try:
        value = decode(data)
    except ProtocolError:
        return
    assert repr(cbor2.loads(data)) == repr(value)  # NaN is not equal to itself


@given(PLAIN, st.binary(min_size=1, max_size=8))
@pytest.mark.slow
def test_bytes_after_the_item_are_refused_whatever_they_are(value: object, rest: bytes) -> None:
    """P5. Also when they are the beginning of another item."""
    with pytest.raises(ProtocolError, match="follow the end"):
        decode(encode(value) + rest)


@given(PLAIN)
@pytest.mark.slow
def test_an_item_cut_anywhere_is_refused(value: object) -> None:
    """P5."""
    data = encode(value)
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("9f01ff", id="list"),
        pytest.param("bf616101ff", id="map"),
        pytest.param("5f4101ff", id="bytes"),
        pytest.param("7f6161ff", id="text"),
    ],
)
def test_indefinite_lengths_are_refused(data: str) -> None:
    """P5."""
    assert cbor2.loads(bytes.fromhex(data)) is not None
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["a2616101616101", "a2616101616102"])
def test_a_key_said_twice_is_refused(data: str) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(data))


def test_nesting_is_read_up_to_its_bound_and_refused_one_past() -> None:
    """P5."""
    decode(nested(MAX_DEPTH))
    with pytest.raises(ProtocolError):
        decode(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xc6", b"\xd8\x1c"])
def test_very_deep_nesting_is_refused_and_does_not_crash(opening: bytes) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        decode(opening * 40_000 + b"\x01")


@given(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)))
def test_every_tag_is_refused(tag: int) -> None:
    """P5. Decoding a tag would run the library's code (regular expressions, dates, cycles) on unverified bytes."""
    head = encode(tag)
    tagged = bytes([head[0] | 0xC0]) + head[1:] + b"\x81\x01"
    assert BytesIO(tagged).read(1)[0] >> 5 == 6
    with pytest.raises(ProtocolError):
        decode(tagged)
    with pytest.raises(ProtocolError):
        decode(b"\x81" + tagged)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(cbor2.CBORTag(35, "(a+)+$"), id="regular-expression"),
        pytest.param(cbor2.CBORTag(258, [1]), id="set"),
        pytest.param(2**64, id="bignum"),
        pytest.param(cbor2.CBORTag(5, [1_000_000, 3]), id="bigfloat"),
        pytest.param(cbor2.CBORTag(28, [cbor2.CBORTag(29, 0)]), id="cycle"),
    ],
)
def test_a_value_that_only_a_tag_can_express_is_refused(value: object) -> None:
    """P5."""
    data = cbor2.dumps(value)
    assert cbor2.loads(data) is not None
    with pytest.raises(ProtocolError):
        decode(data)


@pytest.mark.parametrize("key", [1, 1.0, True, None, (1, 2)])
def test_only_the_envelopes_header_may_have_keys_that_are_not_text_or_bytes(key: object) -> None:
    """P5. Other keys can be made to collide."""
    data = encode({key: 1})
    assert decode(data, has_integer_keys=True) == {key: 1}
    with pytest.raises(ProtocolError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    ["9b7fffffffffffffff", "bb7fffffffffffffff", "5b7fffffffffffffff", "7b7fffffffffffffff", "9a7fffffff"],
)
def test_a_length_that_is_a_lie_is_refused_without_making_room_for_it(data: str) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["63eda080", "61ff", "62c328"])
def test_text_that_is_not_utf8_is_refused(data: str) -> None:
    """P5."""
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(data))

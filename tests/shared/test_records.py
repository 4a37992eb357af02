"""Records: every kind reads back, and bytes that are none are named and never crash."""

import string
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.blobs import BLOB_MAX_BYTES, BlobRef
from shared.cbor import decode, encode
from shared.clock import MAX_MS
from shared.errors import CapacityError
from shared.records import (
    MAX_CAUSES,
    MAX_LABELS,
    RECORD_MAX_BYTES,
    DeviceStopped,
    ForeignCause,
    ModelCalled,
    Poison,
    Record,
    RecordBody,
    encode_record,
    parse_record,
)
from tests.shared.strategies import instances
from tests.vectors.values import ANSWER, AT_MS, GOAL, ORDERS, RECORDS, SETTINGS, TASK

KINDS: Final[tuple[type[RecordBody], ...]] = get_args(Record)


def fields_of(kind: str) -> dict[str, Any]:
    fields = decode(encode_record(RECORDS[kind]))
    assert isinstance(fields, dict)
    return fields


def test_there_is_an_example_of_every_kind() -> None:
    """P10."""
    assert {type(record) for record in RECORDS.values()} == set(KINDS)
    assert all(record.kind == kind for kind, record in RECORDS.items())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(st.data())
@pytest.mark.slow
def test_every_record_of_every_kind_reads_back(kind: type[Record], data: st.DataObject) -> None:
    """P10."""
    record = data.draw(instances(kind))
    if sum(ref.size for ref in record.blob_refs()) > BLOB_MAX_BYTES:
        with pytest.raises(CapacityError):
            encode_record(record)
        return
    assert parse_record(encode_record(record)) == record


@settings(max_examples=300)
@given(st.binary(max_size=96))
@pytest.mark.slow
def test_any_bytes_are_a_record_or_poison(data: bytes) -> None:
    """P11."""
    assert isinstance(parse_record(data), RecordBody | Poison)


@settings(max_examples=300)
@given(st.sampled_from(sorted(RECORDS)), st.data())
@pytest.mark.slow
def test_a_record_with_a_flipped_bit_or_a_cut_is_a_record_or_poison(kind: str, data: st.DataObject) -> None:
    """P11."""
    sound = encode_record(RECORDS[kind])
    assert isinstance(parse_record(sound[: data.draw(st.integers(0, len(sound) - 1))]), Poison)
    record = bytearray(sound)
    record[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(parse_record(bytes(record)), RecordBody | Poison)


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(RECORDS)),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
    st.data(),
)
@pytest.mark.slow
def test_a_record_with_any_value_in_any_field_is_a_record_or_poison(
    kind: str, value: object, data: st.DataObject
) -> None:
    """P11."""
    fields = fields_of(kind)
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    assert isinstance(parse_record(encode(fields)), RecordBody | Poison)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_with_one_field_more_is_poison(kind: str) -> None:
    """P10, P11."""
    outcome = parse_record(encode(fields_of(kind) | {"note": "x"}))
    assert isinstance(outcome, Poison)
    assert outcome.reason == f"extra_forbidden at {kind}.note"


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_without_a_required_field_is_poison(kind: str) -> None:
    """P10, P11."""
    for name in fields_of(kind):
        if name not in ("kind", "causes", "labels") and type(RECORDS[kind]).model_fields[name].is_required():
            fields = fields_of(kind)
            del fields[name]
            assert parse_record(encode(fields)) == Poison(f"missing at {kind}.{name}")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not well-formed CBOR"),
        (b"\xff", "not well-formed CBOR"),
        (encode({"kind": "device.exploded", "at_ms": 1}), "unknown kind"),
        (encode({"kind": ["device.stopped"], "at_ms": 1}), "unknown kind"),
        (encode({"kind": b"device.stopped", "at_ms": 1}), "unknown kind"),
        (encode({"at_ms": 1}), "union_tag_not_found at "),
        (encode({}), "union_tag_not_found at "),
        (encode([]), "model_attributes_type at "),
        (encode(7), "model_attributes_type at "),
        (encode({"kind": "device.stopped", "at_ms": 1}) + b"\x18", "not well-formed CBOR"),
        (b"\x81" * 5_000 + b"\x01", "not well-formed CBOR"),
        (b"\xa1\x61a" * 5_000 + b"\x01", "not well-formed CBOR"),
    ],
)
def test_what_is_no_record_is_poison_with_its_reason(data: bytes, reason: str) -> None:
    """P11."""
    assert parse_record(data) == Poison(reason)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("device.stopped", "at_ms", True),
        ("device.stopped", "at_ms", 1.0),
        ("device.stopped", "at_ms", "1"),
        ("device.stopped", "at_ms", None),
        ("device.stopped", "at_ms", -1),
        ("device.stopped", "at_ms", MAX_MS + 1),
        ("device.stopped", "causes", [True]),
        ("device.stopped", "causes", ["1"]),
        ("device.stopped", "causes", [0]),
        ("device.stopped", "causes", {"1": 1}),
        ("device.stopped", "causes", [{"lane": "secrets", "epoch": bytes(16), "seq": 1}]),
        ("device.stopped", "causes", [{"lane": "orders", "epoch": bytes(15), "seq": 1}]),
        ("device.stopped", "labels", "abc"),
        ("device.stopped", "labels", ["With Spaces"]),
        ("device.started", "was_clean", 1),
        ("device.started", "version", "0.1\x00"),
        ("model.called", "first_token_ms", float("nan")),
        ("model.called", "total_ms", float("inf")),
        ("model.called", "total_ms", -0.5),
        ("model.called", "total_ms", True),
        ("model.called", "finish", "exploded"),
        ("node.moved", "state", "exploded"),
        ("node.moved", "state", b"failed"),
        ("node.moved", "state", 1),
        ("node.moved", "task", f"{TASK}\n"),
        ("node.moved", "task", TASK.upper()),
        ("node.moved", "node", 65_536),
        ("node.moved", "attempt", 0),
        ("node.moved", "reason", "A sentence that a person wrote."),
        ("tool.intent", "call", 2**31),
        ("model.called", "call", -1),
        ("model.called", "node", 65_536),
        ("tool.intent", "arguments", {"hash": "x" * 32, "size": 1}),
        ("tool.intent", "arguments", {"hash": bytes(31), "size": 1}),
        ("tool.intent", "arguments", {"hash": bytes(32), "size": BLOB_MAX_BYTES + 1}),
        ("tool.intent", "arguments", {"hash": bytes(32), "size": 1, "content": b"x"}),
        ("tool.intent", "arguments", "the text itself"),
        ("task.offered", "lease_s", 0),
        ("task.offered", "limits", {"turns": 0}),
        ("task.offered", "limits", {"turns": True}),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_poison(kind: str, field: str, value: object) -> None:
    """P10, P11."""
    assert isinstance(parse_record(encode(fields_of(kind) | {field: value})), Poison)


def test_the_last_wire_time_is_taken() -> None:
    """P10."""
    assert parse_record(encode({"kind": "device.stopped", "at_ms": MAX_MS})) == DeviceStopped(at_ms=MAX_MS)


@given(st.text(min_size=1, max_size=300))
def test_the_reason_of_poison_is_short_and_printable_whatever_the_writer_named_a_field(name: str) -> None:
    """P11. A NUL in it would fail the reader's database, and with it block the lane."""
    outcome = parse_record(encode(fields_of("device.stopped") | {name: 1}))
    if name not in DeviceStopped.model_fields:
        assert isinstance(outcome, Poison)
        assert len(outcome.reason) <= 200
        assert set(outcome.reason) <= set(string.printable) - set(string.whitespace) | {" "}


def padded(size: int) -> bytes:
    """Well-formed CBOR of exactly `size` bytes that is no record."""
    data = encode({"kind": "x" * (size - 9)})
    assert len(data) == size
    return data


def test_a_record_of_16_kib_is_read_and_one_byte_more_is_not() -> None:
    """P10, P11."""
    assert RECORD_MAX_BYTES == 16_384
    assert parse_record(padded(RECORD_MAX_BYTES)) == Poison("unknown kind")
    assert parse_record(padded(RECORD_MAX_BYTES + 1)) == Poison("larger than 16384 bytes")


def test_a_record_of_16_kib_is_written_and_one_byte_more_is_not() -> None:
    """P10."""

    def of(size: int) -> DeviceStopped:
        # Labels as long as this pass no validation; the bound is there for the kinds to come.
        return DeviceStopped.model_construct(at_ms=AT_MS, labels=("x" * size,))

    frame = len(encode_record(of(1_000))) - 1_000
    assert len(encode_record(of(RECORD_MAX_BYTES - frame))) == RECORD_MAX_BYTES
    with pytest.raises(CapacityError) as refused:
        encode_record(of(RECORD_MAX_BYTES - frame + 1))
    assert (refused.value.bound, refused.value.limit) == ("RECORD_MAX_BYTES", RECORD_MAX_BYTES)


@pytest.mark.parametrize("kind", RECORDS)
def test_the_largest_valid_record_of_each_kind_fits(kind: str) -> None:
    """P10."""
    causes = tuple(ForeignCause(lane="metrics", epoch=bytes(16), seq=2**63 - 1) for _ in range(MAX_CAUSES))
    record = RECORDS[kind].model_copy(update={"causes": causes, "labels": ("l" * 64,) * MAX_LABELS})
    assert parse_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "update",
    [
        {"causes": tuple(range(1, MAX_CAUSES + 2))},
        {"labels": ("l",) * (MAX_LABELS + 1)},
        {"labels": ("l" * 65,)},
    ],
)
def test_causes_and_labels_are_bounded(update: dict[str, Any]) -> None:
    """P10."""
    with pytest.raises(ValidationError):
        DeviceStopped(at_ms=AT_MS, **update)


def test_the_blobs_of_one_record_are_at_most_64_kib_together() -> None:
    """P4. So a record and its blobs always fit one message."""

    def called(prompt: int, output: int) -> ModelCalled:
        record = RECORDS["model.called"]
        assert isinstance(record, ModelCalled)
        refs = {
            "prompt": BlobRef(hash=bytes(32), size=prompt),
            "output": BlobRef(hash=bytes(32), size=output),
        }
        return record.model_copy(update=refs)

    encode_record(called(BLOB_MAX_BYTES, 0))
    encode_record(called(BLOB_MAX_BYTES // 2, BLOB_MAX_BYTES // 2))
    with pytest.raises(CapacityError) as refused:
        encode_record(called(BLOB_MAX_BYTES // 2, BLOB_MAX_BYTES // 2 + 1))
    assert (refused.value.bound, refused.value.limit) == ("BLOB_MAX_BYTES", BLOB_MAX_BYTES)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_names_every_blob_it_refers_to(kind: str) -> None:
    """P4."""
    record = RECORDS[kind]
    in_fields = [value for _, value in record if isinstance(value, BlobRef)]
    assert list(record.blob_refs()) == in_fields
    assert all(ref in (GOAL.ref(), ANSWER.ref(), SETTINGS.ref()) for ref in in_fields)


def test_causes_may_lie_in_the_own_lane_and_in_others() -> None:
    """P10."""
    cause = ForeignCause(lane="orders", epoch=ORDERS.epoch, seq=4)
    record = DeviceStopped(at_ms=AT_MS, causes=(1, cause))
    assert parse_record(encode_record(record)) == record


def strings_in(schema: object) -> Iterator[dict[str, object]]:
    match schema:
        case dict() if schema.get("type") == "string":
            yield schema
        case dict():
            for value in schema.values():
                yield from strings_in(value)
        case list():
            for value in schema:
                yield from strings_in(value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_has_room_for_free_text(kind: type[RecordBody]) -> None:
    """P4, P10: text is a blob. Every string of a record is bytes, one of some words, or a name without spaces."""
    found = list(strings_in(kind.model_json_schema()))
    assert found
    for schema in found:
        pattern = schema.get("pattern")
        assert schema.keys() & {"const", "enum"} or schema.get("format") == "binary" or pattern, schema
        assert " " not in str(pattern), schema


def test_a_record_cannot_be_changed() -> None:
    """P2."""
    with pytest.raises(ValidationError):
        RECORDS["device.stopped"].at_ms = 1

"""The payloads of messages: each reads back as it was sent, and nothing may be more, less or other than declared."""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared import keychain, messages, renewal, tree_head  # noqa: F401 - those with payloads of their own
from shared.cbor import decode, encode
from shared.messages import (
    BATCH_MAX_RECORDS,
    MAX_CREDIT,
    Ack,
    Batch,
    DeviceState,
    Hello,
    HelloAck,
    HubStatus,
    Payload,
)
from tests.shared.strategies import instances
from tests.vectors.values import BATCH, GOAL, MESSAGES

TYPES: Final[tuple[type[Payload], ...]] = (Hello, HelloAck, Batch, Ack, DeviceState, HubStatus)


def fields_of(name: str) -> dict[str, Any]:
    fields = decode(encode(MESSAGES[name][0].model_dump(exclude_defaults=True)))
    assert isinstance(fields, dict)
    return fields


def test_there_is_an_example_of_every_type_and_each_type_has_its_own_name() -> None:
    """P8: what a message is for is what its type says."""
    of_replication = {kind for kind in Payload.__subclasses__() if kind.__module__ == messages.__name__}
    assert {type(message) for message, _ in MESSAGES.values()} == set(TYPES) == of_replication
    everywhere = Payload.__subclasses__()
    assert len({kind.content_type for kind in everywhere}) == len(everywhere)


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=20)
@given(st.data())
def test_every_message_reads_back(kind: type[Payload], data: st.DataObject) -> None:
    """P9, P14, P17, P18."""
    message = data.draw(instances(kind))
    assert kind.model_validate(decode(encode(message.model_dump(exclude_defaults=True)))) == message


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_with_one_field_more_or_less_is_refused(name: str) -> None:
    """P8, payload."""
    kind = type(MESSAGES[name][0])
    with pytest.raises(ValidationError):
        kind.model_validate(fields_of(name) | {"note": "x"})
    for field, info in kind.model_fields.items():
        if info.is_required():
            fields = fields_of(name)
            del fields[field]
            with pytest.raises(ValidationError):
                kind.model_validate(fields)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("hello", "nonce", bytes(15)),
        ("hello", "connection", "c" * 16),
        ("hello", "version", ""),
        ("hello", "version", "0.1\x00"),
        ("hello", "version", "v" * 65),
        ("hello", "heads", None),
        (
            "hello",
            "heads",
            [{"lane": "journal", "epoch": bytes(16), "tail": 0, "head": 0, "hash": bytes(32)}],
        ),
        ("hello", "cursors", [{"lane": "journal", "epoch": bytes(16), "upto": True, "hash": bytes(32)}]),
        ("hello", "cursors", [{"lane": "secrets", "epoch": bytes(16), "upto": 0, "hash": bytes(32)}]),
        ("hello-ack", "session", bytes(17)),
        ("hello-ack", "credit", -1),
        ("hello-ack", "credit", MAX_CREDIT + 1),
        ("hello-ack", "at_ms", 2**63 - 1),
        ("batch", "lane", "other"),
        ("batch", "first_seq", 0),
        ("batch", "first_seq", 2**63),
        ("batch", "first_seq", 1.0),
        ("batch", "prev_hash", bytes(31)),
        ("batch", "seal", bytes(63)),
        ("batch", "records", []),
        ("batch", "records", ["text"]),
        ("batch", "records", b"bytes"),
        ("batch", "blobs", [{"salt": bytes(15), "content": b""}]),
        ("batch", "blobs", [{"salt": bytes(16), "content": "text"}]),
        ("ack", "upto", -1),
        ("ack", "hash", bytes(33)),
        ("ack", "credit", True),
        ("ack", "status", "fine"),
        ("state", "online", 1),
        ("state", "connection", b""),
        ("hub", "epoch", bytes(8)),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_refused(name: str, field: str, value: object) -> None:
    """P8, payload."""
    with pytest.raises(ValidationError):
        type(MESSAGES[name][0]).model_validate(fields_of(name) | {field: value})


def test_a_batch_has_at_most_4000_records_and_two_blobs_for_each() -> None:
    """P9."""
    most = {"records": (b"",) * 4_000, "blobs": (GOAL,) * 8_000, "latest": 4_001}
    Batch.model_validate(BATCH.model_dump() | most)
    assert BATCH_MAX_RECORDS == 4_000
    for more in ({"records": (b"",) * 4_001}, {"blobs": (GOAL,) * 8_001}):
        with pytest.raises(ValidationError):
            Batch.model_validate(BATCH.model_dump() | {"latest": 4_001} | more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latest": 1},
        {"records": ()},
        {"missing_from": 1},
        {"first_seq": 9, "latest": 10, "missing_from": 9},
        {"first_seq": 9, "latest": 9},
    ],
)
def test_a_batch_whose_positions_contradict_each_other_is_refused(wrong: dict[str, object]) -> None:
    """P9, P19: it holds two records from 1 on."""
    with pytest.raises(ValidationError):
        Batch.model_validate(BATCH.model_dump() | wrong)


def test_a_batch_without_records_says_why() -> None:
    """P13, P19."""
    empty = {"records": (), "blobs": (), "first_seq": 9, "latest": 8}
    for reason in ({"missing_from": 3}, {"is_fork": True}):
        Batch.model_validate(BATCH.model_dump() | empty | reason)
    with pytest.raises(ValidationError):
        Batch.model_validate(BATCH.model_dump() | empty)


@pytest.mark.parametrize("name", ["hello", "hello-ack"])
def test_a_hello_speaks_of_at_most_eight_lanes(name: str) -> None:
    """P17."""
    cursor = {"lane": "orders", "epoch": bytes(16), "upto": 0, "hash": bytes(32)}
    kind = type(MESSAGES[name][0])
    kind.model_validate(fields_of(name) | {"cursors": [cursor] * 8})
    with pytest.raises(ValidationError):
        kind.model_validate(fields_of(name) | {"cursors": [cursor] * 9})


def test_birth_and_death_carry_the_connection_that_they_are_of() -> None:
    """P18. So a late death of an earlier connection can be told from that of the latest."""
    birth = DeviceState(online=True, connection=b"n" * 16)
    old_death = DeviceState(online=False, connection=b"o" * 16)
    assert old_death.connection != birth.connection
    with pytest.raises(ValidationError):
        DeviceState.model_validate({"online": False})

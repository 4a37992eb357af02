"""Today's code writes and reads the golden bytes: deployed devices and hubs of other versions do."""

import json
from collections.abc import Mapping
from typing import Final

import pytest

from shared.gate import Accepted, Session, admit
from shared.log import Head
from shared.records import parse_record
from shared.replication import Extend, receive, seal_input
from tests.vectors import make
from tests.vectors.values import (
    BATCH,
    DEVICE,
    DEVICE_KEY,
    EVERYBODY,
    JOURNAL,
    MESSAGES,
    RECORDS,
    SESSION,
    START,
    expected,
)

GOLDEN: Final[Mapping[str, Mapping[str, str]]] = json.loads(make.PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MESSAGES)
def test_todays_code_writes_the_golden_message(name: str) -> None:
    """P5, P7, P9, P14, P17, P18."""
    assert make.messages()[name].hex() == GOLDEN["messages"][name]


@pytest.mark.parametrize("name", [*MESSAGES, make.COMPRESSED])
def test_todays_code_reads_the_golden_message(name: str) -> None:
    """P5, P7, P8."""
    message, issuer = MESSAGES.get(name, (make.LONG_BATCH, DEVICE))
    raw = bytes.fromhex(GOLDEN["messages"][name])
    outcome = admit(raw, expected(message, issuer=issuer), EVERYBODY, (Session(SESSION),))
    assert isinstance(outcome, Accepted)
    assert outcome.message == message


@pytest.mark.parametrize("kind", RECORDS)
def test_todays_code_writes_and_reads_the_golden_record(kind: str) -> None:
    """P10."""
    assert make.records()[kind].hex() == GOLDEN["records"][kind]
    assert parse_record(bytes.fromhex(GOLDEN["records"][kind])) == RECORDS[kind]


def test_the_golden_bytes_are_exactly_those_that_are_made() -> None:
    assert GOLDEN["messages"].keys() == {*MESSAGES, make.COMPRESSED}
    assert GOLDEN["records"].keys() == RECORDS.keys()


def test_the_golden_batch_leads_from_the_lanes_start_to_its_sealed_head() -> None:
    """P2, P3, P9."""
    outcome = receive(START, BATCH, {0: START.hash}.get)
    assert isinstance(outcome, Extend)
    assert outcome.hashes[-1] == BATCH.head
    assert DEVICE_KEY.verifies(BATCH.seal, seal_input(JOURNAL, Head(2, BATCH.head)))

"""The hash chain: any change, loss, doubling or reordering shows, and a chain belongs to one lane."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cbor import encode
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, chain, extend, first_break, start
from tests.vectors.values import DEVICE, JOURNAL, METRICS, ORDERS, START

RECORDS = st.lists(st.binary(max_size=12), min_size=1, max_size=8)


def entries_of(records: list[bytes]) -> list[Entry]:
    hashes = chain(START.hash, records)
    return [Entry(n, hash_, record) for n, (hash_, record) in enumerate(zip(hashes, records, strict=True), 1)]


def test_the_hash_before_record_one_is_the_lane_and_epoch() -> None:
    """P3."""
    seed = encode(["covey/1/lane", "journal", JOURNAL.epoch])
    assert start(JOURNAL) == Head(0, hashlib.sha256(seed).digest())


def test_no_two_lanes_or_epochs_start_alike() -> None:
    """P1, P3."""
    lanes = [JOURNAL, METRICS, ORDERS, LaneId(DEVICE, Lane.JOURNAL, METRICS.epoch)]
    assert len({start(lane).hash for lane in lanes}) == len(lanes)


def test_a_record_extends_the_hash_before_it_by_its_exact_bytes() -> None:
    """P2."""
    head = extend(START, b"record")
    assert head == Head(1, hashlib.sha256(START.hash + b"record").digest())


@given(RECORDS)
def test_the_hashes_of_a_run_are_those_of_its_records_one_by_one(records: list[bytes]) -> None:
    """P2."""
    head, hashes = START, []
    for record in records:
        head = extend(head, record)
        hashes.append(head.hash)
    assert chain(START.hash, records) == hashes
    assert head.seq == len(records)


def test_an_empty_run_has_no_hashes() -> None:
    """P2."""
    assert chain(START.hash, []) == []


@given(RECORDS)
@pytest.mark.slow
def test_a_sound_log_has_no_break(records: list[bytes]) -> None:
    """P2."""
    entries = entries_of(records)
    assert first_break(START, entries) is None
    middle = len(entries) // 2
    before = START if middle == 0 else Head(middle, entries[middle - 1].hash)
    assert first_break(before, entries[middle:]) is None
    assert first_break(START, []) is None


@given(RECORDS, st.data())
def test_one_altered_bit_breaks_the_log_where_it_is(records: list[bytes], data: st.DataObject) -> None:
    """P2."""
    at = data.draw(st.integers(0, len(records) - 1))
    entries = entries_of(records)
    record = bytearray(entries[at].record or b"\x00")
    record[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entries[at] = Entry(at + 1, entries[at].hash, bytes(record))
    assert first_break(START, entries) == at + 1


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=8, unique=True), st.data())
def test_a_missing_doubled_or_moved_record_breaks_the_log(records: list[bytes], data: st.DataObject) -> None:
    """P1, P2."""
    at = data.draw(st.integers(0, len(records) - 2))
    sound = entries_of(records)
    assert first_break(START, sound[:at] + sound[at + 1 :]) == at + 1
    assert first_break(START, sound[: at + 1] + sound[at:]) == at + 2
    swapped = [*sound[:at], sound[at + 1], sound[at], *sound[at + 2 :]]
    assert first_break(START, swapped) == at + 1


@given(RECORDS)
def test_a_chain_cannot_be_passed_off_as_another_lanes(records: list[bytes]) -> None:
    """P3."""
    assert first_break(start(ORDERS), entries_of(records)) == 1


def test_a_renumbered_log_has_a_break() -> None:
    """P1."""
    entry = entries_of([b"a"])[0]
    assert first_break(START, [Entry(2, entry.hash, entry.record)]) == 1

"""Replication step by step: what a sender does on each event, how batches are cut, and what a reader makes of them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.blobs import BLOB_MAX_BYTES, Blob
from shared.errors import CapacityError
from shared.gate import MESSAGE_MAX_BYTES, PAYLOAD_MAX_BYTES, Accepted, Session, admit
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, chain, start
from shared.messages import BATCH_MAX_RECORDS, Batch
from shared.records import RECORD_MAX_BYTES, ModelCalled, encode_record
from shared.replication import (
    BATCH_MAX_RAW_BYTES,
    MAX_RESENDS,
    PROBE_AFTER,
    RESEND_AFTER,
    Acknowledged,
    Agreed,
    Appended,
    Broken,
    Extend,
    Forget,
    Fork,
    Gap,
    Linked,
    Missing,
    Outcome,
    Parcel,
    Phase,
    Relink,
    ReportFork,
    Send,
    SenderEffect,
    SenderEvent,
    SenderState,
    Sent,
    Tick,
    Trimmed,
    Unlinked,
    pack,
    receive,
    seal_input,
    step,
)
from tests.support.clock import START as NOW
from tests.vectors.values import (
    DEVICE,
    DEVICE_KEY,
    DEVICE_SIGNER,
    EVERYBODY,
    JOURNAL,
    OTHER_KEY,
    RECORDS,
    SESSION,
    START,
    batch_of,
    closed,
    expected,
)

SECOND: Final = timedelta(seconds=1)
HASH: Final = b"h" * 32
OTHER_HASH: Final = b"o" * 32

IDLE: Final = SenderState(head=10, acked=10, phase=Phase.IDLE, credit=100, since=NOW)
WAITING: Final = SenderState(head=10, acked=4, phase=Phase.WAITING, credit=100, since=NOW)
NO_CREDIT: Final = SenderState(head=10, acked=4, phase=Phase.NO_CREDIT, credit=0, since=NOW)
FORKED: Final = SenderState(head=10, acked=4, phase=Phase.FORKED, credit=100)
UNLINKED: Final = SenderState(head=10, acked=4)


def linked(upto: int, *, credit: int = 100, own_hash: bytes | None = HASH) -> Linked:
    return Linked(upto=upto, hash=HASH, own_hash=own_hash, credit=credit)


def acknowledged(
    upto: int, *, credit: int = 100, own_hash: bytes | None = HASH, status: str = "ok"
) -> Acknowledged:
    return Acknowledged(upto=upto, hash=HASH, own_hash=own_hash, credit=credit, status=status)


# --- sender: linking -----------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_a_hello_was_answered() -> None:
    """P17."""
    for event in (Appended(11), Tick(), acknowledged(4)):
        state, effects = step(UNLINKED, event, NOW + timedelta(hours=1))
        assert (state.phase, effects) == (Phase.UNLINKED, [])


def test_a_linked_sender_goes_on_after_what_the_receiver_has() -> None:
    """P12, P17."""
    state, effects = step(UNLINKED, linked(4), NOW)
    assert effects == [Send(first_seq=5, max_records=6)]
    assert (state.phase, state.acked, state.credit, state.since) == (Phase.WAITING, 4, 100, NOW)


def test_a_linked_sender_learns_what_was_committed_while_it_was_away() -> None:
    """P14: an acknowledgement that got lost is in the hello."""
    state, effects = step(UNLINKED, linked(10), NOW)
    assert effects == [Forget(10)]
    assert (state.phase, state.acked) == (Phase.IDLE, 10)


def test_a_receiver_that_was_restored_gets_again_what_it_lost() -> None:
    """P12."""
    state, effects = step(replace(UNLINKED, acked=10), linked(2), NOW)
    assert effects == [Forget(2), Send(first_seq=3, max_records=8)]
    assert state.acked == 2


def test_an_empty_log_links_and_is_idle() -> None:
    """P17."""
    state, effects = step(SenderState(head=0), linked(0), NOW)
    assert (state.phase, effects) == (Phase.IDLE, [])


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(linked(11, own_hash=None), id="beyond-our-head"),
        pytest.param(linked(4, own_hash=OTHER_HASH), id="another-hash"),
    ],
)
def test_a_receiver_that_holds_another_history_is_shown_where_they_part(event: Linked) -> None:
    """P13: from the last record that both surely have; a cursor alone proves nothing to it."""
    state, effects = step(UNLINKED, event, NOW)
    assert effects == [Send(5, 6, is_fork=True)]
    assert (state.phase, state.is_diverged, state.acked) == (Phase.WAITING, True, 4)
    state, effects = step(state, acknowledged(7), NOW)
    assert effects == [Forget(7), Send(8, 3, is_fork=True)]
    state, effects = step(state, acknowledged(8, status="fork"), NOW)
    assert (state.phase, effects) == (Phase.FORKED, [ReportFork(8)])


def test_a_restored_receiver_that_took_another_history_since_is_shown_all_that_we_hold() -> None:
    """P13, P20: what it once acknowledged is beyond what it has; sent from there, it would only see a gap."""
    writer = replace(UNLINKED, acked=9, tail=3)
    state, effects = step(writer, linked(4, own_hash=OTHER_HASH), NOW)
    assert effects == [Forget(2), Send(3, 8, is_fork=True)]
    assert (state.is_diverged, state.acked) == (True, 2)


def test_a_writer_with_nothing_new_shows_its_last_record() -> None:
    """P13: an older copy of a store has nothing that the receiver lacks, and yet it must be seen."""
    _, effects = step(replace(UNLINKED, acked=10), linked(12, own_hash=None), NOW)
    assert effects == [Send(10, 1, is_fork=True)]
    assert step(replace(UNLINKED, head=0, acked=0), linked(12, own_hash=None), NOW)[1] == [
        Send(1, 0, is_fork=True)
    ]


def test_a_sender_that_was_taken_for_another_goes_on_when_the_receiver_agrees_after_all() -> None:
    """P13: a hub may be restored between its answer and the batch."""
    state, _ = step(UNLINKED, linked(4, own_hash=OTHER_HASH), NOW)
    state, effects = step(state, acknowledged(10), NOW)
    assert (state.phase, state.is_diverged, effects) == (Phase.IDLE, False, [Forget(10)])
    assert step(state, Appended(11), NOW)[1] == [Send(11, 1)]


# --- sender: what it no longer holds -------------------------------------------------------------------------------


def test_what_is_no_longer_held_is_said_to_be_missing() -> None:
    """P19."""
    state, effects = step(replace(UNLINKED, tail=8), linked(2, own_hash=None), NOW)
    assert effects == [Forget(2), Send(8, 3, missing_from=3)]
    assert state.acked == 2


def test_that_everything_is_gone_is_said_with_a_batch_without_records() -> None:
    """P19: at once, and not with the next record."""
    state, effects = step(replace(UNLINKED, tail=11), linked(2, own_hash=None), NOW)
    assert effects == [Forget(2), Send(11, 0, missing_from=3)]
    state, effects = step(state, acknowledged(10), NOW)
    assert (state.phase, effects) == (Phase.IDLE, [Forget(10)])


def test_records_shed_while_they_were_on_their_way_are_acknowledged_like_others() -> None:
    """P19: their hash cannot be compared any more."""
    state, _ = step(WAITING, Trimmed(9), NOW)
    state, effects = step(state, acknowledged(6, own_hash=None), NOW)
    assert effects == [Forget(6), Send(9, 2, missing_from=7)]


def test_a_tail_never_goes_back() -> None:
    """P19."""
    assert step(replace(WAITING, tail=4), Trimmed(2), NOW) == (replace(WAITING, tail=4), [])


def test_a_new_hello_during_a_batch_sends_it_again() -> None:
    """P17."""
    state, effects = step(replace(WAITING, resends=2), linked(4), NOW + SECOND)
    assert effects == [Send(5, 6)]
    assert (state.resends, state.since) == (0, NOW + SECOND)


# --- sender: one batch in flight -----------------------------------------------------------------------------------


def test_new_records_are_sent_at_once_when_nothing_is_in_flight() -> None:
    """P14."""
    state, effects = step(IDLE, Appended(12), NOW + SECOND)
    assert effects == [Send(11, 2)]
    assert (state.phase, state.since) == (Phase.WAITING, NOW + SECOND)


def test_new_records_wait_while_a_batch_is_in_flight() -> None:
    """P14: one batch in flight a lane."""
    state, effects = step(WAITING, Appended(12), NOW)
    assert (state, effects) == (replace(WAITING, head=12), [])


def test_a_head_that_is_reported_late_does_not_go_back() -> None:
    """P1."""
    assert step(WAITING, Appended(7), NOW) == (WAITING, [])


def test_a_batch_is_bounded_by_records_credit_and_what_is_durable() -> None:
    """P9, P14."""
    long = SenderState(head=9_000)
    assert step(long, linked(0, credit=1_000_000), NOW)[1] == [Send(1, BATCH_MAX_RECORDS)]
    assert step(long, linked(0, credit=7), NOW)[1] == [Send(1, 7)]
    assert step(long, linked(8_995), NOW)[1] == [Forget(8_995), Send(8_996, 5)]


def test_what_was_sent_is_remembered_only_while_it_is_in_flight() -> None:
    """P14."""
    assert step(WAITING, Sent(9), NOW) == (replace(WAITING, sent_to=9), [])
    assert step(IDLE, Sent(9), NOW) == (IDLE, [])


# --- sender: acknowledgements --------------------------------------------------------------------------------------


def test_records_are_forgotten_only_when_acknowledged_and_the_next_batch_follows() -> None:
    """P14."""
    state, effects = step(WAITING, acknowledged(8), NOW + SECOND)
    assert effects == [Forget(8), Send(9, 2)]
    assert (state.acked, state.phase) == (8, Phase.WAITING)


def test_a_sender_is_idle_when_everything_is_acknowledged() -> None:
    """P14."""
    state, effects = step(WAITING, acknowledged(10), NOW)
    assert (state.phase, effects) == (Phase.IDLE, [Forget(10)])


@pytest.mark.parametrize("state", [WAITING, replace(IDLE, acked=6), NO_CREDIT])
@pytest.mark.parametrize("upto", [0, 3])
def test_an_acknowledgement_overtaken_on_its_way_changes_nothing(state: SenderState, upto: int) -> None:
    """P14: what it spoke of is acknowledged since, and may be trimmed."""
    for own_hash in (HASH, None):
        assert step(state, acknowledged(upto, own_hash=own_hash), NOW + SECOND) == (state, [])


def test_an_acknowledgement_heard_twice_does_not_send_the_batch_in_flight_again() -> None:
    """P14."""
    assert step(WAITING, acknowledged(4), NOW + SECOND) == (WAITING, [])


def test_an_acknowledgement_of_what_is_not_in_our_log_is_a_fork() -> None:
    """P13."""
    for event in (acknowledged(11, own_hash=None), acknowledged(8, own_hash=OTHER_HASH)):
        state, effects = step(WAITING, event, NOW)
        assert (state.phase, effects) == (Phase.FORKED, [ReportFork(event.upto)])


def test_a_gap_sends_from_what_the_receiver_has() -> None:
    """P12."""
    state, effects = step(WAITING, acknowledged(2, status="gap"), NOW + SECOND)
    assert effects == [Forget(2), Send(3, 8)]
    assert (state.acked, state.since) == (2, NOW + SECOND)


def test_a_gap_in_what_we_have_trimmed_is_cleared_up_by_a_hello() -> None:
    """P12: it may be an old word; a false alarm would quarantine the device."""
    trimmed = replace(WAITING, tail=5)
    state, effects = step(trimmed, acknowledged(2, own_hash=None, status="gap"), NOW)
    assert (state.phase, effects) == (Phase.UNLINKED, [Relink()])


def test_a_fork_that_the_receiver_sees_stops_the_lane() -> None:
    """P13."""
    state, effects = step(WAITING, acknowledged(3, own_hash=OTHER_HASH, status="fork"), NOW)
    assert (state.phase, effects) == (Phase.FORKED, [ReportFork(3)])


@pytest.mark.parametrize("event", [Appended(10), Sent(10), Tick(), acknowledged(10), Unlinked()])
def test_a_stopped_lane_stays_stopped(event: SenderEvent) -> None:
    """P13: until an operator decides."""
    state, effects = step(FORKED, event, NOW + timedelta(days=1))
    assert (state.phase, effects) == (Phase.FORKED, [])


# --- sender: time --------------------------------------------------------------------------------------------------


def test_an_unanswered_batch_is_sent_again_after_ten_seconds_and_no_earlier() -> None:
    """P14."""
    assert timedelta(seconds=10) == RESEND_AFTER
    assert step(WAITING, Tick(), NOW + RESEND_AFTER - SECOND) == (WAITING, [])
    state, effects = step(WAITING, Tick(), NOW + RESEND_AFTER)
    assert effects == [Send(5, 6)]
    assert (state.resends, state.since) == (1, NOW + RESEND_AFTER)


def test_after_three_unanswered_repeats_the_session_is_taken_for_dead() -> None:
    """P14."""
    state, now, seen = WAITING, NOW, list[SenderEffect]()
    for _ in range(10):
        now += RESEND_AFTER
        state, effects = step(state, Tick(), now)
        seen += effects
    assert seen == [Send(5, 6)] * 3 + [Relink()]
    assert MAX_RESENDS == 3
    assert state.phase is Phase.UNLINKED


def test_an_answer_makes_the_repeats_count_anew() -> None:
    """P14."""
    state, _ = step(replace(WAITING, resends=3), acknowledged(6), NOW)
    assert state.resends == 0


def test_without_credit_one_record_is_offered_after_five_seconds() -> None:
    """P14."""
    state, effects = step(WAITING, acknowledged(6, credit=0), NOW)
    assert (state.phase, effects) == (Phase.NO_CREDIT, [Forget(6)])
    assert timedelta(seconds=5) == PROBE_AFTER
    assert step(state, Tick(), NOW + PROBE_AFTER - SECOND) == (state, [])
    state, effects = step(state, Tick(), NOW + PROBE_AFTER)
    assert (state.phase, effects) == (Phase.WAITING, [Send(7, 1)])
    assert step(state, Tick(), NOW + PROBE_AFTER + RESEND_AFTER)[1] == [Send(7, 1)]


def test_a_receiver_without_room_is_offered_one_record_again_and_again_and_not_taken_for_dead() -> None:
    """P14."""
    state, now = NO_CREDIT, NOW
    for _ in range(10):
        now += PROBE_AFTER
        state, effects = step(state, Tick(), now)
        assert effects == [Send(5, 1)]
        state, effects = step(state, acknowledged(4, credit=0), now)
        assert (state.phase, effects) == (Phase.NO_CREDIT, [])
    state, effects = step(state, acknowledged(4, credit=3), now)
    assert (state.phase, effects) == (Phase.WAITING, [Send(5, 3)])


def test_new_records_do_not_get_round_missing_credit() -> None:
    """P14."""
    state, effects = step(NO_CREDIT, Appended(20), NOW)
    assert (state, effects) == (replace(NO_CREDIT, head=20), [])


def test_time_alone_makes_an_idle_sender_do_nothing() -> None:
    """P14."""
    for state in (IDLE, UNLINKED):
        assert step(state, Tick(), NOW + timedelta(days=9)) == (state, [])


def test_a_lost_session_stops_repeats_and_keeps_what_is_known() -> None:
    """P14, P17."""
    state, effects = step(replace(WAITING, resends=2), Unlinked(), NOW)
    assert (state.phase, state.acked, state.resends, effects) == (Phase.UNLINKED, 4, 0, [])
    assert step(state, Tick(), NOW + timedelta(days=1))[1] == []


EVENTS: Final = st.one_of(
    st.builds(Appended, st.integers(0, 30)),
    st.builds(Sent, st.integers(0, 30)),
    st.builds(Trimmed, st.integers(1, 5)),
    st.just(Tick()),
    st.just(Unlinked()),
    st.builds(
        Linked,
        upto=st.integers(0, 30),
        hash=st.just(HASH),
        own_hash=st.sampled_from([HASH, HASH, HASH, None]),
        credit=st.integers(0, 5),
    ),
    st.builds(
        Acknowledged,
        upto=st.integers(0, 30),
        hash=st.just(HASH),
        own_hash=st.sampled_from([HASH, HASH, HASH, None]),
        credit=st.integers(0, 5),
        status=st.sampled_from(["ok", "ok", "gap", "fork"]),
    ),
)


@settings(max_examples=200)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 12)), max_size=40))
@pytest.mark.slow
def test_whatever_is_said_a_sender_never_sends_what_is_not_durable_nor_twice_at_once(
    events: Sequence[tuple[SenderEvent, int]],
) -> None:
    """P14."""
    state, now = SenderState(head=5), NOW
    for event, seconds in events:
        now += timedelta(seconds=seconds)
        before = state
        state, effects = step(state, event, now)
        assert 0 <= state.acked <= state.head
        sends = [effect for effect in effects if isinstance(effect, Send)]
        assert len(sends) <= 1
        for send in sends:
            assert send.first_seq >= state.tail
            if not send.is_fork:
                assert send.first_seq == max(state.acked + 1, state.tail)
                assert send.missing_from == (state.acked + 1 if state.acked + 1 < state.tail else 0)
            assert send.max_records <= max(1, state.credit)
            assert send.max_records or send.missing_from or send.is_fork
            assert send.first_seq + send.max_records - 1 <= state.head
            assert state.phase is Phase.WAITING
        for effect in effects:
            if isinstance(effect, Forget):
                assert isinstance(event, Linked | Acknowledged)
                assert before.acked != effect.upto == state.acked <= state.head
                # Of another history nothing is common for sure but what we no longer hold.
                assert effect.upto == (state.tail - 1 if state.is_diverged else event.upto) or (
                    isinstance(event, Acknowledged) and effect.upto == event.upto
                )
        if isinstance(event, Appended | Sent):
            assert not (before.phase is Phase.WAITING and effects)


# --- packing -------------------------------------------------------------------------------------------------------


def noise(size: int, seed: int) -> bytes:
    """Bytes that no compression makes smaller, the same on each run."""
    return random.Random(seed).randbytes(size)


def parcels_of(records: Sequence[bytes], blobs: Sequence[tuple[Blob, ...]] | None = None) -> list[Parcel]:
    hashes = chain(START.hash, records)
    beside = blobs or [()] * len(records)
    return [
        Parcel(Entry(seq, hash_, record), ride)
        for seq, (hash_, record, ride) in enumerate(zip(hashes, records, beside, strict=True), 1)
    ]


def packed(parcels: Sequence[Parcel], before: Head = START, latest: int = 0) -> tuple[Batch, int, int]:
    """The batch as the other side's gate lets it in, its last sequence and the size of its message."""
    message, upto = pack(JOURNAL, before, parcels, latest=latest, signer=DEVICE_SIGNER, close=closed)
    assert len(message) <= MESSAGE_MAX_BYTES
    outcome = admit(message, expected(batch_of(JOURNAL, [b""])), EVERYBODY, (Session(SESSION),))
    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.message, Batch)
    return outcome.message, upto, len(message)


def test_a_batch_carries_its_records_their_blobs_and_a_seal_over_its_end() -> None:
    """P9."""
    blob = Blob(salt=bytes(16), content=b"content")
    batch, upto, _ = packed(parcels_of([b"one", b"two"], [(), (blob,)]))
    assert (batch.lane, batch.epoch, batch.first_seq, upto) == ("journal", JOURNAL.epoch, 1, 2)
    assert (batch.records, batch.blobs, batch.prev_hash) == ((b"one", b"two"), (blob,), START.hash)
    assert batch.head == chain(START.hash, [b"one", b"two"])[-1]
    position = seal_input(JOURNAL, Head(2, batch.head))
    assert DEVICE_KEY.verifies(batch.seal, position)
    assert not OTHER_KEY.verifies(batch.seal, position)


@pytest.mark.parametrize(
    ("lane", "head"),
    [
        (LaneId("acme.fridge-2", Lane.JOURNAL, JOURNAL.epoch), Head(2, HASH)),
        (LaneId(DEVICE, Lane.METRICS, JOURNAL.epoch), Head(2, HASH)),
        (LaneId(DEVICE, Lane.JOURNAL, bytes(16)), Head(2, HASH)),
        (JOURNAL, Head(3, HASH)),
        (JOURNAL, Head(2, OTHER_HASH)),
    ],
)
def test_a_seal_vouches_for_one_position_of_one_lane_of_one_device(lane: LaneId, head: Head) -> None:
    """P3, P9."""
    seal = DEVICE_SIGNER.sign(seal_input(JOURNAL, Head(2, HASH)))
    assert DEVICE_KEY.verifies(seal, seal_input(JOURNAL, Head(2, HASH)))
    assert not DEVICE_KEY.verifies(seal, seal_input(lane, head))


def test_a_log_of_any_length_is_packed_batch_by_batch_without_loss() -> None:
    """P7, P9."""
    records = [noise(300, seed) for seed in range(3_000)]
    parcels, head, got = parcels_of(records), START, list[bytes]()
    while parcels:
        batch, upto, size = packed(parcels, head)
        assert size > MESSAGE_MAX_BYTES // 2 or upto == len(records)
        assert batch.first_seq == head.seq + 1
        got += batch.records
        head, parcels = Head(upto, batch.head), parcels[upto - head.seq :]
    assert got == records


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.integers(0, RECORD_MAX_BYTES),
            st.sampled_from([0, 0, 0, 1, 900, 20_000, BLOB_MAX_BYTES]),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_a_message_is_never_larger_than_its_bound(sizes: list[tuple[int, int, bool]]) -> None:
    """P7, P9."""

    def content(size: int, seed: int, is_noise: bool) -> bytes:
        return noise(size, seed) if is_noise else bytes(size)

    records = [content(size, seed, is_noise) for seed, (size, _, is_noise) in enumerate(sizes)]
    blobs = [
        (Blob(salt=bytes(16), content=content(size, seed, is_noise)),) if size else ()
        for seed, (_, size, is_noise) in enumerate(sizes)
    ]
    batch, upto, _ = packed(parcels_of(records, blobs))
    assert batch.records == tuple(records[:upto])
    assert batch.blobs == tuple(blob for ride in blobs[:upto] for blob in ride)


@pytest.mark.parametrize("sizes", [(BLOB_MAX_BYTES,), (BLOB_MAX_BYTES // 2, BLOB_MAX_BYTES // 2)])
def test_one_record_of_16_kib_with_64_kib_of_blobs_always_fits(sizes: tuple[int, ...]) -> None:
    """P4, P7, P10."""
    records = [noise(RECORD_MAX_BYTES, seed) for seed in range(3)]
    blobs = [
        tuple(Blob(salt=bytes(16), content=noise(size, 10 * seed + n)) for n, size in enumerate(sizes))
        for seed in range(3)
    ]
    batch, upto, _ = packed(parcels_of(records, blobs))
    assert (upto, batch.records, batch.blobs) == (1, (records[0],), blobs[0])


def test_a_model_call_with_its_prompt_and_output_always_fits() -> None:
    """P4, P7: the one kind that names two blobs."""
    prompt = Blob(salt=noise(16, 1), content=noise(BLOB_MAX_BYTES // 2, 2))
    output = Blob(salt=noise(16, 3), content=noise(BLOB_MAX_BYTES // 2, 4))
    call = RECORDS["model.called"]
    assert isinstance(call, ModelCalled)
    record = encode_record(call.model_copy(update={"prompt": prompt.ref(), "output": output.ref()}))
    batch, upto, _ = packed(parcels_of([record], [(prompt, output)]))
    assert (upto, batch.blobs) == (1, (prompt, output))


def test_a_parcel_beyond_every_bound_is_an_error_and_not_a_message_that_the_gate_refuses() -> None:
    """P7: sent, it would be refused in silence, and its lane would stand still for ever."""
    blobs = tuple(Blob(salt=bytes(16), content=noise(BLOB_MAX_BYTES, seed)) for seed in (1, 2))
    with pytest.raises(CapacityError) as refused:
        packed(parcels_of([b"record"], [blobs]))
    assert (refused.value.bound, refused.value.limit) == ("MESSAGE_MAX_BYTES", MESSAGE_MAX_BYTES)


def test_a_batch_has_at_most_4000_records_and_1_mib_before_compression() -> None:
    """P9."""
    assert packed(parcels_of([b""] * 4_500))[1] == BATCH_MAX_RECORDS == 4_000
    assert BATCH_MAX_RAW_BYTES == 1_048_576
    assert packed(parcels_of([bytes(4_096)] * 300))[1] == 256
    blobs = [(Blob(salt=bytes(16), content=bytes(BLOB_MAX_BYTES)),)] * 20
    assert packed(parcels_of([b""] * 20, blobs))[1] == 16


@pytest.mark.slow
def test_the_largest_batch_unfolds_within_the_gates_bound() -> None:
    """P7, P9: framing and salts of 4,000 records with two blobs each, on top of 1 MiB of content."""
    blob = Blob(salt=bytes(16), content=b"")
    parcels = parcels_of([bytes(262)] * 4_000, [(blob, blob)] * 4_000)
    batch, upto, _ = packed(parcels)
    assert upto == 4_000
    assert sum(map(len, batch.records)) <= BATCH_MAX_RAW_BYTES < PAYLOAD_MAX_BYTES


# --- receiver ------------------------------------------------------------------------------------------------------


def reads(known: Sequence[bytes], batch: Batch) -> Outcome:
    """What `batch` means to a reader that holds the records `known`."""
    hashes = [START.hash, *chain(START.hash, known)]
    return receive(
        Head(len(known), hashes[-1]), batch, lambda seq: hashes[seq] if seq < len(hashes) else None
    )


def batch_from(records: Sequence[bytes], first: int, last: int, **more: int) -> Batch:
    hashes = [START.hash, *chain(START.hash, records)]
    batch = batch_of(JOURNAL, records[first - 1 : last], after=Head(first - 1, hashes[first - 1]))
    return batch.model_copy(update={"latest": len(records), **more})


LOG: Final = [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize(
    ("known", "first", "last", "new", "skipped"),
    [
        (0, 1, 5, LOG, 0),
        (2, 3, 5, LOG[2:], 0),
        (2, 1, 5, LOG[2:], 2),
        (3, 2, 4, LOG[3:4], 2),
        (5, 1, 5, [], 5),
        (5, 2, 3, [], 2),
        (5, 5, 5, [], 1),
    ],
)
def test_records_that_the_reader_has_are_skipped_wherever_the_batch_begins(
    known: int, first: int, last: int, new: list[bytes], skipped: int
) -> None:
    """P12."""
    outcome = reads(LOG[:known], batch_from(LOG, first, last))
    hashes = tuple(chain(START.hash, LOG))[known : known + len(new)]
    assert outcome == Extend(tuple(new), hashes, skipped)


@pytest.mark.parametrize(("known", "first"), [(0, 2), (2, 4), (2, 5)])
def test_a_batch_beyond_the_readers_head_is_a_gap(known: int, first: int) -> None:
    """P12."""
    assert reads(LOG[:known], batch_from(LOG, first, 5)) == Gap(known + 1)


@pytest.mark.parametrize(
    ("theirs", "first", "last", "seq"),
    [
        pytest.param([b"a", b"X", b"c", b"d", b"e"], 3, 5, 1, id="other-past"),
        pytest.param([b"a", b"b", b"X", b"d", b"e"], 3, 5, 2, id="other-record-that-we-have"),
        pytest.param([b"a", b"b", b"X"], 3, 3, 2, id="other-end-that-we-have"),
        pytest.param([b"X", b"b", b"c", b"d", b"e"], 1, 5, 0, id="other-beginning"),
        pytest.param([b"a", b"X", b"c"], 1, 2, 1, id="an-old-backups"),
    ],
)
def test_a_batch_that_contradicts_what_the_reader_holds_is_a_fork(
    theirs: list[bytes], first: int, last: int, seq: int
) -> None:
    """P13."""
    assert reads(LOG[:3], batch_from(theirs, first, last)) == Fork(seq)


def test_a_batch_of_another_lanes_chain_is_a_fork() -> None:
    """P3, P13."""
    other = LaneId(DEVICE, Lane.JOURNAL, b"another epoch..!")
    batch = batch_of(JOURNAL, LOG, after=start(other))
    assert reads([], batch) == Fork(0)


def test_a_cloned_card_is_seen_as_a_fork_by_whichever_writes_second() -> None:
    """P13."""
    common = LOG[:2]
    first, clone = [*common, b"original"], [*common, b"clone"]
    outcome = reads(common, batch_from(first, 3, 3))
    assert isinstance(outcome, Extend)
    assert reads(first, batch_from(clone, 3, 3)) == Fork(2)
    assert reads(first, batch_from([*clone, b"more"], 4, 4)) == Fork(2)


def test_a_writer_that_shows_where_histories_part_is_answered_with_the_last_common_record() -> None:
    """P13."""
    theirs = [*LOG[:3], b"X", b"Y"]
    assert reads(LOG, batch_from(theirs, 2, 5, is_fork=True)) == Fork(3)
    agreed = reads(LOG, batch_from(theirs, 2, 3, is_fork=True))
    assert agreed == Agreed(Head(3, chain(START.hash, LOG)[2]))


def test_an_older_copy_of_a_store_is_behind() -> None:
    """P13: nothing contradicts, but the writer has lost what the reader got from it."""
    assert reads(LOG, batch_from(LOG[:3], 3, 3, is_fork=True)) == Fork(3, is_behind=True)
    assert reads(LOG, batch_from(LOG[:3], 2, 2, is_fork=True)) == Agreed(Head(2, chain(START.hash, LOG)[1]))


def test_a_writer_that_has_what_the_reader_has_is_no_fork_whatever_it_feared() -> None:
    """P13."""
    assert reads(LOG[:3], batch_from(LOG, 2, 5, is_fork=True)) == Extend(
        tuple(LOG[3:]), tuple(chain(START.hash, LOG)[3:]), 2
    )
    assert isinstance(reads(LOG, batch_from(LOG, 5, 5, is_fork=True)), Extend)


# --- receiver: what never comes ------------------------------------------------------------------------------------


def test_what_the_writer_no_longer_holds_is_recorded_and_the_log_goes_on_behind_it() -> None:
    """P19."""
    hashes = chain(START.hash, LOG)
    outcome = reads(LOG[:1], batch_from(LOG, 4, 5, missing_from=2))
    assert outcome == Extend(tuple(LOG[3:]), tuple(hashes[3:]), 0, Missing(2, 3))
    assert reads([], batch_from(LOG, 4, 5, missing_from=1)) == Extend(
        tuple(LOG[3:]), tuple(hashes[3:]), 0, Missing(1, 3)
    )


def test_a_batch_without_records_says_what_is_missing() -> None:
    """P19."""
    batch = batch_from(LOG, 1, 5).model_copy(
        update={"first_seq": 6, "records": (), "prev_hash": chain(START.hash, LOG)[-1], "missing_from": 3}
    )
    assert reads(LOG[:2], batch) == Extend((), (), 0, Missing(3, 5))


def test_what_is_missing_must_join_what_the_reader_has() -> None:
    """P19: else it is a gap like any other, and the writer is asked for it."""
    assert reads(LOG[:1], batch_from(LOG, 4, 5, missing_from=3)) == Gap(2)
    assert reads(LOG[:1], batch_from(LOG, 4, 5)) == Gap(2)


def test_a_reader_that_has_more_than_the_writer_thought_misses_less() -> None:
    """P19."""
    outcome = reads(LOG[:2], batch_from(LOG, 5, 5, missing_from=1))
    assert isinstance(outcome, Extend)
    assert outcome.missing == Missing(3, 4)
    assert reads(LOG[:4], batch_from(LOG, 4, 5, missing_from=1)) == Extend(
        (b"e",), (chain(START.hash, LOG)[4],), 1
    )


def test_a_batch_is_compared_wherever_a_reader_with_gaps_still_can() -> None:
    """P13, P19: within a gap it holds nothing to compare with, at its head it does."""
    hashes = dict(enumerate([START.hash, *chain(START.hash, LOG)]))
    for gone in (1, 2, 3):
        hashes.pop(gone)
    ours = Head(5, hashes[5])
    assert receive(ours, batch_from(LOG, 3, 5), hashes.get) == Extend((), (), 3)
    assert receive(ours, batch_from(LOG, 2, 3), hashes.get) == Extend((), (), 2)
    other = [*LOG[:4], b"X"]
    assert receive(ours, batch_from(other, 3, 5), hashes.get) == Fork(4)


@pytest.mark.parametrize("known", [0, 3, 5])
def test_a_batch_whose_records_do_not_lead_to_its_own_head_is_refused(known: int) -> None:
    """P13."""
    sound = batch_from(LOG, 1, 5)
    for records in (LOG[:4], [*LOG, b"f"], [*LOG[:4], b"E"], LOG[::-1]):
        assert reads(LOG[:known], sound.model_copy(update={"records": tuple(records)})) == Broken()
    assert reads(LOG[:known], sound.model_copy(update={"prev_hash": OTHER_HASH})) == Broken()


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=12), st.data())
@pytest.mark.slow
def test_any_run_of_the_writers_log_brings_the_reader_on_or_asks_for_what_is_missing(
    log: list[bytes], data: st.DataObject
) -> None:
    """P12."""
    known = data.draw(st.integers(0, len(log)))
    first = data.draw(st.integers(1, len(log)))
    last = data.draw(st.integers(first, len(log)))
    outcome = reads(log[:known], batch_from(log, first, last))
    if first > known + 1:
        assert outcome == Gap(known + 1)
    else:
        assert isinstance(outcome, Extend)
        assert log[:known] + list(outcome.records) == log[: max(known, last)]
        assert outcome.hashes == tuple(chain(START.hash, log))[known : max(known, last)]


@given(
    st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=5),
    st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=5),
    st.data(),
)
@pytest.mark.slow
def test_two_histories_are_never_mixed(ours: list[bytes], theirs: list[bytes], data: st.DataObject) -> None:
    """P13."""
    first = data.draw(st.integers(1, len(theirs)))
    outcome = reads(ours, batch_from(theirs, first, len(theirs)))
    if isinstance(outcome, Extend):
        shared = min(len(ours), len(theirs))
        assert ours[:shared] == theirs[:shared]
    elif isinstance(outcome, Fork):
        assert ours[: outcome.seq + 1] != theirs[: outcome.seq + 1]

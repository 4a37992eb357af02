"""A writer and a reader that are put back to older copies, under loss, doubling, reordering, replay and crashes.

Whatever the network does meanwhile: histories are never mixed, nothing is taken for a fork that is none, and once the
faults stop either everything got through or both sides stopped at the very record after which the histories part.
"""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.log import Entry
from shared.replication import Phase
from tests.shared.test_replication_faults import Reader, Writer
from tests.support.clock import ManualClock

PICK = st.integers(0, 10**6)
ROUNDS_TO_SETTLE = 16
"""As for the other faults; a fork is seen in the batch after the hello, or in one of those after it."""


class Copies(RuleBasedStateMachine):
    """P12, P13, P14."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.writer = Writer(self.clock, self.up.append, may_fork=True)
        self.reader = Reader(self.down.append, may_fork=True)
        self.lived: list[list[Entry]] = []
        self.copies: list[tuple[list[Entry], int]] = [([], 0)]
        self.appended = 0
        self.writer.hello()

    @rule(count=st.integers(1, 4), is_delivered=st.booleans())
    def append(self, count: int, is_delivered: bool) -> None:
        for _ in range(count):
            self.appended += 1
            self.writer.unflushed.append(b"record %d" % self.appended)
        self.writer.flush()
        if is_delivered:
            self.all_gets_through(12)

    @rule()
    def a_copy_of_the_store_is_made(self) -> None:
        self.copies.append((list(self.writer.entries), self.writer.acked_on_disk))

    @rule(pick=PICK)
    def the_writer_is_put_back_to_a_copy(self, pick: int) -> None:
        self.lived.append(self.writer.entries)
        entries, acked = self.copies[pick % len(self.copies)]
        self.writer.entries, self.writer.acked_on_disk = list(entries), acked
        self.writer.restart()
        self.writer.hello()

    @rule(keeps_acknowledgements=st.booleans())
    def the_writer_loses_power(self, keeps_acknowledgements: bool) -> None:
        if keeps_acknowledgements:
            self.writer.acked_on_disk = self.writer.state.acked
        self.writer.restart()
        self.writer.hello()

    @rule(pick=PICK, is_doubled=st.booleans(), dies_after_commit=st.booleans())
    def a_message_reaches_the_reader(self, pick: int, is_doubled: bool, dies_after_commit: bool) -> None:
        for raw in taken(self.up, pick, is_doubled):
            self.reader.on_message(raw, dies_after_commit=dies_after_commit)

    @rule(pick=PICK, is_doubled=st.booleans())
    def a_message_reaches_the_writer(self, pick: int, is_doubled: bool) -> None:
        for raw in taken(self.down, pick, is_doubled):
            self.writer.on_message(raw)

    @rule(pick=PICK)
    def the_reader_is_put_back_to_a_backup(self, pick: int) -> None:
        """P20: also to a time before it saw that histories part."""
        self.reader.disk = self.reader.past[pick % len(self.reader.past)]
        self.writer.lose_link()  # a hub that starts announces itself
        self.writer.hello()

    @rule(pick=PICK)
    def a_message_is_lost(self, pick: int) -> None:
        taken(self.up or self.down, pick, False)

    @rule()
    def time_passes(self) -> None:
        self.clock.advance(timedelta(seconds=11))
        self.writer.tick()

    @invariant()
    def the_readers_log_is_one_history(self) -> None:
        held = self.reader.disk.records
        histories = [
            [entry.record for entry in entries[: len(held)]] for entries in (*self.lived, self.writer.entries)
        ]
        assert any(list(held) == history for history in histories)

    @invariant()
    def a_fork_is_where_the_histories_part(self) -> None:
        at = self.reader.disk.forked_at
        if at is None:
            return
        # Of the writer that showed it, which may have been put back again since.
        assert any(
            [entry.record for entry in entries[:at]] == list(self.reader.disk.records[:at])
            for entries in (*self.lived, self.writer.entries)
        )

    def teardown(self) -> None:
        for _ in range(ROUNDS_TO_SETTLE):
            self.all_gets_through(1_000)
            if self.has_settled():
                break
            self.clock.advance(timedelta(seconds=11))
            self.writer.tick()
        assert self.has_settled(), "neither delivered nor stopped though nothing stands in the way"
        self.the_readers_log_is_one_history()

    def has_settled(self) -> bool:
        entries, disk = self.writer.entries, self.reader.disk
        if self.writer.state.phase is Phase.FORKED:
            return disk.forked_at is not None and self.writer.forked_at == disk.forked_at
        # Also where a fork was found: the copy whose history the reader holds has nothing to say, so nothing stops it.
        return [entry.record for entry in entries] == list(disk.records) and self.writer.state.acked == len(
            entries
        )

    def all_gets_through(self, most: int) -> None:
        for _ in range(most):
            if self.up:
                self.reader.on_message(self.up.pop(0), dies_after_commit=False)
            elif self.down:
                self.writer.on_message(self.down.pop(0))
            else:
                return


def taken(way: list[bytes], pick: int, is_doubled: bool) -> list[bytes]:
    if not way:
        return []
    at = pick % len(way)
    return [way[at] if is_doubled else way.pop(at)]


TestCopies = pytest.mark.slow(Copies.TestCase)
TestCopies.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_fork_is_found_by_a_reader_that_was_put_back_and_took_the_copys_history() -> None:
    """P13, P20: a clone and a restored backup at once, which random walks meet too rarely."""
    both = Copies()
    both.append(3, True)
    backup = both.reader.disk
    both.a_copy_of_the_store_is_made()
    both.append(4, True)
    both.the_writer_loses_power(True)
    both.all_gets_through(12)
    both.a_copy_of_the_store_is_made()
    both.reader.disk = backup
    both.the_writer_is_put_back_to_a_copy(1)
    both.append(2, True)
    assert both.reader.disk.head.seq == 5
    both.the_writer_is_put_back_to_a_copy(2)
    both.teardown()
    assert both.writer.forked_at == both.reader.disk.forked_at == 3

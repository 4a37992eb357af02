"""Replication under every fault at once: loss, doubling, reordering, replay, crashes on both sides, restored backups.

Two small hosts around the real code stand for a device and the hub; what they keep on disk and what in memory is plain
to see. Messages are real bytes through the real gate. Hypothesis looks for a sequence of faults after which the
reader's log is not a prefix of the writer's, or after which things do not get through once the faults stop.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.gate import Accepted, Expected, ReplayWindow, Session, admit, close, message_id
from shared.ids import HUB
from shared.log import Entry, Head, extend
from shared.messages import Ack, Batch, Cursor, Hello, HelloAck
from shared.replication import (
    Acknowledged,
    Agreed,
    Appended,
    Extend,
    Forget,
    Fork,
    Gap,
    Linked,
    Missing,
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
from tests.support.clock import ManualClock
from tests.vectors.values import (
    CONNECTION,
    DEVICE,
    DEVICE_KEY,
    DEVICE_SIGNER,
    EVERYBODY,
    HUB_SIGNER,
    JOURNAL,
    START,
)

HELLO = Expected(message=Hello, issuer=DEVICE, audience=HUB, needs_session=False)
BATCH = Expected(message=Batch, issuer=DEVICE, audience=HUB)
HELLO_ACK = Expected(message=HelloAck, issuer=HUB, audience=DEVICE, needs_session=False)
ACK = Expected(message=Ack, issuer=HUB, audience=DEVICE)

ROUNDS_TO_RECOVER = 12
"""A dead session is noticed after four, a hello takes one, an answer with used-up counters costs another session."""


@dataclass
class Writer:
    """A device. On disk: log, acknowledged position and what was trimmed. Everything else dies with the process."""

    clock: ManualClock
    publish: Callable[[bytes], None]
    entries: list[Entry] = field(default_factory=list)
    acked_on_disk: int = 0
    trimmed: int = 0
    trims: bool = False
    forked_at: int | None = None
    may_fork: bool = False

    state: SenderState = field(default_factory=lambda: SenderState(head=0))
    unflushed: list[bytes] = field(default_factory=list)
    session: Session | None = None
    counter: int = 0
    nonce: bytes | None = None
    hellos: int = 0
    missing_told: int = 0

    def own_hash(self, seq: int) -> bytes | None:
        if not (seq == 0 or self.trimmed <= seq <= len(self.entries)):
            return None
        return self.entries[seq - 1].hash if seq else START.hash

    def shed(self, upto: int) -> None:
        """Make room for what is new: what is shed is never sent, whether or not it was acknowledged."""
        self.trimmed = max(self.trimmed, min(upto, len(self.entries)))
        self.feed(Trimmed(self.trimmed + 1))

    def flush(self) -> None:
        head = self.head
        for record in self.unflushed:
            head = extend(head, record)
            self.entries.append(Entry(head.seq, head.hash, record))
        self.unflushed = []
        self.feed(Appended(head.seq))

    @property
    def head(self) -> Head:
        return Head(self.entries[-1].seq, self.entries[-1].hash) if self.entries else START

    def restart(self) -> None:
        self.unflushed, self.session, self.counter, self.nonce = [], None, 0, None
        self.state = SenderState(head=len(self.entries), tail=self.trimmed + 1, acked=self.acked_on_disk)

    def lose_link(self) -> None:
        self.session = None
        self.feed(Unlinked())

    def hello(self) -> None:
        self.hellos += 1
        self.nonce = self.hellos.to_bytes(16, "big")
        message = Hello(nonce=self.nonce, connection=CONNECTION, version="0", heads=(), cursors=())
        self.publish(close(message, issuer=DEVICE, audience=HUB, message_id=self.nonce, signer=DEVICE_SIGNER))

    def tick(self) -> None:
        if self.state.phase is Phase.UNLINKED:
            self.hello()
        else:
            self.feed(Tick())

    def on_message(self, raw: bytes) -> None:
        welcome = admit(raw, HELLO_ACK, EVERYBODY)
        if isinstance(welcome, Accepted):
            # An answer is taken once: a second one to the same hello would be of a time before what came since.
            if welcome.message.nonce == self.nonce:
                self.nonce, self.session, self.counter = None, Session(welcome.message.session), 0
                cursor = welcome.message.cursors[0]
                self.feed(
                    Linked(
                        upto=cursor.upto,
                        hash=cursor.hash,
                        own_hash=self.own_hash(cursor.upto),
                        credit=welcome.message.credit,
                    )
                )
            return
        answer = admit(raw, ACK, EVERYBODY, (self.session,) if self.session else ())
        if isinstance(answer, Accepted):
            self.session, ack = answer.session, answer.message
            self.feed(
                Acknowledged(
                    upto=ack.upto,
                    hash=ack.hash,
                    own_hash=self.own_hash(ack.upto),
                    credit=ack.credit,
                    status=ack.status,
                )
            )

    def feed(self, event: SenderEvent) -> None:
        self.state, effects = step(self.state, event, self.clock.now())
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: SenderEffect) -> None:
        match effect:
            case Send(first_seq, max_records, missing_from, is_fork):
                assert self.may_fork or not is_fork, "it takes the hub's history for another, and it is not"
                assert first_seq > self.trimmed, "it would send what it has trimmed"
                assert first_seq + max_records - 1 <= len(self.entries), "it would send what is not durable"
                before = self.own_hash(first_seq - 1)
                session = self.session
                self.missing_told += bool(missing_from)
                assert before is not None
                assert session is not None
                self.counter += 1
                message, upto = pack(
                    JOURNAL,
                    Head(first_seq - 1, before),
                    [Parcel(entry) for entry in self.entries[first_seq - 1 :][:max_records]],
                    latest=len(self.entries),
                    missing_from=missing_from,
                    is_fork=is_fork,
                    signer=DEVICE_SIGNER,
                    close=lambda batch: close(
                        batch,
                        issuer=DEVICE,
                        audience=HUB,
                        message_id=message_id(session.id, self.counter),
                        signer=DEVICE_SIGNER,
                    ),
                )
                self.publish(message)
                self.feed(Sent(upto))
            case Forget(upto):
                if self.trims:
                    self.acked_on_disk = upto
                    self.shed(upto)
            case Relink():
                self.session = None
            case ReportFork(seq):
                assert self.may_fork, f"a fork was reported at {seq}, and there is none"
                self.forked_at = seq


@dataclass(frozen=True)
class Committed:
    """What the hub has on disk. A commit replaces it whole; an old backup is an old value."""

    head: Head = START
    records: tuple[bytes | None, ...] = ()
    hashes: tuple[bytes | None, ...] = (START.hash,)
    current: Session | None = None
    pending: Session | None = None
    sent: int = 0
    forked_at: int | None = None


@dataclass
class Reader:
    """The hub. It has nothing but its disk, so a crash between two messages changes nothing."""

    publish: Callable[[bytes], None]
    disk: Committed = Committed()
    credit: int = 100
    is_full: bool = False
    may_fork: bool = False
    sessions_made: int = 0
    most_committed: int = 0
    past: list[Committed] = field(default_factory=lambda: [Committed()])

    def on_message(self, raw: bytes, *, dies_after_commit: bool) -> None:
        before = self.disk
        answer = self.answer_to(raw)
        if self.disk is not before:
            self.past.append(before)
        self.most_committed = max(self.most_committed, self.disk.head.seq)
        if answer is not None and not dies_after_commit:
            self.publish(answer)

    def answer_to(self, raw: bytes) -> bytes | None:
        greeting = admit(raw, HELLO, EVERYBODY)
        if isinstance(greeting, Accepted):
            return self.welcome(greeting.message)
        sessions = tuple(session for session in (self.disk.current, self.disk.pending) if session)
        outcome = admit(raw, BATCH, EVERYBODY, sessions)
        if not isinstance(outcome, Accepted):
            return None
        session, batch = outcome.session, outcome.message
        assert session is not None
        pending = self.disk.pending
        if pending is not None and pending.id == session.id:
            pending = None
        disk = replace(self.disk, current=session, pending=pending, sent=self.disk.sent + 1)
        meant = receive(disk.head, batch, lambda seq: disk.hashes[seq] if seq < len(disk.hashes) else None)
        status = "ok"
        credit = self.credit
        upto = None
        if disk.forked_at is not None:
            meant = Fork(disk.forked_at)
        match meant:
            case Extend(records, hashes, _, missing) if not (self.is_full and records):
                end = Head(batch.first_seq + len(batch.records) - 1, batch.head)
                assert DEVICE_KEY.verifies(batch.seal, seal_input(JOURNAL, end))
                if missing is not None:
                    assert missing == Missing(disk.head.seq + 1, batch.first_seq - 1)
                    gone = (None,) * (missing.last - missing.first)
                    disk = replace(
                        disk,
                        head=Head(missing.last, batch.prev_hash),
                        records=(*disk.records, *gone, None),
                        hashes=(*disk.hashes, *gone, batch.prev_hash),
                    )
                head = Head(disk.head.seq + len(records), hashes[-1] if hashes else disk.head.hash)
                disk = replace(disk, head=head, records=disk.records + records, hashes=disk.hashes + hashes)
            case Extend():
                credit = 0
            case Gap():
                status = "gap"
            case Agreed(at) if self.may_fork:
                upto = at
            case Fork(seq) if self.may_fork:
                status = "fork"
                disk = replace(disk, forked_at=seq)
                hash_ = disk.hashes[seq]
                assert hash_ is not None
                upto = Head(seq, hash_)
            case _:
                raise AssertionError(f"the reader took an honest batch for {meant}")
        self.disk = disk
        message = Ack.model_validate(
            {
                "lane": "journal",
                "epoch": JOURNAL.epoch,
                "upto": (upto or disk.head).seq,
                "hash": (upto or disk.head).hash,
                "credit": credit,
                "status": status,
            }
        )
        return close(
            message,
            issuer=HUB,
            audience=DEVICE,
            message_id=message_id(session.id, disk.sent),
            signer=HUB_SIGNER,
        )

    def welcome(self, hello: Hello) -> bytes:
        self.sessions_made += 1
        session = Session(b"session " + self.sessions_made.to_bytes(8, "big"), ReplayWindow())
        self.disk = replace(self.disk, pending=session)
        head = self.disk.head
        message = HelloAck(
            nonce=hello.nonce,
            session=session.id,
            at_ms=0,
            credit=self.credit,
            heads=(),
            cursors=(Cursor(lane="journal", epoch=JOURNAL.epoch, upto=head.seq, hash=head.hash),),
        )
        return close(message, issuer=HUB, audience=DEVICE, message_id=b"", signer=HUB_SIGNER)


PICK = st.integers(0, 10**6)


class Faults(RuleBasedStateMachine):
    """P1, P2, P12, P13, P14, P17, P19 together."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.ever: list[tuple[list[bytes], bytes]] = []
        self.writer = Writer(self.clock, lambda raw: self.post(self.up, raw))
        self.reader = Reader(lambda raw: self.post(self.down, raw))
        self.appended = 0
        self.sheds = False
        self.was_restored = False

    def post(self, way: list[bytes], raw: bytes) -> None:
        way.append(raw)
        self.ever.append((way, raw))

    @initialize(trims=st.booleans(), sheds=st.booleans(), is_linked=st.booleans())
    def begin(self, trims: bool, sheds: bool, is_linked: bool) -> None:
        self.writer.trims, self.sheds = trims, sheds
        self.writer.hello()
        if is_linked:
            self.messages_get_through_in_order(2)

    # --- work

    @rule(count=st.integers(1, 4), is_flushed=st.booleans())
    def append(self, count: int, is_flushed: bool) -> None:
        for _ in range(count):
            self.appended += 1
            self.writer.unflushed.append(b"record %d" % self.appended)
        if is_flushed:
            self.writer.flush()

    @rule(count=st.integers(1, 3))
    def for_a_while_all_is_well(self, count: int) -> None:
        """Without it few runs get far enough for the later faults to matter."""
        self.append(count, True)
        self.messages_get_through_in_order(20)

    @rule()
    def time_passes(self) -> None:
        self.clock.advance(timedelta(seconds=11))
        self.writer.tick()

    @rule(credit=st.integers(0, 5), is_full=st.booleans())
    def the_reader_has_other_room(self, credit: int, is_full: bool) -> None:
        self.reader.credit, self.reader.is_full = credit, is_full

    # --- the network

    @rule(pick=PICK, is_doubled=st.booleans(), dies_after_commit=st.booleans())
    def a_message_reaches_the_reader(self, pick: int, is_doubled: bool, dies_after_commit: bool) -> None:
        for raw in self.taken(self.up, pick, is_doubled):
            self.reader.on_message(raw, dies_after_commit=dies_after_commit)

    @rule(pick=PICK, is_doubled=st.booleans())
    def a_message_reaches_the_writer(self, pick: int, is_doubled: bool) -> None:
        for raw in self.taken(self.down, pick, is_doubled):
            self.writer.on_message(raw)

    @rule(count=st.integers(1, 6))
    def messages_get_through_in_order(self, count: int) -> None:
        for _ in range(count):
            self.deliver_next()

    @rule(pick=PICK)
    def a_message_is_lost(self, pick: int) -> None:
        self.taken(self.up or self.down, pick, False)

    @rule(pick=PICK)
    def an_old_message_is_replayed(self, pick: int) -> None:
        if self.ever:
            way, raw = self.ever[pick % len(self.ever)]
            way.append(raw)

    @rule(is_noticed=st.booleans())
    def the_connection_breaks(self, is_noticed: bool) -> None:
        self.up.clear()
        self.down.clear()
        if is_noticed:
            self.writer.lose_link()

    # --- crashes and backups

    @rule(forgets_acknowledgements=st.booleans())
    def the_writer_loses_power(self, forgets_acknowledgements: bool) -> None:
        if not forgets_acknowledgements:
            self.writer.acked_on_disk = max(self.writer.acked_on_disk, self.writer.state.acked)
        self.writer.restart()

    @rule(commits_lost=st.integers(1, 4))
    def the_reader_is_restored_from_a_backup(self, commits_lost: int) -> None:
        self.reader.disk = self.reader.past[-min(commits_lost, len(self.reader.past))]
        self.was_restored = True

    # --- retention

    @rule(kept=st.integers(0, 5))
    def the_writer_sheds_what_is_oldest(self, kept: int) -> None:
        """As the metrics lane does at its limit, whether or not it was acknowledged."""
        if self.sheds:
            self.writer.shed(len(self.writer.entries) - kept)

    # --- what must hold

    @invariant()
    def the_readers_log_is_a_prefix_of_the_writers(self) -> None:
        disk, entries = self.reader.disk, self.writer.entries
        known = len(disk.records)
        for held, entry in zip(disk.records, entries, strict=False):
            assert held in {entry.record, None}
        for hash_, entry in zip(disk.hashes[1:], entries, strict=False):
            assert hash_ in {entry.hash, None}
        assert disk.head.seq == known <= len(entries)
        assert disk.hashes[-1] == disk.head.hash == (entries[known - 1].hash if known else START.hash)

    @invariant()
    def nothing_is_missing_but_what_was_shed_or_lost_with_a_backup(self) -> None:
        missing = [seq for seq, record in enumerate(self.reader.disk.records, 1) if record is None]
        assert not missing or max(missing) <= self.writer.trimmed
        assert not missing or self.sheds or self.was_restored

    @invariant()
    def nothing_is_forgotten_that_was_not_committed(self) -> None:
        assert self.writer.state.acked <= self.reader.most_committed
        if not (self.sheds or self.was_restored):
            assert self.writer.trimmed <= len(self.reader.disk.records)

    def teardown(self) -> None:
        """The faults stop: everything durable must get through, soon."""
        self.reader.credit, self.reader.is_full = 100, False
        # One record more: with nothing to send, a device hears of a restored hub only by its status (rule P18).
        self.append(1, True)
        for _ in range(ROUNDS_TO_RECOVER):
            for _ in range(1_000):
                if not self.deliver_next():
                    break
            else:
                raise AssertionError("the two sides never stop talking")
            if self.is_done():
                break
            self.clock.advance(timedelta(seconds=11))
            self.writer.tick()
        assert self.is_done(), "not delivered though nothing stands in the way"
        self.the_readers_log_is_a_prefix_of_the_writers()

    def is_done(self) -> bool:
        length = len(self.writer.entries)
        return len(self.reader.disk.records) == length == self.writer.state.acked

    def deliver_next(self) -> bool:
        if self.up:
            self.reader.on_message(self.up.pop(0), dies_after_commit=False)
        elif self.down:
            self.writer.on_message(self.down.pop(0))
        else:
            return False
        return True

    @staticmethod
    def taken(way: list[bytes], pick: int, is_doubled: bool) -> list[bytes]:
        if not way:
            return []
        at = pick % len(way)
        return [way[at] if is_doubled else way.pop(at)]


TestFaults = pytest.mark.slow(Faults.TestCase)
TestFaults.settings = settings(max_examples=60, stateful_step_count=40)


@pytest.mark.parametrize(("trims", "sheds"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_after_a_long_walk_through_faults_everything_is_delivered_once_and_in_order(
    seed: int, trims: bool, sheds: bool
) -> None:
    """P1, P2, P12, P13, P14, P17, P19. Longer lives than the search above gives, the same in every run."""
    dice = random.Random(seed)
    world = Faults()
    world.begin(trims, sheds, True)
    for _ in range(250):
        pick, coin, other_coin = dice.randrange(10**6), dice.random() < 0.5, dice.random() < 0.2
        match dice.choices(range(11), weights=(25, 20, 20, 10, 8, 5, 5, 3, 2, 2, 4))[0]:
            case 0:
                world.for_a_while_all_is_well(1 + pick % 3)
            case 1:
                world.a_message_reaches_the_reader(pick, other_coin, coin)
            case 2:
                world.a_message_reaches_the_writer(pick, other_coin)
            case 3:
                world.append(1 + pick % 4, coin)
            case 4:
                world.time_passes()
            case 5:
                world.the_reader_is_restored_from_a_backup(1 + pick % 4)
            case 6:
                world.an_old_message_is_replayed(pick)
            case 7:
                world.a_message_is_lost(pick)
            case 10:
                world.the_writer_sheds_what_is_oldest(pick % 6)
            case 8:
                world.the_reader_has_other_room(pick % 6, other_coin)
            case _:
                world.the_writer_loses_power(coin)
        world.the_readers_log_is_a_prefix_of_the_writers()
        world.nothing_is_forgotten_that_was_not_committed()
    world.teardown()
    assert len(world.writer.entries) > 100

"""The witness keeps what a device trims, and notices what changes behind its back."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.database import migrate
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, extend, start
from shared.records import encode_record
from tests.chaos.sample import NAME, started
from tests.chaos.witness import Witness
from tests.support.device import bytes_from

LANE = LaneId(NAME, Lane.JOURNAL, bytes_from("epoch"))


def entries(count: int) -> list[Entry]:
    head, made = start(LANE), []
    for number in range(count):
        data = encode_record(started(str(number)))
        head = extend(head, data)
        made.append(Entry(head.seq, head.hash, data))
    return made


def store(path: Path, log: Sequence[Entry], *, tail: int = 1) -> None:
    """A device's store that holds the records from `tail` on."""
    path.unlink(missing_ok=True)
    migrate(path)
    last = log[-1]
    tail_hash = None if tail == 1 else log[tail - 2].hash
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO lane (id, name, epoch, head_seq, head_hash, tail_seq, tail_hash) VALUES (1, ?, ?, ?, ?, ?, ?)",
            (LANE.lane.value, LANE.epoch, last.seq, last.hash, tail, tail_hash),
        )
        db.executemany(
            "INSERT INTO record VALUES (1, ?, ?, ?)",
            [(entry.seq, entry.hash, entry.record) for entry in log[tail - 1 :]],
        )


class Hub:
    """What the hub holds of the log."""

    def __init__(self) -> None:
        self.held: list[Entry] = []

    def between(self, _lane: LaneId, after: int, upto: int) -> list[Entry]:
        return [entry for entry in self.held if after < entry.seq <= upto]


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def witness(tmp_path: Path, hub: Hub) -> Iterator[Witness]:
    made = Witness(tmp_path / "witness.sqlite", at_hub=hub.between, branched_at=lambda _lane: None)
    with closing(made):
        yield made


def test_what_was_taken_stays_when_the_device_trims_it(tmp_path: Path, witness: Witness) -> None:
    path, log = tmp_path / "store.sqlite", entries(6)
    store(path, log[:4])
    assert witness.take("device", path, NAME)[1] == []
    store(path, log, tail=4)
    assert witness.take("device", path, NAME)[1] == []
    (taken,) = witness.logs("device", NAME)
    assert list(taken.entries) == log
    assert taken.head == Head(6, log[-1].hash)
    assert taken.gaps == ()


def test_what_was_trimmed_unseen_comes_from_the_hub_if_the_chain_agrees(
    tmp_path: Path, witness: Witness, hub: Hub
) -> None:
    path, log = tmp_path / "store.sqlite", entries(6)
    hub.held = log[:3]
    store(path, log, tail=4)
    assert witness.take("device", path, NAME)[1] == []
    (taken,) = witness.logs("device", NAME)
    assert list(taken.entries) == log


def test_what_nobody_holds_any_more_is_a_hole(tmp_path: Path, witness: Witness) -> None:
    path, log = tmp_path / "store.sqlite", entries(6)
    store(path, log, tail=4)
    assert witness.take("device", path, NAME)[1] == []
    (taken,) = witness.logs("device", NAME)
    (gap,) = taken.gaps
    assert (gap.first_seq, gap.last_seq, gap.after_hash) == (1, 3, log[2].hash)
    assert list(taken.entries) == log[3:]


def test_a_store_that_has_less_or_other_than_before_is_a_violation(tmp_path: Path, witness: Witness) -> None:
    path, log = tmp_path / "store.sqlite", entries(6)
    store(path, log)
    witness.take("device", path, NAME)
    store(path, log[:5])
    assert [found.rule for found in witness.take("device", path, NAME)[1]] == ["lost_record"]
    changed = [*log[:5], Entry(6, bytes_from("another", 32), log[5].record)]
    store(path, changed)
    assert [found.rule for found in witness.take("device", path, NAME)[1]] == ["lost_record"]


def test_a_copy_of_a_store_has_the_same_history_so_far(tmp_path: Path, witness: Witness) -> None:
    path, log = tmp_path / "store.sqlite", entries(3)
    store(path, log)
    witness.take("device", path, NAME)
    witness.copy("device", "copy")
    (original,), (copy,) = witness.logs("device", NAME), witness.logs("copy", NAME)
    assert list(copy.entries) == list(original.entries) == log


def test_what_a_branch_left_behind_unseen_comes_from_the_hub_into_the_log_before(
    tmp_path: Path, witness: Witness, hub: Hub
) -> None:
    path, log = tmp_path / "store.sqlite", entries(6)
    store(path, log[:2])
    witness.take("device", path, NAME)
    # Two records later the device goes on from record 4 under another epoch, and drops what is common.
    hub.held = log[:4]
    store(path, log, tail=5)
    other = bytes_from("another epoch")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE lane SET epoch = ?", (other,))
        db.commit()
    assert witness.take("device", path, NAME)[1] == []
    before, after = witness.logs("device", NAME)
    assert (list(before.entries), before.head, before.gaps) == (log[:4], Head(4, log[3].hash), ())
    assert (list(after.entries), after.before, after.lane.epoch) == (log[4:], Head(4, log[3].hash), other)

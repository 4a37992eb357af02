"""Somebody who writes down, while devices run, every record that they commit: retention trims what it likes afterwards.

Keeps everything in a database of its own, so a run may be of any length. Each record is checked when it is taken: it
continues the chain, and nothing that was taken before has changed. What a device trimmed before it could be taken the
hub must hold, and the chain proves that it is the same. Blocking; reads stores while their daemons write.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, extend, start
from tests.chaos.evidence import Gap, Log
from tests.chaos.violations import Violation

SCHEMA: Final = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY, store TEXT, lane TEXT, epoch BLOB, branch_of BLOB,
    before_seq INTEGER, before_hash BLOB, head_seq INTEGER, head_hash BLOB, UNIQUE (store, lane, epoch)
);
CREATE TABLE entry (log INTEGER, seq INTEGER, hash BLOB, data BLOB, PRIMARY KEY (log, seq)) WITHOUT ROWID;
CREATE TABLE hole (log INTEGER, first_seq INTEGER, last_seq INTEGER, after_hash BLOB);
CREATE TABLE content (hash BLOB, log INTEGER, seq INTEGER, PRIMARY KEY (hash, log)) WITHOUT ROWID;
CREATE TABLE dead (log INTEGER, seq INTEGER, PRIMARY KEY (log, seq)) WITHOUT ROWID;
"""
READ_CHUNK: Final = 1_000
BUSY_TIMEOUT_S: Final = 10.0
UNSEEN: Final = "unseen"

HeldElsewhere = Callable[[LaneId, int, int], Sequence[Entry]]
"""The hub's copy of a log, after a sequence up to another; as much of it as there is."""
BranchPoint = Callable[[LaneId], Head | None]
"""Where the hub says that a log goes on from another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a log of a store stands now, and what is acknowledged of it."""

    lane: LaneId
    head: Head
    acked: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A lane of a device's store."""

    key: int
    lane: LaneId
    head: Head
    acked: int
    tail: Head
    """The position before the first record that is held."""


@dataclass(slots=True)
class _Taken:
    """A log as far as it was taken."""

    id: int
    head: Head


class Witness:
    """Of any number of stores, each under a name."""

    def __init__(self, path: Path, *, at_hub: HeldElsewhere, branched_at: BranchPoint) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(SCHEMA)
        self._at_hub = at_hub
        self._branched_at = branched_at

    def close(self) -> None:
        self._db.close()

    def take(self, name: str, store: Path, principal: str) -> tuple[list[Position], list[Violation]]:
        """What is new in a store. Raises `sqlite3.OperationalError` if it cannot be read now."""
        found: list[Violation] = []
        with closing(open_store(store)) as source:
            source.execute("BEGIN")
            rows = _rows(source, principal)
            self._db.execute("BEGIN")
            try:
                for row in rows:
                    found += self._take_log(name, source, row)
            finally:
                self._db.execute("COMMIT")
        return [Position(lane=row.lane, head=row.head, acked=row.acked) for row in rows], found

    def copy(self, name: str, copy: str) -> None:
        """A store was copied: the copy has the same history so far."""
        self._db.execute("BEGIN")
        for (log,) in self._db.execute("SELECT id FROM log WHERE store = ? ORDER BY id", (name,)).fetchall():
            made = self._db.execute(
                "INSERT INTO log (store, lane, epoch, branch_of, before_seq, before_hash, head_seq, head_hash)"
                " SELECT ?, lane, epoch, branch_of, before_seq, before_hash, head_seq, head_hash FROM log WHERE id = ?",
                (copy, log),
            ).lastrowid
            for table, columns in (
                ("entry", "seq, hash, data"),
                ("hole", "first_seq, last_seq, after_hash"),
                ("dead", "seq"),
            ):
                self._db.execute(
                    f"INSERT INTO {table} SELECT ?, {columns} FROM {table} WHERE log = ?", (made, log)
                )
            self._db.execute(
                "INSERT INTO content SELECT hash, ?, seq FROM content WHERE log = ?", (made, log)
            )
        self._db.execute("COMMIT")

    def logs(self, name: str, principal: str) -> tuple[Log, ...]:
        """Every log of a store, from old to new, with everything that was ever committed to it."""
        return tuple(
            Log(
                lane=LaneId(principal, Lane(lane), epoch),
                entries=_Entries(self._db, key),
                before=Head(before_seq, before_hash),
                head=Head(head_seq, head_hash),
                gaps=self._holes(key),
                dead=frozenset(
                    seq for (seq,) in self._db.execute("SELECT seq FROM dead WHERE log = ?", (key,))
                ),
                branch_of=branch_of,
            )
            for key, lane, epoch, branch_of, before_seq, before_hash, head_seq, head_hash in self._db.execute(
                "SELECT id, lane, epoch, branch_of, before_seq, before_hash, head_seq, head_hash FROM log"
                " WHERE store = ? ORDER BY id",
                (name,),
            ).fetchall()
        )

    def blobs(self, name: str, principal: str) -> Iterable[tuple[bytes, LaneId, int]]:
        """Content of the journal that was seen in a store: its hash, in order, and the record that names it."""
        return _Contents(self._db, name, principal)

    def _holes(self, key: int) -> tuple[Gap, ...]:
        return tuple(
            Gap(first_seq=first, last_seq=last, after_hash=hash_, reason=UNSEEN)
            for first, last, hash_ in self._db.execute(
                "SELECT first_seq, last_seq, after_hash FROM hole WHERE log = ? ORDER BY first_seq", (key,)
            )
        )

    # --- taking

    def _take_log(self, name: str, source: sqlite3.Connection, row: _Row) -> Iterator[Violation]:
        taken = self._taken(name, row)
        where = f"{row.lane.principal} {row.lane.lane} at the device"
        if row.head.seq < taken.head.seq:
            what = f"it ended at {taken.head.seq} once and ends at {row.head.seq} now"
            yield Violation("lost_record", where, what)
            return
        if row.head.seq == taken.head.seq:
            if row.head != taken.head:
                yield Violation("lost_record", where, f"record {row.head.seq} was another one once")
            return
        before = taken.head
        if row.tail.seq > taken.head.seq:
            self._fill(taken, row.lane, row.tail)
        for entry in _entries(source, row.key, after=taken.head.seq):
            expected = extend(taken.head, entry.record)
            if (entry.seq, entry.hash) != (expected.seq, expected.hash):
                what = f"record {expected.seq} does not follow what was there before"
                yield Violation("broken_chain", where, what)
                break
            self._store(taken, entry)
        if taken.head != row.head:
            what = f"its head says {row.head.seq}, its last record is {taken.head.seq}"
            yield Violation("broken_chain", where, what)
        self._take_content(taken, source, row.key, after=before.seq)
        self._db.execute(
            "UPDATE log SET head_seq = ?, head_hash = ? WHERE id = ?",
            (taken.head.seq, taken.head.hash, taken.id),
        )

    def _taken(self, name: str, row: _Row) -> _Taken:
        found = self._db.execute(
            "SELECT id, head_seq, head_hash FROM log WHERE store = ? AND lane = ? AND epoch = ?",
            (name, row.lane.lane.value, row.lane.epoch),
        ).fetchone()
        if found is not None:
            key, seq, hash_ = found
            return _Taken(key, Head(seq, hash_))
        before, branch_of = start(row.lane), None
        earlier = self._db.execute(
            "SELECT id, epoch, head_seq, head_hash FROM log WHERE store = ? AND lane = ? ORDER BY id DESC LIMIT 1",
            (name, row.lane.lane.value),
        ).fetchone()
        if earlier is not None and row.lane.lane is not Lane.ORDERS:
            # Until the hub has something of it nothing of it is trimmed, and it begins where its records do.
            key, branch_of, seq, hash_ = earlier
            before = self._branched_at(row.lane) or row.tail
            self._fill_before(
                _Taken(key, Head(seq, hash_)), LaneId(row.lane.principal, row.lane.lane, branch_of), before
            )
        made = self._db.execute(
            "INSERT INTO log (store, lane, epoch, branch_of, before_seq, before_hash, head_seq, head_hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(name, row.lane.lane.value, row.lane.epoch, branch_of),
                *(before.seq, before.hash, before.seq, before.hash),
            ),
        ).lastrowid
        assert made is not None
        return _Taken(made, before)

    def _fill(self, taken: _Taken, lane: LaneId, upto: Head) -> None:
        """Take from the hub what the device has dropped already; if it is not there, note that it was not seen."""
        entries = self._at_hub(lane, taken.head.seq, upto.seq)
        position = taken.head
        for entry in entries:
            position = extend(position, entry.record)
        if position == upto:
            for entry in entries:
                self._store(taken, entry)
            return
        self._db.execute(
            "INSERT INTO hole VALUES (?, ?, ?, ?)",
            (taken.id, taken.head.seq + 1, upto.seq, upto.hash),
        )
        taken.head = upto

    def _fill_before(self, earlier: _Taken, lane: LaneId, upto: Head) -> None:
        """A log that was gone on from under another epoch between two looks: the device dropped what was common."""
        if earlier.head.seq >= upto.seq:
            return
        self._fill(earlier, lane, upto)
        self._db.execute(
            "UPDATE log SET head_seq = ?, head_hash = ? WHERE id = ?",
            (earlier.head.seq, earlier.head.hash, earlier.id),
        )

    def _store(self, taken: _Taken, entry: Entry) -> None:
        self._db.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?)", (taken.id, entry.seq, entry.hash, entry.record)
        )
        taken.head = Head(entry.seq, entry.hash)

    def _take_content(self, taken: _Taken, source: sqlite3.Connection, key: int, *, after: int) -> None:
        for hash_, salt, content, seq in source.execute(
            "SELECT hash, salt, content, seq FROM blob WHERE lane_id = ? AND seq > ?"
            " AND lane_id IN (SELECT id FROM lane WHERE name = 'journal')",
            (key, after),
        ):
            if Blob(salt=salt, content=content).ref().hash == hash_:
                self._db.execute("INSERT OR IGNORE INTO content VALUES (?, ?, ?)", (hash_, taken.id, seq))
        for (seq,) in source.execute(
            "SELECT seq FROM dead_letter WHERE lane_id = ? AND seq > ?", (key, after)
        ):
            self._db.execute("INSERT OR IGNORE INTO dead VALUES (?, ?)", (taken.id, seq))


class _Entries:
    """The records of a log that were taken, read anew each time they are gone through."""

    def __init__(self, db: sqlite3.Connection, log: int) -> None:
        self._db = db
        self._log = log

    def __iter__(self) -> Iterator[Entry]:
        after = -1
        while rows := self._db.execute(
            "SELECT seq, hash, data FROM entry WHERE log = ? AND seq > ? ORDER BY seq LIMIT ?",
            (self._log, after, READ_CHUNK),
        ).fetchall():
            for row in rows:
                yield Entry(*row)
            after = rows[-1][0]


class _Contents:
    """As `_Entries`, of content."""

    def __init__(self, db: sqlite3.Connection, store: str, principal: str) -> None:
        self._db = db
        self._store = store
        self._principal = principal

    def __iter__(self) -> Iterator[tuple[bytes, LaneId, int]]:
        for hash_, lane, epoch, seq in self._db.execute(
            "SELECT c.hash, l.lane, l.epoch, c.seq FROM content c JOIN log l ON l.id = c.log"
            " WHERE l.store = ? ORDER BY c.hash",
            (self._store,),
        ):
            yield hash_, LaneId(self._principal, Lane(lane), epoch), seq


def open_store(store: Path) -> sqlite3.Connection:
    """A device's store, for reading beside its daemon."""
    return sqlite3.connect(
        f"{store.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )


def _rows(source: sqlite3.Connection, principal: str) -> list[_Row]:
    rows = []
    for key, name, epoch, head_seq, head_hash, acked, tail_seq, tail_hash in source.execute(
        "SELECT id, name, epoch, head_seq, head_hash, acked, tail_seq, tail_hash FROM lane ORDER BY id"
    ).fetchall():
        lane = LaneId(principal, Lane(name), epoch)
        tail = start(lane) if tail_hash is None else Head(tail_seq - 1, tail_hash)
        rows.append(_Row(key, lane, Head(head_seq, head_hash), acked, tail))
    return rows


def _entries(source: sqlite3.Connection, key: int, *, after: int) -> Iterator[Entry]:
    for row in source.execute(
        "SELECT seq, hash, data FROM record WHERE lane_id = ? AND seq > ? ORDER BY seq", (key, after)
    ):
        yield Entry(*row)

"""Forgetting in SQL: records from the tail of a lane, their content, and what the tables of work hold of ended nodes.

Each function runs inside one transaction on the writer thread. Invariants: a lane stays contiguous from `tail_seq` to
its head, `tail_hash` is the chain's hash before it, and no content goes that the tables of work name. Must not know
what may go.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edge.adapters.store_sqlite.gauge import record_disk_bytes
from edge.adapters.store_sqlite.standing import forget_ended, remember_ended
from shared.cbor import decode
from shared.errors import ProtocolError
from shared.log import Head
from shared.tasks.states import BY_VALUE, TERMINAL, NodeState

PAST_ENDED: Final = 1
"""`node.past`: its records are trimmed, but the hub may offer it again before its deadline; its effects are kept."""
PAST_EPISODE: Final = 2
"""`node.past`: of a node that succeeded, goal and result, for memory."""

MANY_RECORDS: Final = 4_000
MANY_BYTES: Final = 16_777_216
"""What is read at once where nobody waits for the writer."""

Fields = Mapping[str, Any]
Place = tuple[str, int]
"""Task and node."""


class Segment(NamedTuple):
    """A run of records at the tail of a lane: their fields (empty for what is no record), sizes and last position.

    `content`: what came with them and is named by nothing that stays.
    """

    fields: tuple[Fields, ...]
    seqs: tuple[int, ...]
    sizes: tuple[int, ...]
    last: Head
    content: tuple[bytes, ...]


def read_segment(
    db: sqlite3.Connection,
    lane_id: int,
    *,
    upto: int,
    before_ms: int | None,
    free_bytes: int,
    max_records: int,
    min_records: int = 1,
) -> Segment | None:
    """The oldest records up to `upto`; None if there is none that may go. Only reads.

    The segment ends where its records and their content have `free_bytes`, or before one made at `before_ms` or later.
    """
    content = _content_bytes(db, lane_id, upto, max_records)
    fields: list[Fields] = []
    seqs: list[int] = []
    sizes: list[int] = []
    last: Head | None = None
    freed = 0
    for seq, hash_, data in db.execute(
        "SELECT seq, hash, data FROM record WHERE lane_id = ? AND seq <= ? ORDER BY seq LIMIT ?",
        (lane_id, upto, max_records),
    ):
        said = read_fields(data)
        at_ms = said.get("at_ms")
        if before_ms is not None and isinstance(at_ms, int) and at_ms >= before_ms:
            break
        fields.append(said)
        seqs.append(seq)
        sizes.append(len(data))
        last = Head(seq, bytes(hash_))
        freed += len(data) + content.get(seq, 0)
        if freed >= free_bytes and len(seqs) >= min_records:
            break
    if last is None:
        return None
    doomed = _unnamed_content(db, lane_id, seqs[0], last.seq, fields)
    return Segment(tuple(fields), tuple(seqs), tuple(sizes), last, tuple(doomed))


def read_fields(data: bytes) -> Fields:
    """What a record says, without judging it: it was judged when it was stored."""
    try:
        fields = decode(bytes(data))
    except ProtocolError:
        return {}
    return fields if isinstance(fields, dict) else {}


def drop_segment(db: sqlite3.Connection, lane_id: int, segment: Segment) -> bool:
    """Hold nothing up to the segment's end but the hash there, and the content that the tables of work name.

    False, and nothing done, if it is no longer the tail. Otherwise the segment may have been read a while ago: what
    work names since then is younger than it.
    """
    (tail,) = db.execute("SELECT tail_seq FROM lane WHERE id = ?", (lane_id,)).fetchone()
    if tail != segment.seqs[0]:
        return False
    drop_blobs(db, segment.content)
    for fields in segment.fields:
        _mark(db, fields)
    upto = segment.last.seq
    for table in ("record", "content_before"):
        db.execute(f"DELETE FROM {table} WHERE lane_id = ? AND seq <= ?", (lane_id, upto))  # noqa: S608 - our names
    db.execute("DELETE FROM dead_letter WHERE lane_id = ? AND seq <= ?", (lane_id, upto))
    db.execute(
        "UPDATE lane SET tail_seq = ?, tail_hash = ?, stored_bytes = max(0, stored_bytes - ?),"
        " disk_bytes = max(0, disk_bytes - ?) WHERE id = ?",
        (
            upto + 1,
            segment.last.hash,
            sum(segment.sizes),
            sum(map(record_disk_bytes, segment.sizes)),
            lane_id,
        ),
    )
    return True


def drop_through(db: sqlite3.Connection, lane_id: int, upto: Head) -> None:
    """Hold nothing up to `upto`, whatever it takes, for a log that goes on from there under another epoch."""
    while (
        segment := read_segment(
            db, lane_id, upto=upto.seq, before_ms=None, free_bytes=MANY_BYTES, max_records=MANY_RECORDS
        )
    ) is not None:
        drop_segment(db, lane_id, segment)
    db.execute("UPDATE lane SET tail_seq = ?, tail_hash = ? WHERE id = ?", (upto.seq + 1, upto.hash, lane_id))


def settle(db: sqlite3.Connection, *, now_ms: int | None, max_nodes: int) -> int:
    """Reduce ended nodes, oldest first, to episodes or nothing; returns how many.

    With `now_ms` only those that the hub will not offer again: their deadline is over, or they are the device's own.
    """
    rows = db.execute(
        "SELECT task, node, state, goal_hash, result_hash FROM node WHERE past = ?1 AND"
        " (?2 IS NULL OR deadline_ms IS NULL OR deadline_ms <= ?2) ORDER BY position LIMIT ?3",
        (PAST_ENDED, now_ms, max_nodes),
    ).fetchall()
    for task, node, state, goal, result in rows:
        named = _named_by(db, (task, node))
        is_episode = state == NodeState.SUCCEEDED.value and result is not None
        drop_blobs(db, named - {goal, result} if is_episode else named)
        for table in ("effect", "attempt", "reply"):
            db.execute(f"DELETE FROM {table} WHERE task = ? AND node = ?", (task, node))  # noqa: S608 - ours
        if is_episode:
            db.execute("UPDATE node SET past = ? WHERE task = ? AND node = ?", (PAST_EPISODE, task, node))
        else:
            drop_node(db, task, node)
    if now_ms is not None:
        forget_ended(db, now_ms)
    return len(rows)


def forget_episodes(db: sqlite3.Connection, max_nodes: int) -> int:
    """Drop the oldest episodes; returns how many."""
    rows = db.execute(
        "SELECT task, node, goal_hash, result_hash FROM node WHERE past = ? ORDER BY position LIMIT ?",
        (PAST_EPISODE, max_nodes),
    ).fetchall()
    for task, node, goal, result in rows:
        drop_blobs(db, (goal, result))
        drop_node(db, task, node)
    return len(rows)


def drop_node(db: sqlite3.Connection, task: str, node: int) -> None:
    """Nothing of an ended node but that it has ended."""
    remember_ended(db, task, node)
    for table in ("effect", "attempt", "reply", "hub_question", "node"):
        db.execute(f"DELETE FROM {table} WHERE task = ? AND node = ?", (task, node))  # noqa: S608 - our own names


def drop_blobs(db: sqlite3.Connection, hashes: Iterable[bytes | None]) -> None:
    """Forget content with its salt, and count it out of its lane."""
    freed: dict[int, int] = {}
    for hash_ in hashes:
        row = db.execute(
            "DELETE FROM blob WHERE hash = ? RETURNING lane_id, length(content)", (hash_,)
        ).fetchone()
        if row is not None:
            freed[row[0]] = freed.get(row[0], 0) + row[1]
    db.executemany(
        "UPDATE lane SET stored_bytes = max(0, stored_bytes - ?) WHERE id = ?",
        [(size, lane_id) for lane_id, size in freed.items()],
    )


def _content_bytes(db: sqlite3.Connection, lane_id: int, upto: int, max_records: int) -> dict[int, int]:
    """Content by the record that brought it, for the records of a segment."""
    (tail,) = db.execute("SELECT tail_seq FROM lane WHERE id = ?", (lane_id,)).fetchone()
    return dict(
        db.execute(
            "SELECT seq, sum(length(content)) FROM blob WHERE lane_id = ? AND seq BETWEEN ? AND ? GROUP BY seq",
            (lane_id, tail, min(upto, tail + max_records - 1)),
        ).fetchall()
    )


def _unnamed_content(
    db: sqlite3.Connection, lane_id: int, first: int, last: int, records: Iterable[Fields]
) -> list[bytes]:
    places = {place for fields in records if (place := _place(fields)) is not None}
    needed = frozenset[bytes]().union(*(_named_by(db, place) for place in places))
    found = db.execute(
        "SELECT hash FROM blob WHERE lane_id = ? AND seq BETWEEN ? AND ?", (lane_id, first, last)
    )
    return [hash_ for (hash_,) in found if hash_ not in needed]


def _place(fields: Fields) -> Place | None:
    task, node = fields.get("task"), fields.get("node", 0)  # `task.created` speaks of the root
    return (task, node) if isinstance(task, str) and isinstance(node, int) else None


def _named_by(db: sqlite3.Connection, place: Place) -> frozenset[bytes]:
    """The content that the tables of work name for a node: what it needs to go on, and what people look at.

    Not the prompts: they can be built again, and are most of what a journal holds.
    """
    rows: Sequence[tuple[bytes | None, ...]] = [
        *db.execute("SELECT goal_hash, result_hash FROM node WHERE task = ? AND node = ?", place),
        *db.execute("SELECT result_hash FROM attempt WHERE task = ? AND node = ?", place),
        *db.execute(
            "SELECT CASE kind WHEN 'tool' THEN argument_hash END, result_hash FROM effect WHERE task = ? AND node = ?",
            place,
        ),
    ]
    return frozenset(hash_ for row in rows for hash_ in row if hash_ is not None)


def _mark(db: sqlite3.Connection, fields: Fields) -> None:
    """What a record that goes leaves behind in the tables of work."""
    place = _place(fields)
    if place is None:
        return
    match fields.get("kind"):
        case "node.moved" if BY_VALUE.get(fields.get("state", "")) in TERMINAL:
            # A later attempt has records of its own further on.
            db.execute(
                "UPDATE node SET past = ? WHERE task = ? AND node = ? AND attempt = ? AND state = ?",
                (PAST_ENDED, *place, fields.get("attempt"), fields.get("state")),
            )
        case "task.cancelled":
            db.execute("DELETE FROM cancelled WHERE task = ? AND node = ?", place)
        case "question.replied":
            db.execute(
                "DELETE FROM reply WHERE task = ?1 AND node = ?2"
                " AND NOT EXISTS (SELECT 1 FROM node WHERE task = ?1 AND node = ?2)",
                place,
            )
        case _:
            pass

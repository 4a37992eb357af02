"""What the device remembers, and what it was asked to forget, in SQL (rules P30, P31).

An item stands here whole, so it outlives the records that brought it. Must not know what an item is worth, nor
whether it is genuine: whoever has the key tells that.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from edge.adapters.store_sqlite.database import Database, overwriting
from edge.adapters.store_sqlite.trimming import drop_blobs, drop_node, read_fields
from edge.ports import EndedWork, ForgetRequest, HubQuestion, MemoryRow
from shared.blobs import BlobRef
from shared.errors import ProtocolError
from shared.escalation import QUEUED
from shared.ids import Lane
from shared.records import (
    ForeignCause,
    ForgetConfirmed,
    ForgetOrdered,
    HubAnswered,
    HubAsked,
    MemoryChanged,
    MemoryForgotten,
    MemoryWritten,
    NodeAmended,
    ToolResult,
    parse_record,
)
from shared.tasks.states import TERMINAL, NodeState

_COLUMNS: Final = (
    "item, position, sort, scope, author, key, cue, content, labels, at_ms, valid_from_ms, task, node, seq, mac,"
    " until_ms, reason, other, successes, failures, changed_mac"
)
KEYS_VERSION: Final = "memory_terms"
"""In `meta`: the version of the terms that the keys were made of."""
SCRUB_DUE: Final = "scrub_due"
"""In `meta` from before something is forgotten until it stands in no free page any more."""
IN_CHUNK: Final = 500
QUESTIONS_SHOWN: Final = 100
_OPEN: Final = tuple(state.value for state in NodeState if state not in TERMINAL)


class SqliteMemory:
    """`MemoryStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_keys_of_now = False

    async def items(
        self,
        *,
        sorts: Collection[str] = (),
        is_open: bool | None = None,
        after: int = 0,
        newest_first: bool = False,
        limit: int = 1_000,
    ) -> tuple[MemoryRow, ...]:
        return await self._database.read(
            lambda db: read_items(
                db, sorts=sorts, is_open=is_open, after=after, newest_first=newest_first, limit=limit
            )
        )

    async def named(self, items: Sequence[str]) -> tuple[MemoryRow, ...]:
        return await self._database.read(lambda db: read_named(db, items))

    async def freshen_keys(self) -> None:
        if not self._has_keys_of_now and not await self._database.read(has_keys_of_now):
            await self._database.write(make_keys_anew, durable=False)
        self._has_keys_of_now = True

    async def alike(self, sort: str, key: str) -> tuple[MemoryRow, ...]:
        return await self._database.read(lambda db: _rows(db, "sort = ? AND key = ?", (sort, key)))

    async def of_work(self, task: str, node: int) -> tuple[MemoryRow, ...]:
        return await self._database.read(lambda db: _rows(db, "task = ? AND node = ?", (task, node)))

    async def told(self) -> dict[str, bytes | None]:
        return await self._database.read(read_told)

    async def missing(self) -> tuple[str, ...]:
        return await self._database.read(read_missing)

    async def counts(self) -> dict[str, tuple[int, int]]:
        return await self._database.read(read_counts)

    async def ended(self, limit: int) -> tuple[EndedWork, ...]:
        return await self._database.read(lambda db: read_ended(db, limit))

    async def mentions(self, needle: bytes) -> tuple[tuple[str, ...], tuple[bytes, ...], int]:
        return await self._database.read(lambda db: read_mentions(db, needle))

    async def scrub(self, needle: bytes | None, *, is_whole: bool = False) -> int:
        count = 0
        if needle is not None:
            count = await self._database.write(lambda db: scrub(db, needle), durable=True)
        await self._database.scrub(is_whole=is_whole)
        return count

    async def note_scrub(self, *, is_due: bool) -> None:
        await self._database.write(lambda db: write_scrub_due(db, is_due=is_due), durable=True)

    async def is_scrub_due(self) -> bool:
        return await self._database.read(read_scrub_due)

    async def requests(self) -> tuple[ForgetRequest, ...]:
        return await self._database.read(read_requests)

    async def questions(self, limit: int = QUESTIONS_SHOWN) -> tuple[HubQuestion, ...]:
        return await self._database.read(lambda db: read_questions(db, limit))

    async def question(self, task: str, node: int, call: int) -> HubQuestion | None:
        return await self._database.read(lambda db: read_question(db, task, node, call))

    async def questions_of(self, task: str) -> tuple[HubQuestion, ...]:
        return await self._database.read(lambda db: read_questions_of(db, task))

    async def late(self, limit: int) -> tuple[HubQuestion, ...]:
        return await self._database.read(lambda db: read_late(db, limit))


# --- the journal's word


def apply_written(db: sqlite3.Connection, record: MemoryWritten, *, seq: int, epoch: bytes) -> None:
    """Without its content an item is none: it was forgotten, or withheld."""
    if record.task is not None and record.node is not None:
        note_thought(db, record.task, record.node)
    if db.execute("SELECT 1 FROM memory_forgotten WHERE item = ?", (record.item,)).fetchone() is not None:
        return
    content = _content(db, record.content)
    cue = b"" if record.cue is None else _content(db, record.cue)
    if content is None or cue is None:
        return
    from shared.memory.items import content_of, key_of

    try:
        key = key_of(cue.decode(errors="replace"), content_of(record.sort, content))
    except ProtocolError:
        return  # a program that knows this form will read it again
    db.execute(
        "INSERT INTO memory_item (item, position, sort, scope, author, key, cue, content, labels, at_ms, valid_from_ms,"
        " task, node, epoch, seq, mac)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (item) DO NOTHING",
        (
            record.item, _next_position(db), record.sort, record.scope, record.by, key, cue, content,
            json.dumps(record.labels), record.at_ms, record.valid_from_ms, record.task, record.node, epoch, seq,
            record.mac,
        ),
    )  # fmt: skip


def apply_changed(db: sqlite3.Connection, record: MemoryChanged) -> None:
    """The latest such record counts."""
    db.execute(
        "UPDATE memory_item SET position = ?, until_ms = ?, reason = ?, other = ?, successes = ?, failures = ?,"
        " changed_mac = ? WHERE item = ?",
        (
            _next_position(db), record.until_ms, record.reason, record.other, record.successes, record.failures,
            record.mac, record.item,
        ),
    )  # fmt: skip


def apply_forgotten(db: sqlite3.Connection, record: MemoryForgotten, *, seq: int, epoch: bytes) -> None:
    """Rows, content and salts go, also from the file's free pages."""
    with overwriting(db):
        for item in record.items:
            db.execute("DELETE FROM memory_item WHERE item = ?", (item,))
            db.execute("INSERT OR IGNORE INTO memory_forgotten VALUES (?)", (item,))
        for hash_ in record.contents:
            # What the hub has not got yet it will not get: the record goes without.
            db.execute(
                "UPDATE lane SET waiting_bytes = max(0, waiting_bytes - coalesce((SELECT length(content) FROM blob"
                " WHERE hash = ?1 AND lane_id = lane.id AND seq > lane.acked), 0))"
                " WHERE id = (SELECT lane_id FROM blob WHERE hash = ?1)",
                (hash_,),
            )
            _forget_question(db, hash_, seq)
        _forget_work(db, record.contents)
        drop_blobs(db, record.contents)
        db.execute(
            "INSERT INTO forget_request (request, epoch, seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (record.request, epoch, seq),
        )
        db.execute(
            "UPDATE forget_request SET items = items + ?, contents = contents + ?, kept = ?,"
            " about = CASE WHEN ? THEN NULL ELSE about END, done_ms = CASE WHEN ? THEN ? ELSE done_ms END"
            " WHERE request = ?",
            (
                len(record.items), len(record.contents), record.kept, record.is_last, record.is_last, record.at_ms,
                record.request,
            ),
        )  # fmt: skip


def _forget_work(db: sqlite3.Connection, contents: Sequence[bytes]) -> None:
    """Ended work whose goal is forgotten goes; of other work the result alone."""
    for hash_ in contents:
        for task, node in db.execute("SELECT task, node FROM node WHERE goal_hash = ?", (hash_,)).fetchall():
            drop_node(db, task, node)
        for table in ("node", "attempt"):
            db.execute(f"UPDATE {table} SET result_hash = NULL WHERE result_hash = ?", (hash_,))  # noqa: S608 - ours


def _forget_question(db: sqlite3.Connection, hash_: bytes, seq: int) -> None:
    """What the hub said, and what was told of it. Nobody is told of it any more."""
    db.execute(
        "UPDATE hub_question SET answer = zeroblob(0), answer_hash = NULL, amended_seq = coalesce(amended_seq, ?)"
        " WHERE answer_hash = ?",
        (seq, hash_),
    )
    db.execute("UPDATE hub_question SET told = NULL, told_hash = NULL WHERE told_hash = ?", (hash_,))


def note_thought(db: sqlite3.Connection, task: str, node: int) -> None:
    """The device has thought about remembering this work."""
    db.execute("UPDATE node SET is_remembered = 1 WHERE task = ? AND node = ?", (task, node))


def apply_asked(db: sqlite3.Connection, record: HubAsked, *, seq: int) -> None:
    db.execute(
        "INSERT INTO hub_question (task, node, call, asked_ms, seq) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (task, node, call) DO UPDATE SET asked_ms = excluded.asked_ms, seq = excluded.seq",
        (record.task, record.node, record.call, record.at_ms, seq),
    )


def apply_amended(db: sqlite3.Connection, record: NodeAmended, *, seq: int) -> None:
    db.execute(
        "UPDATE hub_question SET amended_seq = ?, told = ?, told_hash = ?, told_labels = ?, told_ms = ?"
        " WHERE task = ? AND node = ? AND call = ?",
        (
            seq, _content(db, record.result), record.result.hash, json.dumps(record.labels), record.at_ms,
            record.task, record.node, record.call,
        ),
    )  # fmt: skip


def note_told(db: sqlite3.Connection, record: ToolResult, *, seq: int) -> None:
    """The call that asked came back with the hub's answer: it is told."""
    content = _content(db, record.result)
    try:
        has_answer = content is not None and json.loads(content)["state"] != QUEUED
    except (ValueError, KeyError, TypeError, RecursionError):
        has_answer = False
    if has_answer:
        db.execute(
            "UPDATE hub_question SET amended_seq = ? WHERE task = ? AND node = ? AND call = ?",
            (seq, record.task, record.node, record.call),
        )


# --- the orders' word


def take_answered(db: sqlite3.Connection, record: HubAnswered, *, seq: int, epoch: bytes) -> str | None:
    """The first answer counts. One without its content is none, and whoever asked shall not wait for another.

    Returns why it could not be taken, for the dead letters.
    """
    content = _content(db, record.answer)
    db.execute(
        "INSERT INTO hub_question (task, node, call, asked_ms, seq) VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
        (record.task, record.node, record.call, record.at_ms),
    )
    db.execute(
        "UPDATE hub_question SET answer = ?, answer_hash = ?, is_known = ?, labels = ?, order_epoch = ?, order_seq = ?"
        " WHERE task = ? AND node = ? AND call = ? AND answer IS NULL",
        (
            content or b"", record.answer.hash, record.is_known, json.dumps(record.labels), epoch, seq, record.task,
            record.node, record.call,
        ),
    )  # fmt: skip
    return None if content is not None else "the answer's content did not come with it"


def take_forget(
    db: sqlite3.Connection, record: ForgetOrdered, *, seq: int, epoch: bytes, about: bytes | None
) -> None:
    """`about` is kept here alone, so that it can be forgotten too."""
    with overwriting(db):
        db.execute(
            "INSERT INTO forget_request (request, about, epoch, seq) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (record.request, about, epoch, seq),
        )


def take_confirmed(db: sqlite3.Connection, record: ForgetConfirmed) -> None:
    db.execute(
        "UPDATE forget_request SET hub_ms = ?, retracted = ? WHERE request = ?",
        (record.at_ms, record.retracted, record.request),
    )


# --- keys


def has_keys_of_now(db: sqlite3.Connection) -> bool:
    """Whether a program that takes words apart as this one does made the keys."""
    from shared.retrieval.terms import TERMS_VERSION

    row = db.execute("SELECT value FROM meta WHERE key = ?", (KEYS_VERSION,)).fetchone()
    return row is not None and row[0] == TERMS_VERSION


def make_keys_anew(db: sqlite3.Connection) -> int:
    """Keys are made of terms: those of another program would find nothing any more. Returns how many were others."""
    from shared.retrieval.terms import TERMS_VERSION

    changed = 0
    rows = db.execute("SELECT item, sort, key, cue, content FROM memory_item").fetchall()
    for item, sort, key, cue, content in rows:
        now = _key_now(sort, cue, content)
        if now is not None and now != key:
            db.execute("UPDATE memory_item SET key = ? WHERE item = ?", (now, item))
            changed += 1
    db.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (KEYS_VERSION, TERMS_VERSION),
    )
    return changed


def _key_now(sort: object, cue: object, content: object) -> str | None:
    """None: nothing that this program wrote is of that form."""
    from shared.memory.items import content_of, key_of

    if not (isinstance(sort, str) and isinstance(cue, bytes) and isinstance(content, bytes)):
        return None
    try:
        return key_of(cue.decode(errors="replace"), content_of(sort, content))
    except ProtocolError:
        return None


# --- reading


def read_items(
    db: sqlite3.Connection,
    *,
    sorts: Collection[str],
    is_open: bool | None,
    after: int,
    newest_first: bool,
    limit: int,
) -> tuple[MemoryRow, ...]:
    """By position. `is_open`: only what has not ended, or only what has."""
    where = ["position > ?"]
    values: list[object] = [after]
    if sorts:
        where.append(f"sort IN ({', '.join('?' * len(sorts))})")
        values += sorts
    if is_open is not None:
        where.append("until_ms IS NULL" if is_open else "until_ms IS NOT NULL")
    order = "DESC" if newest_first else "ASC"
    return _rows(db, f"{' AND '.join(where)} ORDER BY position {order} LIMIT ?", (*values, limit))


def read_named(db: sqlite3.Connection, items: Sequence[str]) -> tuple[MemoryRow, ...]:
    """Those that are there, in no order."""
    found: list[MemoryRow] = []
    for first in range(0, len(items), IN_CHUNK):
        some = items[first : first + IN_CHUNK]
        found += _rows(db, f"item IN ({', '.join('?' * len(some))})", tuple(some))
    return tuple(found)


def read_told(db: sqlite3.Connection) -> dict[str, bytes | None]:
    """What the journal, as far as it is held, says last of each item: the MAC of its latest change, None for none."""
    told: dict[str, bytes | None] = {}
    rows = db.execute(
        "SELECT data FROM record JOIN lane ON lane.id = lane_id WHERE name = ? ORDER BY lane_id, seq",
        (Lane.JOURNAL.value,),
    )
    for (data,) in rows:
        fields = read_fields(data)
        match fields.get("kind"):
            case "memory.written":
                told[fields["item"]] = None
            case "memory.changed":
                told[fields["item"]] = fields["mac"]
            case _:
                pass
    return told


def read_missing(db: sqlite3.Connection) -> tuple[str, ...]:
    """Items that the journal, as far as it is held, says were written, with their contents, and that are neither here
    nor forgotten."""
    missing: dict[str, None] = {}
    rows = db.execute(
        "SELECT data FROM record JOIN lane ON lane.id = lane_id WHERE name = ? ORDER BY lane_id, seq",
        (Lane.JOURNAL.value,),
    )
    for (data,) in rows:
        if read_fields(data).get("kind") != "memory.written":
            continue
        record = parse_record(bytes(data))
        if not isinstance(record, MemoryWritten) or _is_known(db, record.item):
            continue
        content = _content(db, record.content)
        cue = b"" if record.cue is None else _content(db, record.cue)
        if content is not None and cue is not None and _key_now(record.sort, cue, content) is not None:
            missing[record.item] = None
    return tuple(missing)


def _is_known(db: sqlite3.Connection, item: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM memory_item WHERE item = ?1 UNION ALL SELECT 1 FROM memory_forgotten WHERE item = ?1",
        (item,),
    ).fetchone()
    return row is not None


def read_counts(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Of each sort: how many hold, and how many have ended."""
    rows = db.execute(
        "SELECT sort, sum(until_ms IS NULL), sum(until_ms IS NOT NULL) FROM memory_item GROUP BY sort"
    )
    return {sort: (holding, ended) for sort, holding, ended in rows}


def read_ended(db: sqlite3.Connection, limit: int) -> tuple[EndedWork, ...]:
    """Work that succeeded and that nobody has thought of remembering yet, oldest first."""
    rows = db.execute(
        "SELECT n.task, n.node, n.created_ms, g.content, r.content, n.labels, n.result_labels, n.origin FROM node n"
        " JOIN blob g ON g.hash = n.goal_hash JOIN blob r ON r.hash = n.result_hash"
        " WHERE n.state = ? AND n.is_remembered = 0 ORDER BY n.position LIMIT ?",
        (NodeState.SUCCEEDED.value, limit),
    ).fetchall()
    return tuple(
        EndedWork(
            task=task,
            node=node,
            at_ms=at_ms,
            goal=bytes(goal).decode(errors="replace"),
            result=bytes(result).decode(errors="replace"),
            labels=tuple(json.loads(labels)),
            result_labels=None if result_labels is None else tuple(json.loads(result_labels)),
            origin=origin,
        )
        for task, node, at_ms, goal, result, labels, result_labels, origin in rows
    )


def read_mentions(db: sqlite3.Connection, needle: bytes) -> tuple[tuple[str, ...], tuple[bytes, ...], int]:
    """Items and contents in which `needle` stands, case aside; and contents that open work still needs."""
    from shared.memory.mentions import mentions

    about = needle.decode()
    items = tuple(
        item
        for item, cue, content in db.execute("SELECT item, cue, content FROM memory_item ORDER BY position")
        if mentions(bytes(cue), about) or mentions(bytes(content), about)
    )
    found = [
        bytes(hash_)
        for hash_, content in db.execute("SELECT hash, content FROM blob")
        if mentions(bytes(content), about)
    ]
    for answer_hash, answer, told_hash, told in db.execute(
        "SELECT answer_hash, answer, told_hash, told FROM hub_question"
    ):
        for hash_, content in ((answer_hash, answer), (told_hash, told)):
            is_new = hash_ is not None and content is not None and bytes(hash_) not in found
            if is_new and mentions(bytes(content), about):
                found.append(bytes(hash_))
    needed = _needed(db)
    return items, tuple(each for each in found if each not in needed), sum(each in needed for each in found)


def scrub(db: sqlite3.Connection, needle: bytes) -> int:
    """Answers of the hub in which `needle` stands are dropped; how many."""
    from shared.memory.mentions import mentions

    about = needle.decode()
    rows = db.execute("SELECT task, node, call, answer FROM hub_question WHERE answer IS NOT NULL").fetchall()
    gone = [row[:3] for row in rows if mentions(bytes(row[3]), about)]
    with overwriting(db):
        db.executemany("DELETE FROM hub_question WHERE task = ? AND node = ? AND call = ?", gone)
    return len(gone)


def write_scrub_due(db: sqlite3.Connection, *, is_due: bool) -> None:
    if is_due:
        db.execute("INSERT INTO meta VALUES (?, 1) ON CONFLICT DO NOTHING", (SCRUB_DUE,))
    else:
        db.execute("DELETE FROM meta WHERE key = ?", (SCRUB_DUE,))


def read_scrub_due(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM meta WHERE key = ?", (SCRUB_DUE,)).fetchone() is not None


def _needed(db: sqlite3.Connection) -> frozenset[bytes]:
    """Content that open work cannot go on without, and what the hub's settings and rules stand in."""
    marks = ", ".join("?" * len(_OPEN))
    open_nodes = f"SELECT task, node, goal_hash FROM node WHERE state IN ({marks})"  # noqa: S608 - question marks
    goals = db.execute(f"SELECT goal_hash FROM ({open_nodes})", _OPEN)  # noqa: S608 - as above
    effects = db.execute(
        f"SELECT argument_hash, result_hash FROM effect JOIN ({open_nodes}) USING (task, node)",  # noqa: S608 - as above
        _OPEN,
    )
    rows = [*goals, *effects]
    return frozenset(bytes(each) for row in rows for each in row if each is not None)


def read_requests(db: sqlite3.Connection) -> tuple[ForgetRequest, ...]:
    rows = db.execute(
        "SELECT request, about, epoch, seq, items, contents, kept, done_ms, hub_ms, retracted FROM forget_request"
        " ORDER BY coalesce(done_ms, 0), seq"
    ).fetchall()
    return tuple(
        ForgetRequest(
            request=request,
            about=None if about is None else bytes(about).decode(errors="replace"),
            order=ForeignCause(lane="orders", epoch=epoch, seq=seq),
            items=items,
            contents=contents,
            kept=kept,
            done_ms=done_ms,
            hub_ms=hub_ms,
            retracted=retracted,
        )
        for request, about, epoch, seq, items, contents, kept, done_ms, hub_ms, retracted in rows
    )


_QUESTION: Final = (
    "SELECT q.task, q.node, q.call, q.asked_ms, q.seq, q.answer, q.is_known, q.labels, q.order_epoch, q.order_seq,"
    " q.amended_seq, q.told, q.told_labels, q.told_ms FROM hub_question q"
)


def read_questions(db: sqlite3.Connection, limit: int) -> tuple[HubQuestion, ...]:
    """Newest first."""
    return tuple(
        _question(row) for row in db.execute(f"{_QUESTION} ORDER BY q.asked_ms DESC LIMIT ?", (limit,))
    )


def read_questions_of(db: sqlite3.Connection, task: str) -> tuple[HubQuestion, ...]:
    """In the order in which they were asked."""
    return tuple(
        _question(row) for row in db.execute(f"{_QUESTION} WHERE q.task = ? ORDER BY q.node, q.call", (task,))
    )


def read_late(db: sqlite3.Connection, limit: int) -> tuple[HubQuestion, ...]:
    """Answers that nobody was told and whose nodes have ended, oldest first."""
    marks = ", ".join("?" * len(TERMINAL))
    rows = db.execute(
        f"{_QUESTION} JOIN node n ON n.task = q.task AND n.node = q.node WHERE q.answer IS NOT NULL"
        f" AND q.amended_seq IS NULL AND n.state IN ({marks}) ORDER BY q.asked_ms LIMIT ?",
        (*(state.value for state in TERMINAL), limit),
    )
    return tuple(_question(row) for row in rows)


def read_question(db: sqlite3.Connection, task: str, node: int, call: int) -> HubQuestion | None:
    row = db.execute(
        f"{_QUESTION} WHERE q.task = ? AND q.node = ? AND q.call = ?", (task, node, call)
    ).fetchone()
    return None if row is None else _question(row)


def _question(row: Sequence[Any]) -> HubQuestion:
    return HubQuestion(
        task=row[0],
        node=row[1],
        call=row[2],
        asked_ms=row[3],
        seq=row[4],
        answer=None if row[5] is None else bytes(row[5]),
        is_known=bool(row[6]),
        labels=() if row[7] is None else tuple(json.loads(row[7])),
        order=None if row[8] is None else ForeignCause(lane="orders", epoch=row[8], seq=row[9]),
        is_told=row[10] is not None,
        told=None if row[11] is None else bytes(row[11]).decode(errors="replace"),
        told_labels=() if row[12] is None else tuple(json.loads(row[12])),
        told_ms=row[13],
    )


def _rows(db: sqlite3.Connection, where: str, values: Sequence[object]) -> tuple[MemoryRow, ...]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM memory_item WHERE {where}", tuple(values))  # noqa: S608 - our own
    return tuple(map(_row, rows))


def _row(row: Sequence[Any]) -> MemoryRow:
    """As it lies there. What is not even of the form that this program writes bears no MAC, and is never genuine."""
    is_formed = all(isinstance(row[at], bytes) for at in (6, 7, 14)) and isinstance(row[20], bytes | None)
    try:
        labels = json.loads(row[8])
        is_formed = is_formed and isinstance(labels, list) and all(isinstance(each, str) for each in labels)
    except (TypeError, ValueError, RecursionError):
        is_formed = False
    numbers = (row[9], row[18], row[19])
    is_formed = is_formed and all(isinstance(each, int) for each in numbers)
    is_formed = is_formed and all(isinstance(row[at], int | None) for at in (10, 12, 15))
    is_formed = is_formed and all(isinstance(row[at], str | None) for at in (2, 3, 4, 11, 16, 17))
    if not is_formed:
        row = [
            *row[:2], str(row[2]), "", "", "", b"", b"", "[]", 0, None, None, None, 0, b"", None, None, None, 0, 0, None
        ]  # fmt: skip
    return MemoryRow(
        item=row[0], position=row[1], sort=row[2], scope=row[3], by=row[4], key=row[5], cue=row[6], content=row[7],
        labels=tuple(json.loads(row[8])), at_ms=row[9], valid_from_ms=row[10], task=row[11], node=row[12], seq=row[13],
        mac=row[14], until_ms=row[15], reason=row[16], other=row[17], successes=row[18], failures=row[19],
        changed_mac=row[20],
    )  # fmt: skip


def _content(db: sqlite3.Connection, ref: BlobRef) -> bytes | None:
    row = db.execute("SELECT content FROM blob WHERE hash = ?", (ref.hash,)).fetchone()
    return None if row is None else bytes(row[0])


def _next_position(db: sqlite3.Connection) -> int:
    """Of a change: no number comes twice, whatever was forgotten."""
    (position,) = db.execute(
        "INSERT INTO meta VALUES ('memory_position', 1)"
        " ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value"
    ).fetchone()
    return int(position)

"""How nodes stand, for a hub that has to be told again: it was restored from a backup, or records were lost (rule P19).

Also keeps, until its deadline, of a node whose row had to go, that this device has ended it: what the hub may order
once more must not be done once more. Runs inside the transaction that takes the order.
"""

import json
import sqlite3
from typing import Any

from shared.blobs import BlobRef
from shared.records import (
    FORGOTTEN,
    ForeignCause,
    NodeMoved,
    NodeQueried,
    QuestionAsked,
    TaskOffered,
)
from shared.tasks.states import REACHED_FROM_ANY, NodeState

Answer = NodeMoved | QuestionAsked

_REACHED_AT_ONCE = frozenset({NodeState.RUNNING, NodeState.REJECTED}) | REACHED_FROM_ANY


def answers_to(
    db: sqlite3.Connection, order: NodeQueried | TaskOffered, *, seq: int, epoch: bytes
) -> tuple[Answer, ...]:
    """What the journal is to say upon order `seq`: how the node stands, in steps that lead there from any open state.

    An offer of what is under way or done already comes from a hub that does not know. A new one needs no answer.
    """
    cause = ForeignCause(lane="orders", epoch=epoch, seq=seq)
    place = (order.task, order.node)
    known = db.execute(
        "SELECT attempt, state, reason, result_hash, result_labels FROM node WHERE task = ?1 AND node = ?2 UNION ALL"
        " SELECT attempt, state, reason, NULL, NULL FROM ended WHERE task = ?1 AND node = ?2 LIMIT 1",
        place,
    ).fetchone()

    def moved(
        state: NodeState,
        reason: str | None = None,
        result: BlobRef | None = None,
        labels: str | None = None,
    ) -> NodeMoved:
        return NodeMoved(
            at_ms=order.at_ms,
            causes=(cause,),
            task=order.task,
            node=order.node,
            attempt=order.attempt,
            state=state,
            reason=reason,
            result=result,
            is_repeated=True,
            labels=() if labels is None else tuple(json.loads(labels)),
            is_labelled=labels is not None,
        )

    if known is None:
        return (moved(NodeState.FAILED, FORGOTTEN),) if isinstance(order, NodeQueried) else ()
    attempt, state = known[0], NodeState(known[1])
    if attempt != order.attempt or state is NodeState.OFFERED:
        return ()  # it did not begin: what the device will say of it the hub can follow
    last = moved(state, known[2], _blob_ref(db, known[3]), known[4])
    if state in _REACHED_AT_ONCE:
        return (last,)
    questions = _questions(db, order, cause) if state is NodeState.WAITING else ()
    return (moved(NodeState.RUNNING), *questions, last)


def open_work(db: sqlite3.Connection, now_ms: int) -> tuple[Answer, ...]:
    """How everything stands that the hub ordered, that began, and that has not ended; said without being asked.

    A hub that was restored does not ask about what it no longer knows; it tells the device that nobody waits for it.
    """
    rows = db.execute(
        "SELECT task, node, attempt, cause_epoch, cause_seq FROM node WHERE origin = 'hub' AND state IN (?, ?)"
        " ORDER BY position",
        (NodeState.RUNNING.value, NodeState.WAITING.value),
    ).fetchall()
    told: list[Answer] = []
    for task, node, attempt, epoch, seq in rows:
        query = NodeQueried(at_ms=now_ms, task=task, node=node, attempt=attempt)
        told += answers_to(db, query, seq=seq, epoch=epoch)
    return tuple(told)


def is_ended(db: sqlite3.Connection, task: str, node: int, attempt: int) -> bool:
    """Whether this device ended that attempt, or a later one, and its row is gone."""
    row = db.execute("SELECT attempt FROM ended WHERE task = ? AND node = ?", (task, node)).fetchone()
    return row is not None and row[0] >= attempt


def remember_ended(db: sqlite3.Connection, task: str, node: int) -> None:
    """Before its row goes: that it has ended, if the hub may offer it again."""
    db.execute(
        "INSERT OR REPLACE INTO ended (task, node, attempt, state, reason, deadline_ms)"
        " SELECT task, node, attempt, state, reason, deadline_ms FROM node"
        " WHERE task = ? AND node = ? AND deadline_ms IS NOT NULL",
        (task, node),
    )


def forget_ended(db: sqlite3.Connection, now_ms: int) -> int:
    """Drop what the hub offers no more; returns how many."""
    return db.execute("DELETE FROM ended WHERE deadline_ms <= ?", (now_ms,)).rowcount


def carry_content(db: sqlite3.Connection, lane_id: int, seq: int, record: Answer) -> None:
    """Let the content that an answer names ride with it: the record that brought it first may never be sent again.

    Should it be sent again, the content rides with that one too (`content_before`).
    """
    for ref in record.blob_refs():
        db.execute(
            "INSERT OR IGNORE INTO content_before (lane_id, seq, hash)"
            " SELECT lane_id, seq, hash FROM blob WHERE hash = ?",
            (ref.hash,),
        )
        db.execute("UPDATE blob SET lane_id = ?, seq = ? WHERE hash = ?", (lane_id, seq, ref.hash))


def _questions(
    db: sqlite3.Connection, order: NodeQueried | TaskOffered, cause: ForeignCause
) -> tuple[QuestionAsked, ...]:
    rows: list[tuple[Any, ...]] = db.execute(
        "SELECT call, name, argument_hash FROM effect WHERE task = ? AND node = ? AND question_seq IS NOT NULL"
        " AND happened IS NULL AND result_hash IS NULL ORDER BY call",
        (order.task, order.node),
    ).fetchall()
    return tuple(
        QuestionAsked(
            at_ms=order.at_ms,
            causes=(cause,),
            task=order.task,
            node=order.node,
            call=call,
            tool=tool,
            arguments=_blob_ref(db, arguments),
            is_repeated=True,
        )
        for call, tool, arguments in rows
    )


def _blob_ref(db: sqlite3.Connection, hash_: bytes | None) -> BlobRef | None:
    if hash_ is None:
        return None
    row = db.execute("SELECT length(content) FROM blob WHERE hash = ?", (hash_,)).fetchone()
    return None if row is None else BlobRef(hash=hash_, size=row[0])

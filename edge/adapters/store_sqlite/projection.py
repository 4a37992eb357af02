"""What the records mean for the device's tables of work. Runs inside the transaction that stores the record.

Both logs can be replayed in either order with the same result (but for the queue's order): an order never undoes what
the journal says, and a journal record speaks only for the attempt that it names.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, assert_never

from edge.adapters.store_sqlite.knowledge_rows import note_knowledge, take_offered
from edge.adapters.store_sqlite.memory_rows import (
    apply_amended,
    apply_asked,
    apply_changed,
    apply_forgotten,
    apply_written,
    note_thought,
    note_told,
    take_answered,
    take_confirmed,
)
from edge.adapters.store_sqlite.policy_rows import (
    apply_decided,
    apply_halt,
    apply_threat,
    apply_vote,
    note_judged,
)
from edge.adapters.store_sqlite.secret_rows import note_answer, take_removed
from edge.adapters.store_sqlite.standing import is_ended
from edge.adapters.store_sqlite.twin import apply_desired, apply_reported
from edge.ports import EffectView, NodeView
from shared.blobs import BlobRef
from shared.clock import from_ms
from shared.escalation import ESCALATE
from shared.records import (
    ApprovalGiven,
    ApprovalReplied,
    DeviceCondition,
    DeviceStarted,
    DeviceStopped,
    ForeignCause,
    ForgetConfirmed,
    ForgetOrdered,
    HaltOrdered,
    HaltReported,
    HubAnswered,
    HubAsked,
    JournalRecord,
    KnowledgeApplied,
    KnowledgeOffered,
    KnowledgeRefused,
    KnowledgeRemoved,
    KnowledgeWithdrawn,
    MemoryChanged,
    MemoryForgotten,
    MemoryWritten,
    ModelCalled,
    NodeAmended,
    NodeMoved,
    NodeQueried,
    OrderRecord,
    PolicyActivated,
    PolicyDecided,
    PolicyPublished,
    PolicyRefused,
    QuestionAnswered,
    QuestionAsked,
    QuestionReplied,
    SecretForgotten,
    SecretRefused,
    SecretRemoved,
    SecretSet,
    SecretStored,
    TaskCancelled,
    TaskCreated,
    TaskOffered,
    ThreatFound,
    ToolIntent,
    ToolResult,
    TwinDesired,
    TwinReported,
)
from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL, NodeState, Step, step

MEMORY_WRITE: Final = "memory.write"
"""The action that rules are asked about before work is remembered."""
_OPEN = tuple(state.value for state in NodeState if state not in TERMINAL)


def apply_journal(db: sqlite3.Connection, record: JournalRecord, *, seq: int, epoch: bytes) -> None:
    """Apply one of our own records."""
    match record:
        case TaskCreated():
            _insert_node(
                db,
                task=record.task,
                node=0,
                origin="local",
                attempt=1,
                goal=record.goal,
                limits=record.limits,
                deadline_ms=None,
                at_ms=record.at_ms,
                cause=(epoch, seq),
                labels=record.labels,
                asker=record.asker,
                asked_at_hub=None,
            )
        case NodeMoved(is_repeated=True) | QuestionAsked(is_repeated=True):
            pass  # for the hub, which missed it
        case NodeMoved():
            _move(db, record)
        case ModelCalled():
            if record.task is not None and record.output is not None:
                db.execute(
                    "INSERT INTO effect (task, node, call, kind, name, idempotent, argument_hash, intent_seq,"
                    " result_hash, result_seq, result_ms, ok, output_tokens)"
                    " VALUES (?, ?, ?, 'model', ?, 1, ?, ?, ?, ?, ?, 1, ?)"
                    " ON CONFLICT DO NOTHING",
                    (
                        record.task,
                        record.node,
                        record.call,
                        record.purpose,
                        _ref(record.prompt),
                        seq,
                        _ref(record.output),
                        seq,
                        record.at_ms,
                        record.output_tokens,
                    ),
                )
        case ToolIntent():
            db.execute(
                "DELETE FROM reply WHERE task = ?1 AND node = ?2 AND call = ?3 AND question_seq = 0"
                " AND EXISTS (SELECT 1 FROM effect WHERE task = ?1 AND node = ?2 AND call = ?3)",
                (record.task, record.node, record.call),
            )
            db.execute(
                "INSERT INTO effect (task, node, call, kind, name, idempotent, argument_hash, intent_seq)"
                " VALUES (?, ?, ?, 'tool', ?, ?, ?, ?)"
                # A retry after "it did not happen": what was said of the try before says nothing of this one.
                " ON CONFLICT (task, node, call) DO UPDATE SET intent_seq = excluded.intent_seq,"
                " question_seq = NULL, happened = NULL WHERE result_hash IS NULL",
                (
                    record.task,
                    record.node,
                    record.call,
                    record.tool,
                    record.idempotent,
                    _ref(record.arguments),
                    seq,
                ),
            )
        case ToolResult():
            db.execute(
                "UPDATE effect SET result_hash = ?, result_seq = ?, result_ms = ?, ok = ?, labels = ?"
                " WHERE task = ? AND node = ? AND call = ? AND result_hash IS NULL",
                (
                    _ref(record.result),
                    seq,
                    record.at_ms,
                    record.ok,
                    json.dumps(record.labels),
                    record.task,
                    record.node,
                    record.call,
                ),
            )
            if record.tool == ESCALATE:
                note_told(db, record, seq=seq)
        case QuestionAsked():
            db.execute(
                "UPDATE effect SET question_seq = ?, happened = (SELECT happened FROM reply WHERE task = effect.task"
                " AND node = effect.node AND call = effect.call AND question_seq IN (0, ?) ORDER BY question_seq DESC)"
                " WHERE task = ? AND node = ? AND call = ?",
                (seq, seq, record.task, record.node, record.call),
            )
        case QuestionAnswered():
            # Whoever is on site saw it: their word stands against the hub's.
            db.execute(
                "UPDATE effect SET happened = ? WHERE task = ? AND node = ? AND call = ? AND question_seq IS NOT NULL",
                (record.happened, record.task, record.node, record.call),
            )
        case DeviceCondition(is_active=True):
            db.execute(
                "INSERT INTO condition VALUES (?, ?) ON CONFLICT DO NOTHING", (record.condition, record.at_ms)
            )
        case DeviceCondition():
            db.execute("DELETE FROM condition WHERE name = ?", (record.condition,))
        case TwinReported():
            apply_reported(db, record, seq=seq, epoch=epoch)
        case SecretStored() | SecretRefused() | SecretForgotten():
            note_answer(db, record)
        case PolicyDecided():
            apply_decided(db, record, seq=seq)
            if record.action == MEMORY_WRITE and record.task is not None and record.node is not None:
                note_thought(db, record.task, record.node)
        case ApprovalGiven():
            apply_vote(db, record)
        case PolicyActivated() | PolicyRefused():
            note_judged(db, record)
        case HaltReported():
            apply_halt(db, record)
        case ThreatFound():
            apply_threat(db, record)
        case KnowledgeApplied() | KnowledgeRefused() | KnowledgeRemoved():
            note_knowledge(db, record)
        case MemoryWritten():
            apply_written(db, record, seq=seq, epoch=epoch)
        case MemoryChanged():
            apply_changed(db, record)
        case MemoryForgotten():
            apply_forgotten(db, record, seq=seq, epoch=epoch)
        case HubAsked():
            apply_asked(db, record, seq=seq)
        case NodeAmended():
            apply_amended(db, record, seq=seq)
        case DeviceStarted() | DeviceStopped():
            pass
        case _:
            assert_never(record)


def apply_order(db: sqlite3.Connection, record: OrderRecord, *, seq: int, epoch: bytes) -> str | None:
    """Apply one of the hub's orders; returns why it could not be, for the dead letters, or None."""
    match record:
        case TaskOffered():
            if db.execute("SELECT 1 FROM blob WHERE hash = ?", (record.goal.hash,)).fetchone() is None:
                return "the goal's content did not come with the offer"
            if is_ended(db, record.task, record.node, record.attempt):
                return None
            _insert_node(
                db,
                task=record.task,
                node=record.node,
                origin="hub",
                attempt=record.attempt,
                goal=record.goal,
                limits=record.limits,
                deadline_ms=record.deadline_ms,
                at_ms=record.at_ms,
                cause=(epoch, seq),
                labels=record.labels,
                asker=None,
                asked_at_hub=(record.asker or "", record.asker_roles),
            )
        case TaskCancelled():
            changed = db.execute(
                "UPDATE node SET cancel = ? WHERE task = ? AND node = ?",
                (record.reason, record.task, record.node),
            ).rowcount
            if not changed:
                db.execute(
                    "INSERT INTO cancelled VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason",
                    (record.task, record.node, record.reason),
                )
        case QuestionReplied():
            _reply(db, record)
        case NodeQueried():
            pass  # whoever takes the order answers it in the same transaction (`standing.answers_to`)
        case TwinDesired():
            return apply_desired(db, record, seq=seq, epoch=epoch)
        case SecretRemoved():
            take_removed(db, record, seq=seq, epoch=epoch)
        case ApprovalReplied():
            apply_vote(db, record)
        case HaltOrdered():
            apply_halt(db, record)
        case KnowledgeWithdrawn():
            take_offered(db, record, seq=seq, epoch=epoch, inline=None)
        case ForgetConfirmed():
            take_confirmed(db, record)
        case HubAnswered():
            return take_answered(db, record, seq=seq, epoch=epoch)
        case SecretSet() | PolicyPublished() | KnowledgeOffered() | ForgetOrdered():
            pass  # what came along is no content of the log: whoever takes the order keeps it (`_take_order`)
        case _:
            assert_never(record)
    return None


def read_open_nodes(db: sqlite3.Connection) -> tuple[NodeView, ...]:
    """Nodes that have not ended, oldest first."""
    marks = ", ".join("?" * len(_OPEN))
    rows = db.execute(f"{_SELECT_NODE} WHERE state IN ({marks}) ORDER BY position", _OPEN).fetchall()
    return tuple(_node_view(db, row) for row in rows)


def count_open_nodes(db: sqlite3.Connection) -> int:
    """How many nodes have not ended."""
    marks = ", ".join("?" * len(_OPEN))
    query = f"SELECT count(*) FROM node WHERE state IN ({marks})"  # noqa: S608  # question marks
    (count,) = db.execute(query, _OPEN).fetchone()
    return int(count)


def read_node(db: sqlite3.Connection, task: str, node: int) -> NodeView | None:
    """One node, or None."""
    row = db.execute(f"{_SELECT_NODE} WHERE task = ? AND node = ?", (task, node)).fetchone()
    return None if row is None else _node_view(db, row)


def read_effects(db: sqlite3.Connection, task: str, node: int) -> tuple[EffectView, ...]:
    """The effects of one node by call number."""
    rows = db.execute(
        "SELECT call, kind, name, idempotent, argument_hash, intent_seq, result_hash, result_seq, ok, output_tokens,"
        " question_seq, happened, result_ms, labels FROM effect WHERE task = ? AND node = ? ORDER BY call",
        (task, node),
    ).fetchall()
    return tuple(
        EffectView(
            call=row[0],
            kind=row[1],
            name=row[2],
            is_idempotent=bool(row[3]),
            argument=_blob_ref(db, row[4]),
            intent_seq=row[5],
            result=_blob_ref(db, row[6]),
            result_seq=row[7],
            ok=None if row[8] is None else bool(row[8]),
            result_at=None if row[12] is None else from_ms(row[12]),
            output_tokens=row[9],
            is_asked=row[10] is not None,
            happened=None if row[11] is None else bool(row[11]),
            labels=tuple(json.loads(row[13])),
        )
        for row in rows
    )


def read_conditions(db: sqlite3.Connection) -> frozenset[str]:
    """What the journal says of the device itself and has not taken back."""
    return frozenset(name for (name,) in db.execute("SELECT name FROM condition"))


_SELECT_NODE = (
    "SELECT task, node, origin, attempt, state, reason, goal_hash, result_hash, limits, deadline_ms, started_ms,"
    " cause_epoch, cause_seq, cancel, labels, asker_hash, asked_at_hub FROM node"
)


def _node_view(db: sqlite3.Connection, row: Sequence[Any]) -> NodeView:
    goal = _blob_ref(db, row[6])
    if goal is None:
        raise AssertionError(f"the goal of task {row[0]} is gone")
    who, roles = ("", ()) if row[16] is None else json.loads(row[16])
    return NodeView(
        task=row[0],
        node=row[1],
        origin=row[2],
        attempt=row[3],
        state=NodeState(row[4]),
        reason=row[5],
        goal=goal,
        result=_blob_ref(db, row[7]),
        limits=Limits.model_validate_json(row[8]),
        deadline=None if row[9] is None else from_ms(row[9]),
        started=None if row[10] is None else from_ms(row[10]),
        cause=row[12] if row[2] == "local" else ForeignCause(lane="orders", epoch=row[11], seq=row[12]),
        cancel=row[13],
        labels=tuple(json.loads(row[14])),
        asker=_blob_ref(db, row[15]),
        hub_asker=who,
        hub_roles=tuple(roles),
    )


def _insert_node(
    db: sqlite3.Connection,
    *,
    task: str,
    node: int,
    origin: str,
    attempt: int,
    goal: BlobRef,
    limits: Limits,
    deadline_ms: int | None,
    at_ms: int,
    cause: tuple[bytes, int],
    labels: tuple[str, ...],
    asker: BlobRef | None,
    asked_at_hub: tuple[str, tuple[str, ...]] | None,
) -> None:
    # A later attempt of a node that came back to this device starts the node anew, but keeps its finished effects.
    db.execute(
        "INSERT INTO node (task, node, position, origin, attempt, state, goal_hash, limits, deadline_ms, created_ms,"
        " cause_epoch, cause_seq, labels, asker_hash, asked_at_hub)"
        " VALUES (?, ?, (SELECT coalesce(max(position), 0) + 1 FROM node), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (task, node) DO UPDATE SET attempt = excluded.attempt, state = excluded.state,"
        " reason = NULL, result_hash = NULL, result_labels = NULL, cancel = NULL, goal_hash = excluded.goal_hash,"
        " limits = excluded.limits, labels = excluded.labels, deadline_ms = excluded.deadline_ms, started_ms = NULL,"
        " cause_epoch = excluded.cause_epoch, cause_seq = excluded.cause_seq, past = 0,"
        " asker_hash = excluded.asker_hash, asked_at_hub = excluded.asked_at_hub"
        " WHERE excluded.attempt > node.attempt",
        (
            task,
            node,
            origin,
            attempt,
            NodeState.OFFERED.value,
            goal.hash,
            limits.model_dump_json(),
            deadline_ms,
            at_ms,
            *cause,
            json.dumps(labels),
            _ref(asker),
            None if asked_at_hub is None else json.dumps(asked_at_hub),
        ),
    )
    if origin == "local":
        # The hub's own offers come after what it cancelled before, in the same log.
        db.execute(
            "UPDATE node SET cancel = c.reason FROM cancelled c WHERE c.task = node.task AND c.node = node.node"
            " AND node.task = ? AND node.node = ?",
            (task, node),
        )
    db.execute("DELETE FROM cancelled WHERE task = ? AND node = ?", (task, node))
    _show_attempt(db, task, node)


def _move(db: sqlite3.Connection, record: NodeMoved) -> None:
    key = (record.task, record.node, record.attempt)
    row = db.execute("SELECT state FROM attempt WHERE task = ? AND node = ? AND attempt = ?", key).fetchone()
    if step(NodeState.OFFERED if row is None else NodeState(row[0]), record.state) is not Step.APPLIED:
        return
    started_ms = record.at_ms if record.state is NodeState.RUNNING else None
    db.execute(
        "INSERT INTO attempt (task, node, attempt, state, reason, result_hash, result_labels, started_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state,"
        " reason = excluded.reason, result_hash = excluded.result_hash, result_labels = excluded.result_labels,"
        # The node's time begins anew after a question: how long a person takes to answer is not its own.
        " started_ms = CASE WHEN attempt.state = 'waiting' THEN coalesce(excluded.started_ms, started_ms)"
        " ELSE coalesce(started_ms, excluded.started_ms) END",
        (
            *key,
            record.state.value,
            record.reason,
            _ref(record.result),
            json.dumps(record.labels) if record.is_labelled else None,
            started_ms,
        ),
    )
    _show_attempt(db, record.task, record.node)


def _show_attempt(db: sqlite3.Connection, task: str, node: int) -> None:
    """Let the node show what the journal says of its present attempt, if it says anything."""
    db.execute(
        "UPDATE node SET state = a.state, reason = a.reason, result_hash = a.result_hash,"
        " result_labels = a.result_labels, started_ms = a.started_ms"
        " FROM attempt a WHERE a.task = node.task AND a.node = node.node AND a.attempt = node.attempt"
        " AND node.task = ? AND node.node = ?",
        (task, node),
    )


def _reply(db: sqlite3.Connection, record: QuestionReplied) -> None:
    questions = [cause.seq for cause in record.causes if isinstance(cause, ForeignCause)]
    question = questions[0] if questions else 0
    key = (record.task, record.node, record.call)
    db.execute(
        "INSERT INTO reply VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (*key, question, record.happened)
    )
    db.execute(
        "UPDATE effect SET happened = ? WHERE task = ? AND node = ? AND call = ? AND happened IS NULL"
        " AND question_seq IS NOT NULL AND ? IN (0, question_seq)",
        (record.happened, *key, question),
    )


def _ref(ref: BlobRef | None) -> bytes | None:
    return None if ref is None else ref.hash


def _blob_ref(db: sqlite3.Connection, hash_: bytes | None) -> BlobRef | None:
    if hash_ is None:
        return None
    row = db.execute("SELECT length(content) FROM blob WHERE hash = ?", (hash_,)).fetchone()
    return None if row is None else BlobRef(hash=hash_, size=row[0])

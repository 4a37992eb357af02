"""What devices report about work, made visible: the projection of journal records onto the tables of this slice.

Runs inside the ingest transaction, record by record in the order of the lane; see `cloud.ingest.applied` for the
rules (no query per record, validate before changing anything). A device is believed only about nodes that it
originated or was offered; what it says about a node it no longer holds, or that has ended, is kept as a late result
(rule P16). Every record about a node that its device still holds renews the lease.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final

from sqlmodel import Session

from cloud.ingest.applied import Applied, Handler
from cloud.journal.repository import has_gap
from cloud.tasks import repository, tree
from cloud.tasks.orders import Changes, order_cancel, order_cancel_at, withdraw
from cloud.tasks.tables import Effect, LaterAnswer, LateResult, Node, Task
from shared.errors import ProtocolError
from shared.ids import HUB, Principal
from shared.records import (
    JOURNAL_FULL,
    ForeignCause,
    ModelCalled,
    NodeAmended,
    NodeBody,
    NodeMoved,
    QuestionAnswered,
    QuestionAsked,
    Record,
    TaskCreated,
    ToolIntent,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import BY_VALUE, TERMINAL, TRANSITIONS, NodeState, Step, step

HASH_BYTES: Final = 32
TASK_UNKNOWN: Final = "task_unknown"
PLACE: Final = "tasks.place"
EFFECT: Final = "tasks.effect"
NO_LABELS: Final[dict[str, str]] = {}
NO_ROLES: Final[list[str]] = []


def prefetch(session: Session, applied: Applied, records: Sequence[Record]) -> None:
    """Read what the handlers of a run will ask for, with a few queries."""
    task_ids: set[str] = set()
    places: set[tuple[str, int]] = set()
    with_calls: set[str] = set()
    for record in records:
        if isinstance(record, NodeMoved | NodeAmended):
            places.add((record.task, record.node))
        elif isinstance(record, ToolIntent | ToolResult | QuestionAsked | QuestionAnswered):
            places.add((record.task, record.node))
            with_calls.add(record.task)
        elif isinstance(record, TaskCreated):
            task_ids.add(record.task)
        elif isinstance(record, ModelCalled) and record.task is not None and record.node is not None:
            places.add((record.task, record.node))
    task_ids.update(task_id for task_id, _ in places)
    if not task_ids:
        return
    tasks = repository.lock_tasks(session, task_ids)
    known = {task.id for task in tasks}
    for task in tasks:
        applied.remember(Task, task.id, task)
    for node in repository.nodes_at(session, {place for place in places if place[0] in known}):
        applied.remember(Node, (node.task_id, node.node), node)
    for effect in repository.effects_of_tasks(session, with_calls & known, applied.principal):
        applied.remember(Effect, (effect.task_id, effect.node, effect.call, effect.principal), effect)
    applied.know_all(Task, Node, Effect)


def on_task_created(session: Session, applied: Applied, record: TaskCreated) -> None:
    """Work that began on the device: a tree of one node that the device holds without a lease."""
    if applied.find(session, Task, record.task) is not None:
        raise ProtocolError("A task of this id is there already.", code="task_exists")
    task = applied.make(
        Task,
        record.task,
        id=record.task,
        tenant=applied.tenant,
        origin=applied.principal,
        goal_hash=record.goal.hash,
        created_at=applied.now,
        request_labels=list(record.labels),
        asker_roles=NO_ROLES,
    )
    applied.make(
        Node,
        (record.task, 0),
        task_id=record.task,
        node=0,
        kind=repository.AGENT,
        place=f"device:{Principal.parse(applied.principal).device}",
        principal=applied.principal,
        state=NodeState.QUEUED.value,
        limits=_limits(record.limits),
        labels=NO_LABELS,
        lease_s=0,
        updated_at=applied.now,
    )
    _touch(applied, task)


def on_node_moved(session: Session, applied: Applied, record: NodeMoved) -> None:
    if record.state is NodeState.WAITING and _is_ours_no_more(session, applied, record):
        # We were put back to a backup from before we ordered this. Nobody here can answer what the device asks about.
        changes = Changes(orders_for=applied.orders_for)
        place = (record.task, record.node)
        order_cancel_at(session, place, applied.principal, TASK_UNKNOWN, now=applied.now, changes=changes)
        return
    task, node = _find(session, applied, record)
    result_hash = None if record.result is None else record.result.hash
    if task.origin == HUB and record.attempt > node.attempt:
        raise ProtocolError("The record names an attempt that was never offered.", code="attempt_unknown")
    is_holder = node.principal == applied.principal and (task.origin != HUB or record.attempt == node.attempt)
    outcome = step(BY_VALUE[node.state], record.state)
    if not is_holder or _is_late(outcome, node, record.state, result_hash):
        applied.make(
            LateResult,
            (applied.lane_id, applied.seq),
            lane_id=applied.lane_id,
            seq=applied.seq,
            task_id=task.id,
            node=node.node,
            principal=applied.principal,
            state=record.state.value,
            result_hash=result_hash,
            at=applied.now,
        )
        # Said again on the way to the end that it says next, `running` means nothing.
        is_open = record.state not in TERMINAL and not (
            record.is_repeated and record.state is NodeState.RUNNING
        )
        if is_open and BY_VALUE[node.state] in TERMINAL:
            # It works on what has ended here: it was put back to an older copy, or we were, and the cancel was lost
            # with that. Nobody would ever answer what it asks about.
            changes = Changes(orders_for=applied.orders_for)
            order_cancel(session, node, applied.principal, "already_ended", now=applied.now, changes=changes)
        _touch(applied, task)
        return
    if node.parent is not None:
        # What is above it follows from its siblings, by queries: those need rows, not drafts.
        applied.settle(session)
        row = session.get(Node, (node.task_id, node.node))
        task_row = session.get(Task, node.task_id)
        assert row is not None
        assert task_row is not None
        task, node = task_row, row
    if outcome is Step.APPLIED and _goes_elsewhere(node, record):
        _hand_back(session, applied, node, record)
        _touch(applied, task)
        return
    if outcome is Step.ILLEGAL and _missed_its_beginning(session, applied, node, record.state):
        tree.move(session, node, NodeState.RUNNING, now=applied.now)
    moved = tree.move(
        session,
        node,
        record.state,
        now=applied.now,
        reason=record.reason,
        result_hash=result_hash,
        result_labels=record.labels if record.is_labelled else None,
    )
    if moved is Step.APPLIED:
        node.attempt = record.attempt
        if record.state in TERMINAL:
            applied.ended.add(applied.seq)
    _renew(applied, task, node)


def on_tool_intent(session: Session, applied: Applied, record: ToolIntent) -> None:
    task, node = _find(session, applied, record)
    effect = _effect(session, applied, record.task, record.node, record.call)
    if effect is None:
        key = (record.task, record.node, record.call, applied.principal)
        effect = applied.make(
            Effect,
            key,
            task_id=record.task,
            node=record.node,
            call=record.call,
            principal=applied.principal,
            tool=record.tool,
            arguments_hash=record.arguments.hash,
        )
        applied.drafts.notes[EFFECT] = (key, effect)
    effect.intents += 1
    _renew(applied, task, node)


def on_tool_result(session: Session, applied: Applied, record: ToolResult) -> None:
    task, node = _find(session, applied, record)
    effect = _effect(session, applied, record.task, record.node, record.call)
    if effect is None:
        raise ProtocolError("A tool's result came without its intent.", code="intent_missing")
    effect.results += 1
    effect.ok = record.ok
    effect.ms = record.ms
    effect.result_hash = record.result.hash
    _renew(applied, task, node)


def on_question_asked(session: Session, applied: Applied, record: QuestionAsked) -> None:
    task, node = _find(session, applied, record)
    effect = _effect(session, applied, record.task, record.node, record.call)
    if effect is None and not record.is_repeated:
        raise ProtocolError("A question came about a call that was never intended.", code="intent_missing")
    if effect is None:
        # Its intent is in a gap; whoever answers needs the question all the same.
        effect = applied.make(
            Effect,
            (record.task, record.node, record.call, applied.principal),
            task_id=record.task,
            node=record.node,
            call=record.call,
            principal=applied.principal,
            tool=record.tool,
            arguments_hash=bytes(HASH_BYTES) if record.arguments is None else record.arguments.hash,
        )
    if not record.is_repeated or effect.question is None:
        effect.question = "asked"
    _renew(applied, task, node)


def on_question_answered(session: Session, applied: Applied, record: QuestionAnswered) -> None:
    task, node = _find(session, applied, record)
    effect = _effect(session, applied, record.task, record.node, record.call)
    if effect is None:
        raise ProtocolError("An answer came about a call that was never intended.", code="intent_missing")
    effect.question = "happened" if record.happened else "not_happened"
    _renew(applied, task, node)


def on_node_amended(session: Session, applied: Applied, record: NodeAmended) -> None:
    """The end stays what it was; whoever looks at the task sees the later answer beside it."""
    task, node = _find(session, applied, record)
    applied.make(
        LaterAnswer,
        (applied.lane_id, applied.seq),
        lane_id=applied.lane_id,
        seq=applied.seq,
        task_id=task.id,
        node=node.node,
        call=record.call,
        principal=applied.principal,
        result_hash=record.result.hash,
        labels=list(record.labels),
        at=applied.now,
    )
    _touch(applied, task)


def on_model_called(session: Session, applied: Applied, record: ModelCalled) -> None:
    """Nothing to show, but a sign of life. A call whose task is not known here is no error: it is only telemetry."""
    if record.task is None or record.node is None:
        return
    task = applied.find(session, Task, record.task)
    node = applied.find(session, Node, (record.task, record.node))
    if task is not None and node is not None and task.tenant == applied.tenant:
        _renew(applied, task, node)


HANDLERS: Final[Mapping[type, Handler]] = {
    TaskCreated: on_task_created,
    NodeMoved: on_node_moved,
    NodeAmended: on_node_amended,
    ToolIntent: on_tool_intent,
    ToolResult: on_tool_result,
    QuestionAsked: on_question_asked,
    QuestionAnswered: on_question_answered,
    ModelCalled: on_model_called,
}
PREFETCH: Final = prefetch


@lru_cache(maxsize=64)
def _limits(limits: Limits) -> dict[str, int]:
    """As a column takes them. Most tasks have the same ones, which are then converted once."""
    return limits.model_dump()


def _find(session: Session, applied: Applied, record: NodeBody) -> tuple[Task, Node]:
    """The node that a record speaks of. Raises `ProtocolError` if the device never had anything to do with it."""
    place = (record.task, record.node)
    notes = applied.drafts.notes
    # The records of a node mostly follow one another.
    if PLACE in notes and notes[PLACE][0] == place:
        _, task, node = notes[PLACE]
        return task, node
    task = applied.find(session, Task, record.task)
    node = applied.find(session, Node, place)
    if task is None or node is None or task.tenant != applied.tenant:
        raise ProtocolError("The record names a node that is not known here.", code="node_unknown")
    # Only after a lapsed lease does a device speak of a node that it does not hold, so this query is rare.
    if node.principal != applied.principal and not repository.was_offered(
        session, task.id, node.node, applied.principal
    ):
        raise ProtocolError("The record names a node of another device.", code="node_foreign")
    notes[PLACE] = (place, task, node)
    return task, node


def _is_ours_no_more(session: Session, applied: Applied, record: NodeMoved) -> bool:
    """Whether a device works on an order of which this hub knows nothing."""
    was_ordered = any(isinstance(cause, ForeignCause) and cause.lane == "orders" for cause in record.causes)
    return was_ordered and applied.find(session, Task, record.task) is None


def _missed_its_beginning(session: Session, applied: Applied, node: Node, state: NodeState) -> bool:
    """Whether the record that said `running` never came: it is in a gap of this log."""
    return (
        BY_VALUE[node.state] in (NodeState.QUEUED, NodeState.OFFERED)
        and state in TRANSITIONS[NodeState.RUNNING]
        and has_gap(session, applied.lane_id)
    )


def _is_late(outcome: Step, node: Node, state: NodeState, result_hash: bytes | None) -> bool:
    if outcome is Step.REPEATED:  # the same end with another result is news that changes nothing
        return state in TERMINAL and result_hash not in (None, node.result_hash)
    return outcome is Step.LATE


def _goes_elsewhere(node: Node, record: NodeMoved) -> bool:
    """A device that has no room says nothing about the work: if any device may do it, another one shall."""
    is_full = record.state is NodeState.REJECTED and record.reason == JOURNAL_FULL
    return is_full and node.place.startswith(repository.ANY)


def _hand_back(session: Session, applied: Applied, node: Node, record: NodeMoved) -> None:
    """Nobody holds the node now; the sweep offers it to a device that has room."""
    withdraw(session, node, applied.now)
    tree.move(session, node, NodeState.QUEUED, now=applied.now, reason=record.reason)
    node.attempt = record.attempt + 1
    node.principal = None
    node.lease_until = None


def _effect(session: Session, applied: Applied, task_id: str, node: int, call: int) -> Effect | None:
    key = (task_id, node, call, applied.principal)
    notes = applied.drafts.notes
    # A result mostly follows its intent.
    if EFFECT in notes and notes[EFFECT][0] == key:
        found: Effect = notes[EFFECT][1]
        return found
    effect = applied.find(session, Effect, key)
    if effect is not None:
        notes[EFFECT] = (key, effect)
    return effect


def _renew(applied: Applied, task: Task, node: Node) -> None:
    if node.lease_s and node.principal == applied.principal and node.state not in TERMINAL:
        node.lease_until = applied.now + timedelta(seconds=node.lease_s)
    _touch(applied, task)


def _touch(applied: Applied, task: Task) -> None:
    # Once a run: watchers compare revisions, and one UPDATE serves many records.
    if task.id not in applied.touched_tasks:
        applied.touched_tasks.add(task.id)
        tree.bump(task)

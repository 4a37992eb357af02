"""Queries over tasks. No decisions, no commits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import ColumnElement, func, or_, tuple_
from sqlmodel import Session, and_, col, select

from cloud.devices.presence import Horizons, PresenceState
from cloud.devices.presence_sql import presence_of
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.repository import newest_lane
from cloud.journal.tables import BlobRow
from cloud.tasks.tables import Effect, LaterAnswer, LateResult, Node, Offer, Task
from shared.errors import RefusedError
from shared.ids import Lane
from shared.records import JOURNAL_FULL
from shared.tasks.states import TERMINAL, NodeState

Value = TypeVar("Value")

OPEN_STATES: Final = ("queued", "offered", "running", "waiting")
AGENT: Final = "agent"
MAP: Final = "map"
ANY: Final = "any"
IN_CHUNK: Final = 500
"""Values in one SELECT … IN: SQLite allows some thousands, PostgreSQL plans badly with very many."""


@dataclass(slots=True)
class Candidate:
    """An online, active device as a place for work."""

    principal: str
    labels: dict[str, str]
    open_nodes: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """A node that the sweep must look at."""

    task_id: str
    tenant: str
    node: int


def lock_task(session: Session, task_id: str) -> Task | None:
    """The task, its row locked until the end of the transaction: all changes of a tree happen one after another."""
    return session.get(Task, task_id, with_for_update=True)


def known(task: Task | None, task_id: str, among: str | None) -> Task:
    """The task, if there is one and it is of the tenant `among` (None: of any).

    Raises `RefusedError` (code `task_unknown`), in the same words for either reason.
    """
    if task is None or (among is not None and task.tenant != among):
        raise RefusedError(
            f"There is no task {task_id}; `covey-hub task list` shows all.", code="task_unknown"
        )
    return task


def nodes_of(session: Session, task_id: str) -> Sequence[Node]:
    return session.exec(select(Node).where(Node.task_id == task_id).order_by(col(Node.node))).all()


def child_states(session: Session, task_id: str, parent: int) -> list[NodeState]:
    """The different states of a node's children, as flushed: a map over a thousand devices costs as much as one."""
    states = session.exec(
        select(Node.state).where(Node.task_id == task_id, Node.parent == parent).distinct()
    ).all()
    return [NodeState(state) for state in states]


def nodes_at(session: Session, places: Iterable[tuple[str, int]]) -> list[Node]:
    """The nodes at these places (task and number) that exist."""
    return [
        row
        for chunk in _chunks(sorted(places))
        for row in session.exec(select(Node).where(tuple_(col(Node.task_id), col(Node.node)).in_(chunk)))
    ]


def open_nodes_of(session: Session, principal: str) -> list[Node]:
    """The nodes that the device holds or is to get, and that have not ended."""
    ended = [state.value for state in TERMINAL]
    return list(
        session.exec(
            select(Node)
            .where(Node.principal == principal, col(Node.state).not_in(ended))
            .order_by(col(Node.task_id), col(Node.node))
        )
    )


def offers_in(session: Session, lane_id: int, seqs: Sequence[int]) -> list[Offer]:
    """The offers at these sequences of an orders lane."""
    found: list[Offer] = []
    for begin in range(0, len(seqs), IN_CHUNK):
        part = seqs[begin : begin + IN_CHUNK]
        query = select(Offer).where(Offer.lane_id == lane_id, col(Offer.order_seq).in_(part))
        found.extend(session.exec(query).all())
    return found


def lock_tasks(session: Session, task_ids: Iterable[str]) -> list[Task]:
    """The tasks that exist, locked in the order of their ids, so that two workers cannot wait for each other."""
    return [
        row
        for chunk in _chunks(sorted(task_ids))
        for row in session.exec(
            select(Task).where(col(Task.id).in_(chunk)).order_by(col(Task.id)).with_for_update()
        )
    ]


def effects_of_tasks(session: Session, task_ids: Iterable[str], principal: str) -> list[Effect]:
    return [
        row
        for chunk in _chunks(sorted(task_ids))
        for row in session.exec(
            select(Effect).where(col(Effect.task_id).in_(chunk), Effect.principal == principal)
        )
    ]


def effects_of(session: Session, task_id: str) -> Sequence[Effect]:
    return session.exec(
        select(Effect).where(Effect.task_id == task_id).order_by(col(Effect.node), col(Effect.call))
    ).all()


def offers_of(session: Session, task_id: str) -> Sequence[Offer]:
    return session.exec(
        select(Offer).where(Offer.task_id == task_id).order_by(col(Offer.node), col(Offer.attempt))
    ).all()


def late_results_of(session: Session, task_id: str) -> Sequence[LateResult]:
    return session.exec(
        select(LateResult).where(LateResult.task_id == task_id).order_by(col(LateResult.at))
    ).all()


def later_answers_of(session: Session, task_id: str) -> Sequence[LaterAnswer]:
    return session.exec(
        select(LaterAnswer)
        .where(LaterAnswer.task_id == task_id)
        .order_by(col(LaterAnswer.at), col(LaterAnswer.seq))
    ).all()


def was_offered(session: Session, task_id: str, node: int, principal: str) -> bool:
    """Whether any attempt at the node was this device's."""
    found = session.exec(
        select(Offer.attempt).where(
            Offer.task_id == task_id, Offer.node == node, Offer.principal == principal
        )
    ).first()
    return found is not None


def with_open_offers(session: Session, principals: Sequence[str]) -> Sequence[str]:
    """Those of the devices that have an offer which they did not acknowledge."""
    query = select(Offer.principal).where(
        col(Offer.principal).in_(principals), col(Offer.acknowledged_at).is_(None)
    )
    return session.exec(query.distinct()).all()


def unacknowledged_offers(session: Session, principal: str, lane_id: int, upto: int) -> Sequence[Offer]:
    return session.exec(
        select(Offer)
        .where(
            Offer.principal == principal,
            col(Offer.acknowledged_at).is_(None),
            Offer.lane_id == lane_id,
            col(Offer.order_seq) <= upto,
        )
        .order_by(col(Offer.task_id), col(Offer.node))
    ).all()


def candidates(session: Session, tenant: str, compared: Horizons) -> list[Candidate]:
    """Every active device of the tenant that is online, with how much it has to do.

    Not those that say that their journal is full: they would reject what they are offered.
    """
    online = session.exec(
        select(Device.principal, Device.labels, Device.conditions).where(
            Device.tenant == tenant,
            Device.status == DeviceStatus.ACTIVE.value,
            presence_of(compared) == PresenceState.ONLINE.value,
        )
    ).all()
    load: dict[str | None, int] = dict(
        session.exec(
            select(Node.principal, func.count())
            .where(col(Node.state).in_(OPEN_STATES), col(Node.principal).is_not(None))
            .group_by(col(Node.principal))
        ).all()
    )
    return [
        Candidate(principal, dict(labels), load.get(principal, 0))
        for principal, labels, conditions in online
        if JOURNAL_FULL not in conditions
    ]


def overdue(session: Session, now: datetime) -> list[Overdue]:
    """Open nodes past their deadline, and `any` nodes that nobody holds or whose lease lapsed."""
    unheld = and_(
        col(Node.place).startswith(ANY),
        or_(col(Node.principal).is_(None), col(Node.lease_until) <= now),
    )
    rows = session.exec(
        select(Node.task_id, Task.tenant, Node.node)
        .join(Task, col(Task.id) == col(Node.task_id))
        .where(
            Node.kind == AGENT,
            col(Node.state).in_(OPEN_STATES),
            or_(col(Node.deadline) <= now, unheld),
        )
        .order_by(col(Node.task_id), col(Node.node))
    ).all()
    return [Overdue(*row) for row in rows]


def page(
    session: Session, *, tenant: str | None, before: Task | None, limit: int
) -> Sequence[tuple[Task, Node]]:
    """Tasks with their root nodes, newest first."""
    query = (
        select(Task, Node)
        .join(Node, and_(col(Node.task_id) == col(Task.id), col(Node.node) == 0))
        .order_by(col(Task.created_at).desc(), col(Task.id).desc())
        .limit(limit)
    )
    if tenant is not None:
        query = query.where(Task.tenant == tenant)
    if before is not None:
        query = query.where(_is_before(before))
    return session.exec(query).all()


def texts(session: Session, hashes: Iterable[bytes | None]) -> dict[bytes, str]:
    """Blob contents as text. What is missing was withheld, forgotten, or has not arrived."""
    wanted = sorted({hash_ for hash_ in hashes if hash_ is not None})
    return {
        hash_: content.decode("utf-8", errors="replace")
        for chunk in _chunks(wanted)
        for hash_, content in session.exec(
            select(BlobRow.hash, BlobRow.content).where(col(BlobRow.hash).in_(chunk))
        )
    }


def revision_of(session: Session, task_id: str) -> int | None:
    return session.exec(select(Task.revision).where(Task.id == task_id)).first()


def orders_lane_of(session: Session, principal: str) -> int | None:
    """The device's orders lane in its latest epoch."""
    row = newest_lane(session, principal, Lane.ORDERS)
    return None if row is None else row.id


def is_open(node: Node) -> bool:
    return node.state not in TERMINAL


def _is_before(task: Task) -> ColumnElement[bool]:
    return or_(
        col(Task.created_at) < task.created_at,
        and_(col(Task.created_at) == task.created_at, col(Task.id) < task.id),
    )


def _chunks(values: Sequence[Value]) -> Iterable[Sequence[Value]]:
    for start in range(0, len(values), IN_CHUNK):
        yield values[start : start + IN_CHUNK]

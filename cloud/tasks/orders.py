"""What the hub orders of devices about nodes: offers and cancels, appended to their orders logs.

Works inside the caller's transaction; decides nothing about who gets what, and when.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session

from cloud.journal.service import append_order, read_blob
from cloud.tasks import repository, tree
from cloud.tasks.tables import Node, Offer, Task
from shared.blobs import Blob
from shared.clock import to_ms
from shared.records import NodeQueried, TaskCancelled, TaskOffered
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState


@dataclass(slots=True)
class Changes:
    """What a transaction leaves to do after its commit: whose watchers to tell, and whose sender to wake."""

    tasks: set[str] = field(default_factory=set)
    orders_for: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of whoever does the work: the goal, the labels that it bears, and for whom it is done."""

    goal: Blob
    labels: tuple[str, ...] = ()
    asker: str = ""
    asker_roles: tuple[str, ...] = ()


def request_of(session: Session, task: Task) -> Request | None:
    """What was asked; None if its goal was forgotten."""
    goal = read_blob(session, task.goal_hash)
    if goal is None:
        return None
    return Request(
        goal=goal,
        labels=tuple(task.request_labels),
        asker=task.asker,
        asker_roles=tuple(task.asker_roles),
    )


def offer_node(
    session: Session, node: Node, principal: str, request: Request, *, now: datetime, changes: Changes
) -> None:
    assert node.deadline is not None
    record = TaskOffered(
        at_ms=to_ms(now),
        labels=request.labels,
        task=node.task_id,
        node=node.node,
        attempt=node.attempt,
        goal=request.goal.ref(),
        limits=Limits.model_validate(node.limits),
        lease_s=node.lease_s,
        deadline_ms=to_ms(node.deadline),
        asker=request.asker or None,
        asker_roles=request.asker_roles,
    )
    (seq,) = append_order(session, principal=principal, records=[(record, (request.goal,))], now=now)
    lane_id = repository.orders_lane_of(session, principal)
    assert lane_id is not None
    session.add(
        Offer(
            task_id=node.task_id,
            node=node.node,
            attempt=node.attempt,
            principal=principal,
            lane_id=lane_id,
            order_seq=seq,
            offered_at=now,
        )
    )
    node.principal = principal
    node.lease_until = now + timedelta(seconds=node.lease_s)
    changes.orders_for.add(principal)


def withdraw(session: Session, node: Node, now: datetime) -> None:
    offer = session.get(Offer, (node.task_id, node.node, node.attempt))
    if offer is not None:
        offer.withdrawn_at = now


def end_node(
    session: Session, node: Node, state: NodeState, reason: str, *, now: datetime, changes: Changes
) -> None:
    """End a node on the hub's own decision, and tell whoever holds it."""
    tree.move(session, node, state, now=now, reason=reason)
    if node.principal is not None:
        order_cancel(session, node, node.principal, reason, now=now, changes=changes)
    changes.tasks.add(node.task_id)


def order_cancel(
    session: Session, node: Node, principal: str, reason: str, *, now: datetime, changes: Changes
) -> None:
    order_cancel_at(session, (node.task_id, node.node), principal, reason, now=now, changes=changes)


def order_cancel_at(
    session: Session,
    place: tuple[str, int],
    principal: str,
    reason: str,
    *,
    now: datetime,
    changes: Changes,
) -> None:
    """`place`: task and node, which this hub need not know any more."""
    record = TaskCancelled(at_ms=to_ms(now), task=place[0], node=place[1], reason=reason)
    append_order(session, principal=principal, records=[(record, ())], now=now)
    changes.orders_for.add(principal)


def query_node(session: Session, node: Node, principal: str, *, now: datetime, changes: Changes) -> None:
    record = NodeQueried(at_ms=to_ms(now), task=node.task_id, node=node.node, attempt=node.attempt)
    append_order(session, principal=principal, records=[(record, ())], now=now)
    changes.orders_for.add(principal)

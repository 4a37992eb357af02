"""Work whose device, or whose hub, lost part of what it knew: what is ordered again, what has failed, what goes on.

Works inside the transaction of the batch that proves it. The rule behind all of it: nothing that may have been done is
ordered a second time, and nothing that was not is silently forgotten.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session

from cloud.journal import repository as logs
from cloud.journal.service import close_orders, order_again
from cloud.journal.tables import CloseReason, LaneRow
from cloud.tasks import repository, tree
from cloud.tasks.orders import (
    Changes,
    end_node,
    offer_node,
    order_cancel,
    query_node,
    request_of,
    withdraw,
)
from cloud.tasks.tables import Node, Offer
from shared.ids import Lane
from shared.records import NodeMoved, NodeQueried, TaskCreated, parse_record
from shared.tasks.states import TERMINAL, NodeState

NodeKey = tuple[str, int]

AGAIN: Final = (
    "task.offered",
    "task.cancelled",
    "question.replied",
    "node.queried",
    "hub.answered",
    "secret.set",
    "secret.removed",
)
"""Kinds of orders that are ordered again as they stand. Desired settings are ordered anew by their own slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostHistory:
    """What a device that goes on from an older point does not know.

    `created`: tasks that began on it later. `ended`: nodes that it ended later.
    """

    created: frozenset[str]
    ended: frozenset[NodeKey]


def store_lost(session: Session, principal: str, now: datetime, changes: Changes) -> None:
    """The device's store was made anew: it knows nothing of the orders that it had.

    Its orders lane is closed, so that finished work is not sent and done a second time; new orders begin a new lane.
    What the device never acknowledged is offered again. What it held has failed: whatever it did last, nobody knows.
    """
    close_orders(session, principal, CloseReason.STORE_LOST, now)
    _settle(session, principal, now, changes)


def lost_history(session: Session, origin: LaneRow, *, after: int) -> LostHistory:
    """What the records of `origin` behind `after` say that a device which goes on from there does not know."""
    created: set[str] = set()
    ended: set[NodeKey] = set()
    at = after
    while rows := logs.read_rows(session, origin, after=at, limit=logs.READ_CHUNK):
        at = rows[-1]["seq"]
        for row in rows:
            if row["kind"] not in ("task.created", "node.moved"):
                continue
            match parse_record(bytes(row["data"])):
                case TaskCreated(task=task):
                    created.add(task)
                case NodeMoved(task=task, node=node, state=state) if state in TERMINAL:
                    ended.add((task, node))
    return LostHistory(created=frozenset(created), ended=frozenset(ended))


def history_lost(
    session: Session, principal: str, lost: LostHistory, now: datetime, changes: Changes
) -> None:
    """The device goes on from an older point of its history (a restored backup, a resolved fork).

    What it still holds goes on. Whether it holds a thing it says itself, being asked about each: its own log may tell
    of offers that its last hello did not. What it ended since it does not know to be ended: it is told, so that it is
    not done a second time.
    """
    closed = close_orders(session, principal, CloseReason.BRANCHED, now)
    if closed is not None:
        _note_moved(session, principal, closed, order_again(session, closed, AGAIN, now), changes)
    ask_again(session, principal, now, changes)
    for task_id, number in sorted(lost.ended):
        node = session.get(Node, (task_id, number))
        if node is not None and node.principal == principal and task_id not in lost.created:
            order_cancel(session, node, principal, "already_ended", now=now, changes=changes)


def ask_again(session: Session, principal: str, now: datetime, changes: Changes) -> None:
    """Records of the device will never come: it shall say how each node stands that it holds as far as we know.

    Else what ended in between would be shown as open for ever. What is asked already and has not arrived yet is not
    asked again; nor is an offer that was not acknowledged: a device that knows it answers the offer itself like that.
    """
    asked = _waiting_queries(session, principal)
    for node in repository.open_nodes_of(session, principal):
        offer = session.get(Offer, (node.task_id, node.node, node.attempt))
        is_held = offer is None or offer.acknowledged_at is not None
        if is_held and (node.task_id, node.node, node.attempt) not in asked:
            query_node(session, node, principal, now=now, changes=changes)


def _waiting_queries(session: Session, principal: str) -> set[tuple[str, int, int]]:
    """Task, node and attempt of what the device is asked about and has not acknowledged to have been asked."""
    lane = logs.newest_lane(session, principal, Lane.ORDERS)
    if lane is None or lane.closed_at is not None:
        return set()
    asked: set[tuple[str, int, int]] = set()
    at = lane.acked
    while rows := logs.read_rows(session, lane, after=at, limit=logs.READ_CHUNK):
        at = rows[-1]["seq"]
        for row in rows:
            if row["kind"] != "node.queried":
                continue
            match parse_record(bytes(row["data"])):
                case NodeQueried(task=task, node=node, attempt=attempt):
                    asked.add((task, node, attempt))
    return asked


def begin_orders_anew(
    session: Session, principal: str, reason: CloseReason, now: datetime, changes: Changes
) -> None:
    """The device holds other orders than this hub knows: what it never acknowledged is ordered again in a new lane."""
    closed = close_orders(session, principal, reason, now)
    if closed is not None:
        _note_moved(session, principal, closed, order_again(session, closed, AGAIN, now), changes)


def _note_moved(
    session: Session,
    principal: str,
    closed: LaneRow,
    moved: dict[int, tuple[int, int]],
    changes: Changes,
) -> None:
    """Offers that were ordered again say where they are now."""
    if not moved:
        return
    changes.orders_for.add(principal)
    for offer in repository.offers_in(session, logs.key_of(closed), sorted(moved)):
        offer.lane_id, offer.order_seq = moved[offer.order_seq]


def _settle(session: Session, principal: str, now: datetime, changes: Changes) -> None:
    """End the device's open nodes, which are not known to it any more; what it never had is offered again."""
    nodes = repository.open_nodes_of(session, principal)
    tasks = {task.id: task for task in repository.lock_tasks(session, {node.task_id for node in nodes})}
    for node in nodes:
        task = tasks[node.task_id]
        is_kept = node.state == NodeState.QUEUED
        # Work that began on the device itself was never offered, so it cannot be offered again.
        request = request_of(session, task) if is_kept and node.deadline is not None else None
        if request is not None and not node.is_cancel_requested:
            withdraw(session, node, now)
            node.attempt += 1
            offer_node(session, node, principal, request, now=now, changes=changes)
        else:
            end_node(session, node, NodeState.FAILED, "store_lost", now=now, changes=changes)
        tree.bump(task)
        changes.tasks.add(task.id)

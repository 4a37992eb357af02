"""Work of a device that was revoked: what another may do moves on, the rest has failed.

Works inside the caller's transaction. The device is told nothing: nobody who is revoked is spoken to any more, and
what it did last nobody believes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, func, select

from cloud.db import Transactions
from cloud.devices.presence import PresenceLimits
from cloud.devices.presence_sql import read_horizons
from cloud.devices.tables import REPLACED_REASON, Device, DeviceStatus
from cloud.tasks import repository, tree
from cloud.tasks.orders import Changes, offer_node, request_of, withdraw
from cloud.tasks.repository import Candidate
from cloud.tasks.service import pick
from cloud.tasks.tables import Node, Task
from shared.tasks.states import NodeState

DEVICE_REVOKED: Final = "device_revoked"


def leave(
    session: Session,
    principal: str,
    tenant: str,
    *,
    presence: PresenceLimits,
    max_attempts: int,
    now: datetime,
    changes: Changes,
) -> None:
    """Settle every open node of a device that is revoked already: `any` nodes are offered to others, or wait for one;
    named ones, and work that began on it, end as failed (`device_revoked`)."""
    nodes = repository.open_nodes_of(session, principal)
    if not nodes:
        return
    fleet = repository.candidates(session, tenant, read_horizons(session, presence, now))
    tasks = {task.id: task for task in repository.lock_tasks(session, {node.task_id for node in nodes})}
    for node in nodes:
        task = tasks[node.task_id]
        session.refresh(node)  # until its task was locked it could change
        if node.principal != principal or not repository.is_open(node):
            continue
        withdraw(session, node, now)
        if node.place.startswith(repository.ANY):
            _pass_on(session, task, node, fleet, max_attempts=max_attempts, now=now, changes=changes)
        else:
            tree.move(session, node, NodeState.FAILED, now=now, reason=DEVICE_REVOKED)
        tree.bump(task)
        changes.tasks.add(task.id)


def leave_behind(
    transactions: Transactions, *, presence: PresenceLimits, max_attempts: int, now: datetime
) -> Changes:
    """As `leave`, for all revoked devices that got work in the very moment in which they were revoked. Blocking.

    A job of the leader.
    """
    changes = Changes()
    with transactions.read() as session:
        found = _with_work(session)
    for principal, tenant in found:
        with transactions.write() as session:
            leave(
                session,
                principal,
                tenant,
                presence=presence,
                max_attempts=max_attempts,
                now=now,
                changes=changes,
            )
    return changes


def _with_work(session: Session) -> Sequence[tuple[str, str]]:
    return session.exec(
        select(Device.principal, Device.tenant)
        .join(Node, col(Node.principal) == col(Device.principal))
        .where(
            Device.status == DeviceStatus.REVOKED.value,
            # Of these a new board comes, and goes on with the work.
            func.coalesce(col(Device.status_reason), "") != REPLACED_REASON,
            col(Node.state).in_(repository.OPEN_STATES),
        )
        .distinct()
    ).all()


def _pass_on(
    session: Session,
    task: Task,
    node: Node,
    fleet: list[Candidate],
    *,
    max_attempts: int,
    now: datetime,
    changes: Changes,
) -> None:
    if node.is_cancel_requested:
        tree.move(session, node, NodeState.CANCELLED, now=now, reason="operator")
        return
    if node.attempt >= max_attempts:
        tree.move(session, node, NodeState.FAILED, now=now, reason="attempts_exhausted")
        return
    request = request_of(session, task)
    if request is None:
        tree.move(session, node, NodeState.FAILED, now=now, reason="goal_forgotten")
        return
    tree.move(session, node, NodeState.QUEUED, now=now, reason=DEVICE_REVOKED)
    node.attempt += 1
    node.principal, node.lease_until = None, None
    chosen = pick(fleet, node.labels, excluding=None)
    if chosen is not None:  # else it waits for the sweep
        chosen.open_nodes += 1
        offer_node(session, node, chosen.principal, request, now=now, changes=changes)

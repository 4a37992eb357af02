"""What people ask of tasks, and what the hub does by itself when time passes. Decides; never commits.

Every function that appends orders returns for whom, so that whoever commits can wake the sender afterwards. The
terminal state of a node that a device holds comes from that device: a cancelled node says `cancel requested` until its
device confirms. Only a deadline, a lapsed lease and a node that nobody holds are ended here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from cloud.devices.presence import PresenceLimits
from cloud.devices.presence_sql import read_horizons
from cloud.devices.repository import find_device
from cloud.devices.tables import DeviceStatus
from cloud.journal.service import append_order, store_blob
from cloud.tasks import repository, tree
from cloud.tasks.orders import (
    Changes,
    Request,
    end_node,
    offer_node,
    order_cancel,
    request_of,
    withdraw,
)
from cloud.tasks.repository import Candidate
from cloud.tasks.tables import Effect, Node, Task
from shared.clock import to_ms
from shared.errors import RefusedError
from shared.ids import HUB, Principal
from shared.records import QuestionReplied
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState

ROOT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to create. `principals` empty means `any` device that has `labels`."""

    id: str
    tenant: str
    request: Request
    principals: tuple[str, ...]
    labels: dict[str, str]
    limits: Limits
    lease_s: int
    deadline_s: int


def create(
    session: Session, new: NewTask, *, presence: PresenceLimits, now: datetime, changes: Changes
) -> Task:
    """One named device: one agent node. Several: a map at the hub over one agent node each. None: an `any` node.

    Raises `RefusedError` if a device is unknown or not active.
    """
    for principal in new.principals:
        device = find_device(session, principal)
        if device.status != DeviceStatus.ACTIVE.value:
            raise RefusedError(
                f"Device {principal} is {device.status}; only active devices get work.",
                code="device_inactive",
            )
    request = new.request
    task = Task(
        id=new.id,
        tenant=new.tenant,
        origin=HUB,
        goal_hash=request.goal.ref().hash,
        created_at=now,
        revision=1,
        request_labels=list(request.labels),
        asker=request.asker,
        asker_roles=list(request.asker_roles),
    )
    session.add(task)
    session.flush()  # before the nodes, whose foreign key it is
    store_blob(session, HUB, request.goal)
    changes.tasks.add(task.id)
    if not new.principals:
        node = _agent_node(new, number=ROOT, parent=None, place=_any_place(new.labels), now=now)
        session.add(node)
        session.flush()
        fleet = repository.candidates(session, new.tenant, read_horizons(session, presence, now))
        _assign(session, node, request, fleet, now=now, changes=changes)
        return task
    if len(new.principals) == 1:
        agents = [(ROOT, new.principals[0])]
    else:
        agents = list(enumerate(new.principals, start=1))
        session.add(_map_node(new, now))
    parent = None if len(agents) == 1 else ROOT
    nodes = [
        (
            _agent_node(
                new,
                number=number,
                parent=parent,
                place=f"device:{Principal.parse(principal).device}",
                now=now,
            ),
            principal,
        )
        for number, principal in agents
    ]
    session.add_all([node for node, _ in nodes])
    session.flush()
    # In the order of names: two requests then lock the devices' lanes in the same order.
    for node, principal in sorted(nodes, key=lambda item: item[1]):
        offer_node(session, node, principal, request, now=now, changes=changes)
    return task


def cancel(session: Session, task_id: str, *, among: str | None, now: datetime, changes: Changes) -> Task:
    """Ask every device that works on the task to stop. Raises `RefusedError` if it is unknown or has ended.

    Asking again changes nothing. A node that nobody holds ends here. `among`: another tenant's tasks are unknown; None:
    all are known.
    """
    task = _lock(session, task_id, among)
    open_agents = [
        node
        for node in repository.nodes_of(session, task_id)
        if node.kind == repository.AGENT and repository.is_open(node)
    ]
    if not open_agents:
        raise RefusedError(f"Task {task_id} has ended already.", code="task_ended")
    for node in sorted(open_agents, key=lambda node: node.principal or ""):
        if node.is_cancel_requested:
            continue
        node.is_cancel_requested = True
        if node.principal is None:
            tree.move(session, node, NodeState.CANCELLED, now=now, reason="operator")
        else:
            order_cancel(session, node, node.principal, "operator", now=now, changes=changes)
        changes.tasks.add(task_id)
    if task_id in changes.tasks:
        tree.bump(task)
    return task


def answer(
    session: Session,
    task_id: str,
    node_number: int,
    *,
    among: str | None,
    call: int,
    happened: bool,
    now: datetime,
    changes: Changes,
) -> Task:
    """Tell a device whether its interrupted effect happened. Raises `RefusedError` unless it is asking just that.

    `among`: as for `cancel`.
    """
    task = _lock(session, task_id, among)
    node = session.get(Node, (task_id, node_number))
    if node is None:
        raise RefusedError(f"Task {task_id} has no node {node_number}.", code="node_unknown")
    if node.principal is None or not repository.is_open(node):
        raise RefusedError("The node has ended, or nobody works on it.", code="node_ended")
    effect = session.get(Effect, (task_id, node_number, call, node.principal))
    if effect is None or effect.question != "asked":
        raise RefusedError(
            f"Nobody is asking about call {call} of node {node_number}.", code="question_unknown"
        )
    reply = QuestionReplied(at_ms=to_ms(now), task=task_id, node=node_number, call=call, happened=happened)
    append_order(session, principal=node.principal, records=[(reply, ())], now=now)
    effect.question = "replied"
    tree.bump(task)
    changes.tasks.add(task_id)
    changes.orders_for.add(node.principal)
    return task


def orders_acknowledged(session: Session, principal: str, upto: int, now: datetime) -> set[str]:
    """The device has committed its orders lane up to `upto`: what was queued for it there is offered.

    For the ingest side, in the transaction that stores the cursor; returns the tasks that changed. The table `offer`
    holds lane and sequence of each offer, so nothing has to be read back out of the lane. An offer that was withdrawn
    in the meantime is marked as acknowledged and moves nothing.
    """
    changed: set[str] = set()
    lane_id = repository.orders_lane_of(session, principal)
    if lane_id is None:
        return changed
    for each in repository.unacknowledged_offers(session, principal, lane_id, upto):
        each.acknowledged_at = now
        task = repository.lock_task(session, each.task_id)
        node = session.get(Node, (each.task_id, each.node))
        if task is None or node is None:
            continue
        if node.attempt == each.attempt and node.principal == principal and node.state == NodeState.QUEUED:
            tree.move(session, node, NodeState.OFFERED, now=now)
        tree.bump(task)
        changed.add(task.id)
    return changed


def sweep_task(
    session: Session,
    task_id: str,
    fleet: list[Candidate],
    *,
    max_attempts: int,
    now: datetime,
    changes: Changes,
) -> None:
    """Do what time demands of one task: expire what is past its deadline, give lapsed `any` nodes to another device."""
    task = _lock(session, task_id)
    for node in repository.nodes_of(session, task_id):
        if node.kind != repository.AGENT or not repository.is_open(node):
            continue
        if node.deadline is not None and node.deadline <= now:
            end_node(session, node, NodeState.EXPIRED, "deadline", now=now, changes=changes)
        elif node.place.startswith(repository.ANY):
            _reassign(session, task, node, fleet, max_attempts=max_attempts, now=now, changes=changes)
    if task_id in changes.tasks:
        tree.bump(task)


def pick(fleet: Sequence[Candidate], labels: dict[str, str], *, excluding: str | None) -> Candidate | None:
    """The least busy online device that has all `labels`; among equals the first by name."""
    fitting = [
        candidate
        for candidate in fleet
        if candidate.principal != excluding and labels.items() <= candidate.labels.items()
    ]
    return min(fitting, key=lambda candidate: (candidate.open_nodes, candidate.principal), default=None)


def _reassign(
    session: Session,
    task: Task,
    node: Node,
    fleet: list[Candidate],
    *,
    max_attempts: int,
    now: datetime,
    changes: Changes,
) -> None:
    holder = node.principal
    if holder is not None and (node.lease_until is None or node.lease_until > now):
        return
    if node.is_cancel_requested:  # its device vanished before it could confirm
        end_node(session, node, NodeState.CANCELLED, "operator", now=now, changes=changes)
        return
    if holder is not None and node.attempt >= max_attempts:
        end_node(session, node, NodeState.FAILED, "attempts_exhausted", now=now, changes=changes)
        return
    # With nobody else there, the holder keeps the node: it may still come back with the result.
    if pick(fleet, node.labels, excluding=holder) is None:
        return
    request = request_of(session, task)
    if request is None:
        end_node(session, node, NodeState.FAILED, "goal_forgotten", now=now, changes=changes)
        return
    if holder is not None:
        withdraw(session, node, now)
        order_cancel(session, node, holder, "lease_lapsed", now=now, changes=changes)
        tree.move(session, node, NodeState.QUEUED, now=now, reason="lease_lapsed")
        node.attempt += 1
    _assign(session, node, request, fleet, excluding=holder, now=now, changes=changes)
    changes.tasks.add(task.id)


def _assign(
    session: Session,
    node: Node,
    request: Request,
    fleet: list[Candidate],
    *,
    now: datetime,
    changes: Changes,
    excluding: str | None = None,
) -> None:
    """Offer an `any` node to the device that has least to do; without one it stays queued for the sweep."""
    chosen = pick(fleet, node.labels, excluding=excluding)
    if chosen is None:
        return
    chosen.open_nodes += 1
    offer_node(session, node, chosen.principal, request, now=now, changes=changes)


def _lock(session: Session, task_id: str, among: str | None = None) -> Task:
    return repository.known(repository.lock_task(session, task_id), task_id, among)


def _agent_node(new: NewTask, *, number: int, parent: int | None, place: str, now: datetime) -> Node:
    return Node(
        task_id=new.id,
        node=number,
        parent=parent,
        kind=repository.AGENT,
        place=place,
        state=NodeState.QUEUED.value,
        limits=new.limits.model_dump(),
        labels=new.labels,
        lease_s=new.lease_s,
        deadline=now + timedelta(seconds=new.deadline_s),
        updated_at=now,
    )


def _map_node(new: NewTask, now: datetime) -> Node:
    return Node(
        task_id=new.id,
        node=ROOT,
        kind=repository.MAP,
        place=HUB,
        state=NodeState.QUEUED.value,
        limits=new.limits.model_dump(),
        lease_s=0,
        deadline=now + timedelta(seconds=new.deadline_s),
        updated_at=now,
    )


def _any_place(labels: dict[str, str]) -> str:
    if not labels:
        return repository.ANY
    described = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{repository.ANY}({described})"

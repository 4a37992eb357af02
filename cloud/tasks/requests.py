"""What a new task asks of devices: its text, the labels that it bears, and for whom it is asked.

Labels travel: a request that gives on what a device found bears what that result bore. What lost its labels on the way
is untrusted, for nobody knows what it was made from.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from sqlmodel import Session, col, select

from cloud.caller import PERMISSIONS, Caller, as_name
from cloud.governance.repository import duties
from cloud.journal.service import read_blob
from cloud.tasks import repository
from cloud.tasks.orders import Request
from cloud.tasks.schemas import CreateTask
from cloud.tasks.tables import Node, Task
from shared.blobs import SALT_BYTES, Blob
from shared.errors import CapacityError, RefusedError
from shared.policy.labels import UNTRUSTED
from shared.records import MAX_LABELS, MAX_ROLES

HUB_ROLE: Final = "hub."
"""Stands before what somebody is at the hub (`hub.operator`), so that it is no role of rules, which an admin gives."""


def asker_of(session: Session, caller: Caller, tenant: str) -> tuple[str, tuple[str, ...]]:
    """Who asks, as records take names, and in which roles: those at the hub, and those that rules ask for."""
    person = caller.person or caller.name
    held = [f"{HUB_ROLE}{role.value}" for role, needed in PERMISSIONS.items() if needed <= caller.permissions]
    given = [duty.role for duty in duties(session, tenant, person)]
    return as_name(person), (*held, *given)[:MAX_ROLES]


def request_for(
    session: Session,
    asked: CreateTask,
    *,
    tenant: str,
    asker: str,
    asker_roles: Sequence[str],
    goal_max_bytes: int,
) -> Request:
    """The request, with the results that it is to give on.

    Raises `RefusedError` (codes `task_unknown`, `result_missing`) and `CapacityError` beyond `goal_max_bytes` of text
    or `MAX_LABELS` labels.
    """
    parts = [asked.goal]
    labels = dict.fromkeys(asked.request_labels)
    for reference in asked.results:
        for heading, text, borne in _results(session, reference, tenant):
            parts.append(f"{heading}\n{text}")
            labels |= dict.fromkeys(borne)
    goal = "\n\n".join(parts).encode()
    if len(goal) > goal_max_bytes:
        raise CapacityError(
            f"The goal is {len(goal)} bytes long; at most {goal_max_bytes} are allowed.",
            bound="goal_max_bytes",
            limit=goal_max_bytes,
            code="goal_too_large",
        )
    if len(labels) > MAX_LABELS:
        raise CapacityError(
            f"The request would bear {len(labels)} labels; at most {MAX_LABELS} are allowed. Give on fewer results.",
            bound="MAX_LABELS",
            limit=MAX_LABELS,
        )
    return Request(
        goal=Blob(salt=secrets.token_bytes(SALT_BYTES), content=goal),
        labels=tuple(sorted(labels)),
        asker=asker,
        asker_roles=tuple(asker_roles),
    )


def _results(session: Session, reference: str, tenant: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Heading, text and labels of each result that is meant."""
    task_id, _, number = reference.partition("/")
    repository.known(session.get(Task, task_id), task_id, tenant)
    query = (
        select(Node)
        .where(Node.task_id == task_id, col(Node.result_hash).is_not(None))
        .order_by(col(Node.node))
    )
    found = [node for node in session.exec(query) if not number or node.node == int(number)]
    if not found:
        raise RefusedError(f"{reference} has no result.", code="result_missing")
    for node in found:
        blob = None if node.result_hash is None else read_blob(session, node.result_hash)
        if blob is None:
            raise RefusedError(
                f"The result of {task_id}/{node.node} never came to the hub, or was forgotten.",
                code="result_missing",
            )
        borne = (UNTRUSTED,) if node.result_labels is None else node.result_labels
        heading = f"Result of {task_id}/{node.node} on {node.principal or 'the hub'}:"
        yield heading, blob.content.decode(errors="replace"), borne

"""How a tree changes: one function moves a node, and everything above it follows. Used by requests and projections.

Invariants: a terminal state is never left (rule P16); a map's state is that of its children and nobody else's; the
task's revision grows with each change.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from cloud.tasks import repository
from cloud.tasks.tables import Node, Task
from shared.errors import ProtocolError
from shared.tasks.states import BY_VALUE, TERMINAL, NodeState, Step, of_children, step


def move(
    session: Session,
    node: Node,
    state: NodeState,
    *,
    now: datetime,
    reason: str | None = None,
    result_hash: bytes | None = None,
    result_labels: Sequence[str] | None = None,
) -> Step:
    """Move `node`, and the maps above it. Raises `ProtocolError` for a step that the table of states does not have.

    Nothing is changed unless the answer is `APPLIED`, or `REPEATED` for a state that is not terminal.
    """
    outcome = step(BY_VALUE[node.state], state)
    if outcome is Step.ILLEGAL:
        raise ProtocolError(f"A node cannot go from {node.state} to {state}.", code="illegal_step")
    if outcome is not Step.APPLIED:
        return outcome
    node.state = state.value
    node.reason = reason
    node.updated_at = now
    if state in TERMINAL:
        node.result_hash = result_hash
        node.result_labels = None if result_labels is None else list(result_labels)
        node.lease_until = None
    if node.parent is not None:
        _follow(session, node.task_id, node.parent, now)
    return outcome


def bump(task: Task) -> None:
    """Say that the tree changed. Watchers compare revisions; how much one grows means nothing."""
    task.revision += 1


def _follow(session: Session, task_id: str, parent_number: int, now: datetime) -> None:
    parent = session.get(Node, (task_id, parent_number))
    if parent is None or parent.state in TERMINAL:
        return
    session.flush()  # projections run without autoflush, and the query must see what they changed
    state = of_children(repository.child_states(session, task_id, parent_number))
    if state.value == parent.state:
        return
    parent.state = state.value
    parent.updated_at = now
    if parent.parent is not None:
        _follow(session, task_id, parent.parent, now)

"""The life of a node, in one table (rule P16).

    queued → offered → running ⇄ waiting → succeeded | failed | timed_out | rejected | cancelled | expired

Terminal states are immutable. What arrives for a node after its end is `late`: kept beside, never applied.
"""

from enum import StrEnum
from typing import Final


class NodeState(StrEnum):
    QUEUED = "queued"
    OFFERED = "offered"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


BY_VALUE: Final = {state.value: state for state in NodeState}
"""As `NodeState(value)`, several times faster: tens of thousands of moves a second pass the hub."""


class Step(StrEnum):
    """What a reported state does to a node."""

    APPLIED = "applied"
    REPEATED = "repeated"
    LATE = "late"
    ILLEGAL = "illegal"


TERMINAL: Final = frozenset(
    {
        NodeState.SUCCEEDED,
        NodeState.FAILED,
        NodeState.TIMED_OUT,
        NodeState.REJECTED,
        NodeState.CANCELLED,
        NodeState.EXPIRED,
    }
)

REACHED_FROM_ANY: Final = frozenset({NodeState.CANCELLED, NodeState.EXPIRED, NodeState.FAILED})
"""Ends that any open state may have. The others follow upon `running`, `rejected` upon what has not begun."""

TRANSITIONS: Final[dict[NodeState, frozenset[NodeState]]] = {
    # A lapsed lease takes an offered, running or waiting node back to the queue, for another device.
    NodeState.QUEUED: frozenset({NodeState.OFFERED, NodeState.RUNNING, NodeState.REJECTED})
    | REACHED_FROM_ANY,
    NodeState.OFFERED: frozenset({NodeState.QUEUED, NodeState.RUNNING, NodeState.REJECTED})
    | REACHED_FROM_ANY,
    NodeState.RUNNING: frozenset(
        {NodeState.QUEUED, NodeState.WAITING, NodeState.SUCCEEDED, NodeState.TIMED_OUT}
    )
    | REACHED_FROM_ANY,
    NodeState.WAITING: frozenset({NodeState.QUEUED, NodeState.RUNNING, NodeState.TIMED_OUT})
    | REACHED_FROM_ANY,
    **{state: frozenset() for state in TERMINAL},
}


def step(current: NodeState, reported: NodeState) -> Step:
    """What happens to a node in `current` when its worker reports `reported`."""
    if current is reported:
        return Step.REPEATED
    if current in TERMINAL:
        return Step.LATE
    return Step.APPLIED if reported in TRANSITIONS[current] else Step.ILLEGAL


def of_children(children: list[NodeState]) -> NodeState:
    """The state of a node that only gathers its children (a map): open while one is open, then all or nothing."""
    if not children:
        raise ValueError("a map node has children")
    if any(state not in TERMINAL for state in children):
        started = any(state is not NodeState.QUEUED for state in children)
        return NodeState.RUNNING if started else NodeState.QUEUED
    if all(state is NodeState.SUCCEEDED for state in children):
        return NodeState.SUCCEEDED
    if all(state is NodeState.CANCELLED for state in children):
        return NodeState.CANCELLED
    return NodeState.FAILED

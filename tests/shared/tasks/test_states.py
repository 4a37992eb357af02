"""The life of a node: what may follow what, and that the end is the end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL, TRANSITIONS, NodeState, Step, of_children, step

STATES = st.sampled_from(NodeState)
OPEN = set(NodeState) - TERMINAL
S = NodeState


def test_the_states_are_those_of_the_rule() -> None:
    """P16."""
    assert [state.value for state in NodeState] == [
        "queued",
        "offered",
        "running",
        "waiting",
        "succeeded",
        "failed",
        "timed_out",
        "rejected",
        "cancelled",
        "expired",
    ]
    assert OPEN == {S.QUEUED, S.OFFERED, S.RUNNING, S.WAITING}
    assert TRANSITIONS.keys() == set(NodeState)


@pytest.mark.parametrize(
    "path",
    [
        [S.QUEUED, S.OFFERED, S.RUNNING, S.WAITING, S.RUNNING, S.SUCCEEDED],
        [S.QUEUED, S.RUNNING, S.FAILED],
        [S.QUEUED, S.OFFERED, S.REJECTED],
        [S.QUEUED, S.OFFERED, S.QUEUED, S.OFFERED, S.RUNNING, S.TIMED_OUT],
        [S.QUEUED, S.OFFERED, S.RUNNING, S.QUEUED, S.EXPIRED],
        [S.QUEUED, S.CANCELLED],
    ],
    ids=lambda path: "-".join(state.value for state in path),
)
def test_a_node_may_live_like_this(path: list[NodeState]) -> None:
    """P16."""
    for current, reported in pairwise(path):
        assert step(current, reported) is Step.APPLIED


@pytest.mark.parametrize(
    ("current", "reported"),
    [
        (S.QUEUED, S.SUCCEEDED),
        (S.QUEUED, S.WAITING),
        (S.OFFERED, S.SUCCEEDED),
        (S.OFFERED, S.WAITING),
        (S.RUNNING, S.OFFERED),
        (S.RUNNING, S.REJECTED),
        (S.WAITING, S.SUCCEEDED),
        (S.WAITING, S.OFFERED),
    ],
)
def test_a_node_cannot_skip_a_part_of_its_life(current: NodeState, reported: NodeState) -> None:
    """P16."""
    assert step(current, reported) is Step.ILLEGAL


@given(st.sampled_from(sorted(TERMINAL)), STATES)
def test_a_terminal_state_is_immutable_and_what_comes_later_is_late(
    end: NodeState, reported: NodeState
) -> None:
    """P16."""
    assert step(end, reported) is (Step.REPEATED if reported is end else Step.LATE)


@given(STATES)
def test_a_report_heard_twice_changes_nothing(state: NodeState) -> None:
    """P16."""
    assert step(state, state) is Step.REPEATED


@pytest.mark.parametrize("state", sorted(OPEN))
def test_every_open_node_can_be_cancelled_expire_and_fail(state: NodeState) -> None:
    """P16."""
    for end in (S.CANCELLED, S.EXPIRED, S.FAILED):
        assert step(state, end) is Step.APPLIED


@given(st.lists(STATES, min_size=1, max_size=8))
def test_a_gathering_node_ends_when_its_last_child_does_and_succeeds_only_with_all(
    children: list[NodeState],
) -> None:
    """P16."""
    state = of_children(children)
    assert (state in TERMINAL) == all(child in TERMINAL for child in children)
    assert (state is S.SUCCEEDED) == all(child is S.SUCCEEDED for child in children)
    assert (state is S.QUEUED) == all(child is S.QUEUED for child in children)


@pytest.mark.parametrize(
    ("children", "gathered"),
    [
        ([S.QUEUED, S.QUEUED], S.QUEUED),
        ([S.QUEUED, S.OFFERED], S.RUNNING),
        ([S.SUCCEEDED, S.QUEUED], S.RUNNING),
        ([S.SUCCEEDED, S.SUCCEEDED], S.SUCCEEDED),
        ([S.SUCCEEDED, S.CANCELLED], S.FAILED),
        ([S.CANCELLED, S.CANCELLED], S.CANCELLED),
        ([S.EXPIRED, S.TIMED_OUT], S.FAILED),
    ],
)
def test_a_gathering_node_is_in_the_state_that_its_children_make(
    children: list[NodeState], gathered: NodeState
) -> None:
    """P16."""
    assert of_children(children) is gathered


def test_a_gathering_node_has_children() -> None:
    """P16."""
    with pytest.raises(ValueError, match="children"):
        of_children([])


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("turns", 1, 100),
        ("tool_calls", 0, 1_000),
        ("output_tokens", 1, 100_000),
        ("wall_s", 1, 604_800),
    ],
)
def test_a_limit_is_taken_at_its_bounds_and_refused_one_past(name: str, least: int, most: int) -> None:
    """P16: a node ends at its limits, so they are bounded themselves."""
    for value in (least, most):
        assert getattr(Limits.model_validate({name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            Limits.model_validate({name: value})

"""Journals as busy devices write them, for benches: the records of many tasks, one after another.

Ids and hashes are random and numbers vary, so what compression and projections meet is what a fleet gives them. The
order is the agent's own: a task, its node's moves, model calls, each tool's intent and result, with their causes.
"""

import random
from collections.abc import Iterator
from typing import Final, Literal

from shared.blobs import BlobRef
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.records import JournalRecord, ModelCalled, NodeMoved, TaskCreated, ToolIntent, ToolResult
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState

MODEL: Final = "qwen2.5-coder-1.5b-instruct"
TOOLS: Final = ("read_sensor", "now", "set_valve", "camera.snapshot", "log_search")
LABELS: Final = ("", "", "sensor", "untrusted.web", "personal")
REASONS: Final = ("tool_calls", "wall_s", "output_tokens", "cancelled")
ROUNDS_MAX: Final = 8
"""Tool calls of one task."""
PAUSES_MAX: Final = 3
"""How often a node waits after a tool call at most: for the next reading, for an answer."""
ROUTINE_SHARE: Final = 0.35
"""Tasks whose route needs no model: a schedule reads sensors and acts."""


def journal_records(count: int, *, first_seq: int, at_ms: int, rng: random.Random) -> Iterator[JournalRecord]:
    """`count` records, and those that end the last task, to be appended from sequence `first_seq` on."""
    seq = first_seq
    while seq < first_seq + count:
        for record in _task(seq, at_ms, rng):
            yield record
            seq += 1
            at_ms = record.at_ms
        at_ms += rng.randrange(1_000, 300_000)


def _task(seq: int, at_ms: int, rng: random.Random) -> Iterator[JournalRecord]:
    """One task from its creation, which will have sequence `seq`, to its end."""
    task = id_from_random(rng.randbytes(ID_RANDOM_BYTES))
    label = rng.choice(LABELS)
    labels = (label,) if label else ()
    yield TaskCreated(at_ms=at_ms, task=task, goal=_ref(rng, 400), limits=Limits(turns=rng.randrange(4, 9)))
    yield _moved(task, NodeState.RUNNING, at_ms=at_ms + 2, causes=(seq,))
    cause, at = seq + 1, at_ms + 2
    has_model = rng.random() >= ROUTINE_SHARE
    call = 0
    for _ in range(rng.randrange(1, ROUNDS_MAX + 1)):
        if has_model:
            at += (total_ms := rng.randrange(200, 9_000))
            yield _model_call(rng, "act", at_ms=at, causes=(cause,), task=task, call=call, total_ms=total_ms)
            cause, call = cause + 1, call + 1
        tool = rng.choice(TOOLS)
        yield ToolIntent(
            at_ms=at + 1, causes=(cause,), labels=labels, task=task, node=0, call=call, tool=tool,
            idempotent=tool != "set_valve", arguments=_ref(rng, 120),
        )  # fmt: skip
        at += (took_ms := rng.randrange(1, 900))
        yield ToolResult(
            at_ms=at, causes=(cause + 1,), labels=labels, task=task, node=0, call=call, tool=tool,
            ok=rng.random() < 0.95, ms=took_ms + round(rng.random(), 3), result=_ref(rng, 2_000),
        )  # fmt: skip
        cause, call = cause + 2, call + 1
        for _ in range(rng.randrange(PAUSES_MAX + 1)):
            yield _moved(task, NodeState.WAITING, at_ms=at + 1, causes=(cause,))
            at += rng.randrange(1_000, 600_000)
            yield _moved(task, NodeState.RUNNING, at_ms=at, causes=(cause + 1,))
            cause += 2
    if has_model:
        at += (total_ms := rng.randrange(500, 20_000))
        yield _model_call(rng, "answer", at_ms=at, causes=(cause,), task=task, call=call, total_ms=total_ms)
        cause += 1
    is_done = rng.random() < 0.9
    yield NodeMoved(
        at_ms=at + 1, causes=(cause,), labels=labels, task=task, node=0, attempt=1,
        state=NodeState.SUCCEEDED if is_done else NodeState.FAILED,
        reason=None if is_done else rng.choice(REASONS), result=_ref(rng, 900),
    )  # fmt: skip


def _moved(task: str, state: NodeState, *, at_ms: int, causes: tuple[int, ...]) -> NodeMoved:
    return NodeMoved(at_ms=at_ms, causes=causes, task=task, node=0, attempt=1, state=state)


def _model_call(
    rng: random.Random,
    purpose: Literal["act", "answer"],
    *,
    at_ms: int,
    causes: tuple[int, ...],
    task: str,
    call: int,
    total_ms: int,
) -> ModelCalled:
    prompt_tokens = rng.randrange(150, 2_500)
    return ModelCalled(
        at_ms=at_ms, causes=causes, model=MODEL, purpose=purpose, finish="stop", prompt_tokens=prompt_tokens,
        cached_tokens=rng.randrange(prompt_tokens), output_tokens=rng.randrange(8, 200),
        first_token_ms=round(total_ms * rng.random(), 3), total_ms=total_ms + round(rng.random(), 3),
        task=task, node=0, call=call, output=_ref(rng, 800),
    )  # fmt: skip


def _ref(rng: random.Random, max_bytes: int) -> BlobRef:
    return BlobRef(hash=rng.randbytes(32), size=rng.randrange(1, max_bytes))

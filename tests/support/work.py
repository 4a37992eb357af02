"""The records of a piece of work as the agent writes them, with content of any size."""

from collections.abc import Iterator
from itertools import count

from edge.blobs import make_blob
from edge.ports import Draft
from shared.blobs import Blob
from shared.clock import to_ms
from shared.records import (
    MetricsWindow,
    ModelCalled,
    NodeMoved,
    Series,
    TaskCreated,
    ToolIntent,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.clock import START

AT_MS = to_ms(START)

_serial: Iterator[int] = count(1)


def text(size: int) -> Blob:
    """Content of `size` bytes that is no other's."""
    return make_blob(f"{next(_serial):08} ".ljust(size, "x").encode()[:size])


def begun(task: str, *, at_ms: int = AT_MS, content_bytes: int = 200) -> list[Draft]:
    """A task made here that runs, called the model and a tool, and is not done: five records."""
    goal, arguments, result = text(content_bytes), make_blob(b'{"to": "open"}'), text(content_bytes)
    return [
        Draft(TaskCreated(at_ms=at_ms, task=task, goal=goal.ref(), limits=Limits()), (goal,)),
        moved(task, NodeState.RUNNING, at_ms=at_ms),
        called(task, 0, at_ms=at_ms, content_bytes=content_bytes),
        Draft(
            ToolIntent(
                at_ms=at_ms,
                task=task,
                node=0,
                call=1,
                tool="valve",
                idempotent=True,
                arguments=arguments.ref(),
            ),
            (arguments,),
        ),
        Draft(
            ToolResult(
                at_ms=at_ms,
                task=task,
                node=0,
                call=1,
                tool="valve",
                ok=True,
                ms=1.0,
                result=result.ref(),
            ),
            (result,),
        ),
    ]


def done(task: str, *, at_ms: int = AT_MS, content_bytes: int = 200) -> list[Draft]:
    """A whole task that succeeded: six records."""
    answer = text(content_bytes)
    end = moved(task, NodeState.SUCCEEDED, at_ms=at_ms, result=answer)
    return [*begun(task, at_ms=at_ms, content_bytes=content_bytes), end]


def moved(
    task: str, state: NodeState, *, at_ms: int = AT_MS, attempt: int = 1, result: Blob | None = None
) -> Draft:
    record = NodeMoved(
        at_ms=at_ms,
        task=task,
        node=0,
        attempt=attempt,
        state=state,
        result=None if result is None else result.ref(),
    )
    return Draft(record, () if result is None else (result,))


def called(task: str, call: int, *, at_ms: int = AT_MS, content_bytes: int = 200) -> Draft:
    """A model call: its prompt is ten times as long as its output."""
    prompt, output = text(content_bytes * 10), text(content_bytes)
    record = ModelCalled(
        at_ms=at_ms,
        model="scripted",
        purpose="act",
        finish="stop",
        prompt_tokens=100,
        cached_tokens=0,
        output_tokens=10,
        first_token_ms=1.0,
        total_ms=2.0,
        task=task,
        node=0,
        call=call,
        prompt=prompt.ref(),
        output=output.ref(),
    )
    return Draft(record, (prompt, output))


def window(value: float, *, at_ms: int = AT_MS, series: int = 1) -> Draft:
    """A window of telemetry."""
    values = tuple(
        Series(name=f"s{number}", count=1, min=value, max=value, mean=value, last=value)
        for number in range(series)
    )
    return Draft(MetricsWindow(at_ms=at_ms, span_ms=60_000, series=values))

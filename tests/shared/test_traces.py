"""Spans follow from records alone: the same on device and hub, whole after a restart, and without a word of content."""

import json
from collections.abc import Iterable, Sequence

import pytest

from shared.blobs import Blob
from shared.records import (
    ModelCalled,
    NodeMoved,
    Poison,
    Record,
    TaskCreated,
    ToolIntent,
    ToolResult,
)
from shared.spans import Span, SpanBacklog
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from shared.traces import NodeStory, Performer, node_span, span_id, trace_id
from tests.support.device import task_id_from

TASK, OTHER = task_id_from("task"), task_id_from("other")
FRIDGE = Performer(name="fridge-1", id="acme.fridge-1")
T0 = 1_767_268_800_000
GOAL, PROMPT, OUTPUT, ARGUMENTS, RESULT, ANSWER = (
    Blob(salt=bytes(16), content=text.encode())
    for text in (
        "the secret goal",
        json.dumps([{"role": "system", "content": "be good"}, {"role": "user", "content": "secret prompt"}]),
        "secret output",
        '{"secret": "arguments"}',
        '{"secret": "result"}',
        "secret answer",
    )
)
TEXTS = {blob.ref().hash: blob.text() for blob in (GOAL, PROMPT, OUTPUT, ARGUMENTS, RESULT, ANSWER)}


def created(*, task: str = TASK, at: int = 0) -> TaskCreated:
    return TaskCreated(at_ms=T0 + at, task=task, goal=GOAL.ref(), limits=Limits())


def moved(
    state: NodeState,
    *,
    at: int,
    task: str = TASK,
    node: int = 0,
    attempt: int = 1,
    reason: str | None = None,
    is_local: bool = True,
) -> NodeMoved:
    return NodeMoved(
        at_ms=T0 + at,
        causes=(1,) if is_local else (),
        task=task,
        node=node,
        attempt=attempt,
        state=state,
        reason=reason,
        result=ANSWER.ref() if state is NodeState.SUCCEEDED else None,
    )


def spoke(call: int, *, at: int, task: str = TASK, purpose: str = "act", finish: str = "stop") -> ModelCalled:
    return ModelCalled.model_validate(
        {
            "at_ms": T0 + at,
            "model": "qwen",
            "purpose": purpose,
            "finish": finish,
            "prompt_tokens": 100,
            "cached_tokens": 60,
            "output_tokens": 20,
            "first_token_ms": 250.0,
            "total_ms": 400.0,
            "task": task,
            "node": 0,
            "call": call,
            "prompt": PROMPT.ref(),
            "output": OUTPUT.ref(),
        }
    )


def intended(call: int, *, at: int) -> ToolIntent:
    return ToolIntent(
        at_ms=T0 + at, task=TASK, node=0, call=call, tool="valve", idempotent=True, arguments=ARGUMENTS.ref()
    )


def resulted(call: int, *, at: int, ok: bool = True) -> ToolResult:
    return ToolResult(
        at_ms=T0 + at, task=TASK, node=0, call=call, tool="valve", ok=ok, ms=3.0, result=RESULT.ref()
    )


WORK: tuple[Record, ...] = (
    created(),
    moved(NodeState.RUNNING, at=100),
    spoke(0, at=600),
    intended(1, at=610),
    resulted(1, at=700),
    spoke(2, at=1_200, purpose="answer"),
    moved(NodeState.SUCCEEDED, at=1_210),
)


def story_of(records: Sequence[Record | Poison]) -> NodeStory:
    """Of the node that the last record ended."""
    ended = records[-1]
    assert isinstance(ended, NodeMoved)
    story = NodeStory(ended)
    for record in reversed(records):
        story.add(record)
        if story.is_complete:
            break
    return story


def spans_of(records: Sequence[Record | Poison]) -> tuple[Span, ...]:
    return story_of(records).spans(FRIDGE)


def all_text(spans: Iterable[Span]) -> str:
    return "\n".join(f"{span!r}" for span in spans)


def test_node_becomes_a_tree_of_agent_model_and_tool_spans() -> None:
    node, act, tool, answer = spans_of(WORK)
    assert [span.name for span in (node, act, tool, answer)] == [
        "invoke_agent fridge-1",
        "chat qwen",
        "execute_tool valve",
        "chat qwen",
    ]
    assert {span.trace_id for span in (node, act, tool, answer)} == {trace_id(TASK)}
    assert node.parent_id is None
    assert {span.parent_id for span in (act, tool, answer)} == {node.span_id}
    assert (node.start_ns, node.end_ns) == ((T0 + 100) * 10**6, (T0 + 1_210) * 10**6)
    assert (act.start_ns, act.end_ns) == ((T0 + 200) * 10**6, (T0 + 600) * 10**6)
    assert (tool.start_ns, tool.end_ns) == ((T0 + 610) * 10**6, (T0 + 700) * 10**6)


def test_attributes_are_those_of_the_genai_conventions() -> None:
    node, act, tool, _ = spans_of(WORK)
    assert node.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": TASK,
        "gen_ai.agent.name": "fridge-1",
        "gen_ai.agent.id": "acme.fridge-1",
        "gen_ai.provider.name": "covey",
        "gen_ai.request.model": "qwen",
        "gen_ai.usage.input_tokens": 200,
        "gen_ai.usage.output_tokens": 40,
        "covey.node": 0,
        "covey.attempt": 1,
        "covey.state": "succeeded",
    }
    assert act.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "covey",
        "gen_ai.conversation.id": TASK,
        "gen_ai.request.model": "qwen",
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.output_tokens": 20,
        "covey.model.purpose": "act",
    }
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.conversation.id": TASK,
        "gen_ai.tool.name": "valve",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"{TASK}/0/1",
    }


def test_no_text_is_in_a_span_unless_it_is_handed_over() -> None:
    story = story_of(WORK)
    assert "secret" not in all_text(story.spans(FRIDGE))
    node, act, tool, _ = story.spans(FRIDGE, content=TEXTS)
    assert json.loads(str(node.attributes["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "the secret goal"}]}
    ]
    assert json.loads(str(node.attributes["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "secret answer"}],
            "finish_reason": "stop",
        }
    ]
    assert [message["role"] for message in json.loads(str(act.attributes["gen_ai.input.messages"]))] == [
        "system",
        "user",
    ]
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"secret": "arguments"}'
    assert tool.attributes["gen_ai.tool.call.result"] == '{"secret": "result"}'


def test_story_names_the_content_that_it_could_show() -> None:
    assert {ref.hash for ref in story_of(WORK).contents()} == set(TEXTS)


def test_forgotten_content_is_left_out() -> None:
    node, act, *_ = story_of(WORK).spans(FRIDGE, content={ANSWER.ref().hash: "secret answer"})
    assert "gen_ai.input.messages" not in node.attributes
    assert "gen_ai.output.messages" in node.attributes
    assert "gen_ai.output.messages" not in act.attributes


def test_spans_are_the_same_however_often_they_are_made() -> None:
    assert spans_of(WORK) == spans_of(WORK)
    assert span_id(TASK, 0, 1) != span_id(TASK, 0, 2) != span_id(TASK, 1, 2)
    assert len({span.span_id for span in spans_of(WORK)}) == 4


def test_records_of_other_work_and_poison_are_passed_over() -> None:
    mixed: list[Record | Poison] = []
    for record in WORK:
        mixed += [spoke(0, at=1, task=OTHER), Poison("unknown kind"), record]
    assert spans_of(mixed) == spans_of(WORK)


def test_what_happened_before_the_work_is_not_looked_for() -> None:
    story = NodeStory(moved(NodeState.SUCCEEDED, at=1_210, is_local=False))
    records = [
        moved(NodeState.RUNNING, at=100, is_local=False),
        *WORK[2:6],
        moved(NodeState.SUCCEEDED, at=1_210, is_local=False),
    ]
    for record in reversed(records):
        assert not story.is_complete
        story.add(record)
    assert story.is_complete


def test_work_before_a_question_belongs_to_the_attempt() -> None:
    waited = (
        moved(NodeState.RUNNING, at=100, is_local=False),
        spoke(0, at=600),
        intended(1, at=610),
        moved(NodeState.WAITING, at=620, reason="did_it_happen", is_local=False),
        moved(NodeState.RUNNING, at=90_000, is_local=False),
        resulted(1, at=90_001),
        moved(NodeState.SUCCEEDED, at=90_010, is_local=False),
    )
    node, chat, tool = spans_of(waited)
    assert node.start_ns == (T0 + 100) * 10**6
    assert chat.name == "chat qwen"
    assert (tool.start_ns, tool.end_ns) == ((T0 + 610) * 10**6, (T0 + 90_001) * 10**6)


def test_attempt_before_is_another_story() -> None:
    records = (
        moved(NodeState.RUNNING, at=1, is_local=False),
        spoke(0, at=500),
        moved(NodeState.FAILED, at=510, is_local=False),
        moved(NodeState.RUNNING, at=600, attempt=2, is_local=False),
        spoke(1, at=1_100),
        moved(NodeState.SUCCEEDED, at=1_110, attempt=2, is_local=False),
    )
    story = story_of(records)
    assert story.is_complete
    assert len(story.spans(FRIDGE)) == 2


def test_retried_tool_is_one_span_over_its_retries() -> None:
    records = (
        *WORK[:4],
        intended(1, at=5_000),
        resulted(1, at=5_100, ok=False),
        moved(NodeState.FAILED, at=5_110, reason="turns"),
    )
    node, _, tool = spans_of(records)
    assert (tool.start_ns, tool.end_ns, tool.error) == (
        (T0 + 610) * 10**6,
        (T0 + 5_100) * 10**6,
        "tool_failed",
    )
    assert (node.error, node.attributes["error.type"]) == ("turns", "turns")


def test_tool_without_a_result_has_an_unknown_outcome() -> None:
    records = (*WORK[:4], moved(NodeState.CANCELLED, at=900, reason="asked"))
    node, _, tool = spans_of(records)
    assert tool.error == "unknown_outcome"
    assert node.error is None


def test_clock_that_was_set_back_gives_no_negative_time() -> None:
    records = (created(at=10_000), moved(NodeState.RUNNING, at=10_000), moved(NodeState.SUCCEEDED, at=0))
    (node,) = spans_of(records)
    assert node.start_ns <= node.end_ns


def test_time_before_1970_is_1970() -> None:
    record = spoke(0, at=0).model_copy(update={"at_ms": 1})
    ended = moved(NodeState.SUCCEEDED, at=0).model_copy(update={"at_ms": 2})
    assert [span.start_ns for span in spans_of([record, ended])] == [0, 0]


def test_node_of_a_tree_hangs_under_its_first_node() -> None:
    child = node_span(
        task=TASK,
        node=3,
        attempt=2,
        state=NodeState.SUCCEEDED,
        reason=None,
        start_ns=1,
        end_ns=2,
        performer=FRIDGE,
    )
    root = node_span(
        task=TASK,
        node=0,
        attempt=1,
        state=NodeState.EXPIRED,
        reason=None,
        start_ns=1,
        end_ns=2,
        performer=None,
    )
    assert child.parent_id == root.span_id
    assert (root.name, root.service, root.error) == ("invoke_workflow map", "covey-hub", "expired")
    assert (child.service, child.instance) == ("covey-edge", "acme.fridge-1")


@pytest.mark.parametrize("prompt", ["no json", "[1, 2]", '{"a": 1}', "[" * 100_000])
def test_prompt_of_another_shape_is_told_as_far_as_it_goes(prompt: str) -> None:
    _, chat, *_ = story_of(WORK).spans(FRIDGE, content={PROMPT.ref().hash: prompt})
    assert isinstance(json.loads(str(chat.attributes["gen_ai.input.messages"])), list)


def test_backlog_is_bounded_by_spans_and_by_text() -> None:
    spans = spans_of(WORK)
    backlog = SpanBacklog(max_spans=3, max_chars=100_000)
    backlog.offer(spans)
    assert (len(backlog), backlog.dropped) == (3, 1)
    assert backlog.take(2) == list(spans[:2])
    backlog.offer(spans[:1])
    assert backlog.take(10) == [spans[2], spans[0]]

    by_text = SpanBacklog(max_spans=10, max_chars=spans[0].text_chars)
    by_text.offer(spans[:2])
    assert (len(by_text), by_text.dropped) == (1, 1)
    by_text.take(1)
    by_text.offer(spans[:1])
    assert (len(by_text), by_text.dropped) == (1, 1)

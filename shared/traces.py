"""Work as traces: a node's records as spans of OpenTelemetry's GenAI semantic conventions, without OpenTelemetry. Pure.

    invoke_agent fridge-1                   a node, from its beginning to its end
      chat qwen2.5-coder-1.5b-instruct      each model call
      execute_tool read_sensor              each tool call, with its retries

Ids follow from task, node, attempt and call: device and hub make the same spans of the same records, and a span that
is exported again is the same span. Without `content` a span holds what a record holds, which is structure; text that
people, models or tools made is in no span unless the caller hands it over.

Attribute names: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (open-telemetry/semantic-conventions-genai).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from shared.blobs import BlobRef
from shared.ids import HUB
from shared.records import ModelCalled, NodeMoved, Poison, Record, TaskCreated, ToolIntent, ToolResult
from shared.spans import Attribute, Span
from shared.tasks.states import NodeState

Content = Mapping[bytes, str]
"""Texts by the hash of their blob. What is not there is left out of the spans."""

PROVIDER: Final = "covey"
"""`gen_ai.provider.name`: the model runs in the device's own process, or where its operator pointed it to."""
WORKFLOW: Final = "map"
"""`gen_ai.workflow.name` of a node that gathers its children."""
DEVICE_SERVICE: Final = "covey-edge"
HUB_SERVICE: Final = "covey-hub"
NS_PER_MS: Final = 1_000_000
ROOT: Final = 0

_FAILED: Final = frozenset({NodeState.FAILED, NodeState.TIMED_OUT, NodeState.REJECTED, NodeState.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """Who did the work: `name` for people (the device's), `id` for programs (its principal)."""

    name: str
    id: str


def trace_id(task: str) -> bytes:
    """16 bytes: all nodes of a task are one trace, on whatever device."""
    return _digest("trace", task)[:16]


def span_id(task: str, node: int, attempt: int, call: int | None = None) -> bytes:
    """8 bytes: of an attempt at a node, or of one of its calls."""
    return _digest("span", task, node, attempt, "" if call is None else call)[:8]


class NodeStory:
    """The records of one attempt at a node, read backwards in its lane from the record that ended it.

    story = NodeStory(ended)
    for record in newest_first:
        story.add(record)
        if story.is_complete:
            break
    spans = story.spans(performer)
    """

    def __init__(self, ended: NodeMoved) -> None:
        self.is_complete = False
        self._ended = ended
        self._began: NodeMoved | None = None
        self._goal: BlobRef | None = None
        self._models: list[ModelCalled] = []
        self._tools: list[ToolIntent | ToolResult] = []
        self._first_call: int | None = None

    def add(self, record: Record | Poison) -> None:
        """The next older record of the lane, whatever it is about."""
        ended = self._ended
        match record:
            case TaskCreated(task=task) if task == ended.task:
                self._goal = record.goal
                self.is_complete = True
            case NodeMoved() if (record.task, record.node) == (ended.task, ended.node):
                if record.attempt < ended.attempt:
                    self.is_complete = True
                elif record.state is NodeState.RUNNING:
                    self._began = record
                    # Behind a question lies more of the attempt; calls are numbered from 0, so the first one tells.
                    # What began on the device itself goes on to its creation, which names the goal.
                    self.is_complete = self._first_call == 0 and not self._is_local(record)
            case ModelCalled() if (record.task, record.node) == (ended.task, ended.node):
                self._models.append(record)
                self._note_call(record.call)
            case ToolIntent() | ToolResult() if (record.task, record.node) == (ended.task, ended.node):
                self._tools.append(record)
                self._note_call(record.call)
            case _:
                pass

    def contents(self, goal: BlobRef | None = None) -> tuple[BlobRef, ...]:
        """The content that `spans` could show. `goal`: of the node, where no record of the lane names it."""
        refs = [goal or self._goal, *self._ended.blob_refs()]
        refs += [ref for record in (*self._models, *self._tools) for ref in record.blob_refs()]
        return tuple(ref for ref in refs if ref is not None)

    def spans(
        self, performer: Performer, *, goal: BlobRef | None = None, content: Content | None = None
    ) -> tuple[Span, ...]:
        """The node's span first, then its calls' in order. `content` None: no text at all."""
        texts: Content = content or {}
        chats = [(record.call or 0, self._chat(record, performer, texts)) for record in self._models]
        calls = [span for _, span in sorted([*chats, *self._executed(performer, texts)], key=itemgetter(0))]
        end_ns = self._ended.at_ms * NS_PER_MS
        starts = [span.start_ns for span in calls]
        if self._began is not None:
            starts.append(self._began.at_ms * NS_PER_MS)
        node = node_span(
            task=self._ended.task,
            node=self._ended.node,
            attempt=self._ended.attempt,
            state=self._ended.state,
            reason=self._ended.reason,
            start_ns=min(starts, default=end_ns),
            end_ns=end_ns,
            performer=performer,
        )
        return (self._with_totals(node, goal or self._goal, texts), *calls)

    def _is_local(self, began: NodeMoved) -> bool:
        return bool(began.causes) and isinstance(began.causes[0], int)

    def _note_call(self, call: int | None) -> None:
        if call is not None:
            self._first_call = call if self._first_call is None else min(call, self._first_call)

    def _with_totals(self, node: Span, goal: BlobRef | None, texts: Content) -> Span:
        attributes = dict(node.attributes)
        if self._models:
            attributes["gen_ai.provider.name"] = PROVIDER
            attributes["gen_ai.request.model"] = self._models[0].model
            attributes["gen_ai.usage.input_tokens"] = sum(record.prompt_tokens for record in self._models)
            attributes["gen_ai.usage.output_tokens"] = sum(record.output_tokens for record in self._models)
        if goal is not None and goal.hash in texts:
            attributes["gen_ai.input.messages"] = _messages([{"role": "user", "content": texts[goal.hash]}])
        result = self._ended.result
        if result is not None and result.hash in texts:
            attributes["gen_ai.output.messages"] = _output(texts[result.hash], "stop")
        return replace(node, attributes=attributes)

    def _chat(self, record: ModelCalled, performer: Performer, texts: Content) -> Span:
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.conversation.id": self._ended.task,
            "gen_ai.request.model": record.model,
            "gen_ai.output.type": "json" if record.purpose == "act" else "text",
            "gen_ai.response.finish_reasons": (record.finish,),
            "gen_ai.response.time_to_first_chunk": record.first_token_ms / 1000,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "covey.model.purpose": record.purpose,
        }
        if record.prompt is not None and record.prompt.hash in texts:
            attributes["gen_ai.input.messages"] = _input(texts[record.prompt.hash])
        if record.output is not None and record.output.hash in texts:
            attributes["gen_ai.output.messages"] = _output(texts[record.output.hash], record.finish)
        end_ns = record.at_ms * NS_PER_MS
        return self._call(
            record.call or 0,
            f"chat {record.model}",
            performer,
            start_ns=end_ns - round(record.total_ms * NS_PER_MS),
            end_ns=end_ns,
            attributes=attributes,
            error="error" if record.finish == "error" else None,
        )

    def _executed(self, performer: Performer, texts: Content) -> list[tuple[int, Span]]:
        """By call: from its first intent to its result, or to the node's end if there is none."""
        spans = []
        for call in sorted({record.call for record in self._tools}):
            mine = [record for record in reversed(self._tools) if record.call == call]
            result = next((record for record in mine if isinstance(record, ToolResult)), None)
            intent = next((record for record in mine if isinstance(record, ToolIntent)), None)
            attributes: dict[str, Attribute] = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.conversation.id": self._ended.task,
                "gen_ai.tool.name": mine[0].tool,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": f"{self._ended.task}/{self._ended.node}/{call}",
            }
            if intent is not None and intent.arguments.hash in texts:
                attributes["gen_ai.tool.call.arguments"] = texts[intent.arguments.hash]
            if result is not None and result.result.hash in texts:
                attributes["gen_ai.tool.call.result"] = texts[result.result.hash]
            error = "unknown_outcome" if result is None else None if result.ok else "tool_failed"
            span = self._call(
                call,
                f"execute_tool {mine[0].tool}",
                performer,
                start_ns=mine[0].at_ms * NS_PER_MS,
                end_ns=(self._ended if result is None else result).at_ms * NS_PER_MS,
                attributes=attributes,
                error=error,
            )
            spans.append((call, span))
        return spans

    def _call(
        self,
        call: int,
        name: str,
        performer: Performer,
        *,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Attribute],
        error: str | None,
    ) -> Span:
        place = (self._ended.task, self._ended.node, self._ended.attempt)
        return _span(
            performer,
            trace_id=trace_id(self._ended.task),
            span_id=span_id(*place, call),
            parent_id=span_id(*place),
            name=name,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=attributes,
            error=error,
        )


def node_span(
    *,
    task: str,
    node: int,
    attempt: int,
    state: NodeState,
    reason: str | None,
    start_ns: int,
    end_ns: int,
    performer: Performer | None,
) -> Span:
    """A node that ended, by what is known of it anywhere. Without a performer it only gathers its children."""
    attributes: dict[str, Attribute] = {
        "gen_ai.operation.name": "invoke_workflow" if performer is None else "invoke_agent",
        "gen_ai.conversation.id": task,
        "covey.node": node,
        "covey.attempt": attempt,
        "covey.state": state.value,
    }
    if performer is None:
        attributes["gen_ai.workflow.name"] = WORKFLOW
        name = f"invoke_workflow {WORKFLOW}"
    else:
        attributes["gen_ai.agent.name"] = performer.name
        attributes["gen_ai.agent.id"] = performer.id
        name = f"invoke_agent {performer.name}"
    return _span(
        performer,
        trace_id=trace_id(task),
        span_id=span_id(task, node, attempt),
        # A tree is gathered by its first node; a device that holds one node of it knows no more than that.
        parent_id=None if node == ROOT else span_id(task, ROOT, 1),
        name=name,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=attributes,
        error=(reason or state.value) if state in _FAILED else None,
    )


def _span(
    performer: Performer | None,
    *,
    trace_id: bytes,
    span_id: bytes,
    parent_id: bytes | None,
    name: str,
    start_ns: int,
    end_ns: int,
    attributes: dict[str, Attribute],
    error: str | None,
) -> Span:
    if error is not None:
        attributes["error.type"] = error
    # A clock that was set back in between would make an operation end before it began.
    start_ns = max(0, start_ns)
    return Span(
        service=HUB_SERVICE if performer is None else DEVICE_SERVICE,
        instance=HUB if performer is None else performer.id,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        start_ns=start_ns,
        end_ns=max(start_ns, end_ns),
        attributes=attributes,
        error=error,
    )


def _input(prompt: str) -> str:
    """The journalled prompt (a JSON list of roles and contents) in the conventions' shape."""
    try:
        said = json.loads(prompt)
    except (ValueError, RecursionError):
        said = [{"role": "user", "content": prompt}]
    return _messages(said if isinstance(said, list) else [])


def _messages(said: Sequence[object]) -> str:
    return _json(
        [
            {
                "role": str(message.get("role", "user")),
                "parts": [{"type": "text", "content": str(message.get("content", ""))}],
            }
            for message in said
            if isinstance(message, dict)
        ]
    )


def _output(text: str, finish: str) -> str:
    parts = [{"type": "text", "content": text}]
    return _json([{"role": "assistant", "parts": parts, "finish_reason": finish}])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("/".join(("covey/1", *map(str, parts))).encode()).digest()

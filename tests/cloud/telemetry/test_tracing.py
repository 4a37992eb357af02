"""From ended work to the collector: the hub's spans are the device's own, without content unless it is asked for."""

import json
from collections.abc import Iterator, Sequence

import pytest

from cloud.adapters.traces_otlp import OtlpTraces
from cloud.ingest.applied import EndedNode
from cloud.telemetry.tracing import WAITING_MAX, HubTracer
from shared.blobs import Blob
from shared.clock import to_ms
from shared.records import ModelCalled
from shared.spans import Span
from shared.tasks.states import NodeState
from shared.traces import span_id, trace_id
from tests.cloud.hub_api import FleetDevice, HubApi
from tests.support.collector import Collector, collecting

GOAL, ANSWER, SAID = "open the turquoise valve", "It is wide open.", '{"action": "marmalade"}'


class KeptTraces:
    """A `Traces` that keeps what it is offered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    @property
    def counts(self) -> dict[str, int]:
        return {"exported": len(self.spans), "dropped": 0}


@pytest.fixture
def traces() -> KeptTraces:
    return KeptTraces()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def blob(text: str) -> Blob:
    return Blob(salt=bytes(16), content=text.encode())


def ask(hub: HubApi, *names: str) -> str:
    return str(hub.post("/v1/tasks", {"goal": GOAL, "devices": list(names)})["id"])


def work(device: FleetDevice, *, node: int = 0, state: NodeState = NodeState.SUCCEEDED) -> list[EndedNode]:
    """Fetch the offer, call model and tool, and end the node; what ingest says has ended."""
    offer = device.offer()
    task = offer.task
    device.move(task, NodeState.RUNNING, node=offer.node)
    prompt, output = blob(json.dumps([{"role": "user", "content": GOAL}])), blob(SAID)
    device.write(
        ModelCalled(
            at_ms=to_ms(device.hub.clock.now()),
            model="qwen",
            purpose="act",
            finish="stop",
            prompt_tokens=10,
            cached_tokens=0,
            output_tokens=5,
            first_token_ms=1.0,
            total_ms=2.0,
            task=task,
            node=offer.node,
            call=0,
            prompt=prompt.ref(),
            output=output.ref(),
        ),
        prompt,
        output,
    )
    device.call_tool(task, 1, node=offer.node)
    before = len(device.hub.ended)
    device.move(task, state, node=offer.node, result=ANSWER if state is NodeState.SUCCEEDED else None)
    return device.hub.ended[before:]


def tracer_of(hub: HubApi, traces: KeptTraces | OtlpTraces, *, with_content: bool = False) -> HubTracer:
    return HubTracer(database=hub.database, traces=traces, with_content=with_content)


def test_ended_node_is_told_with_its_calls(hub: HubApi, traces: KeptTraces) -> None:
    device = hub.device("oven-1")
    task = ask(hub, "oven-1")
    tracer = tracer_of(hub, traces)
    tracer.nodes_ended(work(device))
    tracer.tell()
    assert [span.name for span in traces.spans] == [
        "invoke_agent oven-1",
        "chat qwen",
        "execute_tool read_sensor",
    ]
    assert {span.trace_id for span in traces.spans} == {trace_id(task)}
    assert traces.spans[0].span_id == span_id(task, 0, 1)
    assert traces.spans[0].instance == "main.oven-1"


def test_node_is_told_by_its_end_alone(hub: HubApi) -> None:
    device = hub.device("oven-1")
    task = ask(hub, "oven-1")
    ended = work(device)
    assert len(ended) == 1
    device.move(task, NodeState.FAILED)  # late: it has ended
    assert hub.ended == ended


def test_telling_again_is_the_same_span(hub: HubApi, traces: KeptTraces) -> None:
    device = hub.device("oven-1")
    ask(hub, "oven-1")
    tracer = tracer_of(hub, traces)
    ended = work(device)
    for _ in range(2):
        tracer.nodes_ended(ended)
        tracer.tell()
    half = len(traces.spans) // 2
    assert traces.spans[:half] == traces.spans[half:]


def test_map_is_told_once_above_its_nodes(hub: HubApi, traces: KeptTraces) -> None:
    devices = [hub.device(f"oven-{number}") for number in range(2)]
    task = ask(hub, "oven-0", "oven-1")
    tracer = tracer_of(hub, traces)
    for device in devices:
        tracer.nodes_ended(work(device))
        tracer.tell()
    tracer.tasks_changed({task})
    tracer.tell()
    roots = [span for span in traces.spans if span.name == "invoke_workflow map"]
    assert len(roots) == 1
    agents = [span for span in traces.spans if span.name.startswith("invoke_agent")]
    assert {span.parent_id for span in agents} == {roots[0].span_id}


def test_what_the_hub_ended_itself_is_told_from_its_row(hub: HubApi, traces: KeptTraces) -> None:
    hub.device("oven-1")
    task = ask(hub, "oven-1")
    hub.clock.advance(seconds=hub.settings.task_deadline_s + 1)
    hub.sweep()
    tracer = tracer_of(hub, traces)
    tracer.tasks_changed({task})
    tracer.tell()
    (span,) = traces.spans
    assert (span.name, span.error, span.attributes["covey.state"]) == (
        "invoke_agent oven-1",
        "deadline",
        "expired",
    )


def test_no_content_is_in_any_byte_that_is_sent(hub: HubApi, collector: Collector) -> None:
    device = hub.device("oven-1")
    ask(hub, "oven-1")
    traces = OtlpTraces(url=collector.url, version="0.0.0")
    tracer = tracer_of(hub, traces)
    tracer.nodes_ended(work(device))
    tracer.tell()
    traces.close()
    assert len(collector.spans) == 3
    for text in (GOAL, ANSWER, SAID, "turquoise", "marmalade", "4.2"):
        assert text.encode() not in collector.raw
    assert tracer.counts == {"exported": 3, "dropped": 0, "skipped": 0}


def test_content_is_sent_where_it_is_asked_for(hub: HubApi, collector: Collector) -> None:
    device = hub.device("oven-1")
    ask(hub, "oven-1")
    traces = OtlpTraces(url=collector.url, version="0.0.0")
    tracer = tracer_of(hub, traces, with_content=True)
    tracer.nodes_ended(work(device))
    tracer.tell()
    traces.close()
    node, chat, tool = collector.spans
    assert GOAL in node.attributes["gen_ai.input.messages"]
    assert ANSWER in node.attributes["gen_ai.output.messages"]
    assert json.loads(chat.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == SAID
    assert tool.attributes["gen_ai.tool.call.result"] == "4.2"


def test_more_than_may_wait_is_skipped_and_counted(hub: HubApi, traces: KeptTraces) -> None:
    tracer = tracer_of(hub, traces)
    tracer.nodes_ended([EndedNode("main.oven-1", 1, seq) for seq in range(WAITING_MAX + 2)])
    assert tracer.counts["skipped"] == 2
    tracer.tell()
    assert traces.spans == []


def test_task_that_changes_often_waits_once(hub: HubApi, traces: KeptTraces) -> None:
    tracer = tracer_of(hub, traces)
    for _ in range(2 * WAITING_MAX):
        tracer.tasks_changed({"a-task"})
    assert tracer.counts["skipped"] == 0


def test_record_that_was_trimmed_costs_its_trace_only(hub: HubApi, traces: KeptTraces) -> None:
    device = hub.device("oven-1")
    ask(hub, "oven-1")
    (ended,) = work(device)
    tracer = tracer_of(hub, traces)
    tracer.nodes_ended([EndedNode(ended.principal, ended.lane_id, ended.seq + 1_000), ended])
    tracer.tell()
    assert len(traces.spans) == 3

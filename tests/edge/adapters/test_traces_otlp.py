"""Spans arrive at a real collector as they are; one that is away costs spans, which are counted, and nothing else.

Device and hub have the same adapter each, since neither may import the other: both keep this contract.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloud.adapters.traces_otlp import OtlpTraces as HubTraces
from edge.adapters.traces_otlp import OtlpTraces as EdgeTraces
from shared.spans import Span, SpanBacklog
from shared.tasks.states import NodeState
from shared.traces import Performer, node_span
from tests.support.collector import collecting
from tests.support.device import task_id_from
from tests.support.ports import free_port

TASK = task_id_from("task")
Kind = type[EdgeTraces] | type[HubTraces]


@pytest.fixture(params=[EdgeTraces, HubTraces], ids=["edge", "cloud"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@contextmanager
def traces_to(kind: Kind, url: str, **options: Any) -> Iterator[EdgeTraces | HubTraces]:
    traces = kind(url=url, version="0.1.0", **options)
    try:
        yield traces
    finally:
        traces.close()


def span(node: int = 0, *, state: NodeState = NodeState.SUCCEEDED) -> Span:
    return node_span(
        task=TASK,
        node=node,
        attempt=1,
        state=state,
        reason=None,
        start_ns=1_000,
        end_ns=2_000,
        performer=Performer(name="fridge-1", id="acme.fridge-1"),
    )


def test_span_arrives_as_it_is(kind: Kind) -> None:
    with collecting() as collector, traces_to(kind, collector.url) as traces:
        traces.offer([span(1, state=NodeState.FAILED)])
        (arrived,) = collector.wait_for_spans(1)
    sent = span(1, state=NodeState.FAILED)
    assert arrived.trace_id == sent.trace_id.hex()
    assert arrived.span_id == sent.span_id.hex()
    assert arrived.parent_id == (sent.parent_id or b"").hex()
    assert (arrived.name, arrived.start_ns, arrived.end_ns) == (sent.name, 1_000, 2_000)
    assert arrived.is_error
    assert arrived.attributes == sent.attributes
    assert arrived.resource == {"service.name": "covey-edge", "service.instance.id": "acme.fridge-1"}


def test_closing_delivers_what_waits(kind: Kind) -> None:
    with collecting() as collector:
        with traces_to(kind, f"{collector.url}/v1/traces") as traces:
            traces.offer([span(node) for node in range(300)])
        assert len(collector.spans) == 300
        assert traces.counts == {"exported": 300, "dropped": 0}


@pytest.mark.parametrize("is_listening", [True, False])
def test_spans_for_a_collector_that_takes_none_are_dropped_and_counted(
    kind: Kind, is_listening: bool
) -> None:
    with collecting(status=400) as collector:
        url = collector.url if is_listening else f"http://127.0.0.1:{free_port()}"
        with traces_to(kind, url, timeout_s=0.2) as traces:
            traces.offer([span(0), span(1)])
        assert traces.counts == {"exported": 0, "dropped": 2}


def test_full_backlog_drops_and_counts(kind: Kind) -> None:
    with collecting() as collector:
        with traces_to(kind, collector.url, backlog=SpanBacklog(max_spans=2)) as traces:
            traces.offer([span(0), span(1), span(2)])
        assert traces.counts == {"exported": 2, "dropped": 1}


def test_offering_after_the_end_is_harmless(kind: Kind) -> None:
    traces = kind(url="http://127.0.0.1:9", version="0.1.0")
    traces.close()
    traces.offer([span()])
    assert traces.counts["exported"] == 0


def test_environment_does_not_get_into_what_is_sent(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "leaked=yes")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "leaked")
    with collecting() as collector, traces_to(kind, collector.url) as traces:
        traces.offer([span()])
        collector.wait_for_spans(1)
        assert b"leaked" not in collector.raw

"""From work to the collector: a device's spans as they arrive, and the proof that no content is among them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.traces_otlp import OtlpTraces
from edge.ports import Draft
from edge.tracing import ENDED_MAX, PAGE_RECORDS, Tracer
from shared.blobs import Blob
from shared.errors import UnavailableError
from shared.ids import Lane
from shared.log import Entry
from shared.records import DeviceStarted, NodeMoved, TaskCreated
from shared.spans import Span
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from shared.traces import Performer, span_id, trace_id
from tests.support.agent import ANSWER, Probe, act
from tests.support.collector import Collector, collecting
from tests.support.daemon import daemon_in
from tests.support.device import task_id_from
from tests.support.model import ScriptedModel
from tests.support.store import opened_journal
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

GOAL, SAID, DONE = "please open the turquoise valve", "It is wide open now.", "marmalade"
FRIDGE = Performer(name="fridge-1", id="acme.fridge-1")


class KeptTraces:
    """A `Traces` that keeps what it is offered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    @property
    def counts(self) -> dict[str, int]:
        return {"exported": len(self.spans), "dropped": 0}


@asynccontextmanager
async def running(tracer: Tracer) -> AsyncIterator[None]:
    task = asyncio.create_task(tracer.run(), name="traces")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def tracer_over(journal: SqliteJournal, **changes: Any) -> tuple[Tracer, KeptTraces]:
    traces = KeptTraces()
    given: dict[str, Any] = {
        "traces": traces,
        "log": journal,
        "journal": journal,
        "work": journal,
        "performer": FRIDGE,
        "with_content": False,
    }
    return Tracer(**{**given, **changes}), traces


async def do_work(home: Path, collector: Collector, **settings: Any) -> str:
    """A task with a tool call on a real daemon; returns its id when its spans have arrived."""

    async def outcome(_arguments: object) -> object:
        return {"summary": DONE}

    valve = Probe("valve", outcome=outcome)
    model = ScriptedModel(act("valve", to="open"), ANSWER, SAID)
    traces = OtlpTraces(url=collector.url, version="0.1.0")
    try:
        async with daemon_in(home, model, tools=[valve.tool()], traces=traces, **settings) as device:
            task = (await device.client.post("/tasks", json={"goal": GOAL})).json()["task"]
            await asyncio.to_thread(collector.wait_for_spans, 5)
            page = (await device.client.get("/metrics")).text
            assert 'covey_edge_spans_total{event="dropped"} 0.0' in page
    finally:
        await asyncio.to_thread(traces.close)
    return str(task)


async def test_task_of_a_device_arrives_as_a_trace_without_a_word_of_content(tmp_path: Path) -> None:
    with collecting() as collector:
        task = await do_work(tmp_path, collector)
        spans = {span.span_id: span for span in collector.spans}
        root = spans[span_id(task, 0, 1).hex()]
        assert {span.trace_id for span in spans.values()} == {trace_id(task).hex()}
        assert [span.name for span in spans.values() if span.parent_id == root.span_id] == [
            "chat scripted",
            "execute_tool valve",
            "chat scripted",
            "chat scripted",
        ]
        for text in (GOAL, SAID, DONE, "turquoise", "wide open"):
            assert text.encode() not in collector.raw
        assert b"valve" in collector.raw  # a tool's name is structure


async def test_content_arrives_where_it_is_asked_for(tmp_path: Path) -> None:
    with collecting() as collector:
        task = await do_work(tmp_path, collector, otlp_content=True)
        for text in (GOAL, SAID, DONE):
            assert text.encode() in collector.raw
        root = next(span for span in collector.spans if span.span_id == span_id(task, 0, 1).hex())
        assert GOAL in root.attributes["gen_ai.input.messages"]
        assert SAID in root.attributes["gen_ai.output.messages"]


async def test_work_begun_before_a_restart_is_told_whole(tmp_path: Path) -> None:
    """What a tracer did not witness itself it reads in the journal, also over page ends."""
    task = task_id_from("task")
    goal = Blob(salt=bytes(16), content=GOAL.encode())
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        begun = NodeMoved(at_ms=1_000, causes=(1,), task=task, node=0, attempt=1, state=NodeState.RUNNING)
        created = TaskCreated(at_ms=1, task=task, goal=goal.ref(), limits=Limits())
        await journal.append(Draft(created, (goal,)), Draft(begun), durable=False)
        noise = DeviceStarted(at_ms=5, version="0.1.0", was_clean=True)
        await journal.append(*[Draft(noise)] * (2 * PAGE_RECORDS), durable=False)
        ended = Draft(begun.model_copy(update={"at_ms": 9_000, "state": NodeState.SUCCEEDED}))
        (seq,) = await journal.append(ended, durable=False)

        tracer, traces = tracer_over(journal, with_content=True)
        tracer.witness(seq, ended)
        async with running(tracer):
            (span,) = await eventually(lambda: traces.spans)
    assert (span.start_ns, span.end_ns) == (1_000 * 10**6, 9_000 * 10**6)
    assert GOAL in span.attributes["gen_ai.input.messages"]


async def test_more_ended_nodes_than_may_wait_are_skipped_and_counted(tmp_path: Path) -> None:
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        tracer, _ = tracer_over(journal)
        ended = NodeMoved(
            at_ms=1, task=task_id_from("task"), node=0, attempt=1, state=NodeState.CANCELLED, reason="asked"
        )
        for seq in range(1, ENDED_MAX + 3):
            tracer.witness(seq, Draft(ended))
        assert tracer.counts["skipped"] == 2


async def test_store_that_cannot_be_read_costs_one_trace(tmp_path: Path) -> None:
    class Broken:
        async def tail(self, name: Lane, *, after: int, limit: int) -> tuple[Entry, ...]:
            raise UnavailableError("The store could not be read.")

    async with opened_journal(tmp_path / "store.sqlite") as journal:
        tracer, traces = tracer_over(journal, log=Broken())
        ended = NodeMoved(at_ms=1, task=task_id_from("task"), node=0, attempt=1, state=NodeState.SUCCEEDED)
        tracer.witness(1, Draft(ended))
        async with running(tracer):
            await eventually(lambda: tracer.counts["skipped"] == 1)
    assert traces.spans == []

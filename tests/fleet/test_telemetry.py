"""What a device measures and does, seen from the hub: the same values, and the same spans as the device's own."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlmodel import Session

from cloud.telemetry.tables import DeviceMetrics
from cloud.telemetry.tracing import HubTracer
from shared.ids import Lane
from shared.records import MetricsWindow
from shared.spans import Span
from tests.fleet.in_memory import MemoryFleet, eventually, use
from tests.support.model import ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

ANSWER = "The fridge is at 4.2 °C, within its range."


class KeptTraces:
    """A `Traces` that keeps what it is offered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    @property
    def counts(self) -> dict[str, int]:
        return {"exported": len(self.spans), "dropped": 0}


async def test_what_a_device_measures_is_known_at_the_hub(tmp_path: Path) -> None:
    async with (
        MemoryFleet(tmp_path) as fleet,
        fleet.device("fridge-1", ScriptedModel(), telemetry_sample_s=0.1, telemetry_window_s=0.1) as device,
    ):

        async def latest() -> dict[str, float]:
            def read() -> dict[str, float]:
                with Session(fleet.database.engine) as session:
                    row = session.get(DeviceMetrics, device.principal)
                    known = {} if row is None else row.latest
                    return {name: told["value"] for name, told in known.items()}

            return await asyncio.to_thread(read)

        found = await eventually("the sensor's value", latest)
        assert found["sensor.fridge"] == 4.2
        assert {"tasks.open", "lane.journal.waiting", "lane.metrics.waiting_bytes"} <= set(found)
        windows = await fleet.log(device, Lane.METRICS)
        assert all(isinstance(line.record, MetricsWindow) for line in windows)
        reports = {report.lane: report.problem for report in await fleet.verify(device)}
        assert reports["metrics"] is None


async def test_device_and_hub_tell_the_same_spans_of_the_same_work(tmp_path: Path) -> None:
    model = ScriptedModel(use("read_sensor", sensor="fridge"), use("answer"), ANSWER)
    told = KeptTraces()
    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", model, traces=told) as device:
        task = await fleet.create_task("How warm is the fridge?", device)
        await fleet.ended(task)

        async def own_spans() -> list[Span]:
            return told.spans

        await eventually("the device's own spans", own_spans)
        at_hub = KeptTraces()
        tracer = HubTracer(database=fleet.database, traces=at_hub, with_content=False)
        tracer.nodes_ended(fleet.nodes_ended)
        await asyncio.to_thread(tracer.tell)
    assert len(told.spans) == 5
    assert at_hub.spans == told.spans

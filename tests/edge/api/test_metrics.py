"""`GET /metrics` of a running device, as Prometheus scrapes it: with the token, and in a form that it reads."""

from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.agent import ANSWER
from tests.support.daemon import RunningDaemon, daemon_in
from tests.support.model import ScriptedModel
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def scrape(device: RunningDaemon) -> dict[tuple[str, ...], float]:
    response = await device.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_metrics_need_the_device_s_token(tmp_path: Path) -> None:
    async with (
        daemon_in(tmp_path, ScriptedModel()) as device,
        httpx.AsyncClient(base_url=device.url, trust_env=False) as stranger,
    ):
        assert (await stranger.get("/metrics")).status_code == 401


async def test_device_tells_logs_link_work_and_tokens(tmp_path: Path) -> None:
    model = ScriptedModel(ANSWER, "It is noon, as far as I can tell from here.")
    async with daemon_in(tmp_path, model, telemetry_sample_s=0.1, telemetry_window_s=0.1) as device:
        await device.client.post(
            "/v1/chat/completions",
            json={"model": "scripted", "messages": [{"role": "user", "content": "What time is it?"}]},
        )
        await eventually(lambda: device.daemon.telemetry.counts.get("windows", 0) >= 1)
        found = await scrape(device)
    assert found["covey_edge_link_state", "not enrolled"] == 1
    assert found["covey_edge_tasks_open",] == 0
    assert found["covey_edge_lane_head", "journal"] >= 2
    assert found["covey_edge_lane_waiting_records", "journal"] == found["covey_edge_lane_head", "journal"]
    assert found["covey_edge_lane_head", "metrics"] >= 1
    assert found["covey_edge_lane_waiting_bytes", "metrics"] > 0
    assert found["covey_edge_model_tokens_total", "output"] > 0
    assert found["covey_edge_telemetry_total", "windows"] >= 1
    assert ("covey_edge_measurement", "tasks.open", "") in found


async def test_device_without_telemetry_still_tells_its_logs(tmp_path: Path) -> None:
    async with daemon_in(tmp_path, ScriptedModel(), telemetry="off") as device:
        found = await scrape(device)
    assert found["covey_edge_lane_head", "journal"] >= 1
    assert [key for key in found if key[0] == "covey_edge_measurement"] == []

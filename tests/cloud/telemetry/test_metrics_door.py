"""A process without the API has a small door of its own for Prometheus: HTTPS, the admin token, and nothing else."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from cloud import server
from cloud.roles import Role
from cloud.settings import HubSettings
from cloud.wiring import open_hub
from tests.support.ports import accepts, free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

WAIT_S = 20.0


async def test_ingest_process_tells_its_metrics_at_a_port_of_its_own(tmp_path: Path) -> None:
    port, broker_port = free_ports(2)
    settings = HubSettings(
        home=tmp_path / "hub", mqtt_url=f"mqtts://127.0.0.1:{broker_port}", metrics_port=port
    )
    opened = open_hub(settings, Role.INGEST, has_own_broker=False)
    parts = await asyncio.to_thread(opened.__enter__)
    running = asyncio.create_task(server.run(parts, lambda: None), name="hub")
    try:
        token = settings.admin_token_file.read_text().strip()
        verified = ssl.create_default_context(cafile=str(settings.identity_directory / "ca.pem"))
        await eventually(lambda: running.done() or accepts(port))
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=verified, trust_env=False, timeout=WAIT_S
        ) as client:
            assert (await client.get("/metrics")).status_code == 401
            authorized = {"Authorization": f"Bearer {token}"}
            page = await client.get("/metrics", headers=authorized)
            assert page.status_code == 200
            assert 'role="ingest"' in page.text
            assert 'covey_hub_ingest_total{event="dropped"} 0.0' in page.text
            assert (await client.get("/v1/devices", headers=authorized)).status_code == 404
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(opened.__exit__, None, None, None)


def test_ingest_process_without_the_setting_has_no_door(tmp_path: Path) -> None:
    settings = HubSettings(home=tmp_path / "hub", mqtt_url="mqtts://127.0.0.1:1")
    with open_hub(settings, Role.INGEST, has_own_broker=False) as parts:
        assert parts.web is None
        assert parts.aside is None
        assert not settings.admin_token_file.exists()


def test_process_with_the_api_tells_its_metrics_there(tmp_path: Path) -> None:
    settings = HubSettings(
        home=tmp_path / "hub", mqtt_url="mqtts://127.0.0.1:1", metrics_port=1, dashboard="off"
    )
    with open_hub(settings, Role.API, has_own_broker=False) as parts:
        assert parts.aside is None
        assert parts.web is not None
        assert "/metrics" in parts.web.app.openapi()["paths"]

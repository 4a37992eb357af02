"""`GET /metrics` of the hub: Prometheus' own parser reads it, and its figures are those of the fleet."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import col, update

from cloud.app import create_app
from cloud.devices.presence import PresenceState
from cloud.devices.tables import DeviceStatus
from cloud.journal.tables import LaneGap, LaneRow
from cloud.telemetry.scrape import IngestNumbers, Told, scrape_routes
from shared.ids import Lane
from shared.tasks.states import NodeState
from tests.cloud.hub_api import ADMIN_TOKEN, HubApi

TOLD = Told(version="0.0.0", role="all", ingest=None, spans=None, leads=lambda: True, refused=dict)


@contextmanager
def scraped(hub: HubApi, told: Told = TOLD, *, token: str = ADMIN_TOKEN) -> Iterator[TestClient]:
    scrape = scrape_routes(
        database=hub.database, clock=hub.clock, limits=hub.settings.presence_limits, told=told
    )
    app = create_app(
        version="0.0.0",
        admin_token=ADMIN_TOKEN,
        body_max_bytes=16_384,
        routers=[scrape],
    )
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def figures(hub: HubApi, told: Told = TOLD) -> dict[tuple[str, ...], float]:
    """By the name of the sample and the values of its labels, which come in the order of the labels' names."""
    with scraped(hub, told) as client:
        response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_metrics_need_the_admin_token_like_everything(hub: HubApi) -> None:
    with scraped(hub, token="wrong") as client:
        assert client.get("/metrics").status_code == 401


def test_devices_are_counted_by_status_and_presence(hub: HubApi) -> None:
    for number in range(3):
        hub.device(f"oven-{number}", is_online=number > 0)
    hub.device("fridge-1").set_status(DeviceStatus.QUARANTINED)
    hub.clock.advance(seconds=60)
    found = figures(hub)
    active = {
        presence.value: found["covey_hub_devices", presence.value, "active"] for presence in PresenceState
    }
    assert active == {"online": 2, "stale": 0, "offline": 1, "lost": 0}
    quarantined = {
        presence: found["covey_hub_devices", presence.value, "quarantined"] for presence in PresenceState
    }
    assert sum(quarantined.values()) == 1


def test_ingest_counters_are_this_process_s(hub: HubApi) -> None:
    numbers = IngestNumbers(
        counts={"messages": 7, "records": 40, "refused.replay": 2, "dropped": 1}, fill={"live": 0.25}
    )
    told = Told(
        version="0.0.0",
        role="ingest",
        ingest=lambda: numbers,
        spans=lambda: {"exported": 3, "dropped": 1},
        leads=lambda: False,
        refused=lambda: {"unauthorized": 2},
    )
    found = figures(hub, told)
    assert found["covey_hub_refused_requests_total", "unauthorized"] == 2
    assert found["covey_hub_info", "ingest", "0.0.0"] == 1
    assert found["covey_hub_leads",] == 0
    assert found["covey_hub_ingest_total", "records"] == 40
    assert found["covey_hub_ingest_total", "dropped"] == 1
    assert found["covey_hub_refused_messages_total", "replay"] == 2
    assert found["covey_hub_inbox_fill_ratio", "live"] == 0.25
    assert found["covey_hub_spans_total", "dropped"] == 1
    assert found["process_resident_memory_bytes",] > 1_000_000


def test_open_work_lag_and_gaps_are_those_of_the_database(hub: HubApi) -> None:
    device = hub.device("oven-1")
    hub.post("/v1/tasks", {"goal": "How warm is it?", "devices": ["oven-1"]})
    task = hub.post("/v1/tasks", {"goal": "And now?", "devices": ["oven-1"]})["id"]
    found = figures(hub)
    assert found["covey_hub_open_nodes", "queued"] == 2
    assert found["covey_hub_lag_records", "orders"] == 2
    device.fetch_orders()
    device.move(task, NodeState.RUNNING)
    with hub.database.write() as session:
        session.execute(
            update(LaneRow)
            .where(col(LaneRow.lane) == Lane.JOURNAL.value)
            .values(writer_head=col(LaneRow.head_seq) + 100, writer_bytes=5_000)
        )
        (key,) = session.execute(
            update(LaneRow)
            .where(col(LaneRow.lane) == Lane.JOURNAL.value)
            .values(credit=0)
            .returning(col(LaneRow.id))
        ).one()
        session.add(
            LaneGap(
                lane_id=key,
                first_seq=11,
                last_seq=30,
                after_hash=bytes(32),
                reason="lost",
                at=hub.clock.now(),
            )
        )
    found = figures(hub)
    assert found["covey_hub_open_nodes", "running"] == 1
    assert found["covey_hub_lag_records", "orders"] == 0
    assert found["covey_hub_lag_records", "journal"] == 100
    assert found["covey_hub_lag_bytes", "journal"] == 5_000
    assert found["covey_hub_gaps", "lost"] == 1
    assert found["covey_hub_missing_records", "lost"] == 20
    assert found["covey_hub_dead_letters",] == 0

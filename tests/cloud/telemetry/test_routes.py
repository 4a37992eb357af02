"""What people ask about metrics, over HTTP: newest values, and one series as windows, hours or fewer points."""

from datetime import timedelta
from typing import Any

import pytest

from cloud.telemetry.roll_up import roll_up
from cloud.telemetry.service import POINTS_MAX
from shared.clock import MAX_MS, from_ms
from tests.cloud.hub_api import HubApi
from tests.cloud.telemetry.measured import minutes, store, store_each, window
from tests.support.clock import START

OVEN = "main.oven-1"
PATH = "/v1/devices/oven-1/metrics"


@pytest.fixture(autouse=True)
def _oven(hub: HubApi) -> None:
    hub.device("oven-1")


def rolled_up(hub: HubApi) -> None:
    roll_up(hub.database, hub.clock.now(), raw_keep_s=86_400, hours_keep_days=90)


def series(hub: HubApi, name: str = "load", **params: Any) -> Any:
    return hub.get(f"{PATH}/{name}", **params)


def test_device_that_measured_nothing_has_no_values(hub: HubApi) -> None:
    assert hub.get(PATH) == {"principal": OVEN, "at": None, "shed": 0, "series": []}
    assert series(hub)["points"] == []


def test_newest_values_are_told_by_series(hub: HubApi) -> None:
    store(
        hub.database,
        [window(START, 20.5, name="sensor.oven", unit="°C"), window(START, 1.0)],
        principal=OVEN,
    )
    view = hub.get(PATH)
    assert view["at"] == "2026-01-01T12:00:00Z"
    assert [(each["series"], each["value"], each["unit"]) for each in view["series"]] == [
        ("load", 1.0, ""),
        ("sensor.oven", 20.5, "°C"),
    ]


def test_recent_range_is_told_in_windows(hub: HubApi) -> None:
    store(hub.database, minutes(180), principal=OVEN)
    hub.clock.set(START + timedelta(minutes=180))
    view = series(hub, **{"from": "2026-01-01T13:00:00Z", "to": "2026-01-01T13:30:00Z"})
    assert view["resolution"] == "raw"
    assert [point["last"] for point in view["points"]] == list(range(61, 91))
    assert view["points"][0]["at"] == "2026-01-01T13:01:00Z"
    assert view["points"][0]["span_s"] == 60.0


def test_long_range_is_told_in_hours(hub: HubApi) -> None:
    store(hub.database, minutes(180), principal=OVEN)
    rolled_up(hub)
    hub.clock.set(START + timedelta(days=3))
    view = series(hub, **{"from": "2025-12-01T00:00:00Z"})
    assert view["resolution"] == "hour"
    assert [(point["count"], point["min"], point["max"], point["mean"]) for point in view["points"]] == [
        (60, 0.0, 59.0, 29.5),
        (60, 60.0, 119.0, 89.5),
        (60, 120.0, 179.0, 149.5),
    ]
    assert view["points"][0]["at"] == "2026-01-01T13:00:00Z"


def test_range_of_which_the_windows_have_gone_is_told_in_hours(hub: HubApi) -> None:
    store(hub.database, minutes(60), principal=OVEN)
    hub.clock.set(START + timedelta(days=30))
    rolled_up(hub)
    view = series(hub, **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T18:00:00Z"})
    assert (view["resolution"], len(view["points"])) == ("hour", 1)
    asked = series(hub, resolution="raw", **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T18:00:00Z"})
    assert (asked["resolution"], asked["points"]) == ("raw", [])


def test_many_windows_are_thinned_out_without_losing_an_extreme(hub: HubApi) -> None:
    records = minutes(POINTS_MAX + 200)
    records[700] = window(START + timedelta(minutes=700), -1_000.0)
    store(hub.database, records, principal=OVEN)
    hub.clock.set(START + timedelta(minutes=POINTS_MAX + 200))
    view = series(hub, **{"from": "2026-01-01T00:00:00Z", "resolution": "raw"})
    assert len(view["points"]) == (POINTS_MAX + 200) // 2
    assert min(point["min"] for point in view["points"]) == -1_000.0
    assert sum(point["count"] for point in view["points"]) == POINTS_MAX + 200


def test_windows_of_a_clock_that_jumped_are_told_in_the_order_of_time(hub: HubApi) -> None:
    late, early = START + timedelta(minutes=5), START + timedelta(minutes=1)
    store(hub.database, [window(late, 5.0), window(early, 1.0)], principal=OVEN)
    hub.clock.set(START + timedelta(hours=1))
    assert [point["last"] for point in series(hub)["points"]] == [1.0, 5.0]


def test_windows_of_every_epoch_are_told(hub: HubApi) -> None:
    store(hub.database, [window(START + timedelta(minutes=1), 1.0)], principal=OVEN, epoch="first")
    store(hub.database, [window(START + timedelta(minutes=2), 2.0)], principal=OVEN, epoch="second")
    hub.clock.set(START + timedelta(hours=1))
    assert [point["last"] for point in series(hub)["points"]] == [1.0, 2.0]


def test_windows_of_other_devices_are_not_told(hub: HubApi) -> None:
    hub.device("oven-2")
    store_each(hub.database, minutes(3), ["main.oven-2"])
    hub.clock.set(START + timedelta(hours=1))
    assert series(hub)["points"] == []


def test_name_of_a_series_may_hold_slashes(hub: HubApi) -> None:
    store(hub.database, [window(START, 1.0, name="disk/free")], principal=OVEN)
    hub.clock.set(START + timedelta(hours=1))
    assert len(series(hub, "disk/free")["points"]) == 1


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, 422, "range_invalid"),
        ({"from": "0001-01-01T00:00:00+14:00"}, 422, "range_invalid"),
        ({"from": "2026-01-02T00:00:00"}, 422, "invalid"),
        ({"from": "yesterday"}, 422, "invalid"),
        ({"resolution": "minute"}, 422, "invalid"),
    ],
)
def test_range_that_makes_no_sense_is_refused(
    hub: HubApi, params: dict[str, str], status: int, code: str
) -> None:
    response = hub.client.get(f"{PATH}/load", params=params)
    assert response.json()["code"] == code
    assert response.status_code == status


@pytest.mark.parametrize("to", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"])
def test_range_before_all_records_is_empty(hub: HubApi, to: str) -> None:
    response = hub.client.get(f"{PATH}/load", params={"to": to})
    assert response.status_code in (200, 422)


def test_window_at_the_end_of_time_is_told(hub: HubApi) -> None:
    store(hub.database, [window(from_ms(MAX_MS))], principal=OVEN)
    rolled_up(hub)
    for resolution in ("raw", "hour"):
        view = series(hub, resolution=resolution, to="9999-12-31T23:59:59.999Z")
        assert len(view["points"]) == 1


def test_device_that_is_not_there_is_refused(hub: HubApi) -> None:
    assert hub.refusal("GET", "/v1/devices/nobody/metrics") == (404, "device_unknown")
    assert hub.refusal("GET", "/v1/devices/nobody/metrics/load") == (404, "device_unknown")

"""Desired settings on their way to devices, and what comes back: scripted devices at the real hub."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from cloud.journal.tables import BlobRow, RecordRow
from shared.blobs import BlobRef
from shared.clock import to_ms
from shared.ids import HUB, Lane, LaneId
from shared.records import DeviceStarted, Record, TwinDesired, TwinReported
from shared.twin import Document, parse
from tests.cloud.hub_api import FleetDevice, HubApi, text_blob
from tests.cloud.twins.test_layers import FLEET, SITE, patch, put
from tests.support.device import ScriptedLog, bytes_from


def ordered(device: FleetDevice) -> list[tuple[int, Document]]:
    """The settings among the device's new orders: revision and document."""
    return contents(device.hub, device.fetch_orders())


def contents(hub: HubApi, records: list[Record]) -> list[tuple[int, Document]]:
    found = [record for record in records if isinstance(record, TwinDesired)]
    return [(record.revision, content(hub, record.document)) for record in found]


def content(hub: HubApi, ref: BlobRef) -> Document:
    with hub.database.read() as session:
        row = session.get(BlobRow, ref.hash)
    assert row is not None
    return parse(row.content)


def report(
    device: FleetDevice,
    revision: int,
    change: str,
    *,
    is_whole: bool = False,
    refused: tuple[tuple[str, str], ...] = (),
) -> None:
    blob = text_blob(change)
    record = TwinReported(
        at_ms=to_ms(device.hub.clock.now()),
        revision=revision,
        patch=blob.ref(),
        is_whole=is_whole,
        refused=refused,
    )
    device.write(record, blob)


def twin(device: FleetDevice) -> Any:
    return device.hub.get(f"/v1/devices/{device.principal}/twin")


def test_a_device_is_ordered_what_its_layers_come_to_and_says_what_it_runs(hub: HubApi) -> None:
    fridge = hub.device("fridge-1", labels={"site": "berlin", "group": "fridges"})
    put(hub, FLEET, {"log_level": "info", "hello_interval_s": 60, "custom": {"a": 1, "list": [1, 2]}})
    put(hub, SITE, {"hello_interval_s": None, "custom": {"list": [3]}})
    put(hub, "/v1/twins/group/fridges", {"log_level": "debug"})
    put(hub, "/v1/twins/device/fridge-1", {"custom": {"a": None, "b": 2}})
    put(hub, "/v1/twins/site/paris", {"log_level": "error"})
    assert hub.fanout.round() == 0
    assert hub.orders_for == {fridge.principal}
    before = twin(fridge)
    assert (before["state"], before["revision"], before["ordered"]["is_acknowledged"]) == ("never", 4, False)

    desired = {"log_level": "debug", "custom": {"list": [3], "b": 2}}
    assert ordered(fridge) == [(4, desired)]
    assert twin(fridge)["ordered"] == {"revision": 4, "at": "2026-01-01T12:00:00Z", "is_acknowledged": True}

    report(
        fridge, 4, '{"log_level":"debug","custom":{"list":[3],"b":1},"answer_max_tokens":256}', is_whole=True
    )
    shown = twin(fridge)
    assert shown["desired"] == desired
    assert shown["difference"] == {"custom": {"b": 2}}
    assert shown["reported"]["document"]["answer_max_tokens"] == 256
    assert [(layer["scope"], layer["revision"]) for layer in shown["layers"]] == [
        ("fleet", 1),
        ("site", 1),
        ("group", 1),
        ("device", 1),
    ]
    assert shown["state"] == "in_sync"
    report(fridge, 4, '{"custom":{"b":2}}')
    assert twin(fridge)["difference"] == {}


@pytest.mark.slow
def test_a_device_that_was_away_goes_straight_to_the_latest(hub: HubApi) -> None:
    fridge = hub.device("fridge-1", is_online=False)
    for number in range(50):
        patch(hub, FLEET, {"custom": {"n": number}})
        hub.fanout.round()
    assert hub.orders_for == set()
    assert twin(fridge)["ordered"] is None
    hub.clock.advance(timedelta(days=30))
    fridge.hello()
    assert ordered(fridge) == [(50, {"custom": {"n": 49}})]
    assert ordered(fridge) == []
    assert fridge.scripted.orders is not None
    assert len(fridge.scripted.orders.entries) == 1


def test_what_moves_on_before_the_acknowledgement_is_ordered_after_it_and_only_the_latest(
    hub: HubApi,
) -> None:
    fridge = hub.device("fridge-1")
    patch(hub, FLEET, {"custom": {"n": 1}})
    hub.fanout.round()
    for number in range(2, 6):
        patch(hub, FLEET, {"custom": {"n": number}})
        hub.fanout.round()
    assert ordered(fridge) == [(1, {"custom": {"n": 1}})]
    assert ordered(fridge) == [(5, {"custom": {"n": 5}})]
    assert ordered(fridge) == []


def test_only_devices_of_the_changed_layer_get_an_order(hub: HubApi) -> None:
    berlin = hub.device("fridge-1", labels={"site": "berlin"})
    paris = hub.device("fridge-2", labels={"site": "paris"})
    plain = hub.device("fridge-3")
    put(hub, SITE, {"log_level": "debug"})
    hub.fanout.round()
    assert ordered(berlin) == [(1, {"log_level": "debug"})]
    assert ordered(paris) == ordered(plain) == []
    assert twin(plain)["state"] == "never"
    report(plain, 0, "{}", is_whole=True)
    assert twin(plain)["state"] == "in_sync"


def test_nothing_is_ordered_of_a_device_that_is_not_listening_or_not_trusted(hub: HubApi) -> None:
    away = hub.device("away", is_online=False)
    quarantined = hub.device("quarantined")
    quarantined.set_status("quarantined")
    put(hub, FLEET, {"log_level": "debug"})
    hub.fanout.round()
    assert hub.orders_for == set()
    assert twin(away)["ordered"] is None
    assert twin(quarantined)["ordered"] is None


def test_a_fleet_shares_one_copy_of_a_document(hub: HubApi) -> None:
    devices = [hub.device(f"fridge-{number}") for number in range(3)]
    put(hub, FLEET, {"log_level": "debug"})
    hub.fanout.round()
    hub.fanout.round()
    assert all(ordered(device) == [(1, {"log_level": "debug"})] for device in devices)
    put(hub, FLEET, {})
    hub.fanout.round()
    assert all(ordered(device) == [(2, {})] for device in devices)
    put(hub, FLEET, {"log_level": "debug"})
    hub.fanout.round()
    with hub.database.read() as session:
        blobs = session.exec(select(BlobRow)).all()
        records = session.exec(select(RecordRow).where(RecordRow.kind == "twin.desired")).all()
    assert {row.principal for row in blobs} == {HUB}
    assert (len(blobs), len(records)) == (2, 9)


def test_a_device_with_a_new_store_is_ordered_anew(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    fridge.write(DeviceStarted(at_ms=1, version="0.1.0", was_clean=True))
    put(hub, FLEET, {"log_level": "debug"})
    hub.fanout.round()
    assert ordered(fridge) == [(1, {"log_level": "debug"})]
    report(fridge, 1, '{"log_level":"debug"}', is_whole=True)
    assert twin(fridge)["state"] == "in_sync"

    fridge.scripted.journal = ScriptedLog(LaneId(fridge.principal, Lane.JOURNAL, bytes_from("new store")))
    fridge.scripted.orders = None
    fridge.scripted.journal.append(DeviceStarted(at_ms=2, version="0.1.0", was_clean=True))
    fridge.hello()
    assert fridge.scripted.orders is None
    fridge.send(first=1)
    assert ordered(fridge) == [(1, {"log_level": "debug"})]
    report(fridge, 0, '{"log_level":"info"}', is_whole=True)
    assert twin(fridge)["state"] == "pending"
    report(fridge, 1, '{"log_level":"debug"}')
    assert twin(fridge)["state"] == "in_sync"


def test_a_device_that_runs_what_nobody_desires_any_more_is_told_so(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    report(fridge, 7, '{"log_level":"debug"}', is_whole=True)
    assert twin(fridge)["state"] == "pending"
    hub.fanout.round()
    assert ordered(fridge) == [(0, {})]


def test_what_a_device_could_not_take_up_is_told(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    put(hub, FLEET, {"log_level": "loud", "hello_interval_s": 60})
    hub.fanout.round()
    ordered(fridge)
    report(
        fridge,
        1,
        '{"log_level":"info","hello_interval_s":60}',
        is_whole=True,
        refused=(("log_level", "invalid"),),
    )
    shown = twin(fridge)
    assert (shown["state"], shown["refused"]) == ("refused", {"log_level": "invalid"})
    assert shown["difference"] == {"log_level": "loud"}


def test_reports_are_merged_as_differences_and_a_whole_one_begins_anew(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    report(fridge, 0, '{"a":1,"b":{"c":1,"d":[1]}}', is_whole=True)
    report(fridge, 0, '{"a":null,"b":{"c":true,"d":[]}}')
    assert twin(fridge)["reported"]["document"] == {"b": {"c": True, "d": []}}
    assert twin(fridge)["reported"]["document"]["b"]["c"] is True
    report(fridge, 0, '{"z":1}', is_whole=True)
    assert twin(fridge)["reported"]["document"] == {"z": 1}


NO_DOCUMENTS = ("", "[]", '{"a":[null]}', '{"a":NaN}', "[" * 30_000, '{"a.b":1}')


def test_a_report_that_is_no_settings_document_is_a_dead_letter_and_changes_nothing(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    report(fridge, 1, '{"a":1}', is_whole=True)
    for change in NO_DOCUMENTS:
        report(fridge, 2, change)
    report(fridge, 3, '{"b":2}')
    shown = twin(fridge)
    assert (shown["reported"]["revision"], shown["reported"]["document"]) == (3, {"a": 1, "b": 2})
    assert hub.get("/v1/devices/fridge-1")["dead_letter_count"] == len(NO_DOCUMENTS)


def test_a_report_whose_content_did_not_come_is_a_dead_letter(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    fridge.write(TwinReported(at_ms=1, revision=1, patch=text_blob("{}").ref(), is_whole=True))
    assert twin(fridge)["state"] == "never"
    (letter,) = hub.get("/v1/devices/fridge-1")["dead_letters"]
    assert letter["reason"] == "The content of the report did not come with it."


def test_reports_cannot_grow_without_bound_by_differences(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    for number in range(6):
        report(fridge, number, f'{{"k{number}":"{"x" * 8_000}"}}')
    shown = twin(fridge)
    assert sorted(shown["reported"]["document"]) == ["k0", "k1", "k2", "k3", "k4"]
    assert hub.get("/v1/devices/fridge-1")["dead_letter_count"] == 1


@pytest.mark.slow
def test_several_processes_that_carry_a_change_to_the_fleet_order_it_once(hub: HubApi) -> None:
    names = {f"main.d{number}" for number in range(8)}
    for name in names:
        hub.device(name.removeprefix("main."))
    put(hub, FLEET, {"log_level": "debug"})
    with ThreadPoolExecutor(4) as threads:
        left = [done.result() for done in [threads.submit(hub.fanout.round) for _ in range(4)]]
    assert 0 in left
    assert hub.orders_for == names
    with hub.database.read() as session:
        records = session.exec(select(RecordRow).where(RecordRow.kind == "twin.desired")).all()
    assert len(records) == len(names)


def test_site_and_group_of_a_device_are_its_labels_at_enrolment(hub: HubApi) -> None:
    fridge = hub.device("fridge-1", labels={"site": "berlin", "colour": "red"})
    scopes = [(layer["scope"], layer["name"]) for layer in twin(fridge)["layers"]]
    assert scopes == [("fleet", None), ("site", "berlin"), ("device", "fridge-1")]

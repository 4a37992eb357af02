"""Secrets from the hub: sealed to the device's own key, never kept, and told of by name only."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import text
from sqlmodel import col, select

from cloud.audit.tables import AuditEntry
from cloud.devices import sealing
from cloud.devices.tables import Device
from cloud.journal.service import read_blob
from cloud.journal.tables import BlobRow
from cloud.vaults.service import store_lost
from shared.clock import to_ms
from shared.records import (
    ForeignCause,
    Record,
    SecretForgotten,
    SecretRefused,
    SecretRemoved,
    SecretSet,
    SecretStored,
)
from shared.sealed_box import SECRET_MAX_BYTES, Sealing, open_secret
from tests.cloud.hub_api import FleetDevice, HubApi

VALUE = "correct-horse-battery"
NAME = "POS_TOKEN"


def equipped(hub: HubApi, name: str, **options: Any) -> tuple[FleetDevice, X25519PrivateKey]:
    """A device, and the key to which secrets for it are sealed."""
    device, key = hub.device(name, **options), X25519PrivateKey.generate()
    with hub.database.write() as session:
        row = session.get(Device, device.principal)
        assert row is not None
        sealing.set_key(session, row, key.public_key().public_bytes_raw())
        session.add(row)
    return device, key


def set_secret(hub: HubApi, value: str = VALUE, **choice: Any) -> Any:
    response = hub.client.put(f"/v1/secrets/{NAME}", json={"value": value, **choice})
    assert response.status_code == 202, response.text
    return response.json()


def secret(device: FleetDevice) -> dict[str, Any]:
    """The one secret of the device."""
    (found,) = device.hub.get(f"/v1/devices/{device.principal}/secrets")
    return {key: found[key] for key in ("name", "state", "version", "stored_version", "reason")}


def answer(device: FleetDevice, order: Record, reason: str | None = None) -> None:
    about: dict[str, Any] = {"at_ms": to_ms(device.hub.clock.now()), "causes": (cause(device),), "name": NAME}
    match order:
        case SecretSet(version=version) if reason is not None:
            device.write(SecretRefused(**about, version=version, reason=reason))
        case SecretSet(version=version):
            device.write(SecretStored(**about, version=version))
        case SecretRemoved(version=version):
            device.write(SecretForgotten(**about, version=version))


def cause(device: FleetDevice) -> ForeignCause:
    log = device.scripted.orders
    assert log is not None
    return ForeignCause(lane="orders", epoch=log.lane.epoch, seq=log.head.seq)


def box_of(hub: HubApi, order: SecretSet) -> bytes | None:
    with hub.database.read() as session:
        blob = read_blob(session, order.box.hash)
    return None if blob is None else blob.content


def test_p26_only_the_device_opens_what_it_is_sent(hub: HubApi) -> None:
    device, key = equipped(hub, "till-1")
    ordered = set_secret(hub, device="till-1")
    assert ordered == {"name": NAME, "ordered": ["main.till-1"], "left_out": []}
    assert hub.orders_for == {"main.till-1"}
    (order,) = device.fetch_orders()
    assert isinstance(order, SecretSet)
    assert (order.name, order.version) == (NAME, 1)
    box = box_of(hub, order)
    assert box is not None
    sealing = Sealing(device="main.till-1", name=NAME, version=1)
    assert open_secret(key, box, sealing) == VALUE
    assert secret(device)["state"] == "ordered"


def test_a_box_is_forgotten_when_the_device_has_answered(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    (order,) = device.fetch_orders()
    assert isinstance(order, SecretSet)
    answer(device, order)
    assert box_of(hub, order) is None
    assert secret(device) == {
        "name": NAME, "state": "stored", "version": 1, "stored_version": 1, "reason": None
    }  # fmt: skip


def test_a_refusal_says_why_and_what_the_device_holds_still(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    answer(device, device.fetch_orders()[0])
    set_secret(hub, "another-value-2", device="till-1")
    (order,) = device.fetch_orders()
    answer(device, order, reason="box_unreadable")
    assert secret(device) == {
        "name": NAME, "state": "refused", "version": 2, "stored_version": 1, "reason": "box_unreadable"
    }  # fmt: skip


def test_the_newest_value_counts_whatever_is_answered_late(hub: HubApi) -> None:
    device, key = equipped(hub, "till-1")
    set_secret(hub, "first-value-1", device="till-1")
    set_secret(hub, "second-value-2", device="till-1")
    first, second = device.fetch_orders()
    assert isinstance(first, SecretSet)
    assert isinstance(second, SecretSet)
    assert box_of(hub, first) is None, "it was replaced before it was sent"
    answer(device, first, reason="content_missing")
    assert secret(device)["state"] == "ordered"
    box = box_of(hub, second)
    assert box is not None
    assert open_secret(key, box, Sealing(device=device.principal, name=NAME, version=2)) == "second-value-2"
    answer(device, second)
    assert secret(device)["stored_version"] == 2


def test_a_secret_is_removed(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    answer(device, device.fetch_orders()[0])
    hub.post(f"/v1/secrets/{NAME}/remove", {"device": "till-1"})
    assert secret(device)["state"] == "removing"
    (order,) = device.fetch_orders()
    assert isinstance(order, SecretRemoved)
    answer(device, order)
    assert (secret(device)["state"], secret(device)["stored_version"]) == ("removed", None)


def test_what_a_person_set_on_the_device_is_shown_as_that(hub: HubApi) -> None:
    device = hub.device("till-1")
    device.write(SecretStored(at_ms=1, name=NAME, version=0))
    assert (secret(device)["state"], secret(device)["stored_version"]) == ("stored", 0)
    device.write(SecretForgotten(at_ms=2, name=NAME, version=0))
    assert secret(device)["state"] == "removed"


def test_many_devices_get_each_a_box_of_its_own(hub: HubApi) -> None:
    one, _ = equipped(hub, "till-1", labels={"site": "berlin"})
    other, _ = equipped(hub, "till-2", labels={"site": "berlin"})
    equipped(hub, "till-3", labels={"site": "paris"})
    assert set_secret(hub, site="berlin")["ordered"] == [one.principal, other.principal]
    (first,), (second,) = one.fetch_orders(), other.fetch_orders()
    assert isinstance(first, SecretSet)
    assert isinstance(second, SecretSet)
    assert box_of(hub, first) != box_of(hub, second)
    page = hub.get(f"/v1/secrets/{NAME}", limit=1)
    assert [line["principal"] for line in page["secrets"]] == [one.principal]
    page = hub.get(f"/v1/secrets/{NAME}", after=page["next"])
    assert [line["principal"] for line in page["secrets"]] == [other.principal]


def test_no_more_devices_than_allowed_and_none_without_a_key(hub: HubApi) -> None:
    equipped(hub, "till-1")
    hub.device("till-2")
    assert set_secret(hub, all=True)["left_out"] == [
        {"principal": "main.till-2", "reason": "sealing_key_missing"}
    ]
    put = ("PUT", f"/v1/secrets/{NAME}")
    assert hub.refusal(*put, {"value": VALUE, "device": "till-2"}) == (409, "sealing_key_missing")
    equipped(hub, "till-3")
    assert hub.refusal(*put, {"value": VALUE, "all": True})[0] == 429
    assert hub.refusal(*put, {"value": VALUE, "site": "nowhere"}) == (409, "nobody_chosen")
    assert hub.refusal(*put, {"value": VALUE, "device": "till-9"}) == (404, "device_unknown")


@pytest.mark.parametrize(
    "body",
    [
        {"value": VALUE},
        {"value": VALUE, "device": "till-1", "all": True},
        {"value": VALUE, "device": "till-1", "tenant": "main"},
        {"value": "sh0rt-!", "device": "till-1"},
        {"value": "x" * 5_000, "device": "till-1"},
        {"value": "é" * SECRET_MAX_BYTES, "device": "till-1"},
        {"value": "\x00" * 20, "device": "till-1"},
        {"value": 12345678, "device": "till-1"},
        {"device": "till-1"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused_without_repeating_the_value(
    hub: HubApi, body: dict[str, Any]
) -> None:
    equipped(hub, "till-1")
    response = hub.client.put(f"/v1/secrets/{NAME}", json=body)
    assert response.status_code == 422, response.text
    value = str(body.get("value", "no value"))
    assert value not in response.text


@pytest.mark.parametrize("name", ["pos_token", "A" * 65, "..", "A%2FB"])
def test_a_name_that_could_mean_something_elsewhere_is_refused(hub: HubApi, name: str) -> None:
    assert hub.client.put(f"/v1/secrets/{name}", json={"value": VALUE, "all": True}).status_code in (
        404,
        405,
        422,
    )


def test_a_quarantined_device_gets_no_secret(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    device.set_status("quarantined")
    body = {"value": VALUE, "device": "till-1"}
    assert hub.refusal("PUT", f"/v1/secrets/{NAME}", body) == (409, "device_inactive")


def test_a_device_whose_store_was_made_anew_holds_nothing(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    answer(device, device.fetch_orders()[0])
    with hub.database.write() as session:
        store_lost(session, device.principal, hub.clock.now())
    assert (secret(device)["state"], secret(device)["stored_version"]) == ("lost", None)


def test_the_audit_log_says_who_gave_which_secret_to_whom_and_not_what_it_is(hub: HubApi) -> None:
    equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    with hub.database.read() as session:
        (entry,) = session.exec(select(AuditEntry).where(col(AuditEntry.action) == "secret.set")).all()
    assert NAME.encode() in entry.entry
    assert VALUE.encode() not in entry.entry


def test_the_database_holds_no_value(hub: HubApi) -> None:
    device, _ = equipped(hub, "till-1")
    set_secret(hub, device="till-1")
    device.fetch_orders()
    with hub.database.read() as session:
        contents = [bytes(blob.content) for blob in session.exec(select(BlobRow))]
        records = [bytes(data) for (data,) in session.execute(text("SELECT data FROM record"))]
    assert not [each for each in contents + records if VALUE.encode() in each]

"""What the API tells about devices and their logs."""

from shared.clock import to_ms
from shared.records import DeviceStarted
from tests.cloud.hub_api import HubApi


def test_four_facts_of_presence_are_told_apart(hub: HubApi) -> None:
    hub.device("fresh")
    fridge = hub.device("fridge-1")
    hub.clock.advance(seconds=10)
    fridge.write(DeviceStarted(at_ms=to_ms(hub.clock.now()), version="1.2.3", was_clean=True))
    hub.clock.advance(seconds=10)
    fridge.presence(False)
    presence = hub.get("/v1/devices/fridge-1")["presence"]
    assert (presence["state"], presence["died_at"]) == ("online", "2026-01-01T12:00:20Z")
    hub.believe_deaths()
    view = hub.get("/v1/devices/fridge-1")
    presence = view["presence"]
    assert (presence["state"], presence["as_of"]) == ("offline", "2026-01-01T12:00:25Z")
    assert (presence["broker_online"], presence["died_at"]) == (False, None)
    assert presence["broker_at"] == "2026-01-01T12:00:20Z"
    assert presence["last_hello_at"] == "2026-01-01T12:00:00Z"
    assert presence["last_record_at"] == "2026-01-01T12:00:10Z"
    assert presence["last_ack_at"] is None
    assert view["version"] == "1.2.3"
    assert hub.get("/v1/devices/fresh")["presence"]["last_record_at"] is None


def test_devices_are_counted_and_listed_by_their_presence(hub: HubApi) -> None:
    hub.device("silent")
    hub.device("gone", is_online=False)
    hub.clock.advance(hub.settings.presence_limits.stale_after)
    hub.device("there")
    assert hub.get("/v1/presence") == {
        "as_of": "2026-01-01T12:05:05Z",
        "is_deaf": False,
        "online": 1,
        "stale": 1,
        "offline": 1,
        "lost": 0,
    }

    def listed(**query: object) -> list[str]:
        return [device["principal"] for device in hub.get("/v1/devices", **query)["devices"]]

    assert listed(presence="online") == ["main.there"]
    assert listed(presence="stale") == ["main.silent"]
    assert listed(presence="offline") == ["main.gone"]
    assert listed(presence="lost") == []
    assert listed(presence="offline", tenant="acme") == []
    hub.clock.advance(hub.settings.presence_limits.lost_after)
    assert len(listed(presence="lost")) == 3
    assert hub.refusal("GET", "/v1/devices?presence=away") == (422, "invalid")


def test_orders_that_a_device_has_not_acknowledged_are_its_lag(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    for _ in range(3):
        hub.post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})
    assert hub.get("/v1/devices/fridge-1")["orders_waiting"] == 3
    assert hub.get("/v1/devices")["devices"][0]["orders_waiting"] == 3
    fridge.fetch_orders()
    view = hub.get("/v1/devices/fridge-1")
    (orders,) = [lane for lane in view["lanes"] if lane["lane"] == "orders"]
    assert (view["orders_waiting"], orders["head_seq"], orders["acked"], orders["lag"]) == (0, 3, 3, 0)


def test_what_the_gate_refused_is_counted_by_reason(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    for message in (b"rubbish", b"more rubbish"):
        hub.deliver("covey/1/d/main.fridge-1/up/journal", message)
    (refusal,) = hub.get(f"/v1/devices/{fridge.principal}")["refusals"]
    assert (refusal["reason"], refusal["count"]) == ("malformed", 2)


def test_devices_are_listed_in_pages_and_by_tenant(hub: HubApi) -> None:
    for name in ("c", "a", "b"):
        hub.device(name)
    first = hub.get("/v1/devices", limit=2)
    assert [device["principal"] for device in first["devices"]] == ["main.a", "main.b"]
    rest = hub.get("/v1/devices", limit=2, after=first["next"])
    assert ([device["principal"] for device in rest["devices"]], rest["next"]) == (["main.c"], None)
    assert hub.get("/v1/devices", tenant="acme")["devices"] == []


def test_a_journal_is_read_in_pages_and_verified_by_the_devices_own_seals(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    for number in range(5):
        fridge.write(DeviceStarted(at_ms=number, version=f"1.0.{number}", was_clean=True))
    first = hub.get("/v1/devices/fridge-1/journal", limit=3)
    assert [record["seq"] for record in first["records"]] == [1, 2, 3]
    rest = hub.get("/v1/devices/fridge-1/journal", limit=3, after=first["next"])
    assert [record["record"]["version"] for record in rest["records"]] == ["1.0.3", "1.0.4"]
    assert rest["next"] is None
    result = hub.get("/v1/devices/fridge-1/verify")
    journal = next(lane for lane in result["lanes"] if lane["lane"] == "journal")
    assert (result["is_sound"], journal["records"], journal["sealed_upto"]) == (True, 5, 5)


def test_an_altered_record_is_found_by_verification(hub: HubApi) -> None:
    fridge = hub.device("fridge-1")
    for number in range(3):
        fridge.write(DeviceStarted(at_ms=number, version=f"1.0.{number}", was_clean=True))
    with hub.database.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE record SET data = (SELECT data FROM record WHERE seq = 1 AND kind = 'device.started')"
            " WHERE seq = 2 AND kind = 'device.started'"
        )
    result = hub.get("/v1/devices/fridge-1/verify")
    journal = next(lane for lane in result["lanes"] if lane["lane"] == "journal")
    assert (result["is_sound"], journal["broken_at"]) == (False, 2)


def test_what_is_not_there_is_not_found(hub: HubApi) -> None:
    for path in ("", "/journal", "/verify"):
        assert hub.refusal("GET", f"/v1/devices/nobody{path}") == (404, "device_unknown")
    assert hub.refusal("GET", "/v1/devices/No%20Name") == (422, "invalid")
    hub.device("fridge-1")
    assert hub.get("/v1/devices/fridge-1/journal", lane="metrics")["records"] == []
    assert hub.refusal("GET", "/v1/devices/fridge-1/journal?lane=secrets") == (422, "invalid")

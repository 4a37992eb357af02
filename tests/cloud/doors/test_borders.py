"""Nothing of a tenant is seen, counted, woken or named from another: lists, numbers, streams, pages, exports."""

import pytest

from cloud.caller import PERMISSIONS, Caller, Means, Role
from cloud.dashboard.device_reading import read_device
from cloud.dashboard.fleet_reading import read_choices, read_page, read_summary
from cloud.dashboard.live import DeviceAnswer, FleetAnswer, Live
from cloud.dashboard.query import DeviceQuery, FleetQuery, MetricsSpan, Only, Sort
from cloud.devices.presence_sql import read_horizons
from cloud.telemetry.fleet import read_fleet
from shared.errors import RefusedError
from tests.cloud.doors.world import FOREIGN, MARK, OURS, ROOT, THEIRS, World

LISTS = (
    "/v1/devices",
    "/v1/tasks",
    "/v1/tokens",
    "/v1/forks",
    "/v1/twins",
    "/v1/users",
    "/v1/api-tokens",
    "/v1/audit/entries",
    "/v1/proposals",
)


@pytest.fixture(scope="module")
def both(world: World) -> World:
    """Each tenant has what can be listed."""
    world.restored()
    world.lettered()
    world.measured()
    world.ended_task()
    world.enrolment_token()
    world.user()
    world.api_token()
    world.proposal(ROOT)
    world.deed()
    put = world.call(ROOT, "PUT", "/v1/twins/fleet", {"document": {"a": MARK}})
    assert put.is_success
    world.call(FOREIGN, "POST", "/v1/tokens", {"device": "theirs"})
    return world


@pytest.mark.parametrize("path", LISTS)
def test_a_list_holds_only_what_is_of_the_callers_tenant(both: World, path: str) -> None:
    assert MARK in both.call("admin", "GET", path).text
    assert MARK in both.call(ROOT, "GET", path).text
    theirs = both.call(FOREIGN, "GET", path)
    assert theirs.is_success
    assert MARK not in theirs.text
    assert MARK not in str(theirs.headers)


@pytest.mark.parametrize(
    "path", ["/v1/devices", "/v1/tasks", "/v1/presence", "/v1/twins", "/v1/audit/entries"]
)
def test_asking_for_another_tenant_is_asking_for_none(both: World, path: str) -> None:
    ours = both.call(FOREIGN, "GET", path, params={"tenant": OURS})
    nobodys = both.call(FOREIGN, "GET", path, params={"tenant": "nosuch"})
    assert ours.status_code == nobodys.status_code == 404
    assert ours.text.replace(OURS, "nosuch") == nobodys.text
    assert ours.json()["code"] == "tenant_unknown"


def test_a_short_name_means_a_device_of_the_callers_tenant(both: World) -> None:
    name = both.principal().partition(".")[2]
    assert both.call("viewer", "GET", f"/v1/devices/{name}").json()["principal"] == f"{OURS}.{name}"
    answer = both.call(FOREIGN, "GET", f"/v1/devices/{name}")
    assert answer.status_code == 404
    assert f"{THEIRS}.{name}" in answer.json()["message"]


def test_another_tenants_device_cannot_be_named_in_a_body(both: World) -> None:
    device = both.principal()
    for path, method, body in (
        ("/v1/tasks", "POST", {"goal": "?"}),
        ("/v1/secrets/MAIL_PASSWORD", "PUT", {"value": "correct-horse"}),
    ):
        key = "devices" if path == "/v1/tasks" else "device"
        named = both.call(FOREIGN, method, path, {**body, key: [device] if key == "devices" else device})
        unknown = f"{OURS}.nosuch"
        nobodys = both.call(FOREIGN, method, path, {**body, key: [unknown] if key == "devices" else unknown})
        assert (named.status_code, named.json()["code"]) == (404, "device_unknown")
        assert named.text.replace(device, unknown) == nobodys.text


def test_a_page_cannot_begin_behind_another_tenants_task(both: World) -> None:
    answer = both.call(FOREIGN, "GET", "/v1/tasks", params={"before": both.task()})
    assert (answer.status_code, answer.json()["code"]) == (404, "task_unknown")


def test_work_for_any_device_goes_to_none_of_another_tenant(both: World) -> None:
    both.device()
    answer = both.call(FOREIGN, "POST", "/v1/tasks", {"goal": "?", "any": True})
    assert answer.is_success
    assert answer.json()["nodes"][0]["principal"] is None


def test_counts_are_those_of_the_callers_tenant(both: World) -> None:
    counted = both.call("viewer", "GET", "/v1/presence").json()
    assert counted["online"] > 0
    theirs = both.call(FOREIGN, "GET", "/v1/presence").json()
    assert [theirs[state] for state in ("online", "stale", "offline", "lost")] == [0, 0, 0, 0]


def test_prometheus_is_told_of_one_tenant_and_nothing_of_the_process(both: World) -> None:
    both.call("operator", "POST", "/v1/tasks", {"goal": MARK, "any": True, "labels": {"no": "such"}})
    everything = both.call(ROOT, "GET", "/metrics").text
    ours = both.call("viewer", "GET", "/metrics").text
    theirs = both.call(FOREIGN, "GET", "/metrics").text
    assert "process_resident_memory_bytes" in everything
    assert "covey_hub_refused_requests" in everything
    for text in (ours, theirs):
        assert "process_" not in text
        assert "covey_hub_refused" not in text
        assert "covey_hub_info" not in text
    assert 'covey_hub_devices{presence="online",status="active"} 0.0' not in ours
    assert 'covey_hub_devices{presence="online",status="active"} 0.0' in theirs
    assert "covey_hub_open_nodes{" in ours
    with both.hub.database.read() as session:
        limits, now = both.hub.settings.presence_limits, both.hub.clock.now()
        of_all = read_fleet(session, limits, now)
        of_us = read_fleet(session, limits, now, tenant=OURS)
        of_none = read_fleet(session, limits, now, tenant="nosuch")
    assert of_us.devices == of_all.devices
    assert of_us.dead_letters == of_all.dead_letters > 0
    assert of_us.lags == of_all.lags
    assert (of_none.devices, of_none.nodes, of_none.gaps, of_none.dead_letters) == ({}, {}, {}, 0)
    assert {(lag.logs, lag.records, lag.forked) for lag in of_none.lags} == {(0, 0, 0)}


def test_a_stream_of_another_tenants_task_does_not_begin(both: World) -> None:
    task = both.ended_task()
    assert MARK in both.call("viewer", "GET", f"/v1/tasks/{task}/events").text
    answer = both.call(FOREIGN, "GET", f"/v1/tasks/{task}/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "task_unknown")
    assert answer.headers["content-type"] == "application/json"


def test_an_export_holds_only_deeds_of_the_callers_tenant(both: World) -> None:
    both.deed()
    sizes = [len(both.call(who, "GET", "/v1/audit/export").content) for who in ("viewer", FOREIGN)]
    assert sizes[1] < sizes[0]


async def test_pages_of_one_tenant_are_no_answers_to_another(both: World) -> None:
    """The live page's answers are shared between pages that ask the same: the tenant is part of the question."""
    device = both.measured()
    live = Live(database=both.hub.database, clock=both.hub.clock, limits=both.hub.settings.presence_limits)
    for tenant, is_theirs in ((OURS, True), (THEIRS, False), (None, True), (THEIRS, False)):
        answer, _ = await live.ask(DeviceQuery(principal=device, tenant=tenant))
        assert isinstance(answer, DeviceAnswer)
        assert ((answer.page is not None), (answer.metrics is not None)) == (is_theirs, is_theirs)
        fleet, _ = await live.ask(FleetQuery(tenant=tenant, text=MARK))
        assert isinstance(fleet, FleetAnswer)
        assert bool(fleet.page.rows) is is_theirs
        assert bool(fleet.summary.devices) is is_theirs


@pytest.mark.parametrize("only", [None, *Only])
@pytest.mark.parametrize("sort", list(Sort))
def test_no_filter_or_order_of_the_fleet_page_crosses_the_border(
    both: World, only: Only | None, sort: Sort
) -> None:
    with both.hub.database.read() as session:
        compared = read_horizons(session, both.hub.settings.presence_limits, both.hub.clock.now())
        page = read_page(session, FleetQuery(tenant=THEIRS, only=only, sort=sort), compared)
    assert (page.rows, page.matched) == ((), 0)


def test_totals_choices_and_pages_of_devices_stay_within_the_tenant(both: World) -> None:
    device = both.lettered()
    with both.hub.database.read() as session:
        compared = read_horizons(session, both.hub.settings.presence_limits, both.hub.clock.now())
        ours, theirs = (read_summary(session, compared, tenant) for tenant in (OURS, THEIRS))
        assert ours == read_summary(session, compared, None)
        assert ours.devices > 0
        assert ours.not_active > 0
        numbers = (theirs.devices, theirs.not_active, theirs.with_conditions, theirs.behind, theirs.unsettled)
        assert (numbers, theirs.lag_records, theirs.waiting_bytes) == ((0, 0, 0, 0, 0), 0, 0)
        assert read_choices(session, THEIRS) == ([], [])
        assert MARK in read_choices(session, OURS)[0]
        assert read_device(session, device, compared, THEIRS) is None
        assert read_device(session, device, compared, OURS) is not None


def test_an_address_cannot_say_for_which_tenant_a_page_is() -> None:
    query = FleetQuery.from_address({"tenant": OURS, "text": "x"}, THEIRS)
    assert query.tenant == THEIRS
    assert "tenant" not in query.to_address()
    assert DeviceQuery(principal="main.x", tenant=THEIRS, span=MetricsSpan.DAY) != DeviceQuery(
        principal="main.x", tenant=OURS, span=MetricsSpan.DAY
    )


@pytest.mark.parametrize("role", list(Role))
def test_a_caller_of_a_tenant_never_gets_out_of_it(role: Role) -> None:
    caller = Caller(name="a", tenant=THEIRS, permissions=PERMISSIONS[role], means=Means.API_TOKEN, address="")
    assert caller.tenant_or(OURS) == caller.tenant_or(OURS, THEIRS) == THEIRS
    assert caller.among(None) == caller.among(THEIRS) == THEIRS
    assert caller.principal("x", OURS) == f"{THEIRS}.x"
    with pytest.raises(RefusedError) as refused:
        caller.tenant_or(OURS, OURS)
    assert refused.value.code == "tenant_unknown"
    with pytest.raises(RefusedError) as refused:
        caller.among(OURS)
    assert refused.value.code == "tenant_unknown"
    with pytest.raises(RefusedError) as refused:
        caller.principal(f"{OURS}.x", OURS)
    assert refused.value.code == "device_unknown"

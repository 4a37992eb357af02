"""The audit log over HTTP: search, head, proofs, export; and what a tenant's own people see of it."""

import asyncio
import gc
import io
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from fastapi.routing import APIRoute

from cloud.audit.heads import HeadKeeper
from cloud.audit.hub_keys import keys_of
from cloud.audit.log import note
from cloud.audit.routes import EXPORTS_MAX, audit_routes
from cloud.audit.verify import verify
from shared.errors import CapacityError
from shared.merkle import is_consistent, is_included
from shared.tree_head import open_head, parse_head_text
from tests.cloud.audit.audited import ada
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock

OURS, THEIRS = "main", "zeta"


@pytest.fixture
def audit(hub: HubApi) -> HubApi:
    """Four deeds a tenant, and one of the hub's own, under a signed head."""
    with hub.database.write() as session:
        for number in range(4):
            for tenant in (OURS, THEIRS):
                note(
                    session, ada(tenant), "device.revoke", f"{tenant}.fridge-{number}", tenant=tenant,
                    now=hub.clock.now() + timedelta(hours=number), content=b"stolen", detail={"n": number},
                )  # fmt: skip
        note(session, ada(None), "keys.rotate", "orders", tenant=None, now=hub.clock.now())
    keep(hub)
    return hub


def keep(hub: HubApi) -> None:
    HeadKeeper(clock=hub.clock, keys=partial(keys_of, hub.identity), checkpoint_interval_s=60.0).work(
        hub.database
    )


def as_viewer(hub: HubApi, tenant: str) -> dict[str, str]:
    """Headers of a tenant's viewer."""
    hub.client.post("/v1/tenants", json={"name": tenant})
    made = hub.post("/v1/api-tokens", {"label": "auditor", "role": "viewer", "tenant": tenant})
    return {"Authorization": f"Bearer {made['token']}"}


def entries(hub: HubApi, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.get("/v1/audit/entries", **asked)["entries"]
    return found


def test_a_deed_says_who_did_what_to_what_from_where(audit: HubApi) -> None:
    (entry,) = entries(audit, target="zeta.fridge-2")
    assert (entry["actor"], entry["means"], entry["address"]) == ("ada", "session", "192.0.2.7")
    assert (entry["action"], entry["tenant"], entry["detail"]) == ("device.revoke", "zeta", {"n": 2})
    assert len(entry["content_sha256"]) == len(entry["leaf_hash"]) == 64


def test_the_log_is_searched_by_each_and_paged(audit: HubApi) -> None:
    assert len(entries(audit, action="device.revoke", tenant=OURS)) == 4
    assert len(entries(audit, action="device.", actor="ada")) == 8
    assert entries(audit, action="device") == []
    assert entries(audit, action="%.") == []
    begin = audit.clock.now()
    within = entries(
        audit,
        since=(begin + timedelta(hours=1)).isoformat(),
        until=(begin + timedelta(hours=3)).isoformat(),
    )
    assert {each["detail"]["n"] for each in within} == {1, 2}
    found: list[int] = []
    asked: dict[str, Any] = {"limit": 2, "action": "device.revoke"}
    while True:
        page = audit.get("/v1/audit/entries", **asked)
        found += [each["seq"] for each in page["entries"]]
        if page["next"] is None:
            break
        asked["before"] = page["next"]
    assert found == sorted(found, reverse=True)
    assert len(found) == 8


def test_time_without_a_zone_is_refused(audit: HubApi) -> None:
    assert audit.client.get("/v1/audit/entries", params={"since": "2026-01-01T00:00:00"}).status_code == 422


@pytest.mark.parametrize("path", ["/v1/audit/entries", "/v1/audit/export", "/v1/proposals"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_has_not_is_refused(audit: HubApi, path: str, moment: str) -> None:
    for name in ("before",) if path == "/v1/proposals" else ("since", "until"):
        assert audit.client.get(path, params={name: moment}).status_code == 422


def test_proofs_verify_against_the_signed_head(audit: HubApi) -> None:
    told = audit.get("/v1/audit/head")
    head = open_head(parse_head_text(told["head"]), keys_of(audit.identity).ring())
    assert (head.size, head.root.hex(), head.root_key.hex()) == (told["size"], told["root"], told["root_key"])
    for seq in range(head.size):
        proof = audit.get(f"/v1/audit/entries/{seq}/proof")
        assert is_included(
            index=seq,
            size=head.size,
            hashed_leaf=bytes.fromhex(proof["leaf_hash"]),
            path=[bytes.fromhex(each) for each in proof["path"]],
            root=head.root,
        )
    with audit.database.write() as session:
        note(session, ada(OURS), "device.release", "x", tenant=OURS, now=audit.clock.now())
    keep(audit)
    grown = audit.get("/v1/audit/consistency", old=head.size)
    assert is_consistent(
        old=head.size,
        new=head.size + 1,
        old_root=head.root,
        new_root=bytes.fromhex(grown["new_root"]),
        path=[bytes.fromhex(each) for each in grown["path"]],
    )


def test_what_is_not_there_is_said_so(hub: HubApi) -> None:
    assert hub.refusal("GET", "/v1/audit/head") == (404, "head_unknown")
    assert hub.refusal("GET", "/v1/audit/entries/0/proof") == (404, "entry_unknown")
    with hub.database.write() as session:
        note(session, ada(OURS), "device.release", "x", tenant=OURS, now=hub.clock.now())
    keep(hub)
    for path in (
        "/v1/audit/entries/0/proof?size=9",
        "/v1/audit/consistency?old=9",
        "/v1/audit/consistency?old=1&new=9",
    ):
        assert hub.refusal("GET", path) == (422, "range_invalid")


def test_an_export_verifies_without_the_hub(audit: HubApi) -> None:
    kept = parse_head_text(audit.get("/v1/audit/head")["head"])
    device = audit.device("fridge-1")
    keep(audit)
    response = audit.client.get("/v1/audit/export", params={"journals": "true"})
    assert response.status_code == 200
    report = verify(io.BytesIO(response.content), kept=kept, pinned=keys_of(audit.identity).root_fingerprint)
    assert report.problem is None
    assert report.entries >= 9
    assert device.principal.encode() not in response.content  # compressed


def test_a_tenant_sees_its_own_deeds_alone(audit: HubApi) -> None:
    headers = as_viewer(audit, THEIRS)

    def get(path: str, **params: Any) -> Any:
        return audit.client.get(path, params=params, headers=headers)

    seen = get("/v1/audit/entries").json()["entries"]
    assert {each["tenant"] for each in seen} == {THEIRS}
    assert len([each for each in seen if each["action"] == "device.revoke"]) == 4
    assert get("/v1/audit/entries", tenant=OURS).status_code == 404
    assert get("/v1/audit/export", tenant=OURS).status_code == 404
    (foreign,) = entries(audit, target="main.fridge-1")
    (hubs,) = entries(audit, action="keys.rotate")
    (own,) = entries(audit, target="zeta.fridge-1")
    assert get(f"/v1/audit/entries/{foreign['seq']}/proof").status_code == 404
    assert get(f"/v1/audit/entries/{hubs['seq']}/proof").status_code == 404
    assert get(f"/v1/audit/entries/{own['seq']}/proof").status_code == 200
    report = verify(io.BytesIO(get("/v1/audit/export").content))
    assert (report.problem, report.tenant) == (None, THEIRS)
    assert report.withheld >= 5
    assert OURS not in report.limits


def test_only_so_many_exports_are_written_at_a_time_and_each_gives_its_place_back(audit: HubApi) -> None:
    router = audit_routes(
        database=audit.database,
        settings=audit.settings,
        clock=audit.clock,
        keys=partial(keys_of, audit.identity),
    )
    (export,) = [
        route.endpoint for route in router.routes if isinstance(route, APIRoute) and "export" in route.path
    ]
    caller = ada(None)
    begun = [export(caller) for _ in range(EXPORTS_MAX)]
    with pytest.raises(CapacityError) as refused:
        export(caller)
    assert refused.value.code == "exports_busy"
    begun.pop()  # a reader went away in the middle
    gc.collect()
    begun.append(export(caller))
    for _ in range(2 * EXPORTS_MAX):
        assert audit.client.get("/v1/audit/export").status_code == 200


async def test_a_reader_that_does_not_read_loses_its_place(audit: HubApi) -> None:
    router = audit_routes(
        database=audit.database,
        settings=audit.settings,
        clock=audit.clock,
        keys=partial(keys_of, audit.identity),
        write_timeout_s=0.01,
    )
    (export,) = [
        route.endpoint for route in router.routes if isinstance(route, APIRoute) and "export" in route.path
    ]
    never = asyncio.Event()
    last: list[bool] = []

    async def receive() -> Any:
        await never.wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            last.append(not message["more_body"])
            await never.wait()

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    begun = [await asyncio.to_thread(export, ada(None)) for _ in range(EXPORTS_MAX)]
    async with asyncio.timeout(10):
        for response in begun:
            await response(scope, receive, send)
    assert last == [False] * EXPORTS_MAX, "none was told as whole"
    begun += [await asyncio.to_thread(export, ada(None)) for _ in range(EXPORTS_MAX)]


@pytest.fixture
def on_postgres(request: pytest.FixtureRequest, tmp_path: Any, clock: ManualClock) -> Iterator[HubApi]:
    url = request.getfixturevalue("hub_postgres")
    with hub_api(tmp_path / "hub", clock, url=url) as api:
        yield api


@pytest.mark.postgres
def test_search_and_export_work_on_postgresql(on_postgres: HubApi) -> None:
    with on_postgres.database.write() as session:
        note(session, ada(OURS), "device.revoke", "x", tenant=OURS, now=on_postgres.clock.now())
    keep(on_postgres)
    assert len(entries(on_postgres, action="device.", actor="ada", target="x")) == 1
    on_postgres.get("/v1/audit/entries/0/proof")
    report = verify(io.BytesIO(on_postgres.client.get("/v1/audit/export?journals=true").content))
    assert (report.problem, report.entries) == (None, 1)

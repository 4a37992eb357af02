"""Layers of desired settings over the API: reading, replacing, patching, emptying, and writes on a condition."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.twin import LAYER_MAX_BYTES, MAX_DEPTH
from tests.cloud.hub_api import HubApi

FLEET = "/v1/twins/fleet"
SITE = "/v1/twins/site/berlin"


def write(hub: HubApi, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    response = hub.client.request(method, path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def put(hub: HubApi, path: str, document: dict[str, Any], expected: int | None = None) -> Any:
    return write(hub, "PUT", path, {"document": document, "expected_revision": expected})


def patch(hub: HubApi, path: str, change: dict[str, Any], expected: int | None = None) -> Any:
    return write(hub, "PATCH", path, {"patch": change, "expected_revision": expected})


def test_a_layer_that_nobody_wrote_is_empty_and_has_revision_0(hub: HubApi) -> None:
    assert hub.get(FLEET) == {
        "tenant": "main",
        "scope": "fleet",
        "name": None,
        "revision": 0,
        "document": {},
        "updated_at": None,
    }
    assert hub.get("/v1/twins") == {"layers": [], "next": None}


def test_a_layer_is_replaced_patched_and_emptied_and_its_revision_only_grows(hub: HubApi) -> None:
    first = put(hub, FLEET, {"log_level": "info", "custom": {"a": [1, 2], "b": 1}})
    assert (first["revision"], first["updated_at"]) == (1, "2026-01-01T12:00:00Z")
    hub.clock.advance(seconds=5)
    changed = patch(hub, FLEET, {"custom": {"a": [3], "b": None}, "hello_interval_s": 60})
    assert changed["revision"] == 2
    assert changed["document"] == {"log_level": "info", "custom": {"a": [3]}, "hello_interval_s": 60}
    assert changed["updated_at"] == "2026-01-01T12:00:05Z"
    emptied = write(hub, "DELETE", FLEET)
    assert (emptied["revision"], emptied["document"]) == (3, {})
    assert put(hub, FLEET, {"log_level": "info"})["revision"] == 4
    assert hub.get(FLEET)["document"] == {"log_level": "info"}


def test_writing_what_is_there_already_keeps_the_revision(hub: HubApi) -> None:
    put(hub, FLEET, {"on": 1})
    assert put(hub, FLEET, {"on": 1})["revision"] == 1
    assert patch(hub, FLEET, {"off": None})["revision"] == 1
    assert write(hub, "DELETE", SITE)["revision"] == 0


def test_true_instead_of_one_is_a_change(hub: HubApi) -> None:
    put(hub, FLEET, {"on": 1})
    assert put(hub, FLEET, {"on": True})["revision"] == 2
    assert hub.get(FLEET)["document"]["on"] is True


def test_a_null_that_is_put_stays_in_the_layer_and_one_that_is_patched_takes_the_key_out(hub: HubApi) -> None:
    put(hub, SITE, {"log_level": None, "a": {"b": None}})
    assert hub.get(SITE)["document"] == {"log_level": None, "a": {"b": None}}
    patch(hub, SITE, {"log_level": None, "c": 1})
    assert hub.get(SITE)["document"] == {"a": {"b": None}, "c": 1}


def test_a_write_that_expects_another_revision_is_a_conflict_that_says_what_is_there(hub: HubApi) -> None:
    put(hub, FLEET, {"a": 1, "b": None}, expected=0)
    for method, body in (
        ("PUT", {"document": {}, "expected_revision": 0}),
        ("PATCH", {"patch": {"a": 2}, "expected_revision": 7}),
    ):
        response = hub.client.request(method, FLEET, json=body)
        assert response.status_code == 409
        assert response.json() == {
            "code": "revision_conflict",
            "message": f"These settings have revision 1 now, not {body['expected_revision']};"
            " look at them and decide anew.",
            "current": {"revision": 1, "document": {"a": 1, "b": None}},
        }
    response = hub.client.delete(FLEET, params={"expected_revision": 2})
    assert response.status_code == 409
    assert hub.get(FLEET)["document"] == {"a": 1, "b": None}
    assert patch(hub, FLEET, {"a": 2}, expected=1)["revision"] == 2


def test_of_many_writers_that_expect_the_same_revision_one_wins(hub: HubApi) -> None:
    def write_as(number: int) -> int:
        body = {"document": {"writer": number}, "expected_revision": 0}
        return hub.client.put(FLEET, json=body).status_code

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(write_as, range(4))) == [200, 409, 409, 409]
    assert hub.get(FLEET)["revision"] == 1


def test_a_conflict_leaves_no_trace_of_a_layer_that_nobody_wrote(hub: HubApi) -> None:
    response = hub.client.put(SITE, json={"document": {}, "expected_revision": 3})
    assert response.json()["current"] == {"revision": 0, "document": {}}
    assert hub.get("/v1/twins")["layers"] == []


def test_layers_are_of_one_tenant_and_of_one_scope(hub: HubApi) -> None:
    hub.post("/v1/tenants", {"name": "acme"})
    put(hub, FLEET, {"a": 1})
    put(hub, f"{FLEET}?tenant=acme", {"a": 2})
    put(hub, SITE, {"a": 3})
    put(hub, "/v1/twins/group/berlin", {"a": 4})
    assert hub.get(FLEET)["document"] == {"a": 1}
    assert hub.get(FLEET, tenant="acme")["document"] == {"a": 2}
    assert hub.get(SITE)["document"] == {"a": 3}
    assert hub.get(SITE, tenant="acme")["revision"] == 0
    assert hub.get("/v1/twins/group/berlin")["document"] == {"a": 4}


def test_layers_are_listed_page_by_page(hub: HubApi) -> None:
    put(hub, FLEET, {"a": 1})
    for name in ("berlin", "köln".encode("ascii", "ignore").decode(), "paris"):
        put(hub, f"/v1/twins/site/{name}", {"a": name})
    put(hub, "/v1/twins/group/fridges", {"a": 1})
    seen: list[tuple[str, str | None]] = []
    after: str | None = ""
    while after is not None:
        page = hub.get("/v1/twins", after=after, limit=2)
        seen += [(layer["scope"], layer["name"]) for layer in page["layers"]]
        after = page["next"]
    assert seen == [
        ("fleet", None),
        ("group", "fridges"),
        ("site", "berlin"),
        ("site", "kln"),
        ("site", "paris"),
    ]
    sites = hub.get("/v1/twins", scope="site")["layers"]
    assert [layer["name"] for layer in sites] == ["berlin", "kln", "paris"]
    assert hub.refusal("GET", "/v1/twins?after=nowhere") == (422, "invalid")


def test_the_layer_of_a_device_needs_the_device(hub: HubApi) -> None:
    assert hub.refusal("PUT", "/v1/twins/device/fridge-1", {"document": {}}) == (404, "device_unknown")
    hub.device("fridge-1")
    assert put(hub, "/v1/twins/device/fridge-1", {"a": 1})["name"] == "fridge-1"
    assert hub.get("/v1/twins/device/main.fridge-1")["document"] == {"a": 1}


def deep(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


OUT_OF_BOUNDS: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "huge": ({"a": "x" * LAYER_MAX_BYTES}, (413, "document_too_large")),
    "deep": (deep(MAX_DEPTH + 1), (422, "document_invalid")),
    "null in an array": ({"a": [None]}, (422, "document_invalid")),
    "null within an array": ({"a": [{"b": None}]}, (422, "document_invalid")),
    "dotted key": ({"a.b": 1}, (422, "document_invalid")),
    "large integer": ({"a": 2**53}, (422, "document_invalid")),
    "U+0000": ({"a": "\x00"}, (422, "document_invalid")),
}


def test_documents_out_of_bounds_are_refused(hub: HubApi) -> None:
    for document, refusal in OUT_OF_BOUNDS.values():
        assert hub.refusal("PUT", FLEET, {"document": document}) == refusal
        assert hub.refusal("PATCH", FLEET, {"patch": document}) == refusal
    assert hub.get(FLEET)["revision"] == 0


NO_WRITES = (
    b'{"document": {"a": NaN}}',
    b'{"document": {"a": Infinity}}',
    b'{"document": {"a": 1e999}}',
    b'{"document": {"a": "\\ud800"}}',
    b'{"document": ' + b'{"a":' * 50_000,
    b'{"document": {"a": ' + b"9" * 5_000 + b"}}",
    b'{"document": [], "expected_revision": 0}',
    b'{"document": {}, "expected_revision": -1}',
    b'{"document": {}, "expected_revision": "one"}',
    b'{"document": {}, "patch": {}}',
    b"{}",
)


def test_bodies_that_are_no_writes_are_refused(hub: HubApi) -> None:
    for body in NO_WRITES:
        response = hub.client.put(FLEET, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in (400, 422), (body[:40], response.text)
    assert hub.get(FLEET)["revision"] == 0


def test_layers_that_together_exceed_one_layers_bound_still_come_to_a_document(hub: HubApi) -> None:
    hub.device("fridge-1", labels={"site": "berlin", "group": "fridges"})
    paths = (FLEET, SITE, "/v1/twins/group/fridges", "/v1/twins/device/fridge-1")
    for number, path in enumerate(paths):
        put(hub, path, {f"k{number}": "x" * (LAYER_MAX_BYTES - len('{"k0":""}'))})
    twin = hub.get("/v1/devices/fridge-1/twin")
    assert sorted(twin["desired"]) == ["k0", "k1", "k2", "k3"]

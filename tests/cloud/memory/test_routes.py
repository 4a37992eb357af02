"""The fleet's memory over HTTP: two people where that is asked for, and nothing of another tenant's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.caller import Role
from cloud.settings import HubSettings
from shared.blobs import Blob
from shared.clock import to_ms
from shared.memory.items import Fact
from shared.memory.mentions import ABOUT_MAX_CHARS
from shared.records import MemoryWritten
from tests.cloud.consent.people import person
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.device import task_id_from

FACT = Fact(subject="fridge", relation="limit", value="8 °C")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hub(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with hub_api(tmp_path / "hub", clock, url=url, two_person_actions=("memory.approve",)) as api:
        yield api


def proposed(hub: HubApi) -> dict[str, Any]:
    device = hub.device("fridge-1")
    content = Blob(salt=bytes(16), content=FACT.encode())
    record = MemoryWritten(
        at_ms=to_ms(hub.clock.now()), item=task_id_from("item"), sort="fact", scope="fleet", by="person",
        content=content.ref(), mac=bytes(32),
    )  # fmt: skip
    device.write(record, content)
    (item,) = hub.get("/v1/memory/items")["items"]
    return dict(item)


def test_two_people_let_an_item_in(hub: HubApi) -> None:
    item = proposed(hub)
    path = f"/v1/memory/items/{item['id']}"
    ann, ben = person(hub, "ann", Role.AUTHOR), person(hub, "ben", Role.AUTHOR)
    proposal = ann.asks("POST", f"{path}/approve")
    assert proposal["content"]["item"] == item["id"]
    assert FACT.value not in str(proposal)
    assert hub.get(path)["state"] == "proposed"
    assert ann.is_refused(proposal) == "same_person"
    assert ben.agrees(proposal)[0] == 200
    found = hub.get(path)
    assert (found["state"], found["decided_by"]) == ("approved", ben.caller.name)


def test_authors_decide_and_operators_only_see(hub: HubApi) -> None:
    path = f"/v1/memory/items/{proposed(hub)['id']}"
    operator, author = person(hub, "ann", Role.OPERATOR), person(hub, "ben", Role.AUTHOR)
    assert operator.call("GET", path)[0] == 200
    assert operator.call("POST", f"{path}/reject")[0] == 403
    assert author.call("POST", f"{path}/reject")[0] == 200
    forget = {"about": "fridge", "everywhere": True}
    assert author.call("POST", "/v1/memory/forget", forget)[0] == 403
    assert author.call("POST", "/v1/memory/forget/look", forget)[0] == 403


def test_an_admin_of_another_tenant_reaches_nobody_of_ours(hub: HubApi) -> None:
    item = proposed(hub)
    theirs = person(hub, "eve", Role.ADMIN, tenant="acme")
    for wanted in ({"device": "main.fridge-1"}, {"device": "fridge-1"}):
        status, problem = theirs.call("POST", "/v1/memory/forget", {"about": "fridge", **wanted})
        assert (status, problem["code"]) == (404, "device_unknown")
    status, done = theirs.call("POST", "/v1/memory/forget", {"about": "fridge", "everywhere": True})
    assert (status, done["contents"], done["pending"]) == (202, 0, 0)
    assert hub.get(f"/v1/memory/items/{item['id']}")["text"] is not None
    assert theirs.call("GET", "/v1/memory/items")[1]["items"] == []
    assert theirs.call("GET", "/v1/memory/items?tenant=main")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"about": "fridge"},
        {"about": "fridge", "everywhere": True, "device": "fridge-1"},
        {"about": "ab", "everywhere": True},
        {"about": "x" * (ABOUT_MAX_CHARS + 1), "everywhere": True},
        {"about": "\u0301\u0301\u0301 ---", "everywhere": True},
        {"about": "fridge", "device": "../x"},
        {"about": "fridge", "everywhere": True, "tenant": "MAIN"},
        {"about": ["fridge"], "everywhere": True},
        {"everywhere": True},
    ],
    ids=repr,
)
def test_bad_requests_to_forget_are_told_in_one_sentence(hub: HubApi, body: dict[str, Any]) -> None:
    for path in ("/v1/memory/forget", "/v1/memory/forget/look"):
        assert hub.refusal("POST", path, body) == (422, "invalid")
    assert hub.get("/v1/memory/forgets") == {"requests": [], "own": []}


def test_halves_of_characters_are_no_words(hub: HubApi) -> None:
    body = b'{"about": "\\ud800abc", "everywhere": true}'
    answer = hub.client.post("/v1/memory/forget", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("about", ["abc", "x" * ABOUT_MAX_CHARS, "Zoë\n\0Ω√"])
def test_words_at_the_bounds_are_taken(hub: HubApi, about: str) -> None:
    assert hub.post("/v1/memory/forget", {"about": about, "everywhere": True})["closed_at"] is not None


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "device"},
        {"sort": "episode"},
        {"relations": ["a\u202eb"]},
        {"relations": [" "]},
        {"labels": ["Bad Label"]},
        {"devices": ["x"] * 101},
        {"authors": ["nobody"]},
    ],
    ids=repr,
)
def test_bad_rules_are_refused(hub: HubApi, body: dict[str, Any]) -> None:
    assert hub.refusal("POST", "/v1/memory/rules", body) == (422, "invalid")
    assert hub.get("/v1/memory/rules") == []


@pytest.mark.parametrize("seconds", [-1, 86_401])
def test_the_time_for_approvals_has_bounds(seconds: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="memory_publish_after_s"):
        HubSettings(home=tmp_path, memory_publish_after_s=seconds)

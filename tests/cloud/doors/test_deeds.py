"""Every operation that changes something leaves its deed in the audit log; a refused one does not."""

from collections.abc import Callable

import pytest

from cloud.caller import Role
from cloud.http_gate import SIGN_IN_PATH
from shared.enrolment import ENROL_PATH
from shared.knowledge.fetch import FETCH_PATH
from shared.renewal import RENEW_PATH
from shared.restore import RESTORE_PATH
from tests.cloud.doors.examples import EXAMPLES, Example
from tests.cloud.doors.world import ROOT, World

pytestmark = pytest.mark.slow

CHANGES_NOTHING = {
    f"POST {RENEW_PATH}": "the example is refused",
    f"POST {RESTORE_PATH}": "it reads; POST because the secret must not be in an address",
    "POST /v1/users/{name}/totp": "it counts only with the first code, which is another operation",
    "POST /v1/policies/simulate": "it only looks",
    f"POST {FETCH_PATH}": "it reads; POST because the request is signed",
    "POST /v1/knowledge/search": "it reads; POST because a question must not be in an address",
    "POST /v1/ask": "it reads; POST because a question must not be in an address",
    "POST /v1/memory/forget/look": "it reads; POST because words must not be in an address",
    "POST /v1/approvals/{nonce}": "it takes a role of rules, which nobody has here (tests.fleet.test_rules)",
    "POST /v1/audit/accept": "the log is sound here (tests.cloud.audit.test_acceptance)",
    "POST /v1/users/{name}/enable": "the example is enabled already",
}
OPEN: dict[str, Callable[[Example, dict[str, object]], object]] = {
    f"POST {ENROL_PATH}": lambda _, deed: deed["target"],
    f"POST {SIGN_IN_PATH}": lambda example, _: example.json["name"],
}
"""Everybody may, and who it was shows only then."""
CHANGING = [name for name in EXAMPLES if not name.startswith("GET ") and name not in CHANGES_NOTHING]


def newest(world: World) -> dict[str, object]:
    entries = world.call(ROOT, "GET", "/v1/audit/entries", params={"limit": 1}).json()["entries"]
    return dict(entries[0]) if entries else {"seq": -1}


def send(world: World, who: str | None, name: str, example: Example) -> bool:
    answer = world.call(
        who, name.split(maxsplit=1)[0], example.path, example.json, example.params, content=example.content
    )
    return bool(answer.is_success)


@pytest.mark.parametrize("name", CHANGING)
def test_a_change_is_noted_with_who_made_it_and_a_refused_one_is_not(world: World, name: str) -> None:
    example = EXAMPLES[name](world)
    before = newest(world)
    if name not in OPEN:
        assert not send(world, Role.VIEWER.value, name, example) or name.endswith("/withdraw")
    if name.endswith("/withdraw"):
        assert newest(world)["action"] == "proposal.withdraw"
        return
    assert newest(world) == before
    assert send(world, ROOT, name, example)
    deed = newest(world)
    assert deed["seq"] != before["seq"]
    assert deed["actor"] == (OPEN[name](example, deed) if name in OPEN else ROOT)
    action = str(deed["action"])
    assert action.count(".") == 1
    assert not action.startswith("proposal.") or "/proposals/" in name

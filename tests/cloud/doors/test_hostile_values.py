"""A request that would be answered, with one value of it spoiled: refused or answered, never a failure of the hub's.

Random data seldom gets past the first look. Here all but one value is as it should be, so what judges that one is
reached: each value of each example's body and query, and each part of its path. A place gets some of the bad values, in
turn, so that each of them is tried at many places of every kind.
"""

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from typing import Any, Final
from urllib.parse import quote

import pytest

from cloud.caller import Role
from tests.cloud.doors.examples import EXAMPLES, Example
from tests.cloud.doors.world import ROOT, World, open_world

pytestmark = pytest.mark.slow

VALUES: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf"),
    "", " ", "\x00", "\ud800", "\u202e", "../x", "%2e%2e", "<b>", "a" * 5_000,
    "2026-01-01", "9999-12-31T23:59:59-14:00", "*", "main", "main.x", "aaaaaaaaaaaaaaaa",
    [], [None], [[]], ["a"] * 2_000, {}, {"a": {"a": {"a": []}}}, {"": 1},
)  # fmt: skip
IN_PATHS: Final = (
    "%00", "%ff", "%2e%2e", "..%2f..%2fx", "%0a", "a" * 5_000, "*", "-1", "99999999999999999999", "%25", "%3Cb%3E",
    "aaaaaaaaaaaaaaaa",
)  # fmt: skip
VALUES_EACH: Final = 5
"""Bad values that a place gets. All of them at each place take ten minutes."""
NAMES: Final = [name for name in EXAMPLES if not name.endswith("/events")]
"""Streams do not end."""


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own: what is sent here changes it."""
    patient = {"http_caller_burst_requests": 1_000_000}
    with open_world(tmp_path_factory.mktemp("spoiled") / "hub", **patient) as opened:
        yield opened


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands within a body; the body itself too."""
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def put(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    if not at:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(value[at[0]], at[1:], other)
    return copy


@cache
def queries(world: World) -> dict[str, list[str]]:
    """What each operation takes in its query, by method and path."""
    paths = world.call(ROOT, "GET", "/v1/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": [
            each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"
        ]
        for path, of_path in paths.items()
        for method, operation in of_path.items()
    }


def requests(
    name: str, example: Example, query_names: list[str], values: Iterator[Any]
) -> Iterator[tuple[str, bytes | None]]:
    """Paths with their queries, and bodies. `values`: what to put there, without an end."""
    query = "&".join(f"{key}={quote(str(value))}" for key, value in (example.params or {}).items())
    body = example.content if example.json is None else json.dumps(example.json).encode()
    for key in query_names:
        for value in islice(values, VALUES_EACH):
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{example.path}?{query}&{key}={quote(text, errors='surrogatepass')[:6_000]}", body
    template, parts = name.split(maxsplit=1)[1].split("/"), example.path.split("/")
    for number, part in enumerate(template):
        if part.startswith("{") and len(parts) == len(template):
            for other in IN_PATHS:
                yield f"{'/'.join([*parts[:number], other, *parts[number + 1 :]])}?{query}", body
    if example.json is not None:
        for at in places(example.json):
            for value in islice(values, VALUES_EACH):
                yield f"{example.path}?{query}", json.dumps(put(example.json, at, value)).encode()


@pytest.mark.parametrize("who", [ROOT, Role.ADMIN.value])
@pytest.mark.parametrize("name", NAMES)
def test_one_bad_value_in_a_good_request_is_no_failure_of_the_hubs(
    spoiled: World, name: str, who: str
) -> None:
    example = EXAMPLES[name](spoiled)
    first = random.Random(f"{name} {who}").randrange(len(VALUES))
    values = islice(cycle(VALUES), first, None)
    headers = {"Authorization": f"Bearer {spoiled.tokens[who]}", "Content-Type": "application/json"}
    for path, body in requests(name, example, queries(spoiled)[name], values):
        answer = spoiled.client.request(name.split(maxsplit=1)[0], path, content=body, headers=headers)
        assert answer.status_code < 500, (path[:200], (body or b"")[:300], answer.text)
        assert "too_many_requests" not in answer.text, "nothing was looked at"
        if answer.is_error:
            assert set(answer.json()) >= {"code", "message"}, (path, answer.text)
            assert re.search(r"Traceback|sqlalchemy|site-packages", answer.text) is None

"""Every operation of the real application's OpenAPI document, called as nobody, as each role, and from another tenant.

What each operation needs is read from the document; what the hub does must be exactly that.
"""

from functools import cache
from typing import Any, Final

import pytest

from cloud.caller import PERMISSIONS, Permission, Role
from tests.cloud.doors.examples import BY_CONTENT, EXAMPLES, QUESTIONS, Example
from tests.cloud.doors.world import FOREIGN, MARK, ROOT, World

WRONG: Final = ("a-wrong-token", "covey1t.aaaaaaaaaaaaaaaa." + "A" * 43)
FRAME_HEADERS: Final = frozenset({"content-length", "date"})


@cache
def document_of(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.call(ROOT, "GET", "/v1/openapi.json").json()
    return found


def operations(world: World) -> dict[str, dict[str, Any]]:
    """By method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, of_path in document_of(world)["paths"].items()
        for method, operation in of_path.items()
    }


def call(world: World, who: str | None, operation: str, example: Example) -> Any:
    return world.call(
        who,
        operation.split(maxsplit=1)[0],
        example.path,
        example.json,
        example.params,
        content=example.content,
    )


def problem(response: Any) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"code", "message"}
    return response.status_code, body["code"]


@pytest.mark.slow
def test_each_operation_has_an_example_and_each_example_an_operation(world: World) -> None:
    assert set(EXAMPLES) == set(operations(world))


@pytest.mark.slow
def test_the_document_says_what_each_operation_needs(world: World) -> None:
    for name, operation in operations(world).items():
        needed = operation["x-permission"]
        assert needed is None or needed in set(Permission), name
        assert bool(operation["security"]) == (needed is not None), name
        assert ({"401", "403"} <= operation["responses"].keys()) == (needed is not None), name


def test_only_reading_operations_need_no_more_than_reading(world: World) -> None:
    for name, operation in operations(world).items():
        if operation["x-permission"] == Permission.READ and name not in BY_CONTENT | QUESTIONS:
            assert name.startswith("GET "), name


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_nobody_and_wrong_tokens_get_in_only_where_everybody_may(world: World, name: str) -> None:
    needed = operations(world)[name]["x-permission"]
    example = EXAMPLES[name](world)
    for who in (None, *WRONG):
        if needed is None:
            example = EXAMPLES[name](world)
        answer = call(world, who, name, example)
        if needed is None:
            assert is_answered(answer, example), (who, answer.text)
        else:
            assert problem(answer) == (401, "unauthorized"), who
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_role_may_what_is_declared_and_nothing_else(world: World, name: str) -> None:
    operation = operations(world)[name]
    needed = operation["x-permission"]
    for role in Role:
        example = EXAMPLES[name](world)
        answer = call(world, role.value, name, example)
        wanted = {needed, example.also_needs} - {None}
        is_allowed = wanted <= PERMISSIONS[role]
        if is_allowed and not operation.get("x-for-all-tenants"):
            assert is_answered(answer, example), (role, answer.text)
        else:
            assert problem(answer) == (403, "forbidden"), role
            assert MARK not in answer.text
    example = EXAMPLES[name](world)
    answer = call(world, ROOT, name, example)
    assert is_answered(answer, example), answer.text


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_admin_of_another_tenant_finds_nothing_of_ours(world: World, name: str) -> None:
    operation = operations(world)[name]
    example = EXAMPLES[name](world)
    if operation["x-permission"] is None:
        return
    answer = call(world, FOREIGN, name, example)
    if operation.get("x-for-all-tenants"):
        assert problem(answer) == (403, "forbidden")
        return
    if example.object:
        # Exactly as if it did not exist, but for the name that was asked for.
        assert answer.status_code == 404, answer.text
        method = name.split(maxsplit=1)[0]
        path = example.path.replace(example.object, example.unknown)
        unknown = world.call(FOREIGN, method, path, example.json, example.params, content=example.content)
        told = answer.text.replace(example.object, example.unknown)
        assert (answer.status_code, told) == (unknown.status_code, unknown.text)
        assert headers(answer) == headers(unknown)
        return
    if example.tenant_asked:
        assert problem(answer) == (404, "tenant_unknown")
    else:
        assert answer.is_success, answer.text
    assert MARK not in answer.text
    assert MARK not in str(answer.headers)


def is_answered(answer: Any, example: Example) -> bool:
    """As what is behind the door answers: not refused at it."""
    return bool(answer.json()["code"] == example.refused if example.refused else answer.is_success)


def headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in FRAME_HEADERS}

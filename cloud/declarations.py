"""What routes declare: who may call each. Checked when the application is put together, and told in its document.

Every operation of the OpenAPI document has `x-permission` (null: open to everybody) and, where it concerns all
tenants, `x-for-all-tenants`.
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from cloud.access import Needs, Reader
from cloud.errors import PROBLEM_WORDS, Problem
from cloud.http_gate import OPEN_PATHS, Door

DOCUMENT_PATH: Final = "/v1/openapi.json"
SCHEME_NAME: Final = "bearer"
_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The hub's admin token, or an API token.",
}
_PROBLEM: Final = {
    "application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}},
}
_REFUSALS: Final = {
    "401": {"description": "No credential, or none that the hub knows.", "content": _PROBLEM},
    "403": {"description": "The caller lacks the permission.", "content": _PROBLEM},
}


def needs_of(route: RouteContext) -> list[Needs]:
    """What the route declares; a route that is none of ours, and a mount, declare nothing."""
    dependant = getattr(route, "dependant", None)
    return [] if dependant is None else list(_needs(dependant))


def require_declarations(app: FastAPI, doors: Sequence[Door]) -> None:
    """Each route and mount is open, behind a door, or needs one permission.

    Raises `ValueError` that names those which are not: a mistake in a program.
    """
    wrong = undeclared(app.routes, doors)
    if wrong:
        raise ValueError(f"these routes do not declare who may call them: {'; '.join(wrong)}")


def undeclared(routes: Sequence[BaseRoute], doors: Sequence[Door]) -> list[str]:
    """What is wrong with these routes, one phrase each."""
    found = []
    for route in iter_route_contexts(routes):
        path = route.path or ""
        count = len(needs_of(route))
        is_guarded = any(door.guards(path) for door in doors)
        if path in OPEN_PATHS or is_guarded:
            if count:
                found.append(f"{path} is open, so nobody can be known there")
        elif count != 1:
            found.append(f"{path} has {count} `Needs`, not one")
    return found


def document_routes(app: FastAPI) -> APIRouter:
    """The description of the API: of the routes that `app` has when it is first asked for."""
    router = APIRouter(tags=["health"])
    lock = Lock()
    made: list[dict[str, Any]] = []

    @router.get(DOCUMENT_PATH)
    def document(_: Reader) -> dict[str, Any]:
        """This document (OpenAPI 3.1)."""
        with lock:
            if not made:
                made.append(describe(app))
        return made[0]

    return router


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with what each operation needs."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = document.setdefault("components", {})
    components.setdefault("securitySchemes", {})[SCHEME_NAME] = _SCHEME
    # Not by FastAPI's `responses`, which would make models for each route anew: three quarters of the time of a start.
    components.setdefault("schemas", {})[Problem.__name__] = Problem.model_json_schema()
    for route in iter_route_contexts(app.routes):
        for operation in _operations(document, route):
            _declare(operation, needs_of(route))
    return document


def _declare(operation: dict[str, Any], needs: Sequence[Needs]) -> None:
    for status, words in PROBLEM_WORDS.items():
        operation["responses"].setdefault(status, {"description": words, "content": _PROBLEM})
    if not needs:
        operation["x-permission"] = None
        operation["security"] = []
        return
    operation["x-permission"] = needs[0].permission.value
    if needs[0].is_for_all_tenants:
        operation["x-for-all-tenants"] = True
    operation["security"] = [{SCHEME_NAME: []}]
    operation["responses"] |= _REFUSALS


def _operations(document: Mapping[str, Any], route: RouteContext) -> Iterator[dict[str, Any]]:
    of_path = document["paths"].get(route.path_format or "", {})
    for method in route.methods or ():
        if method.lower() in of_path:
            yield of_path[method.lower()]


def _needs(dependant: Dependant) -> Iterator[Needs]:
    if isinstance(dependant.call, Needs):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _needs(each)
